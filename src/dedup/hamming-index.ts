/**
 * Exact search of 64-bit hashes within a Hamming radius by multi-index hashing (Norouzi, Punjani, Fleet: "Fast exact search in
 * Hamming space with multi-index hashing", 2014). A hash is cut into m bands. Two hashes within r = m·ρ + a bits of each other
 * agree within ρ bits on one of the first a + 1 bands or within ρ − 1 on one of the others: those are looked up in a table a band, and
 * every candidate is verified. How many bands there are changes cost, never the answer.
 */
import assert from 'node:assert/strict';
import { HASH_BITS, hammingDistance } from './perceptual-hash.ts';

export interface HammingIndex {
  /**
   * Calls `found` with each entry within the radius once, in no promised order.
   *
   * @param entry its place, 0 … n−1; `distance` in bits
   */
  within(low: number, high: number, found: (entry: number, distance: number) => void): void;
}

/**
 * Indexes n hashes: n × (4 × bands + 4) bytes and 4 × 2^(64 / bands) a band, at most 16 MB each.
 *
 * @param words n × 2: lower 32 bits, then upper ones; kept by reference
 * @param radius 0 … 16
 */
export function createHammingIndex(words: Uint32Array, radius: number): HammingIndex {
  assert(Number.isInteger(radius) && radius >= 0 && radius <= 16, `Expected a radius of 0 to 16 bits, got ${radius}`);
  const n = words.length / 2;
  const bands = planBands(n, radius).map(({ start, bits, tolerance }) => fillBand(words, n, start, bits, tolerance));
  const seen = new Uint32Array(n);
  let query = 0;
  return {
    within: (low, high, found) => {
      query += 1;
      if (query === 2 ** 32) {
        seen.fill(0);
        query = 1;
      }
      for (const { start, bits, masks, offsets, entries } of bands) {
        const own = bandOf(low, high, start, bits);
        for (const mask of masks) {
          const key = own ^ mask;
          for (let at = offsets[key]!; at < offsets[key + 1]!; at++) {
            const entry = entries[at]!;
            if (seen[entry] === query) continue;
            seen[entry] = query;
            const distance = hammingDistance(low, high, words[entry * 2]!, words[entry * 2 + 1]!);
            if (distance <= radius) found(entry, distance);
          }
        }
      }
    },
  };
}

/** Bits start … start + bits − 1, searched with up to `tolerance` of them changed. */
interface BandPlan {
  readonly start: number;
  readonly bits: number;
  readonly tolerance: number;
}

interface Band {
  readonly start: number;
  readonly bits: number;
  /** What a key is changed by to reach those within the tolerance. */
  readonly masks: Uint32Array;
  /** Entries of key k lie at offsets[k] … offsets[k + 1] − 1. */
  readonly offsets: Uint32Array;
  readonly entries: Uint32Array;
}

const BANDS_MIN = 3;
const BANDS_MAX = 16;

/** The number of bands with the fewest lookups and candidates, if hashes were spread evenly. */
function planBands(n: number, radius: number): BandPlan[] {
  let best: BandPlan[] = [];
  let least = Infinity;
  for (let m = BANDS_MIN; m <= BANDS_MAX; m++) {
    const bands = bandsOf(m, radius);
    const cost = bands.reduce((sum, { bits, tolerance }) => sum + masksWithin(bits, tolerance) * (1 + n / 2 ** bits), 0);
    if (cost >= least) continue;
    least = cost;
    best = bands;
  }
  return best;
}

function bandsOf(m: number, radius: number): BandPlan[] {
  const whole = Math.floor(radius / m);
  return Array.from({ length: m }, (_, i) => {
    const start = Math.floor((HASH_BITS * i) / m);
    return { start, bits: Math.floor((HASH_BITS * (i + 1)) / m) - start, tolerance: i <= radius % m ? whole : whole - 1 };
  }).filter(({ tolerance }) => tolerance >= 0);
}

/** Σ C(bits, i) for i = 0 … tolerance. */
function masksWithin(bits: number, tolerance: number): number {
  let ways = 1;
  let sum = 1;
  for (let i = 1; i <= tolerance; i++) {
    ways = (ways * (bits - i + 1)) / i;
    sum += ways;
  }
  return sum;
}

function fillBand(words: Uint32Array, n: number, start: number, bits: number, tolerance: number): Band {
  const offsets = new Uint32Array(2 ** bits + 1);
  for (let i = 0; i < n; i++) offsets[bandOf(words[i * 2]!, words[i * 2 + 1]!, start, bits) + 1]! += 1;
  for (let k = 0; k < 2 ** bits; k++) offsets[k + 1]! += offsets[k]!;
  const next = offsets.slice(0, -1);
  const entries = new Uint32Array(n);
  for (let i = 0; i < n; i++) entries[next[bandOf(words[i * 2]!, words[i * 2 + 1]!, start, bits)]!++] = i;
  return { start, bits, masks: listMasks(bits, tolerance), offsets, entries };
}

/** All words of `bits` bits with at most `tolerance` ones. */
function listMasks(bits: number, tolerance: number): Uint32Array {
  const masks = [0];
  for (let from = 0, ones = 0; ones < tolerance; ones++) {
    const to = masks.length;
    for (; from < to; from++) for (let bit = masks[from] === 0 ? 0 : 32 - Math.clz32(masks[from]!); bit < bits; bit++) masks.push((masks[from]! | (1 << bit)) >>> 0);
  }
  return Uint32Array.from(masks);
}

function bandOf(low: number, high: number, start: number, bits: number): number {
  const mask = 2 ** bits - 1;
  if (start >= 32) return (high >>> (start - 32)) & mask;
  const own = low >>> start;
  return (start + bits <= 32 ? own : own | (high << (32 - start))) & mask;
}
