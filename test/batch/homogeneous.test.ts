import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHomogeneousSteps } from '../../src/batch/homogeneous.ts';

const part = (probability: number, name = 'a') => ({ part: name, probability });
const kindsOf = (probabilities: readonly number[], schedule: 'independent' | 'exact', seed: number, steps: number): number[] => {
  const draws = createHomogeneousSteps(probabilities.map((p, j) => part(p, `part-${j}`)), schedule, seed, 0);
  return Array.from({ length: steps }, (_, step) => draws.at(step).which);
};

/** Probabilities of up to four parts that sum to 1 at most. */
const several = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }).map((list) => {
  const sum = list.reduce((a, b) => a + b, 0);
  return sum > 1 ? list.map((p) => p / (sum * (1 + 1e-12))) : list;
});

describe.each(['independent', 'exact'] as const)('%s homogeneous steps', (schedule) => {
  it('count what was before, at any step and in any order', () => {
    fc.assert(
      fc.property(several, fc.nat(), fc.array(fc.nat(4000), { minLength: 1, maxLength: 5 }), (list, seed, asked) => {
        const kinds = kindsOf(list, schedule, seed, 4001);
        const draws = createHomogeneousSteps(list.map((p, j) => part(p, `part-${j}`)), schedule, seed, 0);
        for (const step of asked) {
          const { which, before } = draws.at(step);
          expect(which).toBe(kinds[step]);
          expect([...before]).toEqual(list.map((_, j) => kinds.slice(0, step).filter((kind) => kind === j).length));
        }
      }),
      { numRuns: 30 },
    );
  });

  it('come as often as wished, far on too', () => {
    const draws = createHomogeneousSteps([part(0.1, 'a'), part(0.02, 'b')], schedule, 5, 0);
    const steps = 1_000_000;
    [0.1, 0.02].forEach((p, j) => expect(Math.abs(draws.at(steps).before[j]! - p * steps)).toBeLessThan(schedule === 'exact' ? 2 : 4 * Math.sqrt(steps * p * (1 - p))));
  });

  it('are all or none at 1 and 0', () => {
    expect(new Set(kindsOf([1], schedule, 1, 3000))).toEqual(new Set([0]));
    expect(new Set(kindsOf([0], schedule, 1, 3000))).toEqual(new Set([-1]));
  });
});

describe('the exact schedule', () => {
  it('has p · m homogeneous steps in any window of m, within 1', () => {
    fc.assert(
      fc.property(several, fc.nat(), (list, seed) => {
        const kinds = kindsOf(list, 'exact', seed, 600);
        const sums = [0];
        for (const kind of kinds) sums.push(sums.at(-1)! + (kind >= 0 ? 1 : 0));
        const p = list.reduce((a, b) => a + b, 0);
        let worst = 0;
        for (let from = 0; from < 600; from++) for (let to = from + 1; to <= 600; to++) worst = Math.max(worst, Math.abs(sums[to]! - sums[from]! - p * (to - from)));
        expect(worst).toBeLessThan(1 + 1e-9);
      }),
      { numRuns: 25 },
    );
  });

  it('gives each of several parts its share, within their number', () => {
    fc.assert(
      fc.property(several, fc.nat(), (list, seed) => {
        const draws = createHomogeneousSteps(list.map((p, j) => part(p, `part-${j}`)), 'exact', seed, 0);
        for (let step = 0; step < 2000; step += 13) list.forEach((p, j) => expect(Math.abs(draws.at(step).before[j]! - p * step)).toBeLessThan(list.length + 1e-6));
      }),
      { numRuns: 30 },
    );
  });
});

describe('independent steps', () => {
  it('are independent: counts of blocks, runs and gaps are those of coin flips', () => {
    const p = 0.1;
    const kinds = kindsOf([p], 'independent', 3, 200_000).map((kind) => kind === 0);
    // How often 100 steps have k of them, against the binomial.
    const counts = new Array<number>(26).fill(0);
    for (let block = 0; block < 2000; block++) counts[Math.min(25, kinds.slice(block * 100, block * 100 + 100).filter(Boolean).length)]!++;
    let chance = (1 - p) ** 100;
    let [statistic, bins] = [0, 0];
    for (let k = 0; k < 25; k++) {
      if (2000 * chance >= 5) {
        statistic += (counts[k]! - 2000 * chance) ** 2 / (2000 * chance);
        bins++;
      }
      chance *= ((100 - k) / (k + 1)) * (p / (1 - p));
    }
    expect(Math.abs((statistic - bins) / Math.sqrt(2 * bins))).toBeLessThan(4);
    for (const lag of [1, 2, 5, 1023, 1024, 1025]) {
      const pairs = kinds.length - lag;
      const both = kinds.filter((kind, i) => kind && kinds[i + lag] === true).length;
      expect(Math.abs(both - p * p * pairs), `lag ${lag}`).toBeLessThan(4.5 * Math.sqrt(pairs * p * p * (1 - p * p)));
    }
  });
});
