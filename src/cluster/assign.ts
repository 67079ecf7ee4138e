/**
 * The task of an append: one part of the assignment, its first rows as they were, the others at their nearest centroid. Where
 * filters or dedup have judged the pool anew, a row of the fit may have left it, and one that was out may be back.
 */
import { type TableView, decodeTable, encodeTable } from '../arrow/ipc.ts';
import { type EmbeddingPart, readStatuses } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import type { NearestSearch, SearchEngine } from '../vector/search.ts';
import { searchEngine } from './level.ts';
import { SET_ASIDE } from './tree.ts';

export interface AssignPayload {
  /** Level-1 table of centroids, k × d. */
  readonly centroids: readonly Part[];
  readonly k: number;
  readonly d: number;
  /** Parts, where they lie, that hold the rows to be assigned. */
  readonly embeddings: readonly EmbeddingPart[];
  /** The part of the assignment that begins at `firstRow` and is to be made longer, where it lies; null: all rows are new. */
  readonly before: Part | null;
  /** `before` is of the fit, and its rows are looked at too: `embeddings` holds them as well. */
  readonly judged?: true;
  readonly firstRow: number;
  readonly rowCount: number;
  /** Key of the part to write. */
  readonly out: string;
}

/**
 * Holds one part of the assignment, one of embeddings, a quarter of the memory in vectors, and the centroids where they fit in
 * another quarter; if not, one part of them at a time. Which centroid is nearest depends on the row and the centroids alone:
 * they are searched part by part whatever the memory, and ties go to the lowest.
 */
export const assignRows: TaskKind<AssignPayload, Part> = {
  name: 'cluster-assign',
  version: 1,
  run: async (payload, env) => {
    const { before, firstRow, rowCount, out } = payload;
    const rows: Rows = { cluster: new Uint32Array(rowCount), distance: new Float32Array(rowCount), valid: new Uint8Array(rowCount), reason: new Array<string | null>(rowCount).fill(null) };
    if (before !== null) copyRows(await readPart(env.store, before), before, rows);
    const old = before?.rowCount ?? 0;
    const from = payload.judged === true ? 0 : old;
    const block = openBlock(payload, rowCount - from, env);
    for (const part of payload.embeddings) {
      throwIfAborted(env.signal);
      await readVectors(part, { firstRow, from, old }, rows, block, () => assignBlock(block, rows, payload, env), env.store);
    }
    await assignBlock(block, rows, payload, env);
    env.advance(rowCount - old);
    const bytes = encodeTable({
      cluster: { type: 'uint32', values: rows.cluster, valid: rows.valid },
      distance: { type: 'float32', values: rows.distance, valid: rows.valid },
      reason: { type: 'utf8', values: rows.reason },
    });
    const { sizeBytes, sha256 } = await env.store.write(out, bytes);
    return { path: out, firstRow, rowCount, bytes: sizeBytes, sha256 };
  },
};

/** Columns of one part of the assignment. */
interface Rows {
  readonly cluster: Uint32Array;
  readonly distance: Float32Array;
  readonly valid: Uint8Array;
  readonly reason: (string | null)[];
}

function copyRows(bytes: Uint8Array, { path, rowCount }: Part, rows: Rows): void {
  const view = decodeTable(bytes, path);
  rows.cluster.set(view.numbers('cluster'));
  rows.distance.set(view.numbers('distance'));
  rows.valid.set(view.validity('cluster') ?? new Uint8Array(rowCount).fill(1));
  view.strings('reason').forEach((reason, i) => (rows.reason[i] = reason));
}

/** Vectors that wait to be assigned, and the rows they are of, counted from the task's first. */
interface Block {
  readonly d: number;
  readonly vectors: Float32Array;
  readonly row: Uint32Array;
  count: number;
}

const MEMORY_SHARE = 1 / 4;

function openBlock({ d }: AssignPayload, rowCount: number, { execution }: TaskEnv): Block {
  const room = Math.max(execution.blockRows, Math.floor((execution.memoryBytes * MEMORY_SHARE) / (4 * d)));
  const capacity = Math.min(room, rowCount);
  return { d, vectors: new Float32Array(capacity * d), row: new Uint32Array(capacity), count: 0 };
}

/** Which rows a task looks at, all but the first counted from it. */
interface Range {
  readonly firstRow: number;
  readonly from: number;
  /** The rows before it are of the fit. */
  readonly old: number;
}

/** Rows of one part of embeddings: vectors into the block, reasons to the rows without one. Vectors are read where a row wants a cluster. */
async function readVectors(part: EmbeddingPart, { firstRow, from, old }: Range, rows: Rows, block: Block, whenFull: () => Promise<void>, store: Store): Promise<void> {
  const { d } = block;
  const read = async (): Promise<TableView> => decodeTable(await readPart(store, part), part.path);
  const own = part.status === undefined ? await read() : null;
  const status = await readStatuses(store, part, own);
  const end = Math.min(part.firstRow + part.rowCount - firstRow, rows.cluster.length);
  const wanted: number[] = [];
  for (let row = Math.max(from, part.firstRow - firstRow); row < end; row++) if (settle(rows, row, status[firstRow + row - part.firstRow]!, row < old)) wanted.push(row);
  if (wanted.length === 0) return;
  const { d: found, values } = (own ?? (await read())).vector('embedding');
  if (found !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected vectors of ${d} dimensions in ${part.path}, as the tree has, got ${found}`);
  for (const row of wanted) {
    const local = firstRow + row - part.firstRow;
    const vector = values.subarray(local * d, (local + 1) * d);
    const place = block.vectors.subarray(block.count * d, (block.count + 1) * d);
    if (vector instanceof Uint16Array) decodeFloat16(vector, place);
    else place.set(vector);
    block.row[block.count++] = row;
    if (block.count === block.row.length) await whenFull();
  }
}

/**
 * What can be said of a row without its vector: one that is out of the pool has no cluster but a reason, one of the fit
 * that is still in it is where it was, or was set aside then and stays so.
 *
 * @returns whether its nearest centroid is to be found
 */
function settle(rows: Rows, row: number, status: string | null, isOld: boolean): boolean {
  if (status !== 'ok') {
    rows.cluster[row] = 0;
    rows.distance[row] = 0;
    rows.valid[row] = 0;
    rows.reason[row] = status;
    return false;
  }
  if (isOld && (rows.valid[row] === 1 || rows.reason[row] === SET_ASIDE)) return false;
  rows.reason[row] = null;
  return true;
}

/** One part of the frozen level 1. */
interface Leaves {
  /** Cluster of the first centroid. */
  readonly first: number;
  readonly centroids: Float32Array;
  readonly search: NearestSearch;
  close(): Promise<void>;
}

async function assignBlock(block: Block, rows: Rows, { centroids: parts, k, d }: AssignPayload, env: TaskEnv): Promise<void> {
  const engine = await searchEngine(env);
  // The engine has a copy of its own.
  const stay = 2 * 4 * k * d <= env.execution.memoryBytes * MEMORY_SHARE;
  const nearest = new Float32Array(block.count).fill(Infinity);
  for (const part of parts) {
    throwIfAborted(env.signal);
    const open = (): Promise<Leaves> => openLeaves(part, d, engine, env.store);
    const leaves = stay ? await env.resource(`leaves ${part.sha256}`, open) : await open();
    try {
      await assignTo(leaves, block, nearest, rows, env.execution.blockRows);
    } finally {
      if (!stay) await leaves.close();
    }
  }
  block.count = 0;
}

async function openLeaves(part: Part, d: number, engine: SearchEngine, store: Store): Promise<Leaves> {
  const view = decodeTable(await readPart(store, part), part.path);
  const centroids = view.vector('centroid').values as Float32Array;
  const search = await engine.nearest(centroids, part.rowCount, d);
  return { first: part.firstRow, centroids, search, close: () => search.close() };
}

/** Gives the rows of the block that are nearer to one of these leaves than to those before them to that one. */
async function assignTo({ first, centroids, search }: Leaves, { d, vectors, row, count }: Block, nearest: Float32Array, rows: Rows, blockRows: number): Promise<void> {
  const index = new Uint32Array(Math.min(blockRows, count));
  const distance = new Float32Array(index.length);
  for (let start = 0; start < count; start += blockRows) {
    const n = Math.min(blockRows, count - start);
    await search.nearest(vectors.subarray(start * d, (start + n) * d), n, index, distance);
    for (let i = 0; i < n; i++) {
      if (distance[i]! >= nearest[start + i]!) continue;
      nearest[start + i] = distance[i]!;
      rows.cluster[row[start + i]!] = first + index[i]!;
      rows.distance[row[start + i]!] = squaredDistance(vectors, (start + i) * d, centroids, index[i]! * d, d);
      rows.valid[row[start + i]!] = 1;
    }
  }
}

/** By differences in float64: no cancellation, whatever the engine's products were. */
function squaredDistance(a: Float32Array, atA: number, b: Float32Array, atB: number, d: number): number {
  let sum = 0;
  for (let j = 0; j < d; j++) {
    const difference = a[atA + j]! - b[atB + j]!;
    sum += difference * difference;
  }
  return sum;
}
