/**
 * What every `SearchEngine` has to do, as one function that each engine's test calls. The oracle is brute force in float64;
 * float32 products are allowed an absolute error, and a place in the order may differ only where two values are that close.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SearchEngine } from '../../src/vector/search.ts';

export interface ConformanceOptions {
  /** Opens the engine with so many threads. */
  readonly create: (threads: number) => Promise<SearchEngine>;
}

/** Rows in [−0.5, 0.5), the same for the same seed. */
export function matrix(seed: number, n: number, d: number): Float32Array {
  const values = new Float32Array(n * d);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < values.length; i += 1) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    state ^= state >>> 12;
    values[i] = ((state >>> 8) & 0xffff) / 65_536 - 0.5;
  }
  return values;
}

export function testSearchEngine(name: string, { create }: ConformanceOptions): void {
  describe(`${name} as a search engine`, () => {
    let engine: SearchEngine;
    beforeAll(async () => {
      engine = await create(2);
    });
    afterAll(() => engine.close());

    it('says what it is', () => {
      expect(JSON.parse(JSON.stringify(engine.provenance))).toEqual(engine.provenance);
      expect(engine.provenance).toMatchObject({ engine: expect.any(String), version: expect.any(String) });
    });

    nearestSuite(() => engine, create);
    distancesSuite(() => engine, create);
    productsSuite(() => engine, create);
  });
}

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

type Create = ConformanceOptions['create'];

function nearestSuite(engine: () => SearchEngine, create: Create): void {
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

function distancesSuite(engine: () => SearchEngine, create: Create): void {
  describe('distances', () => {
    it.each([
      { n: 1, d: 3, t: 1 },
      { n: 5, d: 384, t: 9 },
      { n: 700, d: 130, t: 16 },
      { n: 900, d: 1280, t: 17 },
      { n: 20_000, d: 20, t: 32 },
    ])('measures $t candidates against $n points of $d dimensions', async ({ n, d, t }) => {
      const [points, candidates] = [matrix(10, n, d), matrix(11, t, d)];
      const distance = await distances(engine(), points, n, candidates, t, d);
      for (let c = 0; c < t; c += 1) {
        for (let i = 0; i < n; i += Math.ceil(n / 97)) {
          expect(Math.abs((distance[c * n + i] as number) - squaredDistance(points, i, candidates, c, d))).toBeLessThan(tolerance(d));
        }
      }
      expect(distance.every((value) => value >= 0)).toBe(true);
    });

    it('gives a point and a candidate the same bits whatever else is there', async () => {
      const [n, d] = [17_000, 384];
      const [points, candidates] = [matrix(12, n, d), matrix(13, 32, d)];
      const whole = await distances(engine(), points, n, candidates, 32, d);
      for (const [threads, from, rows, first, t] of [[1, 0, 1, 3, 1], [2, 5, 40, 30, 2], [1, 100, 16_385, 0, 17], [5, 0, n, 15, 9]] as const) {
        const other = await create(threads);
        const part = await distances(other, points.subarray(from * d, (from + rows) * d), rows, candidates.subarray(first * d), t, d);
        for (let c = 0; c < t; c += 1) {
          expect(part.slice(c * rows, (c + 1) * rows)).toEqual(whole.slice((first + c) * n + from, (first + c) * n + from + rows));
        }
        await other.close();
      }
    });

    it('puts a point at distance zero from itself', async () => {
      for (const d of [3, 384, 1280]) {
        const points = matrix(14, 32, d);
        const distance = await distances(engine(), points, 32, points, 32, d);
        for (let i = 0; i < 32; i += 1) expect(distance[i * 32 + i]).toBe(0);
      }
    });
  });
}

function productsSuite(engine: () => SearchEngine, create: Create): void {
  describe('products', () => {
    it.each([
      { q: 1, n: 1, d: 3, m: 1 },
      { q: 5, n: 3, d: 16, m: 8 },
      { q: 30, n: 9000, d: 64, m: 10 },
      { q: 1100, n: 300, d: 48, m: 4 },
    ])('finds the $m largest of $n rows for $q queries of $d dimensions', async ({ q, n, d, m }) => {
      const [queries, database] = [matrix(15, q, d), matrix(16, n, d)];
      const { index, product } = await largest(engine(), queries, q, database, n, d, m);
      for (let i = 0; i < q; i += Math.ceil(q / 50)) {
        const exact = Array.from({ length: n }, (_, row) => dot(queries, i, database, row, d));
        const sorted = [...exact].sort((a, b) => b - a);
        const found = [...index.subarray(i * m, (i + 1) * m)];
        const valid = found.slice(0, Math.min(m, n));
        expect(new Set(valid).size).toBe(valid.length);
        for (const [place, row] of valid.entries()) {
          expect(Math.abs((exact[row] as number) - (sorted[place] as number))).toBeLessThan(tolerance(d));
          expect(Math.abs((product[i * m + place] as number) - (exact[row] as number))).toBeLessThan(tolerance(d));
        }
        expect(found.slice(n)).toEqual(new Array(Math.max(0, m - n)).fill(0xffffffff));
        expect([...product.subarray(i * m + Math.min(m, n), (i + 1) * m)]).toEqual(new Array(Math.max(0, m - n)).fill(-Infinity));
      }
    });

    it('breaks ties to the lowest row, across tiles too', async () => {
      const [n, d, m] = [20_000, 8, 7];
      const database = new Float32Array(n * d).fill(0.25);
      const better = [19_999, 8192, 8191, 4, 12_000];
      for (const row of better) database.fill(0.5, row * d, (row + 1) * d);
      const { index } = await largest(engine(), new Float32Array(2 * d).fill(1), 2, database, n, d, m);
      expect([...index]).toEqual([4, 8191, 8192, 12_000, 19_999, 0, 1, 4, 8191, 8192, 12_000, 19_999, 0, 1]);
    });

    it('gives a query and a row the same bits whatever else is there', async () => {
      const [q, n, d, m] = [70, 9000, 384, 5];
      const [queries, database] = [matrix(17, q, d), matrix(18, n, d)];
      const whole = await largest(engine(), queries, q, database, n, d, m);
      for (const [threads, first, count] of [[1, 0, q], [2, 69, 1], [5, 3, 20]] as const) {
        const other = await create(threads);
        const part = await largest(other, queries.subarray(first * d), count, database, n, d, m);
        expect(part.index).toEqual(whole.index.slice(first * m, (first + count) * m));
        expect(part.product).toEqual(whole.product.slice(first * m, (first + count) * m));
        const row = whole.index[first * m] as number;
        const alone = await largest(other, queries.subarray(first * d), count, database.subarray(row * d), 1, d, 1);
        expect(alone.product[0]).toBe(whole.product[first * m]);
        await other.close();
      }
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

async function distances(engine: SearchEngine, points: Float32Array, n: number, candidates: Float32Array, t: number, d: number): Promise<Float32Array> {
  const search = await engine.distances(points, n, d);
  const distance = new Float32Array(t * n);
  await search.to(candidates, t, distance);
  await search.close();
  return distance;
}

async function largest(engine: SearchEngine, queries: Float32Array, q: number, database: Float32Array, n: number, d: number, m: number): Promise<{ index: Uint32Array; product: Float32Array }> {
  const search = await engine.products(queries, q, d, m);
  const [index, product] = [new Uint32Array(q * m), new Float32Array(q * m)];
  await search.largest(database, n, index, product);
  await search.close();
  return { index, product };
}

/** Float32 products of rows in [−0.5, 0.5): norms are about d / 12. */
function tolerance(d: number): number {
  return 1e-6 * (1 + d / 6);
}

function squaredDistance(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += ((a[i * d + e] as number) - (b[j * d + e] as number)) ** 2;
  return sum;
}

function dot(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += (a[i * d + e] as number) * (b[j * d + e] as number);
  return sum;
}
