import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectedShares, flatEvenness } from '../../src/cluster/evenness.ts';
import { type ClusterTree, NO_CLUSTER } from '../../src/cluster/tree.ts';
import { allocateTree } from '../../src/sample/allocate.ts';

/** Trees of one to three levels; some clusters are empty, some hold hundreds of images. */
const trees = fc
  .array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 3 })
  .chain((ks) =>
    fc.tuple(
      fc.array(fc.oneof(fc.nat(3), fc.nat(400)), { minLength: ks[0]!, maxLength: ks[0]! }),
      fc.tuple(...ks.slice(0, -1).map((k, l) => fc.array(fc.nat(ks[l + 1]! - 1), { minLength: k, maxLength: k }))),
    ),
  )
  .filter(([sizes]) => sizes.some((size) => size > 0))
  .map(([sizes, parents]) => treeOf(sizes, parents, 1));

const shares = fc.constantFrom(0.02, 0.2, 0.5, 1);
const floors = fc.constantFrom(0, 0.25, 1, 4);

function treeOf(sizes: readonly number[], parents: readonly (readonly number[])[], scale: number): ClusterTree {
  let size = Float64Array.from(sizes, (images) => images * scale);
  const levels = [];
  for (const parent of parents) {
    const above = new Float64Array(Math.max(...parent) + 1);
    size.forEach((images, c) => (above[parent[c]!]! += images));
    levels.push({ k: size.length, size, parent: Uint32Array.from(parent).slice(0, size.length) });
    size = above;
  }
  levels.push({ k: size.length, size, parent: new Uint32Array(size.length).fill(NO_CLUSTER) });
  return { d: 1, levels };
}

const total = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0);

describe('expectedShares', () => {
  it('gives every image a chance in [0, 1], the target in all', () => {
    fc.assert(
      fc.property(trees, shares, floors, (tree, share, floor) => {
        const chance = expectedShares(tree, { share, floor });
        const { size } = tree.levels[0]!;
        expect(total(chance.map((one, c) => one * size[c]!))).toBeCloseTo(share * total(size), 6);
        chance.forEach((one) => expect(one >= 0 && one <= 1 + 1e-9).toBe(true));
      }),
    );
  });

  it('is what the quotas of the sample stage tend to as units become small', () => {
    const UNITS = 10_000;
    fc.assert(
      fc.property(trees, fc.constantFrom(0.05, 0.2, 0.5), floors, (tree, share, floor) => {
        const fine: ClusterTree = { d: 1, levels: tree.levels.map((level) => ({ ...level, size: level.size.map((images) => images * UNITS) })) };
        const images = total(tree.levels[0]!.size);
        const quota = allocateTree(fine, Math.round(share * images * UNITS), 1, 0, { floor })[0]!.quota;
        const expected = expectedShares(tree, { share, floor });
        tree.levels[0]!.size.forEach((size, c) => expect(Math.abs(expected[c]! * size - quota[c]! / UNITS)).toBeLessThan(0.01));
      }),
      { numRuns: 60 },
    );
  });

  it('is even over clusters at floor 0 and proportional at a large one', () => {
    const tree = treeOf([1000, 10, 90], [], 1);
    expect([...expectedShares(tree, { share: 0.02, floor: 0 })].map((one, c) => one * [1000, 10, 90][c]!)).toEqual([expect.closeTo(7.333, 3), expect.closeTo(7.333, 3), expect.closeTo(7.333, 3)]);
    for (const one of expectedShares(tree, { share: 0.02, floor: 1000 })) expect(one).toBeCloseTo(0.02, 6);
  });
});

describe('flatEvenness', () => {
  const tree = treeOf([900, 50, 50], [], 1);
  const leaf = Uint32Array.from({ length: 1000 }, (_, i) => (i < 900 ? 0 : i < 950 ? 1 : 2));

  it('is 1 for a selection in proportion to the pool, and without flat clusterings', () => {
    const flat = leaf.map((_, i) => i % 7);
    expect(flatEvenness(tree, leaf, [flat, leaf], { share: 0.1, floor: 1000 })).toBeCloseTo(1, 9);
    expect(flatEvenness(tree, leaf, [], { share: 0.1, floor: 0 })).toBe(1);
  });

  it('is above 1 where a large region is thinned out, below 1 where a few images crowd out many regions', () => {
    expect(flatEvenness(tree, leaf, [leaf], { share: 0.1, floor: 0 })).toBeCloseTo(3 / Math.exp(-0.9 * Math.log(0.9) - 0.1 * Math.log(0.05)), 9);
    const regions = leaf.map((c, i) => (c === 0 ? i % 90 : 90));
    const evenness = [0, 0.25, 1, 4, 1000].map((floor) => flatEvenness(tree, leaf, [regions], { share: 0.1, floor }));
    expect(evenness[0]).toBeLessThan(0.3);
    for (let i = 1; i < evenness.length; i++) expect(evenness[i]).toBeGreaterThanOrEqual(evenness[i - 1]!);
    expect(evenness.at(-1)).toBeCloseTo(1, 9);
  });

  it('leaves out images that were set aside from the selection, not from the pool', () => {
    const aside = leaf.map((c) => (c === 2 ? NO_CLUSTER : c));
    const two = treeOf([900, 50], [], 1);
    const value = flatEvenness(two, aside, [leaf], { share: 0.05, floor: 0 });
    expect(value).toBeCloseTo(2 / Math.exp(-0.9 * Math.log(0.9) - 0.1 * Math.log(0.05)), 9);
  });
});
