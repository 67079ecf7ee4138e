/** Laws of the training feed: batches are a pure function, nothing is lost, and no rank sees what another does. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../src/batch/batch.ts';
import { createPermutation } from '../../src/batch/permutation.ts';
import { type SamplerSource, createSampler } from '../../src/batch/sampler.ts';
import { STEPS_MAX } from '../../src/batch/schedule.ts';
import { randomStream } from '../../src/random.ts';

/** Any parts, sizes spread over the powers of ten up to `rowsMax`, and any mixture of them; one may be homogeneous. */
const sourceOf = (rowsMax: number) =>
  fc
    .record({
      sizes: fc.array(fc.double({ min: 0, max: Math.log10(rowsMax), noNaN: true }).map((power) => Math.floor(10 ** power)), { minLength: 1, maxLength: 6 }),
      ratios: fc.array(fc.double({ min: 1e-4, max: 1, noNaN: true }), { minLength: 6, maxLength: 6 }),
      probability: fc.oneof(fc.constant(0), fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
      seed: fc.nat(),
    })
    .map(({ sizes, ratios, probability, seed }): SamplerSource => {
      const parts = sizes.map((rows, i) => ({ name: `part-${i}`, rows }));
      const others = parts.slice(parts.length > 1 ? 1 : 0);
      const total = others.reduce((sum, _, i) => sum + ratios[i]!, 0);
      const homogeneous = parts.length > 1 ? { part: 'part-0', probability } : null;
      return { parts, seed, mixture: { homogeneous, heterogeneous: probability === 1 && homogeneous !== null ? [] : others.map(({ name }, i) => ({ part: name, ratio: ratios[i]! / total })) } };
    });

const images = ({ part, index }: Batch): string[] => Array.from(part, (p, i) => `${p}:${index[i]}`);

describe('batches', () => {
  it('of all ranks in order are the global batch, at any world size', () => {
    fc.assert(
      fc.property(sourceOf(1e11), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 4096 }), fc.integer({ min: 0, max: 5000 }), (source, batchSize, worldSize, step) => {
        const sampler = createSampler(source, batchSize);
        const whole = sampler.batch(step, 0, 1);
        const ranks = Array.from({ length: worldSize }, (_, rank) => sampler.batch(step, rank, worldSize));
        expect(ranks.flatMap(images)).toEqual(images(whole));
        const sizes = ranks.map(({ index }) => index.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        expect(ranks.every(({ kind }) => kind === whole.kind)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('at a step are what they are, whatever was asked before', () => {
    fc.assert(
      fc.property(sourceOf(1e11), fc.integer({ min: 1, max: 64 }), fc.array(fc.integer({ min: 0, max: 12_000 }), { minLength: 1, maxLength: 8 }), (source, batchSize, steps) => {
        const used = createSampler(source, batchSize);
        for (const step of steps) {
          const { part, index, kind } = used.batch(step, 0, 1);
          expect(createSampler(source, batchSize).batch(step, 0, 1)).toEqual({ step, kind, rank: 0, worldSize: 1, part, index });
        }
      }),
      { numRuns: 30 },
    );
  });

  it('give each row of a part once before any twice, at every step', () => {
    fc.assert(
      fc.property(sourceOf(300), fc.integer({ min: 1, max: 80 }), (source, batchSize) => {
        const sampler = createSampler(source, batchSize);
        const seen = source.parts.map(({ rows }) => new Uint32Array(rows));
        for (let step = 0; step < 60; step++) {
          const { part, index } = sampler.batch(step, 0, 1);
          part.forEach((p, i) => seen[p]![index[i]!]!++);
          for (const counts of seen) {
            const least = counts.reduce((a, b) => Math.min(a, b));
            expect(counts.every((count) => count - least <= 1)).toBe(true);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('keep every part within one image of its share, at every step', () => {
    fc.assert(
      fc.property(sourceOf(1e6), fc.integer({ min: 1, max: 40 }), (source, batchSize) => {
        const sampler = createSampler(source, batchSize);
        const given = source.parts.map(() => 0);
        let heterogeneous = 0;
        for (let step = 0; step < 150; step++) {
          const { kind, part } = sampler.batch(step, 0, 1);
          if (kind === 'homogeneous') {
            expect(part.every((p) => p === 0)).toBe(true);
            continue;
          }
          heterogeneous++;
          part.forEach((p) => given[p]!++);
          for (const { part: name, ratio } of source.mixture.heterogeneous) {
            const p = source.parts.findIndex((one) => one.name === name);
            expect(Math.abs(given[p]! - ratio * batchSize * heterogeneous)).toBeLessThan(1 + 1e-6);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('are homogeneous about as often as wished', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0.02, max: 0.98, noNaN: true }), (seed, probability) => {
        const source: SamplerSource = { parts: [{ name: 'a', rows: 9 }, { name: 'b', rows: 9 }], mixture: { homogeneous: { part: 'a', probability }, heterogeneous: [{ part: 'b', ratio: 1 }] }, seed };
        const sampler = createSampler(source, 1);
        const n = 3000;
        let homogeneous = 0;
        for (let step = 0; step < n; step++) if (sampler.batch(step, 0, 1).kind === 'homogeneous') homogeneous++;
        expect(Math.abs(homogeneous - probability * n)).toBeLessThan(5.5 * Math.sqrt(n * probability * (1 - probability)) + 1);
      }),
      { numRuns: 30 },
    );
  });

  it('have no other state than the step: a sampler made anew at step s goes on as the old one', () => {
    fc.assert(
      fc.property(sourceOf(1000), fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 9000 }), (source, batchSize, stop) => {
        const unbroken = createSampler(source, batchSize);
        for (let step = Math.max(0, stop - 20); step < stop; step++) unbroken.batch(step, 0, 1);
        const resumed = createSampler(source, batchSize);
        for (let step = stop; step < stop + 5; step++) expect(images(resumed.batch(step, 1, 2))).toEqual(images(unbroken.batch(step, 1, 2)));
      }),
      { numRuns: 20 },
    );
    expect(STEPS_MAX).toBeGreaterThan(100e6);
  });

  it('keep all that with several homogeneous parts, the exact schedule and phases', () => {
    const mixtures = fc.record({ sizes: fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 4, maxLength: 4 }), p: fc.double({ min: 0, max: 0.5, noNaN: true }), q: fc.double({ min: 0, max: 0.5, noNaN: true }), ratio: fc.double({ min: 0.001, max: 0.999, noNaN: true }), phase: fc.integer({ min: 1, max: 60 }), exact: fc.boolean(), seed: fc.nat(), batchSize: fc.integer({ min: 1, max: 50 }), worldSize: fc.integer({ min: 1, max: 9 }) });
    fc.assert(
      fc.property(mixtures, ({ sizes, p, q, ratio, phase, exact, seed, batchSize, worldSize }) => {
        const parts = sizes.map((rows, i) => ({ name: `part-${i}`, rows }));
        const first = { homogeneous: [{ part: 'part-0', probability: p }, { part: 'part-1', probability: q }], heterogeneous: [{ part: 'part-2', ratio }, { part: 'part-3', ratio: 1 - ratio }] };
        const second = { fromStep: phase, homogeneous: { part: 'part-3', probability: p }, heterogeneous: [{ part: 'part-0', ratio: 1 - ratio }, { part: 'part-1', ratio }] };
        const source: SamplerSource = { parts, seed, mixture: { ...first, ...(exact && { schedule: 'exact' }), phases: [second] } };
        const sampler = createSampler(source, batchSize);
        const seen = parts.map(({ rows }) => new Uint32Array(rows));
        let given = [0, 0, 0, 0];
        let heterogeneous = 0;
        for (let step = 0; step < 120; step++) {
          if (step === phase) [given, heterogeneous] = [[0, 0, 0, 0], 0];
          const whole = sampler.batch(step, 0, 1);
          const ranks = Array.from({ length: worldSize }, (_, rank) => sampler.batch(step, rank, worldSize));
          expect(ranks.flatMap(images)).toEqual(images(whole));
          whole.part.forEach((one, i) => seen[one]![whole.index[i]!]!++);
          for (const counts of seen) expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
          if (whole.kind === 'homogeneous') expect(new Set(whole.part).size).toBe(1);
          else {
            heterogeneous++;
            whole.part.forEach((one) => given[one]!++);
            for (const { part, ratio: wished } of step < phase ? first.heterogeneous : second.heterogeneous) expect(Math.abs(given[Number(part.slice(5))]! - wished * batchSize * heterogeneous)).toBeLessThan(1 + 1e-6);
          }
          if (step % 40 === 17) expect(images(createSampler(source, batchSize).batch(step, 0, 1))).toEqual(images(whole));
        }
      }),
      { numRuns: 40 },
    );
  });

  /** χ² of how often each pair of rows shares a batch over many passes, as a standard normal; see below for its spread. */
  const pairStatistic = (n: number, batchSize: number, passes: number, orderOf: (pass: number) => ArrayLike<number>): number => {
    const together = new Uint32Array(n * n);
    for (let pass = 0; pass < passes; pass++) {
      const order = orderOf(pass);
      for (let from = 0; from < n; from += batchSize) for (let i = from; i < from + batchSize; i++) for (let j = from; j < i; j++) together[Math.max(order[i]!, order[j]!) * n + Math.min(order[i]!, order[j]!)]!++;
    }
    // Each row meets exactly batchSize − 1 others a pass, so counts vary in n(n − 3) / 2 dimensions only.
    const chance = (batchSize - 1) / (n - 1);
    const pairs = (n * (n - 1)) / 2;
    const free = (n * (n - 3)) / 2;
    let sum = 0;
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) sum += (together[i * n + j]! - passes * chance) ** 2;
    return ((sum / (passes * chance * (1 - chance))) * (free / pairs) - free) / Math.sqrt(2 * free);
  };

  it('put each pair of rows into one batch as often as any other, over 1,000 passes', () => {
    for (const [n, batchSize] of [[12, 3], [30, 5], [48, 8], [100, 4]] as const) {
      const sampler = createSampler({ parts: [{ name: 'a', rows: n }], mixture: { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 1 }] }, seed: 2 }, batchSize);
      const batches = n / batchSize;
      const orderOf = (pass: number): number[] => Array.from({ length: batches }, (_, b) => [...sampler.batch(pass * batches + b, 0, 1).index]).flat();
      expect(Math.abs(pairStatistic(n, batchSize, 1000, orderOf)), `${n} rows in batches of ${batchSize}`).toBeLessThan(4);
    }
  });

  it('would not with fewer rounds of the permutation: the same test fails', () => {
    const weak = (n: number, rounds: number) => (pass: number): number[] => {
      const permutation = createPermutation(n, randomStream(2, 'weak'), pass, rounds);
      return Array.from({ length: n }, (_, i) => permutation.at(i));
    };
    expect(pairStatistic(48, 8, 1000, weak(48, 2))).toBeGreaterThan(6);
    expect(pairStatistic(100, 4, 1000, weak(100, 2))).toBeGreaterThan(6);
    expect(Math.abs(pairStatistic(48, 8, 1000, weak(48, 16)))).toBeLessThan(4);
  });
});
