/**
 * How unevenly a pool fills its space: what balancing can gain at all, and how far the distances can be trusted. Local
 * density at a point is estimated by the distance r to its k-th neighbour (Loftsgaarden & Quesenberry 1965), as r^−m, with
 * the m that the same distances show (Levina & Bickel 2005, in the form of a slope between two k).
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import { type RandomStream, drawDistinct } from '../random.ts';
import type { SearchEngine } from '../vector/search.ts';
import type { Points } from './points.ts';

/** Points whose neighbours are looked up, and their neighbours that are used: 10 for the density, 5 and 50 for m. */
const PROBES = 1024;
const NEIGHBOUR = 10;
const NEAR = 5;
const FAR = 50;
/** Candidates of one call of the engine. */
const CANDIDATES = 32;
/** Of the points, the densest tenth is held against the median. */
const DENSE_SHARE = 0.1;
/** Stands for the distance of equal points, whose density has no bound. */
const DISTANCE_MIN = 1e-6;

/**
 * Log of how many times denser the densest tenth of the pool is than its median: about 1.5 to 2 for photographs of evenly
 * many concepts, 2.5 to 3 for long tails, more where distances say little of what is in the pictures.
 *
 * @param points all in memory
 * @param stream draws the points to look at
 * @returns at least 0; null where there are too few points to tell. O(1024 · n · d) products.
 */
export async function densitySpread(points: Points, engine: SearchEngine, stream: RandomStream, signal: AbortSignal): Promise<number | null> {
  const { n, d, values } = points;
  assert(values !== undefined, 'Expected points in memory');
  if (n <= 2 * FAR) return null;
  const probes = drawDistinct(stream, n, Math.min(n, PROBES));
  const logs = { near: new Float64Array(probes.length), at: new Float64Array(probes.length), far: new Float64Array(probes.length) };
  const distances = await engine.distances(values, n, d);
  try {
    const candidates = new Float32Array(CANDIDATES * d);
    const distance = new Float32Array(CANDIDATES * n);
    for (let first = 0; first < probes.length; first += CANDIDATES) {
      throwIfAborted(signal);
      const count = Math.min(CANDIDATES, probes.length - first);
      await points.gather(probes.subarray(first, first + count), candidates);
      await distances.to(candidates, count, distance);
      for (let c = 0; c < count; c++) {
        // The first is the point itself.
        const sorted = distance.subarray(c * n, (c + 1) * n).sort();
        logs.near[first + c] = logDistance(sorted[NEAR]!);
        logs.at[first + c] = logDistance(sorted[NEIGHBOUR]!);
        logs.far[first + c] = logDistance(sorted[FAR]!);
      }
    }
  } finally {
    await distances.close();
  }
  const growth = quantile(logs.far, 0.5) - quantile(logs.near, 0.5);
  if (growth <= 0) return null;
  return ((quantile(logs.at, 0.5) - quantile(logs.at, DENSE_SHARE)) * Math.log(FAR / NEAR)) / growth;
}

function logDistance(squared: number): number {
  return Math.log(Math.max(DISTANCE_MIN, Math.sqrt(squared)));
}

function quantile(values: Float64Array, share: number): number {
  const sorted = values.toSorted();
  return sorted[Math.floor(share * (sorted.length - 1))]!;
}
