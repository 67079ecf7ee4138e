import { describe, expect, it } from 'vitest';
import { FLATTEN_RUN, measureFlattening } from '../bench/flatten.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** `test/bench/flatten.ts` measures the same on more rows and seeds. */
describe('resampling of a split level', () => {
  it('flattens the share of leaves a concept gets as much as in one k-means, to 5 %', async () => {
    const { whole, split, rows } = await measureFlattening(await temporaryFolder('flatten'), { ...FLATTEN_RUN, n: 8000, d: 8, k: 200, concepts: 24, rounds: 3, iterations: 6 });
    // Resampling gains in both what there is to gain, well above the rows themselves and the plain tree.
    for (const [plain, resampled] of [whole, split]) {
      expect(plain).toBeGreaterThan(rows);
      expect(resampled).toBeGreaterThan(1.1 * plain);
    }
    expect(split[1] / whole[1]).toBeGreaterThan(0.95);
  });
});
