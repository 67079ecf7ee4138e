import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONCEPTS } from '../../src/demo/concepts.ts';
import { ODD_KINDS, planCorpus } from '../../src/demo/corpus.ts';

describe('CONCEPTS', () => {
  it('has at least 60 distinct kebab-case names', () => {
    const names = CONCEPTS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThanOrEqual(60);
    for (const name of names) expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
  });
});

describe('planCorpus', () => {
  it('gives the default corpus a long tail', () => {
    const { summary, files } = planCorpus({ images: 10_000, concepts: CONCEPTS.length, seed: 0 });
    const counts = summary.concepts.map(({ count }) => count);
    expect(files).toHaveLength(10_000);
    expect(counts[0]).toBeGreaterThan(1_300);
    expect(counts[0]).toBeLessThan(1_700);
    expect(counts.at(-1)).toBeGreaterThanOrEqual(10);
    expect(counts.at(-1)).toBeLessThanOrEqual(20);
    expect(summary.nearCopies).toHaveLength(200);
    expect(summary.oddFiles).toHaveLength(100);
    expect(new Set(summary.oddFiles.map(({ kind }) => kind))).toEqual(new Set(ODD_KINDS));
  });

  it('changes with the seed which concepts are frequent', () => {
    const first = (seed: number) => planCorpus({ images: 1_000, concepts: 60, seed }).summary.concepts[0]?.name;
    expect(new Set([0, 1, 2, 3, 4, 5].map(first)).size).toBeGreaterThan(1);
  });

  it('refuses fewer images than concepts', () => {
    expect(() => planCorpus({ images: 10, concepts: 60, seed: 0 })).toThrow(/at least one image a concept \(60\), got images: 10/);
  });

  it('holds its laws for any size and seed', () => {
    const config = fc
      .record({ concepts: fc.integer({ min: 1, max: CONCEPTS.length }), extra: fc.integer({ min: 0, max: 1_500 }), seed: fc.integer() })
      .map(({ concepts, extra, seed }) => ({ concepts, images: concepts + extra, seed }));
    fc.assert(
      fc.property(config, (options) => {
        const { files, summary } = planCorpus(options);
        const counts = summary.concepts.map(({ count }) => count);
        expect(counts.reduce((a, b) => a + b, 0)).toBe(options.images);
        expect(counts).toHaveLength(options.concepts);
        expect(counts.every((count, rank) => count >= 1 && (rank === 0 || count <= counts[rank - 1]!))).toBe(true);
        expect(files.map(({ index }) => index)).toEqual(files.map((_, i) => i));
        expect(new Set(files.map(({ path }) => path)).size).toBe(files.length);
        for (const { name, count } of summary.concepts) {
          expect(files.filter(({ path }) => path.startsWith(`${name}/`))).toHaveLength(count);
        }
        for (const { odd, copy, concept } of files) {
          expect(odd && copy).toBeUndefined();
          if (copy) expect([copy.of.concept, copy.of.odd, copy.of.copy]).toEqual([concept, undefined, undefined]);
        }
        expect(summary).toEqual(planCorpus(options).summary);
      }),
      { numRuns: 40 },
    );
  });
});
