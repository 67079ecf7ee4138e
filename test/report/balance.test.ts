import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balanceOf } from '../../src/report/balance.ts';

describe('balanceOf', () => {
  it('is the number of labels when shares are equal, and one when one label has all', () => {
    expect(balanceOf(Float64Array.of(7, 7, 7, 7), 4)).toMatchObject({ images: 28, labels: 4, effective: expect.closeTo(4, 9), entropy: expect.closeTo(1, 9) });
    expect(balanceOf(Float64Array.of(0, 9, 0), 3)).toMatchObject({ images: 9, labels: 1, effective: 1, entropy: 0 });
    expect(balanceOf(new Float64Array(3), 3)).toMatchObject({ images: 0, labels: 0, effective: 0 });
  });

  it('lies between one and the labels there are, does not change with scale, and grows when counts are evened out', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 2, maxLength: 30 }), fc.integer({ min: 2, max: 9 }), (counts, factor) => {
        const { effective, labels } = balanceOf(Float64Array.from(counts), counts.length);
        expect(effective).toBeGreaterThanOrEqual(1 - 1e-9);
        expect(effective).toBeLessThanOrEqual(labels + 1e-9);
        expect(balanceOf(Float64Array.from(counts, (count) => count * factor), counts.length).effective).toBeCloseTo(effective, 6);
        const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
        expect(balanceOf(Float64Array.from(counts, (count) => (count + mean) / 2), counts.length).effective).toBeGreaterThanOrEqual(effective - 1e-9);
      }),
    );
  });
});
