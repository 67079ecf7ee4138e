/** Distances as outputs report them: float64 sums in a fixed order, the same with any search engine and any block. */
import assert from 'node:assert/strict';

/** Squared distance of two rows, summed in float64 in a fixed order. */
export function exactDistance(a: Float32Array, fromA: number, b: Float32Array, fromB: number, d: number): number {
  assert(fromA + d <= a.length && fromB + d <= b.length, 'Expected both rows to lie in their matrices');
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let j = 0;
  for (; j + 3 < d; j += 4) {
    const e0 = a[fromA + j]! - b[fromB + j]!;
    const e1 = a[fromA + j + 1]! - b[fromB + j + 1]!;
    const e2 = a[fromA + j + 2]! - b[fromB + j + 2]!;
    const e3 = a[fromA + j + 3]! - b[fromB + j + 3]!;
    s0 += e0 * e0;
    s1 += e1 * e1;
    s2 += e2 * e2;
    s3 += e3 * e3;
  }
  for (; j < d; j++) s0 += (a[fromA + j]! - b[fromB + j]!) ** 2;
  return s0 + s1 + (s2 + s3);
}
