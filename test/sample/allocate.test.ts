import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { randomStream } from '../../src/random.ts';
import { allocate, allocateTree } from '../../src/sample/allocate.ts';
import { forSmallest } from '../../src/sample/smallest.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

const MAX = Number.MAX_SAFE_INTEGER;

/** The cut by bisection on exact integers. */
function cutOf(capacity: readonly number[], target: number): bigint {
  const total = (x: bigint): bigint => capacity.reduce((sum, a) => sum + (BigInt(a) < x ? BigInt(a) : x), 0n);
  let low = 0n;
  let high = capacity.reduce((most, a) => (BigInt(a) > most ? BigInt(a) : most), 0n);
  while (low < high) {
    const middle = (low + high + 1n) / 2n;
    if (total(middle) <= BigInt(target)) low = middle;
    else high = middle - 1n;
  }
  return low;
}

describe('allocate', () => {
  it('is exact up to 2^53, where the sum of capacities is far beyond it', () => {
    const huge = fc.oneof(fc.integer({ min: 0, max: MAX }), fc.integer({ min: MAX - 50, max: MAX }), fc.nat(1000));
    fc.assert(
      fc.property(fc.array(huge, { minLength: 1, maxLength: 40 }), huge, (values, target) => {
        const { quota, cut, remainder } = allocate(Float64Array.from(values), target, (i) => i);
        expect(BigInt(cut)).toBe(cutOf(values.map((a) => Math.min(a, target)), target));
        const given = [...quota].reduce((sum, q) => sum + BigInt(q), 0n);
        const available = values.reduce((sum, a) => sum + BigInt(a), 0n);
        expect(given).toBe(available < BigInt(target) ? available : BigInt(target));
        expect([...quota].filter((q, i) => q === cut + 1 && values[i]! > cut)).toHaveLength(remainder);
      }),
      { numRuns: 300 },
    );
  });

  it('divides exactly where the quotient lies closest below an integer', () => {
    // (2^53 − 1) / 3 and its neighbours: quotients within 2^−53 of an integer from below.
    for (const m of [2, 3, 5, 7, 9, 11]) {
      for (const target of [MAX, MAX - 1, MAX - 2, MAX - 3]) {
        const { cut, remainder } = allocate(new Float64Array(m).fill(MAX), target, (i) => i);
        expect(BigInt(cut)).toBe(BigInt(target) / BigInt(m));
        expect(BigInt(remainder)).toBe(BigInt(target) % BigInt(m));
      }
    }
  });

  it('gives ties of the key to the lower cluster', () => {
    expect([...allocate(Float64Array.of(5, 5, 5, 5), 6, () => 0.5).quota]).toEqual([2, 2, 1, 1]);
  });

  it('takes an empty group and refuses numbers that are no counts', () => {
    expect(allocate(new Float64Array(0), 5, () => 0)).toEqual({ quota: new Float64Array(0), cut: 0, remainder: 0 });
    for (const target of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => allocate(Float64Array.of(1), target, () => 0)).toThrow(/Expected the target/);
    for (const capacity of [-1, 0.5, Number.NaN, Infinity]) expect(() => allocate(Float64Array.of(1, capacity), 1, () => 0)).toThrow(/Expected capacity 1/);
  });

  it('needs no quadratic time on many clusters of doubling sizes or one of each size', () => {
    const doubling = Float64Array.from({ length: 300_000 }, (_, i) => 2 ** (i % 53) - 1);
    const rising = Float64Array.from({ length: 300_000 }, (_, i) => i);
    for (const capacity of [doubling, rising]) {
      const cpuMs = startCpuTimer();
      const { quota } = allocate(capacity, 20_000_000_000, (i) => i);
      expect(quota.reduce((sum, q) => sum + q, 0)).toBe(20_000_000_000);
      // Milliseconds when idle; a pass over all clusters for each of them would take minutes.
      expect(cpuMs()).toBeLessThan(20_000);
    }
  });
});

describe('allocateTree', () => {
  it('keys the remainder by level and cluster, not by parent', () => {
    const size = new Float64Array(40).fill(3);
    const tree = (parent: Uint32Array) => ({ d: 1, levels: [{ k: 40, parent, size }, { k: 2, parent: new Uint32Array(2).fill(NO_CLUSTER), size: Float64Array.of(60, 60) }] });
    const stream = randomStream(9, 'sample', 'quota', 1);
    for (const half of [(c: number) => c % 2, (c: number) => (c < 20 ? 0 : 1)]) {
      const parent = Uint32Array.from({ length: 40 }, (_, c) => half(c));
      const [level] = allocateTree(tree(parent), 14, 1, 9);
      for (const p of [0, 1]) {
        const children = [...parent.keys()].filter((c) => parent[c] === p);
        const first = children.toSorted((a, b) => stream.uniform(a) - stream.uniform(b)).slice(0, 7);
        expect(children.filter((c) => level!.quota[c] === 1)).toEqual(first.toSorted((a, b) => a - b));
      }
    }
  });

  it('counts groups, cuts and remainders, and leaves out what has no quota', () => {
    const tree = {
      d: 1,
      levels: [
        { k: 5, parent: Uint32Array.of(0, 0, 0, 1, 2), size: Float64Array.of(10, 1, 10, 4, 0) },
        { k: 3, parent: new Uint32Array(3).fill(NO_CLUSTER), size: Float64Array.of(21, 4, 0) },
      ],
    };
    const [leaves, top] = allocateTree(tree, 12, 1, 0);
    expect(top).toMatchObject({ quota: Float64Array.of(8, 4, 0), groups: 1, cutMin: 8, cutMax: 8, remainder: 0 });
    expect(leaves).toMatchObject({ groups: 2, cutMin: 3, cutMax: 4, remainder: 1 });
    expect([...leaves!.quota].toSorted()).toEqual([0, 1, 3, 4, 4]);
  });

  it('handles a multiplier that takes capacities beyond 2^53', () => {
    const tree = { d: 1, levels: [{ k: 2, parent: new Uint32Array(2).fill(NO_CLUSTER), size: Float64Array.of(2 ** 52, 3) }] };
    expect([...allocateTree(tree, MAX, 65_535, 0)[0]!.quota]).toEqual([MAX - 3 * 65_535, 3 * 65_535]);
  });
});

describe('forSmallest', () => {
  it('visits the smallest keys, ties by position, in ascending order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(12), { maxLength: 120 }), fc.nat(130), (values, count) => {
        const keys = Float64Array.from(values);
        const visited: number[] = [];
        forSmallest(keys, keys.length, count, new Float64Array(keys.length), (i) => visited.push(i));
        const expected = [...keys.keys()].sort((a, b) => keys[a]! - keys[b]! || a - b).slice(0, count);
        expect(visited).toEqual(expected.sort((a, b) => a - b));
      }),
      { numRuns: 300 },
    );
  });
});
