import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { partition, shareChildren } from '../../src/cluster/partition.ts';
import { memoryPoints } from '../../src/cluster/points.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const options = async (over: object = {}) => ({
  engine: await engineOf(), k: 24, splits: 1, seedingRows: 4096, seed: 0, labels: [1, 0], cacheBytes: 1 << 26, iterations: 20, empty: 'split' as const, blockRows: 1024, ...over,
});

describe('shareChildren', () => {
  it('shares k in proportion to size: exact sum, at least one, at most the size, within one of the exact share where bounds allow', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 30 }), fc.double({ min: 0, max: 1, noNaN: true }), (sizes, part) => {
        const size = Float64Array.from(sizes);
        const n = size.reduce((sum, count) => sum + count, 0);
        const k = Math.round(size.length + part * (n - size.length));
        const children = shareChildren(size, k);
        expect(children.reduce((sum, count) => sum + count, 0)).toBe(k);
        children.forEach((count, cell) => expect(count >= 1 && count <= size[cell]!).toBe(true));
      }),
    );
    expect([...shareChildren(Float64Array.of(600, 300, 100), 10)]).toEqual([6, 3, 1]);
    expect([...shareChildren(Float64Array.of(1000, 1, 1), 5)]).toEqual([3, 1, 1]);
  });
});

describe('partition', () => {
  it('gives a split level exactly k clusters, children inside their cell, sizes that add up', async () => {
    const { values } = gaussianMixture(2000, 8, 6, { zipf: 1 });
    const found = await partition(memoryPoints(values, 2000, 8), await options({ splits: 4 }));
    expect(found.k).toBe(24);
    expect(found.size.reduce((sum, size) => sum + size, 0)).toBe(2000);
    const counted = new Float64Array(24);
    found.assignment.forEach((c) => counted[c]!++);
    expect(counted).toEqual(found.size);
  });

  it('seeds on a sample when there are more points than `seedingRows`, with little loss of inertia', async () => {
    const { values } = gaussianMixture(6000, 8, 24, { seed: 5 });
    const points = memoryPoints(values, 6000, 8);
    const whole = await partition(points, await options({ seedingRows: 6000 }));
    const sampled = await partition(points, await options({ seedingRows: 1000 }));
    expect(sampled.iterations.at(-1)!.inertia).toBeLessThan(1.15 * whole.iterations.at(-1)!.inertia);
  });

  it('clusters no more points than there are', async () => {
    const { values } = gaussianMixture(10, 4, 10);
    expect((await partition(memoryPoints(values, 10, 4), await options())).k).toBe(10);
  });
});
