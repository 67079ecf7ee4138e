import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { kmeans } from '../../src/cluster/kmeans.ts';
import { memoryPoints } from '../../src/cluster/points.ts';
import { seedCentroids } from '../../src/cluster/seed.ts';
import { type SeedingOptions, firstCentroids, mergeSequences } from '../../src/cluster/seeding.ts';
import { randomStream } from '../../src/random.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const options = async (over: Partial<SeedingOptions> = {}): Promise<SeedingOptions> => ({ engine: await engineOf(), seedingRows: 100_000, seed: 0, labels: [1, 0], ...over });

describe('firstCentroids', () => {
  it('in cells: k different points, a function of seed and labels alone', async () => {
    const [n, d, k] = [3000, 12, 200];
    const { values } = gaussianMixture(n, d, 60, { zipf: 1, seed: 2 });
    const points = memoryPoints(values, n, d);
    const { read, gather, scale } = points;
    const centroids = await firstCentroids(points, k, await options({ seeding: 'cells' }));
    const rows = new Set(Array.from({ length: n }, (_, i) => String(values.subarray(i * d, (i + 1) * d))));
    const seeds = new Set(Array.from({ length: k }, (_, c) => String(centroids.subarray(c * d, (c + 1) * d))));
    expect(seeds.size).toBe(k);
    expect([...seeds].every((seed) => rows.has(seed))).toBe(true);
    expect(await firstCentroids({ n, d, scale, read, gather }, k, await options({ seeding: 'cells' }))).toEqual(centroids);
    expect(await firstCentroids(points, k, await options({ seeding: 'cells', labels: [1, 1] }))).not.toEqual(centroids);
    expect(await firstCentroids(points, k, await options({ seeding: 'cells', seed: 1 }))).not.toEqual(centroids);
  });

  it('ends, after Lloyd, within 2 % of the inertia of exact greedy k-means++', async () => {
    // Tight groups; groups that touch; more groups than seeds, which cells that scatter them would seed many times.
    for (const [d, k, components, spread] of [[16, 140, 80, 0.02], [16, 140, 80, 0.2], [96, 90, 180, 0.08]] as const) {
      const inertia = { greedy: 0, cells: 0 };
      for (const seed of [0, 1]) {
        const n = 1500;
        const { values } = gaussianMixture(n, d, components, { zipf: 1, seed, spread });
        const points = memoryPoints(values, n, d);
        for (const seeding of ['greedy', 'cells'] as const) {
          const found = await kmeans(points, await firstCentroids(points, k, await options({ seeding, seed })), { engine: await engineOf(), iterations: 12, empty: 'split', blockRows: 4096 });
          inertia[seeding] += found.iterations.at(-1)!.inertia;
        }
      }
      expect(inertia.cells / inertia.greedy).toBeLessThan(1.02);
    }
  });

  it('in cells: takes every point when k = n, and copes with copies', async () => {
    const { values } = gaussianMixture(40, 4, 40, { seed: 3 });
    const all = await firstCentroids(memoryPoints(values, 40, 4), 40, await options({ seeding: 'cells' }));
    expect([...all].sort()).toEqual([...values].sort());
    const copies = new Float32Array(500 * 4).fill(0.5);
    const same = await firstCentroids(memoryPoints(copies, 500, 4), 30, await options({ seeding: 'cells' }));
    expect(same).toEqual(new Float32Array(30 * 4).fill(0.5));
  });

  it('auto is greedy for few clusters', async () => {
    const { values } = gaussianMixture(900, 8, 20);
    const points = memoryPoints(values, 900, 8);
    expect(await firstCentroids(points, 50, await options())).toEqual(await firstCentroids(points, 50, await options({ seeding: 'greedy' })));
  });
});

describe('mergeSequences', () => {
  it('takes the first of each cell and then each cell in its order, k in all, more where the potential is larger', () => {
    const cells = fc.array(fc.array(fc.nat(100), { minLength: 1, maxLength: 15 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(cells, fc.double({ min: 0, max: 1, noNaN: true }), (list, share) => {
        const sequences = list.map((lowered, c) => {
          const potentials = Float64Array.from(lowered).sort().reverse();
          return { positions: Uint32Array.from(lowered, (_, s) => c * 100 + s), potentials };
        });
        const total = list.reduce((sum, { length }) => sum + length, 0);
        const k = list.length + Math.floor(share * (total - list.length));
        const chosen = mergeSequences(sequences, k, 5, randomStream(1, 'merge'));
        expect(new Set(chosen).size).toBe(k);
        sequences.forEach(({ positions }, c) => {
          const own = [...chosen].filter((position) => Math.floor(position / 100) === c);
          expect(own).toEqual([...positions.subarray(0, own.length)]);
          expect(own.length).toBeGreaterThan(0);
        });
      }),
    );
    const large = { positions: Uint32Array.from({ length: 50 }, (_, s) => s), potentials: Float64Array.from({ length: 50 }, (_, s) => 1000 / (s + 1)) };
    const small = { positions: Uint32Array.from({ length: 50 }, (_, s) => 100 + s), potentials: Float64Array.from({ length: 50 }, (_, s) => 10 / (s + 1)) };
    expect(mergeSequences([small, large], 40, 5, randomStream(1, 'merge')).filter((position) => position < 50).length).toBeGreaterThan(30);
  });
});

describe('seedCentroids', () => {
  it('chooses the same whether it holds the distances of all pairs or asks for them', async () => {
    const [n, d, k] = [900, 16, 300];
    const { values } = gaussianMixture(n, d, 50, { zipf: 1 });
    let asked = 0;
    const distances = await (await engineOf()).distances(values, n, d);
    const to: typeof distances.to = (...call) => {
      asked++;
      return distances.to(...call);
    };
    const counted = { ...distances, to };
    const shared = { distances: counted, stream: randomStream(4, 'seed'), trials: 7 };
    const held = await seedCentroids(values, n, d, k, shared);
    expect(asked).toBe(Math.ceil(n / 32));
    asked = 0;
    const potentials = new Float64Array(80);
    const few = await seedCentroids(values, n, d, 80, { ...shared, potentials });
    expect(asked).toBe(80);
    expect(few).toEqual(held.subarray(0, 80));
    for (let s = 1; s < 80; s++) expect(potentials[s]!).toBeLessThan(potentials[s - 1]!);
    await distances.close();
  });
});
