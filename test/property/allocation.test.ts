/** Laws of the quotas of balanced sampling, against a naive greedy that hands out one unit at a time. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClusterTree, groupByParent } from '../../src/cluster/tree.ts';
import { randomStream } from '../../src/random.ts';
import { allocate, allocateTree } from '../../src/sample/allocate.ts';
import { pools } from '../sample/random-tree.ts';

const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);
const capacities = fc.array(fc.nat(30), { maxLength: 25 }).map((values) => Float64Array.from(values));
/** Few different keys, so that ties are common. */
const keysOf = (seed: number): ((i: number) => number) => {
  const stream = randomStream(seed, 'test');
  return (i) => Math.floor(stream.uniform(i) * 8) / 8;
};

/** One unit at a time to the cluster with the smallest quota that has more to give: first by key, then by number. */
function greedy(capacity: readonly number[], target: number, keyOf: (i: number) => number): number[] {
  const quota = capacity.map(() => 0);
  for (let unit = 0; unit < target; unit++) {
    const open = [...quota.keys()].filter((i) => quota[i]! < capacity[i]!);
    if (open.length === 0) break;
    open.sort((a, b) => quota[a]! - quota[b]! || keyOf(a) - keyOf(b) || a - b);
    quota[open[0]!]!++;
  }
  return quota;
}

describe('allocate', () => {
  it('equals the naive greedy, remainder and ties included', () => {
    fc.assert(
      fc.property(capacities, fc.nat(400), fc.nat(50), (capacity, target, seed) => {
        const keyOf = keysOf(seed);
        expect([...allocate(capacity, target, keyOf).quota]).toEqual(greedy([...capacity], target, keyOf));
      }),
      { numRuns: 400 },
    );
  });

  it('gives min(target, Σ capacity) in all, never more than a capacity, and no less than the cut unless exhausted', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(40), fc.nat(1_000_000_000)), { maxLength: 200 }), fc.nat(2_000_000_000), fc.nat(50), (values, target, seed) => {
        const capacity = Float64Array.from(values);
        const { quota, cut, remainder } = allocate(capacity, target, keysOf(seed));
        expect(sum(quota)).toBe(Math.min(target, sum(capacity)));
        quota.forEach((q, i) => {
          expect(q).toBeLessThanOrEqual(capacity[i]!);
          expect(q).toBeGreaterThanOrEqual(Math.min(cut, capacity[i]!));
          expect(q).toBeLessThanOrEqual(cut + 1);
        });
        expect(quota.filter((q) => q === cut + 1)).toHaveLength(remainder);
      }),
    );
  });

  it('permutes with its clusters', () => {
    fc.assert(
      fc.property(capacities.chain((capacity) => fc.tuple(fc.constant(capacity), fc.shuffledSubarray([...capacity.keys()], { minLength: capacity.length }))), fc.nat(400), ([capacity, order], target) => {
        const stream = randomStream(1, 'test');
        const straight = allocate(capacity, target, (i) => stream.uniform(i)).quota;
        const permuted = allocate(Float64Array.from(order, (i) => capacity[i]!), target, (place) => stream.uniform(order[place]!)).quota;
        expect([...permuted]).toEqual(order.map((i) => straight[i]!));
        // Keyed by place instead, only the remainder moves.
        const keyed = allocate(Float64Array.from(order, (i) => capacity[i]!), target, (place) => stream.uniform(place)).quota;
        keyed.forEach((q, place) => expect(Math.abs(q - straight[order[place]!]!)).toBeLessThanOrEqual(1));
      }),
    );
  });

  it('is monotone in the target: one more unit goes to one cluster and leaves the others', () => {
    fc.assert(
      fc.property(capacities, fc.nat(300), fc.nat(50), (capacity, target, seed) => {
        const smaller = allocate(capacity, target, keysOf(seed)).quota;
        const larger = allocate(capacity, target + 1, keysOf(seed)).quota;
        const added = [...larger].map((q, i) => q - smaller[i]!);
        expect(added.filter((unit) => unit !== 0)).toEqual(target < sum(capacity) ? [1] : []);
      }),
      { numRuns: 300 },
    );
  });
});

/** Recursion from the top, as the reference does, with the naive greedy at every node. */
function greedyTree(tree: ClusterTree, target: number, multiplier: number, seed: number): number[][] {
  const quotas = tree.levels.map(({ k }) => new Array<number>(k).fill(0));
  const share = (level: number, clusters: readonly number[], units: number): void => {
    const { size } = tree.levels[level - 1]!;
    const stream = randomStream(seed, 'sample', 'quota', level);
    const given = greedy(clusters.map((c) => size[c]! * multiplier), units, (place) => stream.uniform(clusters[place]!));
    clusters.forEach((c, place) => {
      quotas[level - 1]![c] = given[place]!;
      if (level === 1) return;
      const { offset, child } = groupByParent(tree.levels[level - 2]!.parent, size.length);
      share(level - 1, [...child.subarray(offset[c]!, offset[c + 1]!)], given[place]!);
    });
  };
  const top = tree.levels.length;
  share(top, [...tree.levels[top - 1]!.size.keys()], target);
  return quotas;
}

describe('allocateTree', () => {
  it('equals recursion with the naive greedy', () => {
    fc.assert(
      fc.property(pools(), fc.nat(150), fc.integer({ min: 1, max: 3 }), fc.nat(20), ({ tree }, target, multiplier, seed) => {
        expect(allocateTree(tree, target, multiplier, seed).map(({ quota }) => [...quota])).toEqual(greedyTree(tree, target, multiplier, seed));
      }),
      { numRuns: 200 },
    );
  });

  it('adds up: to the target at every level, and to a parent over its children', () => {
    fc.assert(
      fc.property(pools(), fc.nat(150), fc.integer({ min: 1, max: 3 }), ({ tree }, target, multiplier) => {
        const levels = allocateTree(tree, target, multiplier, 1);
        levels.forEach(({ quota }, l) => {
          expect(sum(quota)).toBe(Math.min(target, multiplier * sum(tree.levels[l]!.size)));
          quota.forEach((q, c) => expect(q).toBeLessThanOrEqual(tree.levels[l]!.size[c]! * multiplier));
          const above = levels[l + 1];
          if (above === undefined) return;
          const sums = new Float64Array(above.quota.length);
          quota.forEach((q, c) => (sums[tree.levels[l]!.parent[c]!]! += q));
          expect(sums).toEqual(above.quota);
        });
      }),
    );
  });

  it('nests: every quota of a smaller target is at most that of a larger one', () => {
    fc.assert(
      fc.property(pools(), fc.nat(100), fc.nat(100), fc.integer({ min: 1, max: 3 }), fc.nat(20), ({ tree }, target, more, multiplier, seed) => {
        const smaller = allocateTree(tree, target, multiplier, seed);
        const larger = allocateTree(tree, target + more, multiplier, seed);
        smaller.forEach(({ quota }, l) => quota.forEach((q, c) => expect(q).toBeLessThanOrEqual(larger[l]!.quota[c]!)));
      }),
      { numRuns: 200 },
    );
  });
});
