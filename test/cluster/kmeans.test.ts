import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignAll, kmeans } from '../../src/cluster/kmeans.ts';
import { memoryPoints } from '../../src/cluster/points.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const options = async (over: object = {}) => ({ engine: await engineOf(), iterations: 20, empty: 'keep' as const, blockRows: 1024, ...over });

describe('kmeans', () => {
  // Golden values: reference, section B, "Lloyd with empty cluster".
  const X = Float32Array.of(0, 0, 1, 0, 0, 1, 10, 10, 11, 10, 10, 12, 5, 5, 20, 0);
  const C0 = Float32Array.of(0, 0, 1, 1, 9, 9, 100, 100);

  it('keeps the centroid of an empty cluster, as the reference does', async () => {
    const points = memoryPoints(X, 8, 2);
    expect([...(await assignAll(points, C0, await options())).assignment]).toEqual([0, 0, 0, 2, 2, 2, 1, 2]);
    for (const iterations of [1, 2, 50]) {
      const found = await kmeans(points, C0, await options({ iterations }));
      expect([...found.assignment]).toEqual([0, 0, 0, 2, 2, 2, 1, 2]);
      [1 / 3, 1 / 3, 5, 5, 12.75, 8, 100, 100].forEach((value, j) => expect(found.centroids[j]).toBeCloseTo(value, 6));
      expect([...found.size]).toEqual([3, 1, 4, 0]);
    }
  });

  it('gives a tie to the lowest cluster', async () => {
    const found = await assignAll(memoryPoints(Float32Array.of(1, 0), 1, 2), Float32Array.of(0, 0, 2, 0), await options());
    expect([...found.assignment]).toEqual([0]);
  });

  it('drops an empty cluster, or moves it to split the largest', async () => {
    const points = memoryPoints(X, 8, 2);
    const dropped = await kmeans(points, C0, await options({ empty: 'drop' }));
    expect(dropped.k).toBe(3);
    expect([...dropped.assignment]).toEqual([0, 0, 0, 2, 2, 2, 1, 2]);
    const split = await kmeans(points, C0, await options({ empty: 'split' }));
    expect(split.k).toBe(4);
    expect(split.size.every((size) => size > 0)).toBe(true);
  });

  it('drops what splitting cannot fill when points repeat', async () => {
    const same = memoryPoints(new Float32Array(20).fill(0.5), 10, 2);
    const found = await kmeans(same, Float32Array.of(0.5, 0.5, 0.5, 0.5, 0.5, 0.5), await options({ empty: 'split' }));
    expect(found.size.reduce((sum, size) => sum + size, 0)).toBe(10);
    expect(found.size.every((size) => size > 0)).toBe(true);
  });

  it('never raises the inertia, puts every point at its nearest centroid, and every centroid at the mean of its members', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 20, max: 300 }), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 9 }), fc.nat(1000), async (n, d, k, seed) => {
        const { values } = gaussianMixture(n, d, 4, { seed });
        const found = await kmeans(memoryPoints(values, n, d), values.slice(0, k * d), await options({ iterations: 100 }));
        const inertias = found.iterations.map(({ inertia }) => inertia);
        // float32 products leave a little noise; a real rise would be far above it.
        for (let i = 1; i < inertias.length; i++) expect(inertias[i]!).toBeLessThanOrEqual(inertias[i - 1]! + 1e-5 * n);
        expectNearest(values, n, d, found.centroids, found.assignment);
        expectMeans(values, n, d, found.centroids, found.assignment, found.size);
      }),
      { numRuns: 25 },
    );
  });

  it('gives the same bytes for any block size and with points scaled by a power of two', async () => {
    const { values } = gaussianMixture(3000, 24, 12, { zipf: 1 });
    const found = await kmeans(memoryPoints(values, 3000, 24), values.slice(0, 30 * 24), await options());
    for (const blockRows of [1024, 1111, 2999, 1 << 20]) {
      const other = await kmeans(memoryPoints(values, 3000, 24), values.slice(0, 30 * 24), await options({ blockRows }));
      expect(Buffer.compare(Buffer.from(other.centroids.buffer), Buffer.from(found.centroids.buffer))).toBe(0);
      expect(other.assignment).toEqual(found.assignment);
      expect(other.distance).toEqual(found.distance);
      expect(other.iterations).toEqual(found.iterations);
    }
    const half = values.map((value) => value / 2);
    const scaled = await kmeans(memoryPoints(half, 3000, 24), half.slice(0, 30 * 24), await options());
    expect(scaled.assignment).toEqual(found.assignment);
  });

  it('returns the points when there are as many clusters', async () => {
    const { values } = gaussianMixture(40, 5, 40, { seed: 2 });
    const found = await kmeans(memoryPoints(values, 40, 5), values, await options());
    expect(found.centroids).toEqual(values);
    expect(found.iterations.at(-1)!.inertia).toBeLessThan(1e-5);
  });

  it('reports exact distances and the inertia they add up to', async () => {
    const [n, d, k] = [500, 7, 20];
    const { values } = gaussianMixture(n, d, 10, { seed: 6 });
    for (const iterations of [0, 3, 100]) {
      const found = await kmeans(memoryPoints(values, n, d), values.slice(0, k * d), await options({ iterations }));
      let sum = 0;
      for (let i = 0; i < n; i++) {
        const exact = squaredDistance(values, i, found.centroids, found.assignment[i]!, d);
        expect(Math.abs(found.distance[i]! - exact)).toBeLessThanOrEqual(2 ** -24 * exact);
        sum += exact;
      }
      expect(found.iterations.at(-1)!.inertia).toBeCloseTo(sum, 9);
      expect(found.ended).toBe(iterations === 100 ? 'fixed-point' : 'iterations');
    }
  });

  it('ends at the first update that takes off less than the tolerance, and leaves the result of that assignment', async () => {
    const [n, d, k] = [2000, 8, 40];
    const { values } = gaussianMixture(n, d, 60, { seed: 4, spread: 0.2 });
    const full = await kmeans(memoryPoints(values, n, d), values.slice(0, k * d), await options({ iterations: 100 }));
    const inertias = full.iterations.map(({ inertia }) => inertia);
    const tolerance = 0.002;
    const last = inertias.findIndex((inertia, i) => i > 0 && inertias[i - 1]! - inertia < tolerance * inertias[i - 1]!);
    expect(last).toBeLessThan(inertias.length - 3);
    const early = await kmeans(memoryPoints(values, n, d), values.slice(0, k * d), await options({ iterations: 100, tolerance }));
    expect(early.iterations).toEqual(full.iterations.slice(0, last + 1));
    expect(early.ended).toBe('tolerance');
    const same = await kmeans(memoryPoints(values, n, d), values.slice(0, k * d), await options({ iterations: last }));
    expect([early.centroids, early.assignment, early.distance]).toEqual([same.centroids, same.assignment, same.distance]);
  });

  it('stops between blocks when told to', async () => {
    const { values } = gaussianMixture(100, 4, 2);
    const stop = new AbortController();
    stop.abort();
    await expect(kmeans(memoryPoints(values, 100, 4), values.slice(0, 8), await options({ signal: stop.signal }))).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

function squaredDistance(a: Float32Array, i: number, b: Float32Array, c: number, d: number): number {
  let sum = 0;
  for (let j = 0; j < d; j++) sum += (a[i * d + j]! - b[c * d + j]!) ** 2;
  return sum;
}

function expectNearest(values: Float32Array, n: number, d: number, centroids: Float32Array, assignment: Uint32Array): void {
  for (let i = 0; i < n; i++) {
    const own = squaredDistance(values, i, centroids, assignment[i]!, d);
    for (let c = 0; c < centroids.length / d; c++) expect(own).toBeLessThanOrEqual(squaredDistance(values, i, centroids, c, d) + 1e-5);
  }
}

function expectMeans(values: Float32Array, n: number, d: number, centroids: Float32Array, assignment: Uint32Array, size: Float64Array): void {
  const sums = new Float64Array(centroids.length);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) sums[assignment[i]! * d + j]! += values[i * d + j]!;
  for (let c = 0; c < size.length; c++) {
    if (size[c] === 0) continue;
    for (let j = 0; j < d; j++) expect(centroids[c * d + j]).toBeCloseTo(sums[c * d + j]! / size[c]!, 6);
  }
}
