/** Rows to search, and brute force in float64 to hold engines to: float32 products may err a little, and order differ only where values are that close. */
import type { SearchEngine } from '../../src/vector/search.ts';

/** Opens the engine with so many threads. */
export type Create = (threads: number) => Promise<SearchEngine>;

/** Rows in [−0.5, 0.5), the same for the same seed. */
export function matrix(seed: number, n: number, d: number): Float32Array {
  const values = new Float32Array(n * d);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < values.length; i += 1) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    state ^= state >>> 12;
    values[i] = ((state >>> 8) & 0xffff) / 65_536 - 0.5;
  }
  return values;
}

/** Float32 products of rows in [−0.5, 0.5): norms are about d / 12. */
export function tolerance(d: number): number {
  return 1e-6 * (1 + d / 6);
}

export function squaredDistance(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += ((a[i * d + e] as number) - (b[j * d + e] as number)) ** 2;
  return sum;
}
