/**
 * Water-filling with a floor: the dial between even quotas (floor 0, the published method) and proportional ones.
 *
 * Cluster i fills at the rate max(1, floor · a_i / mean a) instead of 1, so that a cluster far above the mean keeps at
 * least floor / (1 + floor) of its proportional share however many small clusters there are. On pools where a diverse
 * dense region meets sparse outliers, even quotas starve the region (reference, section D); the floor bounds that harm.
 */
import assert from 'node:assert/strict';
import { forSmallest } from './smallest.ts';

export interface Allocation {
  /** Units that each cluster gives, length m, 0 ≤ quota[i] ≤ capacity[i], Σ = min(target, Σ capacity). */
  readonly quota: Float64Array;
  /** Largest integer x with Σ min(x, capacity[i]) ≤ target; the largest capacity when everything is taken. */
  readonly cut: number;
  /** Units left at the cut, one each to the first clusters with more capacity than it in the keyed order. */
  readonly remainder: number;
}

/**
 * Water-filling where large clusters keep a floor: `allocateByRate` at the rates of `floorRates`.
 *
 * @param floor ≥ 0; 0 is plain water-filling with its keyed remainder
 */
export function allocateWithFloor(capacity: Float64Array, floor: number, target: number, keyOf: (cluster: number) => number): Allocation {
  return allocateByRate(capacity, floorRates(capacity, floor), target, keyOf);
}

/** max(1, floor · a_i / mean a) of each cluster, the mean over those that have anything. Length m. */
export function floorRates(capacity: Float64Array, floor: number): Float64Array {
  assert(floor >= 0 && Number.isFinite(floor), `Expected a floor of at least 0, got ${floor}`);
  const total = capacity.reduce((sum, units) => sum + units, 0);
  const filled = capacity.reduce((count, units) => count + (units > 0 ? 1 : 0), 0);
  return capacity.map((units) => (total === 0 ? 1 : Math.max(1, (floor * units * filled) / total)));
}

/**
 * Unit j of cluster i arrives at level (j − 1 + key_i) / rate_i, and the first `target` units to arrive are given: the
 * systematic sampling of a cluster's rate, so that a cluster gets rate · level units on average at every level, small ones
 * too. The order of arrival does not depend on the target, so a larger target takes all that a smaller one takes.
 * O(m · 60) time, O(m) memory.
 *
 * @param capacity units available, length m, non-negative integers
 * @param rate how fast each cluster fills, length m, positive and finite; all 1: plain water-filling
 * @param keyOf key of a cluster in [0, 1); at equal rates the smaller key comes first, ties by cluster number
 * @returns quotas with Σ = min(target, Σ capacity); `cut` is the level that was reached, rounded down
 */
export function allocateByRate(capacity: Float64Array, rate: Float64Array, target: number, keyOf: (cluster: number) => number): Allocation {
  const m = capacity.length;
  const total = capacity.reduce((sum, units) => sum + units, 0);
  if (total <= target) return { quota: capacity.slice(), cut: capacity.reduce((most, units) => Math.max(most, units), 0), remainder: 0 };
  const key = Float64Array.from(capacity, (_, i) => keyOf(i));
  const given = (level: number, i: number): number => Math.max(0, Math.min(capacity[i]!, Math.floor(rate[i]! * level - key[i]!) + 1));
  const sumAt = (level: number): number => {
    let sum = 0;
    for (let i = 0; i < m; i++) sum += given(level, i);
    return sum;
  };
  const { below, above } = bracket(sumAt, target);
  const quota = Float64Array.from(capacity, (_, i) => given(below, i));
  const remainder = target - quota.reduce((sum, units) => sum + units, 0);
  const next = Array.from(quota.keys()).filter((i) => given(above, i) > quota[i]!);
  const keys = Float64Array.from(next, (i) => key[i]!);
  forSmallest(keys, next.length, remainder, new Float64Array(next.length), (position) => quota[next[position]!]!++);
  return { quota, cut: Math.floor(below), remainder };
}

/** Neighbouring levels with Σ(below) ≤ target < Σ(above), down to adjacent floating-point numbers. */
function bracket(sumAt: (level: number) => number, target: number): { below: number; above: number } {
  // Below level 0 nothing has arrived: a key of exactly 0 brings a unit at 0.
  let below = -1;
  let above = 1;
  while (sumAt(above) <= target) {
    below = above;
    above *= 2;
  }
  for (;;) {
    const middle = below + (above - below) / 2;
    if (middle <= below || middle >= above) return { below, above };
    if (sumAt(middle) <= target) below = middle;
    else above = middle;
  }
}
