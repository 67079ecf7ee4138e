/**
 * Counter-based randomness: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), the
 * generator of Random123, JAX-like loaders and cuRAND. A draw is a pure function of (seed, labels, counter), so no
 * draw ever moves another and the number of workers, the block size or a restart cannot change a result (law 1).
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

/** A keyed family of draws. Draw i is a pure function of the key and i, 0 ≤ i < 2^53; order of calls is irrelevant. */
export interface RandomStream {
  /** Uniform in [0, 1), 53 random bits. */
  uniform(counter: number): number;
  /** Uniform integer in [0, bound), 1 ≤ bound ≤ 2^48; bias below bound / 2^53. */
  below(counter: number, bound: number): number;
  /** Standard normal by Box–Muller on the two halves of one Philox block. */
  normal(counter: number): number;
  /** Writes the four 32-bit words of block `counter` into `out`. */
  words(counter: number, out: Uint32Array): void;
}

/**
 * Derives a stream from a seed and labels such as ('sample', 'leaf', 17). Different labels give unrelated streams: the
 * key is 64 bits and the upper half of the counter 64 bits of SHA-256 over the label list.
 */
export function randomStream(seed: number, ...labels: (string | number)[]): RandomStream {
  assert(Number.isSafeInteger(seed), `Expected the seed to be a safe integer, got ${seed}`);
  const digest = createHash('sha256').update(JSON.stringify([seed, ...labels])).digest();
  const k0 = digest.readUInt32LE(0);
  const k1 = digest.readUInt32LE(4);
  const c2 = digest.readUInt32LE(8);
  const c3 = digest.readUInt32LE(12);
  const block = new Uint32Array(4);
  const draw = (counter: number): Uint32Array => {
    philox4x32(counter >>> 0, Math.floor(counter / 4294967296) >>> 0, c2, c3, k0, k1, block);
    return block;
  };
  const uniform = (counter: number): number => {
    const w = draw(counter);
    return ((w[0]! >>> 5) * 67108864 + (w[1]! >>> 6)) / 9007199254740992;
  };
  return {
    uniform,
    below: (counter, bound) => Math.min(bound - 1, Math.floor(uniform(counter) * bound)),
    normal: (counter) => {
      const w = draw(counter);
      const u = ((w[0]! >>> 5) * 67108864 + (w[1]! >>> 6) + 1) / 9007199254740992;
      const v = ((w[2]! >>> 5) * 67108864 + (w[3]! >>> 6)) / 9007199254740992;
      return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
    },
    words: (counter, out) => out.set(draw(counter)),
  };
}

/**
 * Draws `count` distinct values of [0, n) by the smallest keys `stream.uniform(value)`, ties by value. A smaller
 * `count` is always a prefix-subset of a larger one, which is what makes smaller targets nested in bigger ones.
 *
 * @param keyOf maps a position 0 … n−1 to the counter that keys it; positions themselves by default
 * @returns positions, ascending, length min(count, n). O(n log n) time.
 */
export function drawDistinct(stream: RandomStream, n: number, count: number, keyOf: (position: number) => number = (i) => i): Uint32Array {
  const order = keyedOrder(stream, n, keyOf);
  return order.slice(0, Math.min(count, n)).sort();
}

/** All positions 0 … n−1 in keyed random order (ties by position). O(n log n) time, 12 bytes a position. */
export function keyedOrder(stream: RandomStream, n: number, keyOf: (position: number) => number = (i) => i): Uint32Array {
  const keys = new Float64Array(n);
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    keys[i] = stream.uniform(keyOf(i));
    order[i] = i;
  }
  return order.sort((a, b) => keys[a]! - keys[b]! || a - b);
}

/** One Philox4x32 block of ten rounds: counter (c0 … c3), key (k0, k1) → four words in `out`. */
export function philox4x32(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array): void {
  for (let round = 0; round < 10; round++) {
    const hi0 = multiplyHigh(0xd2511f53, c0);
    const lo0 = Math.imul(0xd2511f53, c0);
    const hi1 = multiplyHigh(0xcd9e8d57, c2);
    const lo1 = Math.imul(0xcd9e8d57, c2);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** Upper 32 bits of the 64-bit product of two unsigned 32-bit integers, in 16-bit pieces: no BigInt on a hot path. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = Math.imul(aLow, bLow) >>> 0;
  const mid = aHigh * bLow + (low >>> 16);
  const mid2 = aLow * bHigh + (mid % 65536);
  return (aHigh * bHigh + Math.floor(mid / 65536) + Math.floor(mid2 / 65536)) | 0;
}
