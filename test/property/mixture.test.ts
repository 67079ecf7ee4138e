/** Laws of the mixture: what a batch draws from, for any parts and any ratios. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mixParts } from '../../src/mix/mix.ts';
import type { MixConfig } from '../../src/mix/config.ts';
import type { MixturePart } from '../../src/mix/mixture.ts';

const parts = fc.array(fc.integer({ min: 1, max: 2 ** 40 }), { minLength: 1, maxLength: 12 }).map((sizes) => sizes.map((rows, i): MixturePart => ({ name: `part-${i}`, kind: i === 0 ? 'balanced' : 'raw', rows, uniqueImages: rows })));

/** Parts with ratios for some of them, at least one. */
const given_ = parts.chain((list) =>
  fc.tuple(fc.constant(list), fc.subarray(list.map(({ name }) => name), { minLength: 1 })).chain(([all, some]) =>
    fc.tuple(fc.constant(all), fc.array(fc.double({ min: 1e-12, max: 1e12, noNaN: true }), { minLength: some.length, maxLength: some.length }).map((ratios) => Object.fromEntries(some.map((name, i) => [name, ratios[i]!])))),
  ),
);

describe('mixture', () => {
  it('has positive ratios that sum to 1, in the order of the parts, and accounts for every part', () => {
    fc.assert(
      fc.property(given_, ([list, heterogeneous]) => {
        const { mixture, unused } = mixParts(list, { homogeneous: null, heterogeneous });
        expect(mixture.heterogeneous.reduce((sum, { ratio }) => sum + ratio, 0)).toBeCloseTo(1, 12);
        expect(mixture.heterogeneous.every(({ ratio }) => ratio > 0)).toBe(true);
        const drawn = mixture.heterogeneous.map(({ part }) => part);
        expect(list.map(({ name }) => name).filter((name) => drawn.includes(name))).toEqual(drawn);
        expect([...drawn, ...unused].toSorted()).toEqual(list.map(({ name }) => name).toSorted());
      }),
    );
  });

  it('keeps proportions, and scaling all of them changes nothing', () => {
    fc.assert(
      fc.property(given_, fc.integer({ min: -20, max: 20 }), ([list, heterogeneous], power) => {
        const { mixture } = mixParts(list, { homogeneous: null, heterogeneous });
        const [first] = mixture.heterogeneous;
        for (const { part, ratio } of mixture.heterogeneous) expect(ratio / first!.ratio / (heterogeneous[part]! / heterogeneous[first!.part]!)).toBeCloseTo(1, 12);
        const scaled = Object.fromEntries(Object.entries(heterogeneous).map(([name, ratio]) => [name, ratio * 2 ** power]));
        expect(mixParts(list, { homogeneous: null, heterogeneous: scaled }).mixture).toEqual(mixture);
      }),
    );
  });

  it('in proportion to size is the same as sizes given as ratios', () => {
    fc.assert(
      fc.property(parts, (list) => {
        const sizes: MixConfig = { homogeneous: null, heterogeneous: Object.fromEntries(list.map(({ name, rows }) => [name, rows])) };
        expect(mixParts(list, { homogeneous: null, heterogeneous: 'proportional' })).toEqual(mixParts(list, sizes));
      }),
    );
  });

  it('never draws the homogeneous part into a heterogeneous batch', () => {
    fc.assert(
      fc.property(parts, fc.nat(), fc.double({ min: 0, max: 1, noNaN: true }), (list, pick, probability) => {
        fc.pre(list.length > 1);
        const { name } = list[pick % list.length]!;
        const { mixture, unused } = mixParts(list, { homogeneous: { part: name, probability }, heterogeneous: 'proportional' });
        expect(mixture.heterogeneous.map(({ part }) => part)).not.toContain(name);
        expect(unused.includes(name)).toBe(probability === 0);
        expect(mixture.heterogeneous.length).toBe(probability === 1 ? 0 : list.length - 1);
      }),
    );
  });
});
