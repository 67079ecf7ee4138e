/**
 * Row-major matrices in typed arrays: squared norms and unit rows. Everything is a pure function of one row, so results
 * never depend on how rows are cut into calls. Sums are float64 in a fixed order.
 */

/** @returns n sums of squares in float64 (no float32 row overflows it); four partial sums, so the order is fixed. */
export function squaredNorms(x: Float32Array, n: number, d: number, out: Float64Array = new Float64Array(n)): Float64Array {
  const fours = d >> 2;
  for (let i = 0; i < n; i += 1) {
    let at = i * d;
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let four = 0; four < fours; four += 1, at += 4) {
      const a = x[at] as number;
      const b = x[at + 1] as number;
      const c = x[at + 2] as number;
      const e = x[at + 3] as number;
      s0 += a * a;
      s1 += b * b;
      s2 += c * c;
      s3 += e * e;
    }
    for (const end = (i + 1) * d; at < end; at += 1) s0 += (x[at] as number) * (x[at] as number);
    out[i] = s0 + s1 + (s2 + s3);
  }
  return out;
}

/** Scales each row to length one, in place. A row of zeros, or one with NaN or infinity, has no direction and stays as it is. */
export function normaliseRows(x: Float32Array, n: number, d: number): void {
  const squares = squaredNorms(x, n, d);
  for (let i = 0; i < n; i += 1) {
    const square = squares[i] as number;
    if (!(square > 0 && square < Infinity)) continue;
    const scale = 1 / Math.sqrt(square);
    for (let at = i * d; at < (i + 1) * d; at += 1) x[at] = (x[at] as number) * scale;
  }
}

/** Squared L2 distance of two rows, summed from their differences in float64 in a fixed order: equal rows are at distance 0. */
export function exactDistance(a: Float32Array, fromA: number, b: Float32Array, fromB: number, d: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = fromA;
  let j = fromB;
  for (let four = d >> 2; four > 0; four -= 1, i += 4, j += 4) {
    const d0 = (a[i] as number) - (b[j] as number);
    const d1 = (a[i + 1] as number) - (b[j + 1] as number);
    const d2 = (a[i + 2] as number) - (b[j + 2] as number);
    const d3 = (a[i + 3] as number) - (b[j + 3] as number);
    s0 += d0 * d0;
    s1 += d1 * d1;
    s2 += d2 * d2;
    s3 += d3 * d3;
  }
  for (; i < fromA + d; i += 1, j += 1) s0 += ((a[i] as number) - (b[j] as number)) ** 2;
  return s0 + s1 + (s2 + s3);
}
