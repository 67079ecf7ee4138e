/** Laws of proportional quotas: fair, nested, and each branch of the tree with its share. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PROPORTIONAL } from '../../src/cluster/tree.ts';
import { allocateTree } from '../../src/sample/allocate.ts';
import { allocateProportional, branchOrder } from '../../src/sample/proportional.ts';
import { pools } from './random-tree.ts';

const capacities = fc.array(fc.oneof(fc.nat(20), fc.nat(500)), { minLength: 1, maxLength: 60 }).filter((units) => units.some((one) => one > 0));
const starts = fc.nat(9999).map((ticks) => ticks / 10_000);
const inOrder = (m: number): Uint32Array => Uint32Array.from({ length: m }, (_, i) => i);
const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);

function allocate(units: readonly number[], target: number, start: number): Float64Array {
  return allocateProportional(Float64Array.from(units), inOrder(units.length), target, start).quota;
}

describe('proportional quotas', () => {
  it('grow with the target and take no more than there is', () => {
    fc.assert(
      fc.property(capacities, fc.nat(3000), fc.nat(3000), starts, (units, target, more, start) => {
        const smaller = allocate(units, target, start);
        const larger = allocate(units, target + more, start);
        expect(sum(smaller)).toBe(Math.min(target, sum(units)));
        smaller.forEach((quota, i) => {
          expect(quota).toBeLessThanOrEqual(larger[i]!);
          expect(larger[i]!).toBeLessThanOrEqual(units[i]!);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('give every run of neighbours its share to within three units', () => {
    fc.assert(
      fc.property(capacities, fc.double({ min: 0, max: 1, noNaN: true }), starts, fc.nat(59), fc.nat(59), (units, share, start, a, b) => {
        const total = sum(units);
        const target = Math.round(share * total);
        const quota = allocate(units, target, start);
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect(Math.abs(sum(quota.slice(from, to)) - (target * sum(units.slice(from, to))) / total)).toBeLessThan(3);
      }),
      { numRuns: 2000 },
    );
  });

  it('move no cluster down when others give less than their units, and find the target wherever it can be had', () => {
    fc.assert(
      fc.property(capacities, fc.double({ min: 0, max: 1.1, noNaN: true }), starts, fc.array(fc.option(fc.nat(30), { nil: null, freq: 2 }), { minLength: 60, maxLength: 60 }), (units, share, start, caps) => {
        const target = Math.round(share * sum(units));
        const capacity = Float64Array.from(units, (most, i) => Math.min(most, caps[i] ?? most));
        const plain = allocate(units, target, start);
        const { quota } = allocateProportional(Float64Array.from(units), inOrder(units.length), target, start, capacity);
        expect(sum(quota)).toBe(Math.min(target, sum(capacity)));
        quota.forEach((given, i) => {
          expect(given).toBeLessThanOrEqual(capacity[i]!);
          expect(given).toBeGreaterThanOrEqual(Math.min(plain[i]!, capacity[i]!));
        });
      }),
      { numRuns: 500 },
    );
  });

  it('give what is left after a whole turn to those that can give more than their units', () => {
    expect([...allocateProportional(Float64Array.of(2, 1, 4), inOrder(3), 9, 0, Float64Array.of(5, 1, 4)).quota]).toEqual([4, 1, 4]);
  });

  it('give every unit the same chance over all places to start', () => {
    const units = [1, 2, 30, 0, 7, 4, 16];
    const total = sum(units);
    for (const target of [1, 7, 23, 50]) {
      const given = units.map(() => 0);
      for (let start = 0; start < total; start++) allocate(units, target, (start + 0.5) / total).forEach((quota, i) => (given[i]! += quota));
      expect(given).toEqual(units.map((count) => count * target));
    }
  });

  it('hold at sizes where a product of two counts is no longer exact', () => {
    const units = [2 ** 40, 3, 2 ** 39 + 1, 2 ** 41 - 7];
    const total = sum(units);
    const quota = allocate(units, total - 5, 0.3);
    expect(sum(quota)).toBe(total - 5);
    quota.forEach((one, i) => expect(units[i]! - one).toBeGreaterThanOrEqual(0));
    expect(sum(allocate(units, 5, 0.3))).toBe(5);
  });
});

describe('the order along the tree', () => {
  it('has every cluster once, and the children of a branch next to each other at every level', () => {
    fc.assert(
      fc.property(pools(), ({ tree }) => {
        for (let level = 1; level <= tree.levels.length; level++) {
          let names = [...branchOrder(tree, level)];
          expect(names.toSorted((a, b) => a - b)).toEqual([...inOrder(tree.levels[level - 1]!.k)]);
          for (let l = level - 1; l < tree.levels.length - 1; l++) {
            names = names.map((c) => tree.levels[l]!.parent[c]!);
            const runs = names.filter((c, i) => c !== names[i - 1]);
            expect(new Set(runs).size).toBe(runs.length);
          }
        }
      }),
    );
  });
});

describe('the end of the dial', () => {
  it('gives each branch above the level of the draw its share of the pool, to within three images', () => {
    fc.assert(
      fc.property(pools(200), fc.nat(100), fc.nat(20), (pool, percent, seed) => {
        const { levels } = pool.tree;
        const images = sum(levels[0]!.size);
        const target = Math.floor((percent * images) / 100);
        const [{ quota }] = allocateTree(pool.tree, target, 1, seed, { depth: 1, floor: PROPORTIONAL }) as unknown as [{ quota: Float64Array }];
        expect(sum(quota)).toBe(target);
        let given: Float64Array = quota;
        for (let l = 0; l < levels.length; l++) {
          given.forEach((units, c) => expect(Math.abs(units - (target * levels[l]!.size[c]!) / Math.max(1, images))).toBeLessThan(3));
          const above = new Float64Array(levels[l + 1]?.k ?? 0);
          if (above.length > 0) given.forEach((units, c) => (above[levels[l]!.parent[c]!]! += units));
          given = above;
        }
      }),
      { numRuns: 300 },
    );
  });
});
