import { afterAll, describe, expect, it } from 'vitest';
import { type ScoreProducts, groupedColumns, openScoreProducts } from '../../src/cluster/products.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const opened: Promise<ScoreProducts>[] = [];
const productsOf = (threads: number): Promise<ScoreProducts> => (opened[threads] ??= openScoreProducts(threads));
afterAll(async () => {
  for (const products of opened) await (await products)?.close();
});

describe('openScoreProducts', () => {
  it.each([7, 384, 1280])('scores chosen rows within the error that bounds leave room for, d = %i', async (d) => {
    const [n, k] = [200, 40];
    const { values } = gaussianMixture(n + k, d, 5, { seed: d, spread: 0.1 });
    const centroids = values.subarray(n * d);
    const products = await productsOf(2);
    const rows = Int32Array.from({ length: 90 }, (_, r) => (r * 37) % n);
    const scores = new Float32Array(rows.length * k);
    await products.scores(values, n, d, rows, products.columns(centroids, k, d), scores);
    let worst = 0;
    rows.forEach((row, r) => {
      for (let c = 0; c < k; c++) {
        let [product, square, norm] = [0, 0, 0];
        for (let j = 0; j < d; j++) {
          const [x, y] = [values[row * d + j]!, centroids[c * d + j]!];
          product += x * y;
          square += y * y;
          norm += x * x;
        }
        worst = Math.max(worst, Math.abs(scores[r * k + c]! - (product - square / 2)) / (Math.sqrt(norm * square) + square / 2));
      }
    });
    // bounds.ts allows 2⁻²³ √d for a score, and never more than the sum of all roundings.
    expect(worst).toBeLessThan(0.5 * 2 ** -23 * Math.sqrt(d));
    expect(worst).toBeLessThan(2 ** -24 * (d + 4));
  });

  it('gives the best of each group, padded groups too, as the largest of its scores', async () => {
    const [n, d] = [1500, 24];
    const { values } = gaussianMixture(n, d, 20);
    const products = await productsOf(2);
    const sizes = [5, 4, 5];
    const groups = sizes.map((k, g) => products.columns(values.slice(g * 100 * d, (g * 100 + k) * d), k, d));
    const best = new Float32Array(n * 3);
    await products.groupBest(values, n, d, groupedColumns(groups, d), best);
    const all = Int32Array.from({ length: n }, (_, i) => i);
    for (const [g, k] of sizes.entries()) {
      const scores = new Float32Array(n * k);
      await products.scores(values, n, d, all, groups[g]!, scores);
      for (let i = 0; i < n; i++) expect(best[i * 3 + g]).toBeCloseTo(Math.max(...scores.subarray(i * k, (i + 1) * k)), 4);
    }
  });
});
