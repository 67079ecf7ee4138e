import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memoryPoints } from '../../src/cluster/points.ts';
import { shareChildren } from '../../src/cluster/partition.ts';
import { type Potential, measurePotential, shareByPotential } from '../../src/cluster/share.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();

/** A cell whose potential falls from `height` with the number of seeds. */
const potential = fc.tuple(fc.integer({ min: 1, max: 400 }), fc.double({ min: 0, max: 50, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })).map(([n, height, power]): Potential => {
  const seeds = [1, 17, 33, 50].filter((count) => count <= n);
  return { n, seeds, potential: seeds.map((count) => height * count ** -power) };
});

describe('shareByPotential', () => {
  it('gives every cell at least one child and at most its rows, Σ = k, whatever the potentials', () => {
    fc.assert(
      fc.property(fc.array(potential, { minLength: 1, maxLength: 20 }), fc.double({ min: 0, max: 1, noNaN: true }), (cells, part) => {
        const size = Float64Array.from(cells, ({ n }) => n);
        const n = size.reduce((sum, count) => sum + count, 0);
        const k = Math.round(cells.length + part * (n - cells.length));
        const share = shareByPotential(cells, k);
        share.forEach((one, c) => expect(one >= 1 && one <= size[c]!).toBe(true));
        const children = shareChildren(size, k, share);
        expect(children.reduce((sum, one) => sum + one, 0)).toBe(k);
        children.forEach((one, c) => expect(one >= 1 && one <= size[c]!).toBe(true));
      }),
    );
  });

  it('follows the potential where it stays level, and gives a cell that is covered no more than it needs', () => {
    const level = (height: number): Potential => ({ n: 1e6, seeds: [1, 1000], potential: [height, height] });
    const [low, high] = shareByPotential([level(1), level(3)], 402);
    expect(high! / low!).toBeCloseTo(3, 1);
    // 20 concepts of one point each, many times over, beside a cloud.
    const covered: Potential = { n: 1e5, seeds: [1, 20], potential: [100, 0] };
    const share = shareByPotential([covered, level(10)], 500);
    expect(share[0]!).toBeLessThan(25);
    expect(share[1]!).toBeGreaterThan(470);
  });
});

describe('measurePotential', () => {
  it('falls with the number of seeds, begins near the spread of the cell, and is that of all rows when a sample is looked at', async () => {
    const { values } = gaussianMixture(4000, 8, 12, { seed: 2 });
    const points = memoryPoints(values, 4000, 8);
    const options = { engine: await engineOf(), seed: 0, labels: [1], seedsMax: 200 };
    const whole = await measurePotential(points, { ...options, rowsMax: 4000 });
    for (let i = 1; i < whole.potential.length; i++) expect(whole.potential[i]!).toBeLessThanOrEqual(whole.potential[i - 1]!);
    expect(whole.seeds[0]).toBe(1);
    expect(whole.seeds.at(-1)).toBeGreaterThanOrEqual(200);
    const sampled = await measurePotential(points, { ...options, rowsMax: 1000 });
    const at = (found: Potential, count: number): number => found.potential[found.seeds.findIndex((seeds) => seeds >= count)]!;
    expect(at(sampled, 100) / at(whole, 100)).toBeGreaterThan(0.7);
    expect(at(sampled, 100) / at(whole, 100)).toBeLessThan(1.4);
  });

  it('ends when every row is covered', async () => {
    const values = Float32Array.from({ length: 400 }, (_, i) => (Math.floor(i / 4) % 5) / 8);
    const found = await measurePotential(memoryPoints(values, 100, 4), { engine: await engineOf(), seed: 0, labels: [], rowsMax: 100, seedsMax: 100 });
    expect(found.potential.at(-1)).toBe(0);
    expect(found.seeds.length).toBeLessThan(5);
  });
});
