import { describe, expect, it } from 'vitest';
import type { Batch } from '../../src/batch/batch.ts';
import { type SamplerSource, createSampler } from '../../src/batch/sampler.ts';

const SOURCE: SamplerSource = {
  parts: [{ name: 'a', rows: 50 }, { name: 'b', rows: 7 }, { name: 'tiny', rows: 3 }],
  mixture: { homogeneous: { part: 'tiny', probability: 0.2 }, heterogeneous: [{ part: 'a', ratio: 0.8 }, { part: 'b', ratio: 0.2 }] },
  seed: 0,
};

const imagesOf = ({ part, index }: Batch): string[] => Array.from(part, (p, i) => `${p}:${index[i]}`);

describe('createSampler', () => {
  it('sees each row of a part once a pass before any twice, and drops no tail', () => {
    const sampler = createSampler(SOURCE, 9);
    const seen = SOURCE.parts.map(({ rows }) => new Array<number>(rows).fill(0));
    for (let step = 0; step < 200; step++) {
      const { part, index } = sampler.batch(step, 0, 1);
      part.forEach((p, i) => seen[p]![index[i]!]!++);
      for (const counts of seen) expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    }
    expect(Math.min(...seen.flat())).toBeGreaterThan(20);
  });

  it('orders passes differently', () => {
    const sampler = createSampler({ ...SOURCE, parts: [{ name: 'a', rows: 40 }], mixture: { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 1 }] } }, 40);
    const passes = Array.from({ length: 10 }, (_, step) => imagesOf(sampler.batch(step, 0, 1)));
    expect(new Set(passes.map((pass) => pass.join())).size).toBe(10);
    for (const pass of passes) expect(new Set(pass).size).toBe(40);
  });

  it('follows the seed, and the name of a part rather than its place', () => {
    const first = imagesOf(createSampler(SOURCE, 16).batch(5, 0, 1));
    expect(imagesOf(createSampler(SOURCE, 16).batch(5, 0, 1))).toEqual(first);
    expect(imagesOf(createSampler({ ...SOURCE, seed: 1 }, 16).batch(5, 0, 1))).not.toEqual(first);
    const moved = createSampler({ ...SOURCE, parts: SOURCE.parts.toReversed() }, 16).batch(5, 0, 1);
    expect(imagesOf({ ...moved, part: moved.part.map((p) => 2 - p) }).toSorted()).toEqual(first.toSorted());
  });

  it('marks homogeneous batches and fills them from one part, however small', () => {
    const sampler = createSampler(SOURCE, 12);
    const batches = Array.from({ length: 100 }, (_, step) => sampler.batch(step, 0, 1));
    const homogeneous = batches.filter(({ kind }) => kind === 'homogeneous');
    expect(homogeneous.length).toBeGreaterThan(5);
    for (const { part, kind } of batches) expect([...new Set(part)].toSorted()).toEqual(kind === 'homogeneous' ? [2] : [0, 1]);
  });

  it('deals a batch out evenly: sizes, and the mix of parts in each rank', () => {
    for (const [batchSize, worldSize] of [[64, 8], [100, 7], [4096, 256], [5, 8]] as const) {
      const sampler = createSampler({ ...SOURCE, parts: [{ name: 'a', rows: 1e9 }, { name: 'b', rows: 1e6 }, { name: 'tiny', rows: 3 }], mixture: { ...SOURCE.mixture, homogeneous: null } }, batchSize);
      const ranks = Array.from({ length: worldSize }, (_, rank) => sampler.batch(3, rank, worldSize));
      const sizes = ranks.map(({ index }) => index.length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      const shareOfA = ranks.flatMap(({ part }) => [...part]).filter((p) => p === 0).length / batchSize;
      for (const { part } of ranks) expect(Math.abs(part.filter((p) => p === 0).length - shareOfA * part.length)).toBeLessThan(3);
    }
  });

  it('does not always give the same rank the same part first', () => {
    const sampler = createSampler({ ...SOURCE, mixture: { ...SOURCE.mixture, homogeneous: null } }, 10);
    const firsts = Array.from({ length: 200 }, (_, step) => sampler.batch(step, 0, 10).part[0]!);
    expect(firsts.filter((p) => p === 1).length).toBeGreaterThan(15); // 40 expected
  });

  it('has a part of one row, and a part far larger than memory', () => {
    const source: SamplerSource = { parts: [{ name: 'one', rows: 1 }, { name: 'vast', rows: 2 ** 52 }], mixture: { homogeneous: null, heterogeneous: [{ part: 'one', ratio: 0.5 }, { part: 'vast', ratio: 0.5 }] }, seed: 0 };
    const { part, index } = createSampler(source, 1000).batch(1000, 0, 1);
    expect(index.filter((_, i) => part[i] === 0)).toEqual(new Float64Array(500));
    const vast = [...index.filter((_, i) => part[i] === 1)];
    expect(new Set(vast).size).toBe(500);
    expect(vast.every((row) => Number.isSafeInteger(row) && row >= 0 && row < 2 ** 52)).toBe(true);
  });
});
