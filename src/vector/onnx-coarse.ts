/**
 * Nearest of many centroids in two steps on the processor: scores of 8-bit products, three times as fast as float32, leave
 * a few centroids that can be nearest, and those are measured in float64. Nothing is lost: by Cauchy–Schwarz the score
 * x·c − ½‖c‖² is off by at most ‖x − x̂‖‖c‖ + ‖x̂‖‖c − ĉ‖, so a centroid whose score with that added stays under the best
 * score with it taken off is farther away. Rows with too many left go to the float32 search. Which way a row goes, and so
 * each bit of its result, follows from the row and the centroids alone: the step of x is set by the centroids.
 */
import { type Session, Tensor } from '../onnx/session.ts';
import { exactDistance, squaredNorms } from './matrix.ts';
import { GROUP } from './onnx-graphs.ts';
import { floats, tiles } from './onnx-tiles.ts';
import type { NearestSearch } from './search.ts';

/** From so many centroids on the shorter products outweigh the second step. */
export const COARSE_CENTROIDS_MIN = 2048;

const TILE_ROWS = 1024;
const BLOCK_COLUMNS = 1024;
/** Centroids kept for a row; with more it goes to the float32 search. */
const KEPT = 64;
/** Room for values of rows beyond those of all centroids, before they are clipped (which only widens their bound). */
const HEADROOM = 1.25;

interface Block {
  readonly from: number;
  readonly columns: number;
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Largest ‖c‖ and largest ‖c − ĉ‖ in the block. */
  readonly norm: number;
  readonly error: number;
}

/** Whether this processor multiplies 8-bit numbers without saturating: kernels older than VNNI do not. */
export async function multipliesExactly(session: Session): Promise<boolean> {
  const [n, d] = [64, 128];
  const feeds = { x: new Tensor('float32', new Float32Array(n * d).fill(127), [n, d]), sx: new Tensor('float32', Float32Array.of(1), []), c: new Tensor('int8', new Int8Array(d * GROUP).fill(127), [d, GROUP]) };
  const { s } = await session.run({ ...feeds, sc: new Tensor('float32', new Float32Array(GROUP).fill(1), [GROUP]), b: new Tensor('float32', new Float32Array(GROUP), [GROUP]) });
  return floats(s).every((value) => value === 127 * 127 * d);
}

/**
 * @param session of `coarseGraph`, for which `multipliesExactly` holds
 * @param exact the float32 search of the same centroids; closed with this one
 * @returns a search by the port's law, with distances exact to the last bit where `exact` was not needed; `exact` itself
 *   when centroids are not finite or all zero. `second` is that of `exact`, at its full cost.
 */
export function openCoarseNearest(session: Session, exact: NearestSearch, centroids: Float32Array, k: number, d: number): NearestSearch {
  const matrix = centroids.slice(0, k * d);
  let extreme = 0;
  for (let at = 0; at < matrix.length; at += 1) extreme = Math.max(extreme, Math.abs(matrix[at] as number));
  const step = Math.fround((HEADROOM * extreme) / 127);
  if (!(step > 0 && step < Infinity)) return exact;
  const blocks = quantise(matrix, k, d, step);
  return {
    nearest: async (x, n, index, distance, second) => {
      const left: number[] = [];
      const parts = tiles(n, TILE_ROWS, 2);
      const sieve = openSieve(parts[0]?.rows ?? 0);
      const scores = new Float32Array(Math.max(sieve.count.length, 2) * (blocks[0] as Block).columns);
      const largest = new Float32Array(scores.length / GROUP);
      for (const { row, rows } of parts) {
        const some = x.subarray(row * d, (row + rows) * d);
        startTile(sieve, some, rows, d, step);
        const padded = rows > 1 ? some : Float32Array.from({ length: 2 * d }, (_, at) => some[at % d] as number);
        const run = Math.max(rows, 2);
        const tensor = new Tensor('float32', padded, [run, d]);
        for (const block of blocks) {
          const { columns } = block;
          const s = new Tensor('float32', scores.subarray(0, run * columns), [run, columns]);
          const maxima = new Tensor('float32', largest.subarray(0, (run * columns) / GROUP), [run, columns / GROUP]);
          await session.run({ x: tensor, ...block.feeds }, { s, maxima });
          sift(sieve, rows, block, scores, largest);
        }
        for (let i = 0; i < rows; i += 1) if (!settle(sieve, i, some, matrix, d, index, distance, row + i)) left.push(row + i);
      }
      await searchLeft(exact, left, x, d, index, distance);
      if (second !== undefined) await exact.nearest(x, n, new Uint32Array(n), new Float32Array(n), second);
    },
    close: () => exact.close(),
  };
}

/** Blocks of columns in 8 bits; the last is padded with columns whose score is −∞. */
function quantise(matrix: Float32Array, k: number, d: number, step: number): Block[] {
  const norms = squaredNorms(matrix, k, d);
  const count = Math.ceil(k / BLOCK_COLUMNS);
  const width = Math.ceil(k / count / GROUP) * GROUP;
  const tensor = (data: Float32Array, shape: number[]): Tensor => new Tensor('float32', data, shape);
  return Array.from({ length: count }, (_, i) => {
    const from = i * width;
    const columns = Math.min(width, Math.ceil((k - from) / GROUP) * GROUP);
    const [c, scale, bias] = [new Int8Array(d * columns), new Float32Array(columns).fill(1), new Float32Array(columns).fill(-Infinity)];
    let norm = 0;
    let error = 0;
    for (let first = 0; first < columns; first += GROUP) {
      const some = Math.min(GROUP, k - from - first);
      const missed = quantiseGroup(matrix.subarray((from + first) * d), some, d, scale.subarray(first), c.subarray(first), columns);
      for (let j = 0; j < some; j += 1) {
        const square = norms[from + first + j] as number;
        bias[first + j] = -0.5 * square;
        norm = Math.max(norm, Math.sqrt(square));
        error = Math.max(error, Math.sqrt(missed[j] as number));
      }
    }
    return { from, columns, norm, error, feeds: { c: new Tensor('int8', c, [d, columns]), sx: tensor(Float32Array.of(step), []), sc: tensor(scale, [columns]), b: tensor(bias, [columns]) } };
  });
}

/** Writes a few rows of the matrix as columns `stride` apart, each with a scale of its own. @returns their squared errors */
function quantiseGroup(matrix: Float32Array, rows: number, d: number, scale: Float32Array, c: Int8Array, stride: number): Float64Array {
  const missed = new Float64Array(rows);
  const inverse = new Float64Array(rows);
  for (let j = 0; j < rows; j += 1) {
    let largest = 0;
    for (let at = j * d, end = at + d; at < end; at += 1) {
      const size = Math.abs(matrix[at] as number);
      if (size > largest) largest = size;
    }
    scale[j] = largest / 127;
    if (scale[j] === 0) scale[j] = 1;
    inverse[j] = 1 / (scale[j] as number);
  }
  for (let e = 0; e < d; e += 1) {
    for (let j = 0; j < rows; j += 1) {
      const value = matrix[j * d + e] as number;
      let q = value * (inverse[j] as number) + ROUND - ROUND;
      if (q > 127) q = 127;
      else if (q < -127) q = -127;
      c[e * stride + j] = q;
      const rest = value - q * (scale[j] as number);
      missed[j] = (missed[j] as number) + rest * rest;
    }
  }
  return missed;
}

/** What is known of a tile's rows: how far off their 8-bit copies are, and the centroids that can still be nearest. */
interface Sieve {
  /** ‖x − x̂‖, a little more. */
  readonly error: Float64Array;
  /** ‖x̂‖ */
  readonly norm: Float64Array;
  /** The score that the nearest centroid has at least. */
  readonly least: Float64Array;
  /** How many are kept; more than KEPT once they were too many. */
  readonly count: Uint32Array;
  /** rows × KEPT, ascending: centroid, and the score that it has at most. */
  readonly kept: Uint32Array;
  readonly most: Float64Array;
}

function openSieve(n: number): Sieve {
  return { error: new Float64Array(n), norm: new Float64Array(n), least: new Float64Array(n), count: new Uint32Array(n), kept: new Uint32Array(n * KEPT), most: new Float64Array(n * KEPT) };
}

/** Empties the sieve and measures how far off the 8-bit copies of a tile's rows are. */
function startTile({ error, norm, least, count }: Sieve, x: Float32Array, n: number, d: number, step: number): void {
  least.fill(-Infinity);
  count.fill(0);
  const inverse = 1 / step;
  for (let i = 0; i < n; i += 1) {
    let missed = 0;
    let square = 0;
    for (let at = i * d, end = at + d; at < end; at += 1) {
      const value = (x[at] as number) * inverse;
      let q = value + ROUND - ROUND;
      if (q > 127) q = 127;
      else if (q < -128) q = -128;
      const rest = value - q;
      missed += rest * rest;
      square += q * q;
    }
    // The graph divides in float32, so a value next to the middle of two steps can go the other way.
    error[i] = step * (Math.sqrt(missed) + 1e-4 * Math.sqrt(d)) * (1 + 1e-6);
    norm[i] = step * Math.sqrt(square);
  }
}

/** Adding and taking off 1.5 · 2^52 rounds a float64 to the nearest whole number, ties to even, as QuantizeLinear does. */
const ROUND = 1.5 * 2 ** 52;

/** Looks through the groups of a block whose maximum can be nearest. */
function sift(sieve: Sieve, n: number, block: Block, s: Float32Array, maxima: Float32Array): void {
  const { from, columns } = block;
  const groups = columns / GROUP;
  for (let i = 0; i < n; i += 1) {
    const norm = sieve.norm[i] as number;
    // The last term: what the float32 arithmetic after the product can lose.
    const bound = (sieve.error[i] as number) * block.norm + norm * block.error + 2 ** -21 * (norm * (block.norm + block.error) + block.norm * block.norm);
    let best = -Infinity;
    for (let g = i * groups; g < (i + 1) * groups; g += 1) if ((maxima[g] as number) > best) best = maxima[g] as number;
    const least = Math.max(sieve.least[i] as number, best - bound);
    sieve.least[i] = least;
    if (!(best + bound >= least)) continue;
    for (let g = 0; g < groups; g += 1) {
      if ((maxima[i * groups + g] as number) + bound < least) continue;
      for (let j = g * GROUP; j < (g + 1) * GROUP; j += 1) {
        const most = (s[i * columns + j] as number) + bound;
        if (most >= least) keep(sieve, i, from + j, most);
      }
    }
  }
}

/** Keeps one more, after those that fell below the least meanwhile have made room. */
function keep(sieve: Sieve, i: number, centroid: number, most: number): void {
  const { count, kept, most: all } = sieve;
  if (count[i] === KEPT) {
    let room = 0;
    for (let at = i * KEPT; at < (i + 1) * KEPT; at += 1) {
      if ((all[at] as number) < (sieve.least[i] as number)) continue;
      kept[i * KEPT + room] = kept[at] as number;
      all[i * KEPT + room] = all[at] as number;
      room += 1;
    }
    count[i] = room === KEPT ? KEPT + 1 : room;
  }
  if ((count[i] as number) > KEPT) return;
  const at = i * KEPT + (count[i] as number);
  kept[at] = centroid;
  all[at] = most;
  count[i] = (count[i] as number) + 1;
}

/** Measures what is kept for a row. @returns false when the row needs the float32 search */
function settle(sieve: Sieve, i: number, x: Float32Array, matrix: Float32Array, d: number, index: Uint32Array, distance: Float32Array, to: number): boolean {
  const count = sieve.count[i] as number;
  if (count === 0 || count > KEPT || !((sieve.least[i] as number) > -Infinity) || !((sieve.norm[i] as number) < Infinity)) return false;
  let best = Infinity;
  for (let at = i * KEPT; at < i * KEPT + count; at += 1) {
    if ((sieve.most[at] as number) < (sieve.least[i] as number)) continue;
    const centroid = sieve.kept[at] as number;
    const own = exactDistance(x, i * d, matrix, centroid * d, d);
    if (own >= best) continue;
    best = own;
    index[to] = centroid;
    distance[to] = own;
  }
  return best < Infinity;
}

async function searchLeft(exact: NearestSearch, left: readonly number[], x: Float32Array, d: number, index: Uint32Array, distance: Float32Array): Promise<void> {
  for (let first = 0; first < left.length; first += TILE_ROWS) {
    const rows = left.slice(first, first + TILE_ROWS);
    const some = new Float32Array(rows.length * d);
    rows.forEach((row, i) => some.set(x.subarray(row * d, (row + 1) * d), i * d));
    const [ownIndex, ownDistance] = [new Uint32Array(rows.length), new Float32Array(rows.length)];
    await exact.nearest(some, rows.length, ownIndex, ownDistance);
    rows.forEach((row, i) => {
      index[row] = ownIndex[i] as number;
      distance[row] = ownDistance[i] as number;
    });
  }
}
