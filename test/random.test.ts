import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { drawDistinct, keyedOrder, philox4x32, randomStream } from '../src/random.ts';

describe('philox4x32', () => {
  // Known-answer vectors of Random123 1.14 (kat_vectors, philox4x32 10).
  it.each([
    [[0, 0, 0, 0, 0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[-1, -1, -1, -1, -1, -1], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
  ])('gives the published words for %j', ([c0, c1, c2, c3, k0, k1], expected) => {
    const out = new Uint32Array(4);
    philox4x32(c0!, c1!, c2!, c3!, k0!, k1!, out);
    expect([...out]).toEqual(expected);
  });
});

describe('randomStream', () => {
  it('is a pure function of seed, labels and counter', () => {
    const a = randomStream(7, 'x', 1);
    const b = randomStream(7, 'x', 1);
    const forwards = Array.from({ length: 100 }, (_, i) => a.uniform(i));
    const backwards = Array.from({ length: 100 }, (_, i) => b.uniform(99 - i)).reverse();
    expect(forwards).toEqual(backwards);
  });

  it('tells labels and seeds apart, also where their texts join alike', () => {
    const first = (seed: number, ...labels: (string | number)[]): number => randomStream(seed, ...labels).uniform(0);
    const draws = [first(1, 'a', 'b'), first(1, 'ab'), first(1, 'a', 'b', 0), first(2, 'a', 'b'), first(1, 'a', 'c'), first(1, 1), first(1, '1')];
    expect(new Set(draws).size).toBe(draws.length);
  });

  it('is uniform: χ² of 64 cells over 64,000 draws, for several labels', () => {
    for (const label of ['a', 'b', 'sample', 'leaf']) {
      const stream = randomStream(0, label);
      const cells = new Float64Array(64);
      for (let i = 0; i < 64_000; i++) cells[stream.below(i, 64)]!++;
      const chi2 = cells.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
      expect(chi2).toBeGreaterThan(30); // far below the 0.01 % quantile
      expect(chi2).toBeLessThan(115); // 0.01 % quantile of χ²(63)
    }
  });

  it('draws unrelated streams for neighbouring labels: χ² of pairs on a 16 × 16 table', () => {
    const a = randomStream(0, 'level', 1);
    const b = randomStream(0, 'level', 2);
    const cells = new Float64Array(256);
    for (let i = 0; i < 128_000; i++) cells[a.below(i, 16) * 16 + b.below(i, 16)]!++;
    const chi2 = cells.reduce((sum, count) => sum + (count - 500) ** 2 / 500, 0);
    expect(chi2).toBeGreaterThan(180);
    expect(chi2).toBeLessThan(345);
  });

  it('has the moments of a standard normal', () => {
    const stream = randomStream(3, 'normal');
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < 50_000; i++) {
      const x = stream.normal(i);
      sum += x;
      squares += x * x;
    }
    expect(Math.abs(sum / 50_000)).toBeLessThan(0.02);
    expect(Math.abs(squares / 50_000 - 1)).toBeLessThan(0.03);
  });

  it('takes counters to 2^53 and stays in range', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 2 ** 40 }), (counter, bound) => {
        const stream = randomStream(1, 'range');
        const value = stream.below(counter, bound);
        expect(Number.isInteger(value) && value >= 0 && value < bound).toBe(true);
        expect(stream.uniform(counter)).toBeLessThan(1);
      }),
    );
  });
});

describe('drawDistinct', () => {
  it('draws distinct positions, smaller draws inside larger ones', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200 }), fc.nat(220), fc.nat(220), fc.nat(1000), (n, a, b, seed) => {
        const stream = randomStream(seed, 'draw');
        const [few, many] = [Math.min(a, b), Math.max(a, b)].map((count) => drawDistinct(stream, n, count)) as [Uint32Array, Uint32Array];
        expect(few.length).toBe(Math.min(Math.min(a, b), n));
        expect(new Set(many).size).toBe(many.length);
        expect([...few].every((value) => many.includes(value) && value < n)).toBe(true);
      }),
    );
  });

  it('orders every position once', () => {
    expect([...keyedOrder(randomStream(5, 'order'), 1000)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });
});
