import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type OutlierOptions, treatOutliers } from '../../src/cluster/outliers.ts';
import { memoryPoints, toGrid } from '../../src/cluster/points.ts';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { randomStream } from '../../src/random.ts';
import { sharedEngine } from '../helpers/engine.ts';

const engineOf = sharedEngine();
const D = 3;

const clusterings = fc.record({
  k: fc.integer({ min: 1, max: 12 }),
  n: fc.integer({ min: 1, max: 60 }),
  minSize: fc.integer({ min: 1, max: 8 }),
  blockRows: fc.integer({ min: 1, max: 70 }),
  /** High: few clusters hold nearly all points, so that some are small and some empty. */
  skew: fc.constantFrom(1, 2, 5),
  seed: fc.nat(10_000),
});

function draw({ k, n, skew, seed }: { k: number; n: number; skew: number; seed: number }) {
  const stream = randomStream(seed, 'values');
  const cluster = randomStream(seed, 'cluster');
  const value = (i: number): number => toGrid(2 * stream.uniform(i) - 1);
  const values = Float32Array.from({ length: n * D }, (_, i) => value(i));
  const centroids = Float32Array.from({ length: k * D }, (_, i) => value(n * D + i));
  const assignment = Uint32Array.from({ length: n }, (_, i) => Math.floor(k * cluster.uniform(i) ** skew));
  const size = new Array<number>(k).fill(0);
  for (const c of assignment) size[c]!++;
  return { points: memoryPoints(values, n, D), values, centroids, assignment, size };
}

type Drawn = ReturnType<typeof draw>;

async function treat({ points, centroids, assignment }: Drawn, k: number, options: Omit<OutlierOptions, 'engine'>) {
  return treatOutliers(points, { k, centroids, assignment }, { ...options, engine: await engineOf() });
}

function squaredDistance({ values, centroids }: Drawn, point: number, c: number): number {
  let sum = 0;
  for (let j = 0; j < D; j++) sum += (values[point * D + j]! - centroids[c * D + j]!) ** 2;
  return sum;
}

/** The clusters that stay, in their order: all but those with 1 … minSize − 1 points. */
const staying = ({ size }: Drawn, minSize: number): number[] => [...size.keys()].filter((c) => size[c] === 0 || size[c]! >= minSize);

describe('treatOutliers', () => {
  it('keeps everything when told to, when no cluster is small and when all are; counts what is small', async () => {
    await fc.assert(
      fc.asyncProperty(clusterings, fc.constantFrom('merge' as const, 'set-aside' as const), async (given, policy) => {
        const { k, minSize, blockRows } = given;
        const drawn = draw(given);
        const kept = await treat(drawn, k, { policy: 'keep', minSize, blockRows });
        const small = drawn.size.filter((size) => size > 0 && size < minSize);
        expect(kept).toMatchObject({ k, merged: 0, setAside: 0, outlierClusters: small.length, outlierImages: small.reduce((sum, size) => sum + size, 0) });
        expect([kept.centroids, kept.assignment]).toEqual([drawn.centroids, drawn.assignment]);
        const largest = Math.max(...drawn.size);
        for (const extreme of [1, largest + 1]) {
          const same = await treat(drawn, k, { policy, minSize: extreme, blockRows });
          expect([same.k, same.assignment, same.merged, same.setAside]).toEqual([k, drawn.assignment, 0, 0]);
        }
      }),
    );
  });

  it('sets members of small clusters aside, and leaves all others where they are', async () => {
    await fc.assert(
      fc.asyncProperty(clusterings, async (given) => {
        const { k, minSize, blockRows } = given;
        const drawn = draw(given);
        fc.pre(drawn.size.some((size) => size >= minSize));
        const stay = staying(drawn, minSize);
        const treated = await treat(drawn, k, { policy: 'set-aside', minSize, blockRows });
        expect(treated.k).toBe(stay.length);
        expect([...treated.centroids]).toEqual(stay.flatMap((c) => [...drawn.centroids.subarray(c * D, (c + 1) * D)]));
        drawn.assignment.forEach((c, point) => expect(treated.assignment[point]).toBe(stay.includes(c) ? stay.indexOf(c) : NO_CLUSTER));
        expect(treated).toMatchObject({ merged: 0, setAside: drawn.assignment.filter((c) => !stay.includes(c)).length });
      }),
    );
  });

  it('merges each member of a small cluster into the nearest large one, never into an empty one', async () => {
    await fc.assert(
      fc.asyncProperty(clusterings, async (given) => {
        const { k, minSize, blockRows } = given;
        const drawn = draw(given);
        fc.pre(drawn.size.some((size) => size >= minSize));
        const stay = staying(drawn, minSize);
        const large = stay.filter((c) => drawn.size[c]! > 0);
        const treated = await treat(drawn, k, { policy: 'merge', minSize, blockRows });
        expect([treated.k, treated.setAside]).toEqual([stay.length, 0]);
        let merged = 0;
        drawn.assignment.forEach((c, point) => {
          const to = stay[treated.assignment[point]!]!;
          if (stay.includes(c)) expect(to).toBe(c);
          else {
            merged++;
            expect(large).toContain(to);
            const nearest = Math.min(...large.map((other) => squaredDistance(drawn, point, other)));
            expect(squaredDistance(drawn, point, to)).toBeLessThanOrEqual(nearest + 1e-5);
          }
        });
        expect(treated.merged).toBe(merged);
        expect((await treat(drawn, k, { policy: 'merge', minSize, blockRows: 1000 })).assignment).toEqual(treated.assignment);
      }),
    );
  });
});
