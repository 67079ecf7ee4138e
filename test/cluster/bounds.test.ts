import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { Bounds } from '../../src/cluster/bounds.ts';
import { groupCentroids, groupCount } from '../../src/cluster/centroid-groups.ts';
import { exactDistance } from '../../src/cluster/exact-distance.ts';
import { type Clustering, type KmeansOptions, kmeans } from '../../src/cluster/kmeans.ts';
import { type Points, memoryPoints } from '../../src/cluster/points.ts';
import { type ScoreProducts, openScoreProducts } from '../../src/cluster/products.ts';
import { squaredNorms } from '../../src/vector/matrix.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
let opened: Promise<ScoreProducts> | null = null;
const productsOf = (): Promise<ScoreProducts> => (opened ??= openScoreProducts(2));
afterAll(async () => (await opened)?.close());

/** Points that are read and not in memory, as those of the store. */
function streamed(values: Float32Array, n: number, d: number): Points {
  const { read, gather, scale } = memoryPoints(values, n, d);
  return { n, d, scale, read, gather };
}

async function cluster(points: Points, initial: Float32Array, bounded: boolean, over: Partial<KmeansOptions> = {}): Promise<{ found: Clustering; compared: number[] }> {
  const compared: number[] = [];
  const bounds = bounded ? { products: await productsOf(), bytes: 1e9 } : undefined;
  const onIteration = (_: unknown, __: number, share: number): unknown => compared.push(share);
  const found = await kmeans(points, initial, { engine: await engineOf(), iterations: 25, empty: 'keep', blockRows: 1024, ...(bounds && { bounds }), onIteration, ...over });
  return { found, compared };
}

/** Bytes of the whole result but the work it took. */
function expectSame(found: Clustering, other: Clustering): void {
  expect(found.k).toBe(other.k);
  for (const name of ['centroids', 'assignment', 'distance', 'size'] as const) expect(Buffer.from(found[name].buffer).equals(Buffer.from(other[name].buffer)), name).toBe(true);
  expect(found.iterations).toEqual(other.iterations);
  expect(found.ended).toBe(other.ended);
}

describe('bounded k-means', () => {
  it('is brute force bit for bit: any data, empty clusters, copies among points and among centroids, any block', async () => {
    const data = fc.record({ n: fc.integer({ min: 700, max: 2500 }), d: fc.integer({ min: 2, max: 40 }), k: fc.integer({ min: 230, max: 300 }), components: fc.integer({ min: 1, max: 200 }), spread: fc.constantFrom(0, 0.001, 0.05, 0.3), seed: fc.nat(999) });
    await fc.assert(
      fc.asyncProperty(data, fc.constantFrom('keep' as const, 'drop' as const, 'split' as const), fc.constantFrom(1024, 1500, 4096), async ({ n, d, k, components, spread, seed }, empty, blockRows) => {
        const { values } = gaussianMixture(n, d, components, { seed, spread, zipf: 1 });
        const initial = values.slice(0, k * d);
        const brute = await cluster(memoryPoints(values, n, d), initial, false, { empty });
        expectSame((await cluster(memoryPoints(values, n, d), initial, true, { empty, blockRows })).found, brute.found);
        expectSame((await cluster(streamed(values, n, d), initial, true, { empty, blockRows })).found, brute.found);
      }),
      { numRuns: 8 },
    );
  });

  it('leaves out most comparisons on clustered data', async () => {
    const { values } = gaussianMixture(6000, 32, 150, { seed: 3 });
    const { found, compared } = await cluster(memoryPoints(values, 6000, 32), values.slice(0, 320 * 32), true);
    expectSame(found, (await cluster(memoryPoints(values, 6000, 32), values.slice(0, 320 * 32), false)).found);
    expect(compared.length).toBeGreaterThan(5);
    expect(compared.slice(0, 2)).toEqual([1, 1]);
    expect(Math.max(...compared.slice(4))).toBeLessThan(0.3);
    expect(found.compared).toBeCloseTo(compared.reduce((sum, share) => sum + share), 10);
  });

  it('gives bounds up where nothing can be told apart', async () => {
    const { values } = gaussianMixture(2000, 256, 1, { seed: 5, spread: 0.2 });
    const { found, compared } = await cluster(memoryPoints(values, 2000, 256), values.slice(0, 256 * 256), true, { iterations: 6 });
    expectSame(found, (await cluster(memoryPoints(values, 2000, 256), values.slice(0, 256 * 256), false, { iterations: 6 })).found);
    expect(compared.reduce((sum, share) => sum + share)).toBeLessThan(compared.length + 2.5);
  });
});

describe('Bounds', () => {
  it('settles only rows whose nearest centroid is beyond doubt, through many moves far and near', async () => {
    const [n, d, k] = [600, 12, 256];
    const { values } = gaussianMixture(n, d, 40, { seed: 8 });
    const centroids = values.slice(0, k * d);
    const engine = await engineOf();
    const bounds = new Bounds(d, { products: await productsOf(), groups: await groupCentroids(engine, centroids, k, d, 8), squares: squaredNorms(values, n, d) });
    const own = new Uint32Array(n);
    const index = new Uint32Array(n);
    let moved: Float64Array | null = null;
    let unclearRows = 0;
    for (let step = 0; step < 20; step++) {
      bounds.moveTo(centroids, moved);
      const { unclear } = await bounds.search(values, 0, n, own, index);
      unclearRows += unclear.length;
      for (let i = 0; i < n; i++) {
        const nearest = bruteNearest(values, i, centroids, k, d);
        if (!unclear.includes(i)) expect(index[i]).toBe(nearest);
        own[i] = nearest;
      }
      const old = centroids.slice();
      const far = step % 10 === 9 ? 0.5 : 0.01;
      for (let c = step % 3; c < k; c += 3) for (let j = 0; j < d; j++) centroids[c * d + j]! += far * Math.sin(c * 7 + j + step);
      moved = Float64Array.from({ length: k }, (_, c) => Math.sqrt(exactDistance(old, c * d, centroids, c * d, d)));
    }
    expect(unclearRows).toBeLessThan(0.1 * 20 * n);
  });
});

describe('groupCentroids', () => {
  it('puts every centroid in one group, groups of one size, near ones together', async () => {
    const [k, d] = [333, 8];
    const { values, component } = gaussianMixture(k, d, 10, { seed: 2, spread: 0.001 });
    const { member, offset } = await groupCentroids(await engineOf(), values, k, d, 10);
    expect([...member].sort((a, b) => a - b)).toEqual(Array.from({ length: k }, (_, c) => c));
    const sizes = Array.from({ length: 10 }, (_, g) => offset[g + 1]! - offset[g]!);
    expect(sizes.every((size) => size === 33 || size === 34)).toBe(true);
    expect(new Set(Array.from(member.subarray(0, 20), (c) => component[c])).size).toBe(1);
  });

  it('keeps to its memory, and says 0 where bounds do not pay', () => {
    expect(groupCount(200_000, 4096, 256e6)).toBe(128);
    expect(groupCount(200_000, 4096, 20e6)).toBe(50);
    expect(groupCount(200_000, 100, 256e6)).toBe(0);
    expect(groupCount(10_000_000, 4096, 100e6)).toBe(0);
    expect(groupCount(1000, 1_000_000, 1e9)).toBe(512);
  });
});

/** In float64, ties to the lowest. */
function bruteNearest(values: Float32Array, i: number, centroids: Float32Array, k: number, d: number): number {
  let best = 0;
  let least = Infinity;
  for (let c = 0; c < k; c++) {
    const far = exactDistance(values, i * d, centroids, c * d, d);
    if (far < least) [least, best] = [far, c];
  }
  return best;
}
