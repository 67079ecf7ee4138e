import { describe, expect, it } from 'vitest';
import { PAPER_CROPS, createCrops } from '../../src/batch/crops.ts';

describe('createCrops', () => {
  it('draws the paper\'s sizes with the paper\'s shares, the same at any time', () => {
    const crops = createCrops('paper', 7);
    const steps = 20_000;
    const drawn = Array.from({ length: steps }, (_, step) => crops(step)!);
    for (const sizes of PAPER_CROPS) {
      const found = drawn.filter((one) => one === sizes).length;
      expect(Math.abs(found - sizes.probability * steps)).toBeLessThan(4 * Math.sqrt(steps * sizes.probability * (1 - sizes.probability)));
    }
    expect(PAPER_CROPS.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 12);
    expect([19_999, 5, 0].map((step) => createCrops('paper', 7)(step))).toEqual([drawn[19_999], drawn[5], drawn[0]]);
    expect(Array.from({ length: 50 }, (_, step) => createCrops('paper', 8)(step))).not.toEqual(drawn.slice(0, 50));
  });

  it('takes the user\'s table, normalised, or none', () => {
    const table = [{ global: 64, local: 32, gram: null, probability: 0.2 }, { global: 96, local: 32, gram: null, probability: 0.2 }];
    const drawn = Array.from({ length: 1000 }, (_, step) => createCrops(table, 0)(step)!.global);
    expect(Math.abs(drawn.filter((side) => side === 64).length - 500)).toBeLessThan(64);
    expect(createCrops(null, 0)(3)).toBeNull();
  });
});
