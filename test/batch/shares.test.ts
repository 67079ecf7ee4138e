import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createShares } from '../../src/batch/shares.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

/** Ratios from equal ones to far apart, sum 1. */
const ratios = fc.array(fc.double({ min: -5, max: 0, noNaN: true }).map((power) => 10 ** power), { minLength: 1, maxLength: 12 }).map((list) => list.map((one) => one / list.reduce((a, b) => a + b)));

describe('createShares', () => {
  it('stays within an image of every share, never gives less than nothing, and fills every batch', () => {
    fc.assert(
      fc.property(ratios, fc.integer({ min: 1, max: 5000 }), (list, batchSize) => {
        const shares = createShares(list, batchSize);
        let given = list.map(() => 0);
        for (let h = 0; h < 300; h++) {
          const found = shares.at(h);
          expect(found.given).toEqual(given);
          expect(found.next.every((count) => count >= 0)).toBe(true);
          expect(found.next.reduce((a, b) => a + b)).toBe(batchSize);
          given = given.map((count, i) => count + found.next[i]!);
          given.forEach((count, i) => expect(Math.abs(count - list[i]! * batchSize * (h + 1))).toBeLessThan(1 + 1e-6));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('says the same of any batch, asked in any order', () => {
    fc.assert(
      fc.property(ratios, fc.integer({ min: 1, max: 300 }), fc.array(fc.nat(9000), { minLength: 2, maxLength: 6 }), (list, batchSize, asked) => {
        const shares = createShares(list, batchSize);
        for (const h of asked) expect(shares.at(h)).toEqual(createShares(list, batchSize).at(h));
      }),
      { numRuns: 30 },
    );
  });

  it('rounds by largest remainder where every part has an image a batch', () => {
    // Shares after h batches of 10: 4.7, 3.1, 2.2 times h.
    const shares = createShares([0.47, 0.31, 0.22], 10);
    expect([1, 2, 3, 10].map((h) => shares.at(h).given)).toEqual([[5, 3, 2], [10, 6, 4], [14, 9, 7], [47, 31, 22]]);
  });

  it('costs the same at any batch there, and is exact far on', () => {
    const list = [0.7301, 0.2, 0.0699];
    const cpuMs = startCpuTimer();
    for (const h of [100_000_000, 3, 99_999_999, 12_345_678]) createShares(list, 4096).at(h).given.forEach((count, i) => expect(Math.abs(count - list[i]! * 4096 * h)).toBeLessThan(1.001));
    expect(cpuMs()).toBeLessThan(2000);
  });

  it('has nothing to give where no batch is heterogeneous', () => {
    expect(createShares([0, 0], 8).at(5)).toEqual({ given: [0, 0], next: [0, 0] });
  });
});
