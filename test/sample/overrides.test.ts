/** Laws of curation by hand: quotas add up and nest, a cap holds, an exclusion gives nothing, a boost only ever gives more. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClusterTree, PROPORTIONAL } from '../../src/cluster/tree.ts';
import { parseRecipe } from '../../src/config.ts';
import { randomStream } from '../../src/random.ts';
import { allocateTree } from '../../src/sample/allocate.ts';
import { type BranchOverride, OverridesConfig } from '../../src/sample/config.ts';
import { describeEffect, limitTree, quotasOfLevels } from '../../src/sample/overrides.ts';
import { poolOf, pools } from './random-tree.ts';

const SHA = 'a'.repeat(64);

interface Draw {
  readonly tree: ClusterTree;
  readonly depth: number;
  readonly multiplier: number;
  readonly floor: number;
  readonly seed: number;
  readonly target: number;
  readonly branches: readonly BranchOverride[];
}

/** Quotas of all levels, and what the top may give. */
function quotasOf({ tree, depth, multiplier, floor, seed, target, branches }: Draw): { quotas: Float64Array[]; available: number } {
  const limits = limitTree(tree, SHA, { clusters: SHA, branches: [...branches] }, { depth, multiplier, floor, seed });
  const allocations = allocateTree(tree, target, multiplier, seed, { depth, floor, limits });
  return { quotas: quotasOfLevels(tree, allocations), available: sum(limits.capacity[depth - 1]!) };
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

const branchOf = (tree: ClusterTree): fc.Arbitrary<BranchOverride> =>
  fc.integer({ min: 1, max: tree.levels.length }).chain((level) =>
    fc.tuple(fc.nat(tree.levels[level - 1]!.k - 1), fc.oneof(fc.record({ cap: fc.nat(20) }), fc.record({ boost: fc.constantFrom(0.25, 0.5, 2, 3.5, 40) }), fc.record({ cap: fc.nat(20), boost: fc.constantFrom(0.5, 2) }), fc.constant({ exclude: true as const }))).map(([cluster, what]) => ({ level, cluster, ...what })),
  );

const draws: fc.Arbitrary<Draw> = pools().chain(({ tree }) =>
  fc.record({
    tree: fc.constant(tree),
    depth: fc.integer({ min: 1, max: tree.levels.length }),
    multiplier: fc.integer({ min: 1, max: 3 }),
    floor: fc.constantFrom(0, 0.7, 3, PROPORTIONAL),
    seed: fc.nat(30),
    target: fc.nat(150),
    branches: fc.uniqueArray(branchOf(tree), { minLength: 1, maxLength: 5, selector: ({ level, cluster }) => `${level}/${cluster}` }),
  }),
);

describe('overrides', () => {
  it('add up: to the target at every level as far as the pool gives it, and to a parent over its children', () => {
    fc.assert(
      fc.property(draws, (draw) => {
        const { quotas, available } = quotasOf(draw);
        draw.tree.levels.forEach(({ size, parent }, l) => {
          expect(sum(quotas[l]!)).toBe(Math.min(draw.target, available));
          quotas[l]!.forEach((q, c) => expect(q).toBeLessThanOrEqual(size[c]! * draw.multiplier));
          const above = quotas[l + 1];
          if (above === undefined) return;
          const sums = new Float64Array(above.length);
          quotas[l]!.forEach((q, c) => (sums[parent[c]!]! += q));
          expect(sums).toEqual(above);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('keep every cap and every exclusion, at any level', () => {
    fc.assert(
      fc.property(draws, (draw) => {
        const { quotas } = quotasOf(draw);
        for (const { level, cluster, cap = Infinity, exclude } of draw.branches) expect(quotas[level - 1]![cluster]).toBeLessThanOrEqual(exclude === true ? 0 : cap);
      }),
      { numRuns: 300 },
    );
  });

  it('nest: a larger target takes all that a smaller one takes', () => {
    fc.assert(
      fc.property(draws, fc.nat(60), (draw, more) => {
        const smaller = quotasOf(draw).quotas;
        const larger = quotasOf({ ...draw, target: draw.target + more }).quotas;
        smaller.forEach((level, l) => level.forEach((q, c) => expect(q).toBeLessThanOrEqual(larger[l]![c]!)));
      }),
      { numRuns: 300 },
    );
  });

  it('change nothing where they say nothing: boosts of 1 and caps that no branch reaches', () => {
    fc.assert(
      fc.property(draws, (draw) => {
        const { tree, depth, multiplier, floor, seed, target } = draw;
        const idle = draw.branches.map(({ level, cluster }, i) => ({ level, cluster, ...(i % 2 === 0 ? { boost: 1 } : { cap: 10_000 }) }));
        const plain = allocateTree(tree, target, multiplier, seed, { depth, floor });
        expect(quotasOf({ ...draw, branches: idle }).quotas).toEqual(quotasOfLevels(tree, plain));
      }),
      { numRuns: 200 },
    );
  });

  it('give a branch no less for a higher boost or a higher cap, and its siblings no more', () => {
    fc.assert(
      fc.property(draws, fc.boolean(), (draw, isCap) => {
        const [first, ...others] = draw.branches;
        const { level, cluster } = first!;
        const low: BranchOverride = { level, cluster, ...(isCap ? { cap: 3 } : { boost: 0.5 }) };
        const high: BranchOverride = { level, cluster, ...(isCap ? { cap: 11 } : { boost: 4 }) };
        // Rates of the floor are taken from what clusters can give, so a cap moves them; without a floor nothing else does.
        const plain = { ...draw, floor: 0 };
        const less = quotasOf({ ...plain, branches: [low, ...others] }).quotas[level - 1]!;
        const more = quotasOf({ ...plain, branches: [high, ...others] }).quotas[level - 1]!;
        expect(more[cluster]).toBeGreaterThanOrEqual(less[cluster]!);
        const { parent } = draw.tree.levels[level - 1]!;
        less.forEach((q, c) => c !== cluster && parent[c] === parent[cluster] && expect(more[c]).toBeLessThanOrEqual(q));
      }),
      { numRuns: 300 },
    );
  });

  it('are the first arrivals of a brute-force list: unit j of cluster i at (j − 1 + key) / rate, within the caps', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 2, maxLength: 7 }), fc.array(fc.nat(1), { minLength: 7, maxLength: 7 }), fc.nat(40), fc.nat(50), fc.integer({ min: 1, max: 12 }), fc.constantFrom(0.3, 1.7, 5), (sizes, parents, target, seed, cap, boost) => {
        const leaf = sizes.flatMap((size, c) => new Array<number>(size).fill(c));
        fc.pre(leaf.length > 0);
        const { tree } = poolOf(leaf, [sizes.length, 2], [parents.slice(0, sizes.length)], leaf.map(() => 0));
        const branches = [{ level: 2, cluster: 0, cap }, { level: 1, cluster: 1, boost }];
        const stream = randomStream(seed, 'sample', 'quota', 1);
        const arrivals = leaf.map((c, unit) => ({ c, at: (leaf.slice(0, unit).filter((other) => other === c).length + stream.uniform(c)) / (c === 1 ? boost : 1) })).toSorted((a, b) => a.at - b.at);
        const expected = new Float64Array(sizes.length);
        let capped = 0;
        let taken = 0;
        for (const { c } of arrivals) {
          if (taken === target || (parents[c] === 0 && capped === cap)) continue;
          if (parents[c] === 0) capped++;
          expected[c]!++;
          taken++;
        }
        expect(quotasOf({ tree, depth: 1, multiplier: 1, floor: 0, seed, target, branches }).quotas[0]).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('say what they changed', () => {
    const { tree } = poolOf([0, 0, 0, 0, 1, 1, 1, 1, 2, 2], [3, 2], [[0, 0, 1]], new Array<number>(10).fill(0));
    const before = quotasOfLevels(tree, allocateTree(tree, 6, 1, 0));
    const overrides = { clusters: SHA, branches: [{ level: 2, cluster: 1, exclude: true as const }, { level: 1, cluster: 0, cap: 1 }] };
    const after = quotasOf({ tree, depth: 2, multiplier: 1, floor: 0, seed: 0, target: 6, branches: overrides.branches }).quotas;
    expect([...before[0]!]).toEqual([2, 2, 2]);
    expect([...after[0]!]).toEqual([1, 4, 0]);
    expect(describeEffect(tree, overrides, before, after)).toEqual({
      clusters: SHA, moved: 3, lost: 1,
      branches: [{ level: 2, cluster: 1, exclude: true, images: 2, quotaBefore: 2, quota: 0 }, { level: 1, cluster: 0, cap: 1, images: 4, quotaBefore: 2, quota: 1 }],
    });
  });

  it('are refused for another tree, and where there is no such branch', () => {
    const { tree } = poolOf([0, 1], [2], [], [0, 0]);
    const options = { depth: 1, multiplier: 1, floor: 0, seed: 0 };
    const limit = (clusters: string, level: number, cluster: number) => () => limitTree(tree, SHA, { clusters, branches: [{ level, cluster, cap: 1 }] }, options);
    expect(limit('b'.repeat(64), 1, 0)).toThrow(expect.objectContaining({ code: 'OVERRIDES_STALE' }));
    expect(limit(SHA, 2, 0)).toThrow(/Expected overrides of levels 1 to 1, got level 2/);
    expect(limit(SHA, 1, 2)).toThrow(/Expected clusters 0 to 1 in overrides of level 1, got 2/);
  });
});

describe('the recipe key', () => {
  const recipe = (overrides: unknown) => parseRecipe({ format: 'winnow-recipe/1', name: 'x', pool: [{ folder: './x' }], overrides }, 'recipe');

  it('takes caps, boosts and exclusions of a named tree', () => {
    const overrides = { clusters: SHA, branches: [{ level: 2, cluster: 7, cap: 100 }, { level: 1, cluster: 0, boost: 2.5, cap: 0 }, { level: 1, cluster: 1, exclude: true }] };
    expect(recipe(overrides).overrides).toEqual(overrides);
    expect(recipe(undefined).overrides).toBeUndefined();
  });

  it.each([
    ['nothing to do', { level: 1, cluster: 0 }, /a cap, a boost or both, or exclude: true alone/],
    ['an exclusion with a cap', { level: 1, cluster: 0, exclude: true, cap: 3 }, /exclude: true alone/],
    ['a boost of nothing', { level: 1, cluster: 0, boost: 0 }, /boost/],
    ['level 0', { level: 0, cluster: 0, cap: 1 }, /level/],
  ])('refuses %s', (_, branch, sentence) => {
    expect(() => recipe({ clusters: SHA, branches: [branch] })).toThrow(sentence);
  });

  it('refuses a branch twice, and a tree without a hash', () => {
    expect(() => recipe({ clusters: SHA, branches: [{ level: 1, cluster: 0, cap: 1 }, { level: 1, cluster: 0, boost: 2 }] })).toThrow(/each branch once/);
    expect(() => recipe({ clusters: 'mine', branches: [{ level: 1, cluster: 0, cap: 1 }] })).toThrow(/64 hex digits/);
    expect(OverridesConfig.safeParse({ clusters: SHA, branches: [] }).success).toBe(false);
  });
});
