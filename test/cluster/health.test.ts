import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { healthWarnings, measureHealth } from '../../src/cluster/health.ts';

const levels = fc.array(
  fc.array(fc.oneof(fc.nat(4), fc.nat(500)), { minLength: 1, maxLength: 40 }).filter((sizes) => sizes.some((size) => size > 0)).map((sizes) => Float64Array.from(sizes)),
  { minLength: 1, maxLength: 5 },
);

describe('measureHealth', () => {
  it('gives one entry a level, finest first, with shares and counts that add up', () => {
    fc.assert(
      fc.property(levels, fc.integer({ min: 1, max: 10 }), (sizes, minSize) => {
        const health = measureHealth(sizes, minSize);
        expect(health.levels.map(({ level }) => level)).toEqual(sizes.map((_, l) => l + 1));
        sizes.forEach((size, l) => {
          const one = health.levels[l]!;
          const images = size.reduce((sum, count) => sum + count, 0);
          expect(one.k).toBe(size.length);
          expect(one.empty).toBe(size.filter((count) => count === 0).length);
          expect(one.small).toBe(size.filter((count) => count < minSize).length);
          expect(one.smallShare * images).toBeCloseTo(size.filter((count) => count < minSize).reduce((sum, count) => sum + count, 0), 6);
          expect(one.largestShare * images).toBeCloseTo(Math.max(...size), 6);
          expect(one.effective).toBeGreaterThanOrEqual(1 - 1e-9);
          expect(one.effective).toBeLessThanOrEqual(size.length - one.empty + 1e-9);
          expect(one.effective * one.largestShare).toBeGreaterThanOrEqual(1 - 1e-9);
        });
      }),
    );
  });

  it('counts k effective clusters when all are equal, and is not moved by empty ones', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 1000 }), fc.nat(20), (k, size, empty) => {
        const [level] = measureHealth([Float64Array.from({ length: k + empty }, (_, c) => (c < k ? size : 0))], 1).levels;
        expect(level!.effective).toBeCloseTo(k, 6);
        expect(level!.largestShare).toBeCloseTo(1 / k, 9);
      }),
    );
  });

  it('survives a level without images', () => {
    expect(measureHealth([new Float64Array(3)], 2).levels[0]).toMatchObject({ k: 3, empty: 3, small: 3, largestShare: 0, smallShare: 0 });
  });
});

describe('healthWarnings', () => {
  /** The tree of the reference, section D: one of 25 top clusters holds 7,781 of 8,677 images, most others one to three. */
  const leaves = Float64Array.from({ length: 900 }, (_, c) => (c < 577 ? 10 : c < 899 ? 9 : 9));
  const degenerate = Float64Array.from([7781, 850, ...Array.from({ length: 23 }, () => 2)]);
  const even = Float64Array.from({ length: 300 }, (_, c) => 20 + (c % 17));

  it('names the level where quotas start when it is degenerate, and the remedy, in one sentence', () => {
    const warnings = healthWarnings(measureHealth([leaves, even, degenerate], 3), { depth: 3, policy: 'keep' });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^level 3\b.*\b90 % of the images are in one of 25 clusters.*levels: auto/);
    expect(warnings[0]).not.toMatch(/\.\s|\n/);
  });

  it('says nothing of a degenerate level above the one where quotas start, nor of a healthy tree', () => {
    const health = measureHealth([leaves, even, degenerate], 3);
    expect(healthWarnings(health, { depth: 2, policy: 'keep' })).toEqual([]);
    expect(healthWarnings(health, { depth: 1, policy: 'merge' })).toEqual([]);
  });

  it('says nothing of a top level of a single cluster: that is a random draw', () => {
    expect(healthWarnings(measureHealth([Float64Array.of(500)], 3), { depth: 1, policy: 'keep' })).toEqual([]);
  });

  it('warns of many lonely leaves unless they are treated', () => {
    const lonely = measureHealth([Float64Array.from({ length: 100 }, (_, c) => (c < 60 ? 1 : 30))], 3);
    const [warning, ...rest] = healthWarnings(lonely, { depth: 1, policy: 'keep' });
    expect(warning).toMatch(/60 of 100 level-1 clusters have fewer than 3 images.*merge/);
    expect(rest).toEqual([]);
    expect(healthWarnings(lonely, { depth: 1, policy: 'merge' })).toEqual([]);
  });
});
