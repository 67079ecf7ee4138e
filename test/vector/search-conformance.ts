/** What every `SearchEngine` has to do, as one function that each engine's test calls. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SearchEngine } from '../../src/vector/search.ts';
import { nearestSuite } from './nearest-conformance.ts';
import { type Create, matrix, squaredDistance, tolerance } from './search-cases.ts';

export interface ConformanceOptions {
  readonly create: Create;
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

function dot(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += (a[i * d + e] as number) * (b[j * d + e] as number);
  return sum;
}
