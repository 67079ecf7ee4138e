/**
 * Nearest centroids on ONNX Runtime: Gemm(x, cᵀ, −½‖c‖²), then the largest of each row. On the processor the centroids
 * are cut into blocks of about a thousand, fed one after the other to one shared session: scores of a tile stay in the
 * caches, a search needs no session of its own, and packing a block anew costs about 2 % of a full tile.
 */
import assert from 'node:assert/strict';
import type { GraphSpec } from '../onnx/graph.ts';
import { type Session, Tensor } from '../onnx/session.ts';
import { exactDistance, squaredNorms } from './matrix.ts';
import { GROUP, wholeGraph } from './onnx-graphs.ts';
import { CLOSE, floats, integers, rowsTensor, tiles } from './onnx-tiles.ts';
import type { NearestSearch } from './search.ts';

/** Rows of x in one product: scores stay near the cache, and the event loop turns every few milliseconds. */
const TILE_ROWS = 1024;
/** Centroids of one product on the processor, at most. */
const BLOCK_COLUMNS = 1024;
/** Up to so many centroids the best are as cheap to find without groups, in fewer steps. */
const WHOLE_COLUMNS = 256;
/** Scores in one product on a device, in floats: 32 MB. Above TILE_ROWS · k the tile shrinks. */
const TILE_SCORES = 2 ** 23;
const ONE = new Tensor('int64', BigInt64Array.of(1n), [1]);
const TWO = new Tensor('int64', BigInt64Array.of(2n), [1]);

/** Scores and centroids of the one or two best of each row of a tile, row after row. */
interface Best {
  readonly score: Float32Array;
  readonly centroid: Int32Array;
}

/** k × d centroids, perhaps with rows of zeros after them, and what a distance needs of them. */
interface Centroids {
  readonly matrix: Float32Array;
  readonly norms: Float64Array;
  readonly bias: Float32Array;
  readonly k: number;
  readonly d: number;
}

/**
 * On the processor, through sessions whose matrices are all fed; the engine owns them.
 *
 * @param open gives the engine's session of `groupedGraph` or `wholeGraph`
 * @param threads of the session; decides only how few rows a product may have, not one bit of a result
 */
export async function openFedNearest(open: (graph: 'grouped' | 'whole') => Promise<Session>, threads: number, centroids: Float32Array, k: number, d: number): Promise<NearestSearch> {
  if (k <= WHOLE_COLUMNS) {
    const all = withNorms(centroids, k, d, k);
    const feeds = { c: new Tensor('float32', all.matrix, [k, d]), b: new Tensor('float32', all.bias, [1, k]) };
    return search(all, { tileRows: TILE_ROWS, rowsMin: rowsFor(k, threads), score: wholeScore(await open('whole'), feeds), close: async () => {} });
  }
  const session = await open('grouped');
  const count = Math.ceil(k / BLOCK_COLUMNS);
  const width = Math.ceil(k / count / GROUP) * GROUP;
  const last = Math.max(2, Math.ceil((k - (count - 1) * width) / GROUP)) * GROUP;
  const all = withNorms(centroids, k, d, (count - 1) * width + last);
  const blocks = Array.from({ length: count }, (_, i) => {
    const [from, columns] = [i * width, i === count - 1 ? last : width];
    const c = new Tensor('float32', all.matrix.subarray(from * d, (from + columns) * d), [columns, d]);
    return { from, c, b: new Tensor('float32', all.bias.subarray(from, from + columns), [1, columns]) };
  });
  const score = async (x: Tensor, K: 1 | 2, best: Best): Promise<void> => {
    for (const { from, c, b } of blocks) {
      const found = await session.run({ x, c, b, K: K === 1 ? ONE : TWO });
      merge(best, K, from, floats(found['score']), integers(found['group']), integers(found['place']));
    }
  };
  return search(all, { tileRows: TILE_ROWS, rowsMin: Math.max(rowsFor(width, threads), rowsFor(last, threads)), score, close: async () => {} });
}

/** On another device, where the centroids stay: a session of its own, and products of one fixed shape. */
export async function openResidentNearest(open: (graph: GraphSpec) => Promise<Session>, centroids: Float32Array, k: number, d: number): Promise<NearestSearch> {
  const all = withNorms(centroids, k, d, k);
  const session = await open(wholeGraph({ c: all.matrix, b: all.bias, k, d }));
  const tileRows = Math.max(16, Math.min(TILE_ROWS, Math.floor(TILE_SCORES / k)));
  return search(all, { tileRows, rowsMin: tileRows, score: wholeScore(session, {}), close: () => session.close() });
}

function wholeScore(session: Session, feeds: Readonly<Record<string, Tensor>>): Scorer['score'] {
  return async (x, K, best) => {
    const found = await session.run({ x, K: K === 1 ? ONE : TWO, ...feeds });
    best.score.set(floats(found['score']).subarray(0, best.score.length));
    best.centroid.set(integers(found['nearest']).subarray(0, best.centroid.length));
  };
}

/** The fewest rows with which a product of so many columns gives every row the bits it gives in a larger one. */
function rowsFor(columns: number, threads: number): number {
  const columnsEach = Math.floor(columns / 16 / threads) * 16;
  return Math.max(16, 2 * threads, columnsEach > 64 ? 0 : columns);
}

function withNorms(centroids: Float32Array, k: number, d: number, padded: number): Centroids {
  const matrix = new Float32Array(padded * d);
  matrix.set(centroids.subarray(0, k * d));
  const norms = squaredNorms(matrix, k, d);
  const bias = new Float32Array(padded).fill(-Infinity);
  for (let c = 0; c < k; c += 1) bias[c] = -0.5 * (norms[c] as number);
  return { matrix, norms, bias, k, d };
}

interface Scorer {
  readonly tileRows: number;
  readonly rowsMin: number;
  /** Fills `best`, K places a row. */
  readonly score: (x: Tensor, K: 1 | 2, best: Best) => Promise<void>;
  readonly close: () => Promise<void>;
}

function search(centroids: Centroids, { tileRows, rowsMin, score, close }: Scorer): NearestSearch {
  const { k, d } = centroids;
  return {
    nearest: async (x, n, index, distance, second) => {
      assert(x.length >= n * d && Math.min(index.length, distance?.length ?? n, second?.length ?? n) >= n, `Expected n × d = ${n} × ${d} floats and room for n results`);
      assert(distance !== null || second === undefined, 'Expected room for distances beside those of the second nearest');
      const K = second !== undefined && k > 1 ? 2 : 1;
      if (k === 1) second?.fill(Infinity, 0, n);
      const room = Math.min(n, tileRows + rowsMin) * K;
      const [scores, places] = [new Float32Array(room), new Int32Array(room)];
      for (const { row, rows } of tiles(n, tileRows, Math.min(rowsMin, tileRows))) {
        const best = { score: scores.subarray(0, rows * K).fill(-Infinity), centroid: places.subarray(0, rows * K) };
        await score(rowsTensor(x, row, rows, d, rowsMin), K, best);
        if (distance === null) {
          for (let i = 0; i < rows; i += 1) index[row + i] = Math.min(best.centroid[i] as number, k - 1);
          continue;
        }
        const out = { index: index.subarray(row), distance: distance.subarray(row), second: K === 2 ? second?.subarray(row) : undefined };
        readNearest(out, x.subarray(row * d, (row + rows) * d), rows, centroids, best);
      }
    },
    close,
  };
}

/** Merges the best of a later block of columns: on equal scores the earlier column, already there, stays first. NaN of the first block stays. */
function merge({ score, centroid }: Best, K: 1 | 2, from: number, fresh: Float32Array, group: Int32Array, place: Int32Array): void {
  const column = (at: number, row: number): number => {
    const p = place[at] as number;
    return from + (group[row + Math.floor(p / GROUP)] as number) * GROUP + (p % GROUP);
  };
  for (let i = 0; i < score.length; i += K) {
    if (from > 0 && !((fresh[i] as number) > (score[i + K - 1] as number))) continue;
    if (K === 1) {
      score[i] = fresh[i] as number;
      centroid[i] = column(i, i);
    } else if (from === 0 || (fresh[i] as number) > (score[i] as number)) {
      const stays = (score[i] as number) >= (fresh[i + 1] as number);
      score[i + 1] = (stays ? score[i] : fresh[i + 1]) as number;
      centroid[i + 1] = stays ? (centroid[i] as number) : column(i + 1, i);
      score[i] = fresh[i] as number;
      centroid[i] = column(i, i);
    } else {
      score[i + 1] = fresh[i] as number;
      centroid[i + 1] = column(i, i);
    }
  }
}

/** Writes one tile's nearest centroids and squared distances; NaN stays NaN. With `second` there are two places a row. */
function readNearest(
  { index, distance, second }: { index: Uint32Array; distance: Float32Array; second: Float32Array | undefined },
  x: Float32Array,
  n: number,
  { matrix, norms, k, d }: Centroids,
  { score, centroid }: Best,
): void {
  const squares = squaredNorms(x, n, d);
  const K = second === undefined ? 1 : 2;
  for (let i = 0; i < n; i += 1) {
    const square = squares[i] as number;
    for (let place = 0; place < K; place += 1) {
      // A row with infinite values can have a padding column for its best: its distance is NaN whatever the centroid.
      const c = Math.min(centroid[i * K + place] as number, k - 1);
      let value = square - 2 * (score[i * K + place] as number);
      if (value <= CLOSE * (square + (norms[c] as number))) value = exactDistance(x, i * d, matrix, c * d, d);
      if (second !== undefined && place === 1) {
        second[i] = value;
      } else {
        index[i] = c;
        distance[i] = value;
      }
    }
  }
}
