import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { allocate } from '../../src/sample/allocate.ts';
import { allocateWithFloor } from '../../src/sample/floor.ts';

const keyed = (seed: number) => {
  const stream = randomStream(seed, 'test', 'floor');
  return (cluster: number): number => stream.uniform(cluster);
};
const capacities = fc.array(fc.oneof(fc.nat(5), fc.nat(2000)), { minLength: 1, maxLength: 40 }).map((sizes) => Float64Array.from(sizes));
const floors = fc.constantFrom(0, 0.25, 0.5, 1, 3);
const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

describe('allocateWithFloor', () => {
  it('gives the target exactly, or everything, and no cluster more than it has', () => {
    fc.assert(
      fc.property(capacities, floors, fc.nat(20_000), fc.nat(99), (capacity, floor, target, seed) => {
        const { quota } = allocateWithFloor(capacity, floor, target, keyed(seed));
        expect(sum(quota)).toBe(Math.min(target, sum(capacity)));
        quota.forEach((units, i) => expect(Number.isInteger(units) && units >= 0 && units <= capacity[i]!).toBe(true));
      }),
    );
  });

  it('is plain water-filling at floor 0', () => {
    fc.assert(
      fc.property(capacities, fc.nat(20_000), fc.nat(99), (capacity, target, seed) => {
        expect(allocateWithFloor(capacity, 0, target, keyed(seed)).quota).toEqual(allocate(capacity, target, keyed(seed)).quota);
      }),
    );
  });

  it('takes, for a larger target, at least as much of every cluster', () => {
    fc.assert(
      fc.property(capacities, floors, fc.nat(5000), fc.nat(50), fc.nat(99), (capacity, floor, target, more, seed) => {
        const few = allocateWithFloor(capacity, floor, target, keyed(seed)).quota;
        const many = allocateWithFloor(capacity, floor, target + more, keyed(seed)).quota;
        few.forEach((units, i) => expect(units).toBeLessThanOrEqual(many[i]!));
      }),
    );
  });

  it('leaves a large cluster floor / (1 + floor) of its proportional share, less one unit a cluster for rounding', () => {
    fc.assert(
      fc.property(capacities, floors, fc.nat(20_000), (capacity, floor, target) => {
        const total = sum(capacity);
        fc.pre(target <= total);
        const { quota } = allocateWithFloor(capacity, floor, target, keyed(0));
        const filled = capacity.filter((units) => units > 0).length;
        capacity.forEach((units, i) => expect(quota[i]! + 1).toBeGreaterThanOrEqual(((floor / (1 + floor)) * Math.max(0, target - filled) * units) / total - 1e-9));
      }),
    );
  });
});
