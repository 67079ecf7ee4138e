/**
 * Scores of rows against a few centroids, x·c − ½‖c‖², all of them handed out: what a bounded assignment (bounds.ts) and
 * seeding compare group by group, where the search engine would only give the best. Runs on the processor.
 */
import assert from 'node:assert/strict';
import { type GraphSpec, encodeModel } from '../onnx/graph.ts';
import { Tensor, openSession } from '../onnx/session.ts';
import { squaredNorms } from '../vector/matrix.ts';

/** Centroids ready to be multiplied with: they and −½ their squared norms, as tensors. */
export interface Columns {
  readonly k: number;
  readonly matrix: Tensor;
  readonly bias: Tensor;
}

export interface ScoreProducts {
  /** @param centroids k × d, kept by reference */
  columns(centroids: Float32Array, k: number, d: number): Columns;
  /**
   * @param x n × d, row-major
   * @param rows the rows of x wanted
   * @param scores out, length ≥ rows × k: x·c − ½‖c‖², float32 products. The same bits for any number of threads where
   *   there are no fewer rows than k.
   */
  scores(x: Float32Array, n: number, d: number, rows: Int32Array, columns: Columns, scores: Float32Array): Promise<void>;
  /**
   * @param grouped all centroids, group by group; groups of fewer than `size` are padded
   * @param best out, length ≥ n × t: the largest score of each of the t groups
   */
  groupBest(x: Float32Array, n: number, d: number, grouped: GroupedColumns, best: Float32Array): Promise<void>;
  close(): Promise<void>;
}

/** Groups of centroids of one size as one matrix. */
export interface GroupedColumns extends Columns {
  readonly groups: number;
}

/** Puts the columns of groups together, each padded to the largest with columns that are never best. */
export function groupedColumns(groups: readonly Columns[], d: number): GroupedColumns {
  const size = Math.max(...groups.map(({ k }) => k));
  const k = groups.length * size;
  const matrix = new Float32Array(k * d);
  const bias = new Float32Array(k).fill(-(2 ** 100));
  groups.forEach((group, g) => {
    matrix.set(group.matrix.data as Float32Array, g * size * d);
    bias.set(group.bias.data as Float32Array, g * size);
  });
  return { k, groups: groups.length, matrix: new Tensor('float32', matrix, [k, d]), bias: new Tensor('float32', bias, [1, k]) };
}

/** Rows of one product with all centroids. */
const TILE_ROWS = 1024;

/** @param threads of one product; 0: one a core */
export async function openScoreProducts(threads = 0): Promise<ScoreProducts> {
  const session = await openSession(encodeModel(SCORES), { threads });
  const maxima = await openSession(encodeModel(GROUP_BEST), { threads });
  return {
    columns: (centroids, k, d) => {
      const norms = squaredNorms(centroids, k, d);
      const bias = Float32Array.from(norms, (square) => -0.5 * square);
      return { k, matrix: new Tensor('float32', centroids.subarray(0, k * d), [k, d]), bias: new Tensor('float32', bias, [1, k]) };
    },
    scores: async (x, n, d, rows, { k, matrix, bias }, scores) => {
      assert(x.length >= n * d && scores.length >= rows.length * k, `Expected ${n} × ${d} floats and room for ${rows.length} × ${k} scores, got ${x.length} and ${scores.length}`);
      const feeds = { x: new Tensor('float32', x.subarray(0, n * d), [n, d]), r: new Tensor('int32', rows, [rows.length]), c: matrix, b: bias };
      await session.run(feeds, { s: new Tensor('float32', scores.subarray(0, rows.length * k), [rows.length, k]) });
    },
    groupBest: async (x, n, d, { k, groups, matrix, bias }, best) => {
      const shape = new Tensor('int64', BigInt64Array.of(-1n, BigInt(groups), BigInt(k / groups)), [3]);
      for (let row = 0; row < n; row += TILE_ROWS) {
        const rows = Math.min(TILE_ROWS, n - row);
        const feeds = { x: new Tensor('float32', x.subarray(row * d, (row + rows) * d), [rows, d]), c: matrix, b: bias, shape };
        await maxima.run(feeds, { best: new Tensor('float32', best.subarray(row * groups, (row + rows) * groups), [rows, groups]) });
      }
    },
    close: async () => {
      await session.close();
      await maxima.close();
    },
  };
}

const SCORES: GraphSpec = {
  name: 'scores',
  inputs: [
    { name: 'x', type: 'float32', shape: ['n', 'd'] },
    { name: 'r', type: 'int32', shape: ['m'] },
    { name: 'c', type: 'float32', shape: ['k', 'd'] },
    { name: 'b', type: 'float32', shape: [1, 'k'] },
  ],
  outputs: [{ name: 's', type: 'float32', shape: ['m', 'k'] }],
  nodes: [
    { op: 'Gather', inputs: ['x', 'r'], outputs: ['g'], attributes: { axis: 0 } },
    { op: 'Gemm', inputs: ['g', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
  ],
};

const GROUP_BEST: GraphSpec = {
  name: 'group-best',
  inputs: [
    { name: 'x', type: 'float32', shape: ['n', 'd'] },
    { name: 'c', type: 'float32', shape: ['k', 'd'] },
    { name: 'b', type: 'float32', shape: [1, 'k'] },
    { name: 'shape', type: 'int64', shape: [3] },
  ],
  outputs: [{ name: 'best', type: 'float32', shape: ['n', 't'] }],
  nodes: [
    { op: 'Gemm', inputs: ['x', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
    { op: 'Reshape', inputs: ['s', 'shape'], outputs: ['g'] },
    { op: 'ReduceMax', inputs: ['g'], outputs: ['best'], attributes: { axes: [2], keepdims: 0 } },
  ],
};
