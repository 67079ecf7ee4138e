import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normaliseRows, squaredNorms } from '../../src/vector/matrix.ts';

const matrix = fc
  .record({ n: fc.integer({ min: 0, max: 6 }), d: fc.integer({ min: 1, max: 21 }) })
  .chain(({ n, d }) => fc.record({ n: fc.constant(n), d: fc.constant(d), x: fc.float32Array({ minLength: n * d, maxLength: n * d, noNaN: true, noDefaultInfinity: true }) }));

describe('squaredNorms', () => {
  it('sums squares of each row in float64', () => {
    fc.assert(
      fc.property(matrix, ({ n, d, x }) => {
        const norms = squaredNorms(x, n, d);
        for (let i = 0; i < n; i += 1) {
          const exact = x.subarray(i * d, (i + 1) * d).reduce((sum, value) => sum + value * value, 0);
          expect(Math.abs((norms[i] as number) - exact)).toBeLessThanOrEqual(1e-14 * exact);
        }
      }),
    );
  });

  it('gives a row the same bits wherever it stands', () => {
    fc.assert(
      fc.property(matrix, ({ n, d, x }) => {
        const norms = squaredNorms(x, n, d);
        for (let i = 0; i < n; i += 1) expect(squaredNorms(x.slice(i * d, (i + 1) * d), 1, d)[0]).toBe(norms[i]);
      }),
    );
  });
});

describe('normaliseRows', () => {
  it('scales rows to length one and keeps their direction', () => {
    fc.assert(
      fc.property(matrix, ({ n, d, x }) => {
        const unit = x.slice();
        normaliseRows(unit, n, d);
        const before = squaredNorms(x, n, d);
        const after = squaredNorms(unit, n, d);
        for (let i = 0; i < n; i += 1) {
          const length = Math.sqrt(before[i] as number);
          if (length < 1e-30) continue;
          expect(after[i]).toBeCloseTo(1, 5);
          for (let j = i * d; j < (i + 1) * d; j += 1) expect(unit[j]).toBeCloseTo((x[j] as number) / length, 6);
        }
      }),
    );
  });

  it('leaves rows without a direction as they are', () => {
    const x = Float32Array.of(0, 0, NaN, 1, Infinity, 2, 3, 4);
    normaliseRows(x, 4, 2);
    expect([...x]).toEqual([0, 0, NaN, 1, Infinity, 2, Math.fround(0.6), Math.fround(0.8)]);
  });
});
