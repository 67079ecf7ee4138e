/**
 * Greedy k-means++ (Arthur & Vassilvitskii 2007; the greedy variant with 2 + ⌊ln k⌋ trials a seed, as in
 * reference section 1.2). Departures: draws are keyed, a chosen point's distance is exactly zero, distances below the
 * noise of float32 products count as zero, and when every point is covered before k seeds are found the rest are drawn
 * among the points not chosen, so that no point is chosen twice.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import { type RandomStream, keyedOrder } from '../random.ts';
import type { PointDistances } from '../vector/search.ts';

/** Squared distances under this share of the largest squared norm are float32 noise between equal points. */
const NOISE = 2 ** -21;

/** Share of the distances that candidates ask for above which a table of all pairs does not pay. */
const TABLE_SHARE = 0.7;
const TABLE_BYTES_MAX = 2 ** 28;
const TABLE_ROWS = 32;

/** Candidates drawn for each seed. */
export function trialsOf(k: number): number {
  return 2 + Math.floor(Math.log(k));
}

export interface SeedOptions {
  readonly distances: PointDistances;
  readonly stream: RandomStream;
  /** Candidates drawn for each seed; those of k by default, 64 at most. */
  readonly trials?: number;
  /** Out, length k: Σ squared distance of every point to the nearest of the seeds up to each. */
  readonly potentials?: Float64Array;
  readonly signal?: AbortSignal;
}

/**
 * Chooses k of n points in memory as first centroids.
 *
 * @param points n × d, row-major
 * @returns k different positions in order of choice. O(n · d · k · ln k) products in k sequential steps.
 */
export async function seedCentroids(points: Float32Array, n: number, d: number, k: number, options: SeedOptions): Promise<Uint32Array> {
  assert(k >= 1 && k <= n, `Expected 1 ≤ k ≤ n = ${n}, got k = ${k}`);
  const { distances, stream, potentials, signal } = options;
  const trials = options.trials ?? trialsOf(k);
  const noise = NOISE * largestSquaredNorm(points, n, d);
  const chosen = new Uint32Array(k);
  const taken = new Uint8Array(n);
  const closest = new Float64Array(n).fill(Infinity);
  const cumulative = new Float64Array(n);
  const candidate = new Uint32Array(trials);
  const source = await distanceSource(points, n, d, k * trials, distances);

  const take = (step: number, position: number): void => {
    chosen[step] = position;
    taken[position] = 1;
  };
  candidate[0] = stream.below(0, n);
  const first = await source(candidate.subarray(0, 1));
  lower(closest, first.distance, first.from[0]!, n, noise);
  closest[candidate[0]!] = 0;
  take(0, candidate[0]!);

  for (let step = 1; step < k; step++) {
    throwIfAborted(signal);
    const potential = accumulate(closest, cumulative);
    if (potentials !== undefined) potentials[step - 1] = potential;
    if (potential <= 0) {
      fillRest(chosen, step, taken, stream, n);
      break;
    }
    for (let t = 0; t < trials; t++) {
      candidate[t] = Math.min(n - 1, firstAtLeast(cumulative, stream.uniform(step * 64 + t) * potential));
    }
    const { distance, from } = await source(candidate);
    const best = leastPotential(closest, distance, from, noise);
    lower(closest, distance, from[best]!, n, noise);
    closest[candidate[best]!] = 0;
    take(step, candidate[best]!);
  }
  if (potentials !== undefined) potentials[k - 1] = accumulate(closest, cumulative);
  return chosen;
}

/** Distances of all n points to some of them: to the t-th, `distance[from[t] … from[t] + n)`. */
type DistanceSource = (positions: Uint32Array) => Promise<{ readonly distance: Float32Array; readonly from: Float64Array }>;

/**
 * Computes distances when they are asked for, or, where more are asked for in all than there are pairs of points, those
 * of all pairs once. The bits are the same: a distance depends on its two points alone.
 */
async function distanceSource(points: Float32Array, n: number, d: number, candidateCount: number, distances: PointDistances): Promise<DistanceSource> {
  if (n > TABLE_SHARE * candidateCount || n * n * 4 > TABLE_BYTES_MAX) {
    let [candidates, distance, from] = [new Float32Array(0), new Float32Array(0), new Float64Array(0)];
    return async (positions) => {
      if (from.length < positions.length) {
        candidates = new Float32Array(positions.length * d);
        distance = new Float32Array(positions.length * n);
        from = Float64Array.from(positions, (_, t) => t * n);
      }
      positions.forEach((position, t) => candidates.set(points.subarray(position * d, (position + 1) * d), t * d));
      await distances.to(candidates, positions.length, distance);
      return { distance, from };
    };
  }
  const distance = new Float32Array(n * n);
  for (let i = 0; i < n; i += TABLE_ROWS) {
    const rows = Math.min(TABLE_ROWS, n - i);
    await distances.to(points.subarray(i * d, (i + rows) * d), rows, distance.subarray(i * n));
  }
  return async (positions) => ({ distance, from: Float64Array.from(positions, (position) => position * n) });
}

function largestSquaredNorm(points: Float32Array, n: number, d: number): number {
  let largest = 0;
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = i * d; j < (i + 1) * d; j++) sum += points[j]! * points[j]!;
    if (sum > largest) largest = sum;
  }
  return largest;
}

function accumulate(closest: Float64Array, cumulative: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < closest.length; i++) cumulative[i] = sum += closest[i]!;
  return sum;
}

/** First position whose inclusive cumulative sum is ≥ `value`, and which has mass of its own. */
function firstAtLeast(cumulative: Float64Array, value: number): number {
  let low = 0;
  let high = cumulative.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (cumulative[middle]! >= value && cumulative[middle]! > 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

function leastPotential(closest: Float64Array, distance: Float32Array, from: Float64Array, noise: number): number {
  const n = closest.length;
  let best = 0;
  let least = Infinity;
  for (let t = 0; t < from.length; t++) {
    let sum = 0;
    for (let i = 0, at = from[t]!; i < n; i++, at++) {
      const other = distance[at]!;
      const own = closest[i]!;
      sum += other < own ? (other < noise ? 0 : other) : own;
    }
    if (sum < least) {
      least = sum;
      best = t;
    }
  }
  return best;
}

function lower(closest: Float64Array, distance: Float32Array, from: number, n: number, noise: number): void {
  for (let i = 0; i < n; i++) {
    const other = distance[from + i]!;
    if (other < closest[i]!) closest[i] = other < noise ? 0 : other;
  }
}

function fillRest(chosen: Uint32Array, step: number, taken: Uint8Array, stream: RandomStream, n: number): void {
  for (const position of keyedOrder(stream, n, (i) => 2 ** 40 + i)) {
    if (step === chosen.length) return;
    if (taken[position] === 0) chosen[step++] = position;
  }
}
