import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitLargest } from '../../src/cluster/empty-clusters.ts';
import { toGrid } from '../../src/cluster/points.ts';

/** The rule in its shortest form: for each empty cluster, look for the largest. */
function bySearch(centroids: Float32Array, size: Float64Array, d: number): number {
  const counts = size.slice();
  let splits = 0;
  for (let c = 0; c < size.length; c++) {
    if (size[c] !== 0) continue;
    const donor = counts.indexOf(Math.max(...counts));
    if (counts[donor]! < 2) break;
    counts[c] = counts[donor]! /= 2;
    for (let j = 0; j < d; j++) {
      const value = centroids[donor * d + j]!;
      const step = (j % 2 === 0 ? 1 : -1) / 1024;
      centroids[c * d + j] = toGrid(value * (1 + step));
      centroids[donor * d + j] = toGrid(value * (1 - step));
    }
    splits++;
  }
  return splits;
}

describe('splitLargest', () => {
  it('splits the largest, ties to the lowest, as a search for each empty cluster would', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 60 }), (sizes) => {
        const size = Float64Array.from(sizes, (s) => (s < 4 ? 0 : s * s));
        const one = Float32Array.from({ length: sizes.length * 2 }, (_, j) => toGrid(Math.sin(j)));
        const other = one.slice();
        expect(splitLargest(one, size, 2)).toBe(bySearch(other, size, 2));
        expect(one).toEqual(other);
        expect([...size]).toEqual(sizes.map((s) => (s < 4 ? 0 : s * s)));
      }),
    );
  });

  it('leaves clusters empty when no donor has two members', () => {
    expect(splitLargest(Float32Array.of(0.5, 0.25, 0), Float64Array.of(1, 1, 0), 1)).toBe(0);
    expect(splitLargest(Float32Array.of(0.5, 0.25, 0), Float64Array.of(0, 0, 0), 1)).toBe(0);
  });
});
