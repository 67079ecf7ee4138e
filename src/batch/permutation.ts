/**
 * A keyed permutation of [0, n) that is computed, not stored: O(1) memory and O(1) access at any position, where the
 * public loaders hold n integers a rank (reference section 4.3). A generalised Feistel network (Black and Rogaway 2002,
 * "Ciphers with arbitrary finite domains"): position x is the pair (x div b, x mod b), a = ⌈√n⌉ and b = ⌈n / a⌉, rounded
 * up to even; each round adds a keyed function of one half to the other, modulo a or b; pairs that stand for no position
 * of [0, n) are walked past. Departures: the round function mixes 32 bits and is not meant to keep secrets; b is even,
 * since with two odd halves every round is an even permutation and half of all orders would never come up.
 */
import assert from 'node:assert/strict';
import type { RandomStream } from '../random.ts';

/** Most positions a permutation may have: what a float64 counts exactly. */
export const PERMUTATION_POSITIONS_MAX = 2 ** 53 - 1;

/**
 * Rounds, chosen by the χ² tests of `permutation.test.ts`: n = 5 and 6 (halves of 3 and 2) fail at 10 and pass at 12,
 * n = 1,000 fails at 4 and passes at 6. The rest is margin.
 */
const ROUNDS = 8;
const ROUNDS_SMALL = 16;
const SMALL = 1024;

/** A bijection of [0, n). */
export interface Permutation {
  readonly n: number;
  /** @param position integer, 0 ≤ position < n. Seldom walks: less than 2a + 1 pairs of the domain are spare. */
  at(position: number): number;
}

/**
 * Permutation number `pass` of the family that `stream` keys; different passes are unrelated.
 *
 * @param n positions, 1 … 2^53 − 1
 * @param rounds even; given by the tests, which show what too few do
 */
export function createPermutation(n: number, stream: RandomStream, pass: number, rounds = n <= SMALL ? ROUNDS_SMALL : ROUNDS): Permutation {
  assert(Number.isSafeInteger(n) && n >= 1, `Expected a permutation of 1 to ${PERMUTATION_POSITIONS_MAX} positions, got ${n}`);
  const a = ceilSqrt(n);
  const b = 2 * Math.ceil(n / a / 2);
  const keys = drawKeys(stream, pass, rounds);
  const perWordA = a / 4294967296;
  const perWordB = b / 4294967296;
  const encrypt = (position: number): number => {
    let left = (position / b) | 0;
    let right = (position - left * b) | 0;
    // The quotient is rounded, up to the next integer at the very end of the range.
    if (right < 0) {
      left = (left - 1) | 0;
      right = (right + b) | 0;
    }
    // Without branches: half of the modular sums wrap, and a branch would be mispredicted as often, at twice the cost of all the rest.
    for (let key = 0; key < keys.length; key += 4) {
      left = (left + mix(right, keys[key]!, keys[key + 1]!) * perWordA) | 0;
      left = (left - a) | 0;
      left = (left + (a & (left >> 31))) | 0;
      right = (right + mix(left, keys[key + 2]!, keys[key + 3]!) * perWordB) | 0;
      right = (right - b) | 0;
      right = (right + (b & (right >> 31))) | 0;
    }
    return left * b + right;
  };
  return {
    n,
    at: (position) => {
      let index = encrypt(position);
      while (index >= n) index = encrypt(index);
      return index;
    },
  };
}

/** The least a with a² ≥ n. Math.sqrt rounds, so the neighbours are looked at. */
function ceilSqrt(n: number): number {
  let a = Math.ceil(Math.sqrt(n));
  while (a > 1 && (a - 1) * (a - 1) >= n) a--;
  while (a * a < n) a++;
  return a;
}

/** Two words a round. */
function drawKeys(stream: RandomStream, pass: number, rounds: number): Int32Array {
  const blocks = Math.ceil(rounds / 2);
  const keys = new Int32Array(blocks * 4);
  const words = new Uint32Array(4);
  for (let block = 0; block < blocks; block++) {
    stream.words(pass * blocks + block, words);
    keys.set(words, block * 4);
  }
  return keys;
}

/** MurmurHash3's finaliser (Appleby, public domain) with a second key word between its products; halves are below 2^27. */
function mix(half: number, k0: number, k1: number): number {
  let h = half ^ k0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) + k1;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
