/**
 * The p nearest of a few hundred or thousand coarse centroids, for rows that are searched cell by cell afterwards. One
 * product does it: the inner product of (x, 1) and (c, −½‖c‖²) is largest where the distance is least.
 */
import assert from 'node:assert/strict';
import { squaredNorms } from './matrix.ts';
import type { SearchEngine } from './search.ts';

/** The place of a row that has fewer than p cells: only rows with values that are not finite do. */
export const NO_CELL = 0xffffffff;

/** Rows of one product: their copies with a dimension more are this many rows of memory. */
const ROWS = 8192;

export interface NearestCells {
  /**
   * @param x n × d, row-major
   * @param cells out, length ≥ n · p: each row's p nearest cells, nearest first by float32 products, ties to the lowest.
   *   A row's result depends on that row alone.
   */
  nearest(x: Float32Array, n: number, cells: Uint32Array): Promise<void>;
}

/** @param coarse m × d; copied. 1 ≤ p ≤ m */
export function openNearestCells(engine: SearchEngine, coarse: Float32Array, m: number, d: number, p: number): NearestCells {
  assert(coarse.length >= m * d && p >= 1 && p <= m, `Expected m × d = ${m} × ${d} coarse centroids and 1 … ${m} of them wanted, got ${coarse.length} floats, p = ${p}`);
  const norms = squaredNorms(coarse, m, d);
  const database = widen(coarse, m, d, (c) => -0.5 * (norms[c] as number));
  return {
    nearest: async (x, n, cells) => {
      assert(x.length >= n * d && cells.length >= n * p, `Expected n × d = ${n} × ${d} floats and room for n × p = ${n} × ${p} cells`);
      const product = new Float32Array(Math.min(n, ROWS) * p);
      for (let row = 0; row < n; row += ROWS) {
        const rows = Math.min(ROWS, n - row);
        const queries = widen(x.subarray(row * d), rows, d, () => 1);
        const search = await engine.products(queries, rows, d + 1, p);
        await search.largest(database, m, cells.subarray(row * p, (row + rows) * p), product);
        await search.close();
      }
    },
  };
}

/** A copy with one more dimension. */
function widen(x: Float32Array, n: number, d: number, value: (row: number) => number): Float32Array {
  const wide = new Float32Array(n * (d + 1));
  for (let i = 0; i < n; i += 1) {
    wide.set(x.subarray(i * d, (i + 1) * d), i * (d + 1));
    wide[i * (d + 1) + d] = value(i);
  }
  return wide;
}
