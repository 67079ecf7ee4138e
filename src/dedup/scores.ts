/**
 * Pairs of a query and a row whose product is above the query's limit: one Gemm, and the largest product of every 32
 * columns, so that the many products that are too small are passed over 32 at a time.
 */
import { type GraphSpec, encodeModel } from '../onnx/graph.ts';
import { Tensor, openSession } from '../onnx/session.ts';

export interface PairScores {
  /**
   * @param queries q × d
   * @param rows n × d
   * @param limits of each query, read again for each group of 32 rows; above 0
   * @param onPair is told the places of query and row; products are float32 and may differ from others' in the last bits
   */
  above(queries: Float32Array, q: number, rows: Float32Array, n: number, d: number, limits: ArrayLike<number>, onPair: (query: number, row: number) => void): Promise<void>;
  close(): Promise<void>;
}

/** Columns of one maximum, and rows and columns of one product: 4 MB of products. */
const GROUP = 32;
const TILE_QUERIES = 512;
const TILE_ROWS = 2048;

/** @param threads of one product; 0: one a core */
export async function openPairScores(threads = 0): Promise<PairScores> {
  const session = await openSession(encodeModel(SCORES), { threads });
  const scores = new Float32Array(TILE_QUERIES * TILE_ROWS);
  const best = new Float32Array((TILE_QUERIES * TILE_ROWS) / GROUP);
  let padding = new Float32Array(0);
  /** Padding rows are zeros, whose products are never above a limit. */
  const padded = (rows: Float32Array, first: number, count: number, columns: number, d: number): Float32Array => {
    const view = rows.subarray(first * d, (first + count) * d);
    if (columns === count) return view;
    if (padding.length < columns * d) padding = new Float32Array(columns * d);
    padding.set(view);
    return padding.fill(0, count * d, columns * d).subarray(0, columns * d);
  };
  const run = async (x: Float32Array, q: number, c: Tensor, columns: number, d: number): Promise<void> => {
    const shape = new Tensor('int64', BigInt64Array.of(BigInt(q), BigInt(columns / GROUP), BigInt(GROUP)), [3]);
    const feeds = { x: new Tensor('float32', x, [q, d]), c, shape };
    await session.run(feeds, { s: new Tensor('float32', scores.subarray(0, q * columns), [q, columns]), best: new Tensor('float32', best.subarray(0, (q * columns) / GROUP), [q, columns / GROUP]) });
  };
  return {
    above: async (queries, q, rows, n, d, limits, onPair) => {
      for (let row = 0; row < n; row += TILE_ROWS) {
        const count = Math.min(TILE_ROWS, n - row);
        const columns = Math.ceil(count / GROUP) * GROUP;
        const c = new Tensor('float32', padded(rows, row, count, columns, d), [columns, d]);
        for (let query = 0; query < q; query += TILE_QUERIES) {
          const some = Math.min(TILE_QUERIES, q - query);
          await run(queries.subarray(query * d, (query + some) * d), some, c, columns, d);
          for (let i = 0; i < some; i++) {
            for (let g = 0; g < columns / GROUP; g++) {
              if (!(best[(i * columns) / GROUP + g]! > limits[query + i]!)) continue;
              const from = i * columns + g * GROUP;
              for (let j = 0; j < GROUP; j++) if (scores[from + j]! > limits[query + i]!) onPair(query + i, row + g * GROUP + j);
            }
          }
        }
      }
    },
    close: () => session.close(),
  };
}

/** Inner product of two unit vectors in float64, in a fixed order: the same from either side. */
export function similarityOf(a: Float32Array, fromA: number, b: Float32Array, fromB: number, d: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let j = 0;
  for (; j + 3 < d; j += 4) {
    s0 += a[fromA + j]! * b[fromB + j]!;
    s1 += a[fromA + j + 1]! * b[fromB + j + 1]!;
    s2 += a[fromA + j + 2]! * b[fromB + j + 2]!;
    s3 += a[fromA + j + 3]! * b[fromB + j + 3]!;
  }
  for (; j < d; j++) s0 += a[fromA + j]! * b[fromB + j]!;
  return Math.fround(s0 + s1 + (s2 + s3));
}

const SCORES: GraphSpec = {
  name: 'pair-scores',
  inputs: [
    { name: 'x', type: 'float32', shape: ['q', 'd'] },
    { name: 'c', type: 'float32', shape: ['n', 'd'] },
    { name: 'shape', type: 'int64', shape: [3] },
  ],
  outputs: [{ name: 's', type: 'float32', shape: ['q', 'n'] }, { name: 'best', type: 'float32', shape: ['q', 'g'] }],
  nodes: [
    { op: 'Gemm', inputs: ['x', 'c'], outputs: ['s'], attributes: { transB: 1 } },
    { op: 'Reshape', inputs: ['s', 'shape'], outputs: ['grouped'] },
    { op: 'ReduceMax', inputs: ['grouped'], outputs: ['best'], attributes: { axes: [2], keepdims: 0 } },
  ],
};
