/**
 * The rows of a split level, sorted by coarse cell: the product of the external shuffle in route.ts. Each route task has
 * left one object of vectors grouped by cell; the index says where each cell's segment lies in each of them. A cell's
 * rows are read by ranges, in ascending order of points, so nothing of size n × d is ever held.
 */
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import { type Points, gatherRuns, memoryPoints } from './points.ts';
import { bytesOf, readJson, readWords, writeJson } from './words.ts';

/** What tasks of a split level are told of its cells. */
export interface CellsReference {
  /** Key prefix of everything the level leaves while it is built. */
  readonly base: string;
  readonly n: number;
  readonly d: number;
  /** Coarse cells, empty ones included. */
  readonly m: number;
  readonly scale: number;
}

/** One route task's product: `vectors` and `rows` grouped by cell, and `counts` a cell, under `out`. */
export interface RoutedBlock {
  readonly out: string;
  /** Its points are start … start + count − 1. */
  readonly start: number;
  readonly count: number;
  /** float16 where every value of the block is one: half the bytes, the same numbers. */
  readonly element: 'float16' | 'float32';
}

export interface Cells {
  readonly blocks: readonly RoutedBlock[];
  /** Rows before each cell in cell order, length m + 1. */
  readonly rowOffset: Float64Array;
  /** Runs of consecutive cells, each one task's work. */
  readonly groups: readonly CellGroup[];
  /** Group of each cell. */
  readonly groupOf: Uint32Array;
  /** Rows of each cell from each block, m × blocks. */
  readonly counts: Uint32Array;
  /** m × d coarse centroids, scaled. */
  readonly centroids: Float32Array;
  points(cell: number): Points;
  /** The same for the cells of a group; where it takes at most `holdBytes` the group is read at once, a range a block. */
  pointsOf(group: CellGroup, holdBytes: number): Promise<(cell: number) => Points>;
}

/** Cells from … to − 1. */
export interface CellGroup {
  readonly group: number;
  readonly from: number;
  readonly to: number;
}

/** Bytes of decoded vectors that a group of small cells has together: a task of some seconds. */
const GROUP_BYTES = 48 * 2 ** 20;

/** Commits the shuffle: the counts of all blocks, turned to lie cell by cell. @returns rows of each cell */
export async function writeCellIndex(store: Store, { base, m }: CellsReference, blocks: readonly RoutedBlock[]): Promise<Float64Array> {
  const counts = new Uint32Array(m * blocks.length);
  const size = new Float64Array(m);
  for (const [b, { out }] of blocks.entries()) {
    const words = new Uint32Array(await readWords(store, `${out}/counts`, m));
    for (let c = 0; c < m; c++) {
      counts[c * blocks.length + b] = words[c]!;
      size[c]! += words[c]!;
    }
  }
  await store.write(`${base}/index/counts`, bytesOf(counts));
  await writeJson(store, `${base}/index/blocks`, blocks);
  return size;
}

/** Opens the cells of a committed shuffle. Memory: the index, m × blocks words, and m × d coarse centroids. */
export async function openCells(store: Store, { base, m, d, scale }: CellsReference): Promise<Cells> {
  const blocks = await readJson<RoutedBlock[]>(store, `${base}/index/blocks`);
  const counts = new Uint32Array(await readWords(store, `${base}/index/counts`, m * blocks.length));
  const centroids = new Float32Array(await readWords(store, `${base}/coarse/centroids`, m * d));
  const rowOffset = new Float64Array(m + 1);
  for (let c = 0; c < m; c++) {
    let size = 0;
    for (let b = 0; b < blocks.length; b++) size += counts[c * blocks.length + b]!;
    rowOffset[c + 1] = rowOffset[c]! + size;
  }
  const starts = startsOf(counts, m, blocks.length);
  const groups = groupCells(rowOffset, d);
  const groupOf = new Uint32Array(m);
  for (const { group, from, to } of groups) groupOf.fill(group, from, to);
  const index = { blocks, counts, starts };
  const points = (cell: number): Points => cellPoints(store, index, cell, d, scale);
  const pointsOf: Cells['pointsOf'] = async ({ from, to }, holdBytes) => {
    const base = rowOffset[from]!;
    const rows = rowOffset[to]! - base;
    if (rows * d * 4 > holdBytes) return points;
    const values = new Float32Array(rows * d);
    await readGroup(store, index, { from, to, rowOffset }, d, values);
    return (cell) => memoryPoints(values.subarray((rowOffset[cell]! - base) * d, (rowOffset[cell + 1]! - base) * d), rowOffset[cell + 1]! - rowOffset[cell]!, d, scale);
  };
  return { blocks, rowOffset, groups, groupOf, counts, centroids, points, pointsOf };
}

/** First row of each cell's segment in each block, m × blocks. */
function startsOf(counts: Uint32Array, m: number, blocks: number): Uint32Array {
  const starts = new Uint32Array(counts.length);
  for (let c = 1; c < m; c++) for (let b = 0; b < blocks; b++) starts[c * blocks + b] = starts[(c - 1) * blocks + b]! + counts[(c - 1) * blocks + b]!;
  return starts;
}

function groupCells(rowOffset: Float64Array, d: number): CellGroup[] {
  const m = rowOffset.length - 1;
  const rowsMax = GROUP_BYTES / (d * 4);
  const groups: CellGroup[] = [];
  for (let from = 0, to = 0; from < m; from = to) {
    for (to = from + 1; to < m && rowOffset[to + 1]! - rowOffset[from]! <= rowsMax; ) to++;
    groups.push({ group: groups.length, from, to });
  }
  return groups;
}

interface Segment {
  readonly block: RoutedBlock;
  /** First row of the cell in the block, and first position in the cell. */
  readonly start: number;
  readonly first: number;
  readonly count: number;
}

interface Index {
  readonly blocks: readonly RoutedBlock[];
  readonly counts: Uint32Array;
  readonly starts: Uint32Array;
}

/** Cells from … to − 1 lie side by side in every block; their rows go to their places in cell order. */
async function readGroup(store: Store, { blocks, counts, starts }: Index, { from, to, rowOffset }: Omit<CellGroup, 'group'> & Pick<Cells, 'rowOffset'>, d: number, values: Float32Array): Promise<void> {
  const next = Float64Array.from({ length: to - from }, (_, i) => rowOffset[from + i]! - rowOffset[from]!);
  for (const [b, block] of blocks.entries()) {
    const start = starts[from * blocks.length + b]!;
    const count = starts[(to - 1) * blocks.length + b]! + counts[(to - 1) * blocks.length + b]! - start;
    if (count === 0) continue;
    const read = await readRows(store, block, start, count, d);
    for (let cell = from, at = 0; cell < to; cell++) {
      const some = counts[cell * blocks.length + b]!;
      read(at, some, values.subarray(next[cell - from]! * d));
      next[cell - from]! += some;
      at += some;
    }
  }
}

/** Rows start … start + count − 1 of a block, to be decoded piece by piece. */
async function readRows(store: Store, { out, element }: RoutedBlock, start: number, count: number, d: number): Promise<(first: number, rows: number, target: Float32Array) => void> {
  const width = d * (element === 'float16' ? 2 : 4);
  const bytes = await store.read(`${out}/vectors`, { offset: start * width, length: count * width });
  const whole = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const values = element === 'float16' ? new Uint16Array(whole.buffer, whole.byteOffset, count * d) : new Float32Array(whole.buffer, whole.byteOffset, count * d);
  return (first, rows, target) => {
    const some = values.subarray(first * d, (first + rows) * d);
    if (some instanceof Uint16Array) decodeFloat16(some, target);
    else target.set(some);
  };
}

/** Rows read at once where only some of a cell are wanted. */
const GATHER_ROWS = 4096;

function cellPoints(store: Store, { blocks, counts, starts }: Index, cell: number, d: number, scale: number): Points {
  const segments: Segment[] = [];
  let n = 0;
  for (const [b, block] of blocks.entries()) {
    const count = counts[cell * blocks.length + b]!;
    if (count > 0) segments.push({ block, start: starts[cell * blocks.length + b]!, first: n, count });
    n += count;
  }
  const read: Points['read'] = async (start, count, out) => {
    for (const segment of segments) {
      const from = Math.max(start, segment.first);
      const to = Math.min(start + count, segment.first + segment.count);
      if (from < to) (await readRows(store, segment.block, segment.start + from - segment.first, to - from, d))(0, to - from, out.subarray((from - start) * d));
    }
  };
  const run = async (start: number, count: number): Promise<Float32Array> => {
    const values = new Float32Array(count * d);
    await read(start, count, values);
    return values;
  };
  return { n, d, scale, read, gather: (indices, out) => gatherRuns(indices, d, GATHER_ROWS, run, out) };
}
