import { describe, expect, it } from 'vitest';
import { STEPS_MAX, createSchedule } from '../../src/batch/schedule.ts';
import type { Mixture } from '../../src/mix/mixture.ts';

const NAMES = ['a', 'b', 'c'];
const THIRDS: Mixture = { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 0.5 }, { part: 'b', ratio: 0.3 }, { part: 'c', ratio: 0.2 }] };

const countsOf = (mixture: Mixture, batchSize: number, steps: number, names = NAMES): number[][] => {
  const schedule = createSchedule(names, mixture, batchSize, 0);
  return Array.from({ length: steps }, (_, step) => [...schedule.at(step).counts]);
};

describe('createSchedule', () => {
  it('rounds by largest remainder and carries what is left', () => {
    // 10 · (0.5, 0.3, 0.2) is whole; 4 · is (2, 1.2, 0.8), after two batches (4, 2.4, 1.6), after three (6, 3.6, 2.4) …
    expect(countsOf(THIRDS, 10, 2)).toEqual([[5, 3, 2], [5, 3, 2]]);
    expect(countsOf(THIRDS, 4, 5)).toEqual([[2, 1, 1], [2, 1, 1], [2, 2, 0], [2, 1, 1], [2, 1, 1]]);
  });

  it('gives shares of less than an image a batch their turn in time', () => {
    const ratios = [0.9, 0.05, 0.03, 0.02];
    const names = ['a', 'b', 'c', 'd'];
    const counts = countsOf({ homogeneous: null, heterogeneous: names.map((part, i) => ({ part, ratio: ratios[i]! })) }, 1, 1000, names);
    const sums = [0, 0, 0, 0];
    counts.forEach((batch, h) => {
      expect(batch.reduce((sum, count) => sum + count)).toBe(1);
      batch.forEach((count, i) => expect(Math.abs((sums[i]! += count) - ratios[i]! * (h + 1))).toBeLessThan(1 + 1e-9));
    });
    sums.forEach((sum, i) => expect(Math.abs(sum - ratios[i]! * 1000)).toBeLessThan(1 + 1e-9));
  });

  it('draws homogeneous steps with their probability, independently', () => {
    const schedule = createSchedule(NAMES, { homogeneous: { part: 'c', probability: 0.1 }, heterogeneous: [{ part: 'a', ratio: 0.75 }, { part: 'b', ratio: 0.25 }] }, 8, 3);
    const n = 20_000;
    const kinds = Array.from({ length: n }, (_, step) => schedule.at(step).kind === 'homogeneous');
    const drawn = kinds.filter(Boolean).length;
    expect(Math.abs(drawn - 0.1 * n)).toBeLessThan(4 * Math.sqrt(n * 0.1 * 0.9));
    const twice = kinds.filter((kind, i) => kind && kinds[i + 1] === true).length;
    expect(Math.abs(twice - 0.01 * n)).toBeLessThan(4 * Math.sqrt(n * 0.01 * 0.99));
  });

  it('fills a homogeneous batch from its part alone and counts what each part has given', () => {
    const schedule = createSchedule(NAMES, { homogeneous: { part: 'c', probability: 0.3 }, heterogeneous: [{ part: 'a', ratio: 0.75 }, { part: 'b', ratio: 0.25 }] }, 8, 1);
    const taken = [0, 0, 0];
    for (let step = 0; step < 200; step++) {
      const composition = schedule.at(step);
      expect([...composition.taken]).toEqual(taken);
      expect([...composition.counts]).toEqual(composition.kind === 'homogeneous' ? [0, 0, 8] : [6, 2, 0]);
      composition.counts.forEach((count, i) => (taken[i]! += count));
    }
  });

  it('has all steps of one kind at probability 0 and 1', () => {
    const kinds = (probability: number): Set<string> => {
      const schedule = createSchedule(NAMES, { homogeneous: { part: 'c', probability }, heterogeneous: probability === 1 ? [] : [{ part: 'a', ratio: 1 }] }, 4, 0);
      return new Set(Array.from({ length: 500 }, (_, step) => schedule.at(step).kind));
    };
    expect(kinds(0)).toEqual(new Set(['heterogeneous']));
    expect(kinds(1)).toEqual(new Set(['homogeneous']));
  });

  it('is a pure function of the step, across its checkpoints, in any order', () => {
    const mixture: Mixture = { homogeneous: { part: 'c', probability: 0.2 }, heterogeneous: [{ part: 'a', ratio: 0.97 }, { part: 'b', ratio: 0.03 }] };
    const steps = [0, 9000, 4095, 4096, 4097, 8192, 1, 12_288, 8191, 9000, 5000, 0];
    const walked = createSchedule(NAMES, mixture, 5, 0);
    const all = Array.from({ length: 12_289 }, (_, step) => walked.at(step));
    const jumping = createSchedule(NAMES, mixture, 5, 0);
    for (const step of steps) {
      expect(jumping.at(step), `step ${step}`).toEqual(all[step]);
      expect(createSchedule(NAMES, mixture, 5, 0).at(step), `step ${step} first`).toEqual(all[step]);
    }
  });

  it('stays exact at the paper\'s size', () => {
    const ratios = [0.7301, 0.2, 0.0699];
    const schedule = createSchedule(NAMES, { homogeneous: null, heterogeneous: NAMES.map((part, i) => ({ part, ratio: ratios[i]! })) }, 4096, 0);
    for (const step of [99_999, 100_000]) schedule.at(step).taken.forEach((taken, i) => expect(Math.abs(taken - ratios[i]! * 4096 * step)).toBeLessThan(1));
  });

  it('refuses steps it does not have and parts that are not there', () => {
    const schedule = createSchedule(NAMES, THIRDS, 4, 0);
    for (const step of [-1, 0.5, STEPS_MAX, Number.NaN]) expect(() => schedule.at(step)).toThrow(/Expected a step from 0 to 134217727/);
    expect(() => createSchedule(['a', 'b'], THIRDS, 4, 0)).toThrow(/parts among a, b, got "c"/);
  });
});
