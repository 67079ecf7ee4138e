/**
 * Row-major matrices in typed arrays: squared norms and unit rows. Everything is a pure function of one row, so results
 * never depend on how rows are cut into calls. Sums are float64 in a fixed order.
 */

/** @returns n sums of squares in float64 (no float32 row overflows it); four partial sums, so the order is fixed. */
export function squaredNorms(x: Float32Array, n: number, d: number, out: Float64Array = new Float64Array(n)): Float64Array {
  const whole = d - (d % 4);
  for (let i = 0; i < n; i += 1) {
    let at = i * d;
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (const end = at + whole; at < end; at += 4) {
      const [a, b, c, e] = [x[at] as number, x[at + 1] as number, x[at + 2] as number, x[at + 3] as number];
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
