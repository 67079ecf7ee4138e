import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import { COARSE_CENTROIDS_MIN } from '../../src/vector/onnx-coarse.ts';
import type { SearchEngine } from '../../src/vector/search.ts';
import { matrix } from './search-conformance.ts';

const k = COARSE_CENTROIDS_MIN + 77;

/** Nearest centroid and distance in float64. */
function brute(x: Float32Array, n: number, centroids: Float32Array, d: number): { index: number[]; distance: number[] } {
  const index: number[] = [];
  const distance: number[] = [];
  for (let i = 0; i < n; i += 1) {
    let [best, least] = [0, Infinity];
    for (let c = 0; c < centroids.length / d; c += 1) {
      let sum = 0;
      for (let e = 0; e < d; e += 1) sum += ((x[i * d + e] as number) - (centroids[c * d + e] as number)) ** 2;
      if (sum < least) [best, least] = [c, sum];
    }
    index.push(best);
    distance.push(least);
  }
  return { index, distance };
}

describe('search among many centroids, coarse first', () => {
  let engine: SearchEngine;
  beforeAll(async () => {
    engine = await createOnnxEngine({ threads: 2 });
  });
  afterAll(() => engine.close());

  async function nearest(x: Float32Array, n: number, centroids: Float32Array, d: number, of = k): Promise<{ index: number[]; distance: number[] }> {
    const search = await engine.nearest(centroids, of, d);
    const [index, distance] = [new Uint32Array(n), new Float32Array(n)];
    await search.nearest(x, n, index, distance);
    await search.close();
    return { index: [...index], distance: [...distance] };
  }

  it.each([
    ['noise', 200, 64, 1],
    ['one row', 1, 130, 1],
    ['rows far larger than the centroids, which are clipped', 60, 48, 9],
    ['rows far smaller', 60, 48, 0.01],
  ])('finds the exact nearest: %s', async (_name, n, d, scale) => {
    const centroids = matrix(1, k, d);
    const x = matrix(2, n, d).map((value) => value * scale);
    const exact = brute(x, n, centroids, d);
    const found = await nearest(x, n, centroids, d);
    expect(found.index).toEqual(exact.index);
    found.distance.forEach((value, i) => expect(Math.abs(value / (exact.distance[i] as number) - 1)).toBeLessThan(1e-5));
  });

  it('finds the exact nearest in clusters, and where one dimension outweighs the others', async () => {
    const [n, d] = [150, 96];
    const centroids = matrix(3, k, d);
    for (let c = 0; c < k; c += 1) centroids[c * d + 5] = 40 + (centroids[c * d + 5] as number);
    const x = matrix(4, n, d).map((value, at) => (centroids[(Math.floor(at / d) * 13) * d + (at % d)] as number) + 0.5 * value);
    expect((await nearest(x, n, centroids, d)).index).toEqual(brute(x, n, centroids, d).index);
  });

  it('goes over to float32 where more centroids are close than are kept, and breaks ties to the lowest', async () => {
    const [n, d] = [40, 32];
    const few = matrix(5, 10, d);
    const centroids = Float32Array.from({ length: k * d }, (_, at) => few[(Math.floor(at / d) % 10) * d + (at % d)] as number);
    const x = matrix(6, n, d);
    const found = await nearest(x, n, centroids, d);
    expect(found.index).toEqual(brute(x, n, few, d).index);
    const own = await nearest(few, 10, centroids, d);
    expect(own).toEqual({ index: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], distance: new Array(10).fill(0) });
  });

  it('keeps rows apart whichever way they go', async () => {
    const [n, d] = [1500, 32];
    const centroids = matrix(7, k, d);
    centroids.copyWithin(1000 * d, 0, d);
    for (let c = 1001; c < 1100; c += 1) centroids.copyWithin(c * d, 0, d);
    const x = matrix(8, n, d);
    for (let i = 0; i < n; i += 3) x.set(centroids.subarray(0, d), i * d);
    for (let i = 0; i < n; i += 3) x[i * d] = (x[i * d] as number) + i / n / 10;
    const whole = await nearest(x, n, centroids, d);
    expect(whole.index.slice(0, 90)).toEqual(brute(x, 90, centroids, d).index);
    for (const [from, rows] of [[0, 1], [1, 1], [3, 400], [n - 2, 2]] as const) {
      const part = await nearest(x.subarray(from * d), rows, centroids, d);
      expect(part).toEqual({ index: whole.index.slice(from, from + rows), distance: whole.distance.slice(from, from + rows) });
    }
  });

  it('leaves alone what is not finite or has no scale', async () => {
    const d = 16;
    const centroids = matrix(9, k, d);
    const x = matrix(10, 3, d);
    x[d] = NaN;
    x[2 * d] = Infinity;
    const found = await nearest(x, 3, centroids, d);
    expect(found.index[0]).toBe(brute(x, 1, centroids, d).index[0]);
    expect(found.distance[1]).toBeNaN();
    expect(found.index.every((c) => c < k)).toBe(true);
    expect(Number.isFinite(found.distance[2])).toBe(false);
    const zero = await nearest(x, 1, new Float32Array(k * d), d);
    expect(zero.index).toEqual([0]);
  });
});
