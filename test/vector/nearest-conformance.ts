/** What every `SearchEngine` has to do when asked for the nearest centroids. */
import { describe, expect, it } from 'vitest';
import type { SearchEngine } from '../../src/vector/search.ts';
import { type Create, matrix, squaredDistance, tolerance } from './search-cases.ts';

const SHAPES = [
  { k: 1, d: 3 },
  { k: 2, d: 64 },
  { k: 7, d: 384 },
  { k: 50, d: 1280 },
  { k: 300, d: 384 },
  { k: 1000, d: 384 },
  { k: 1024, d: 64 },
  { k: 1025, d: 130 },
  { k: 5000, d: 64 },
  { k: 1000, d: 1280 },
];

/** Tests the engine that a suite has open, beside others that `create` opens. */
export function nearestSuite(engine: () => SearchEngine, create: Create): void {
  describe('nearest', () => {
    it.each(SHAPES)('finds the nearest of $k centroids of $d dimensions', async ({ k, d }) => {
      const n = 40;
      const [x, centroids] = [matrix(1, n, d), matrix(2, k, d)];
      const { index, distance } = await nearest(engine(), x, n, centroids, k, d);
      for (let i = 0; i < n; i += 1) {
        const exact = Array.from({ length: k }, (_, j) => squaredDistance(x, i, centroids, j, d));
        const best = Math.min(...exact);
        expect(Math.abs((exact[index[i] as number] as number) - best)).toBeLessThan(tolerance(d));
        expect(Math.abs((distance[i] as number) - best)).toBeLessThan(tolerance(d));
        expect(distance[i]).toBeGreaterThanOrEqual(0);
      }
    });

    it.each(SHAPES)('gives a row the same bits however rows are cut and threads counted: k = $k, d = $d', async ({ k, d }) => {
      const n = d > 1000 ? 1025 : 2600;
      const [x, centroids] = [matrix(3, n, d), matrix(4, k, d)];
      const whole = await nearest(engine(), x, n, centroids, k, d);
      for (const threads of [1, 2, 5]) {
        const other = await create(threads);
        const search = await other.nearest(centroids, k, d);
        for (const [from, rows] of [[0, 1], [1, 7], [n - 1, 1], [n - 1001, 1000], [3, 1025 - 3], [0, n]] as const) {
          const [index, distance] = [new Uint32Array(rows), new Float32Array(rows)];
          await search.nearest(x.subarray(from * d, (from + rows) * d), rows, index, distance);
          expect(index).toEqual(whole.index.slice(from, from + rows));
          expect(distance).toEqual(whole.distance.slice(from, from + rows));
        }
        await search.close();
        await other.close();
      }
    });

    it.each(SHAPES)('measures the second nearest too, and changes nothing else by it: k = $k, d = $d', async ({ k, d }) => {
      const n = 40;
      const [x, centroids] = [matrix(19, n, d), matrix(20, k, d)];
      const alone = await nearest(engine(), x, n, centroids, k, d);
      const search = await engine().nearest(centroids, k, d);
      const [index, distance, second] = [new Uint32Array(n), new Float32Array(n), new Float32Array(n + 1).fill(99)];
      await search.nearest(x, n, index, distance, second);
      expect({ index, distance }).toEqual(alone);
      expect(second[n]).toBe(99);
      for (let i = 0; i < n; i += 1) {
        const exact = Array.from({ length: k }, (_, j) => squaredDistance(x, i, centroids, j, d)).sort((a, b) => a - b);
        if (k === 1) expect(second[i]).toBe(Infinity);
        else expect(Math.abs((second[i] as number) - (exact[1] as number))).toBeLessThan(tolerance(d));
      }
      for (const [from, rows] of [[0, 1], [n - 1, 1], [3, 20]] as const) {
        const part = new Float32Array(rows);
        await search.nearest(x.subarray(from * d, (from + rows) * d), rows, index, distance, part);
        expect(part).toEqual(second.slice(from, from + rows));
      }
      await search.close();
    });

    it('measures the second nearest as far as the nearest on a tie', async () => {
      for (const [k, d] of [[6, 5], [90, 384], [1300, 384]] as const) {
        const [half, x] = [matrix(5, k / 2, d), matrix(21, 30, d)];
        const centroids = new Float32Array(k * d);
        centroids.set(half);
        centroids.set(half, half.length);
        const search = await engine().nearest(centroids, k, d);
        for (const rows of [half, x]) {
          const n = rows.length / d;
          const [index, distance, second] = [new Uint32Array(n), new Float32Array(n), new Float32Array(n)];
          await search.nearest(rows, n, index, distance, second);
          expect(second).toEqual(distance);
        }
        await search.close();
      }
    });

    it('breaks ties to the lowest index and puts equal rows at distance zero', async () => {
      for (const [k, d] of [[6, 5], [90, 384], [1300, 384]] as const) {
        const half = matrix(5, k / 2, d);
        const centroids = new Float32Array(k * d);
        centroids.set(half);
        centroids.set(half, half.length);
        const { index, distance } = await nearest(engine(), half, k / 2, centroids, k, d);
        expect([...index]).toEqual(Array.from({ length: k / 2 }, (_, i) => i));
        expect([...distance]).toEqual(new Array(k / 2).fill(0));
      }
    });

    it('tells rows apart that are closer than float32 products can say', async () => {
      const d = 384;
      const x = matrix(5, 1, d);
      const centroids = new Float32Array(2 * d);
      centroids.set(x.map((value) => value + 2 ** -14));
      centroids.set(x.map((value) => value + 2 ** -13), d);
      const { index, distance } = await nearest(engine(), centroids, 2, centroids.subarray(0, d), 1, d);
      expect([...index]).toEqual([0, 0]);
      expect(distance[0]).toBe(0);
      expect(distance[1]).toBeCloseTo(d * 2 ** -28, 9);
    });

    it('answers calls that overlap, and copies its centroids', async () => {
      const [k, d, n] = [20, 16, 3000];
      const [x, centroids] = [matrix(6, n, d), matrix(7, k, d)];
      const expected = await nearest(engine(), x, n, centroids, k, d);
      const search = await engine().nearest(centroids, k, d);
      centroids.fill(0);
      const outs = Array.from({ length: 3 }, () => ({ index: new Uint32Array(n), distance: new Float32Array(n) }));
      await Promise.all(outs.map(({ index, distance }) => search.nearest(x, n, index, distance)));
      for (const out of outs) expect(out).toEqual(expected);
      await search.close();
    });

    it.each([
      { n: 3, d: 5, k: 1 },
      { n: 700, d: 33, k: 40 },
      { n: 1500, d: 48, k: 1100 },
    ])('gives the same index without distances: n = $n, d = $d, k = $k', async ({ n, d, k }) => {
      const x = matrix(21, n, d);
      x[0] = Number.NaN;
      const search = await engine().nearest(matrix(22, k, d), k, d);
      const [index, alone] = [new Uint32Array(n), new Uint32Array(n)];
      await search.nearest(x, n, index, new Float32Array(n));
      await search.nearest(x, n, alone, null);
      expect(alone.subarray(1)).toEqual(index.subarray(1));
      expect(alone[0]).toBeLessThan(k);
      await expect(search.nearest(x, n, alone, null, new Float32Array(n))).rejects.toThrow(/second nearest/);
      await search.close();
    });

    it('takes no rows, and writes no further than n', async () => {
      const search = await engine().nearest(matrix(8, 3, 4), 3, 4);
      const [index, distance] = [new Uint32Array(4).fill(99), new Float32Array(4).fill(99)];
      await search.nearest(matrix(9, 4, 4), 0, index, distance);
      expect([...index, ...distance]).toEqual(new Array(8).fill(99));
      await search.nearest(matrix(9, 4, 4), 3, index, distance);
      expect([index[3], distance[3]]).toEqual([99, 99]);
      await search.close();
    });
  });
}

async function nearest(engine: SearchEngine, x: Float32Array, n: number, centroids: Float32Array, k: number, d: number): Promise<{ index: Uint32Array; distance: Float32Array }> {
  const search = await engine.nearest(centroids, k, d);
  const [index, distance] = [new Uint32Array(n), new Float32Array(n)];
  await search.nearest(x, n, index, distance);
  await search.close();
  return { index, distance };
}
