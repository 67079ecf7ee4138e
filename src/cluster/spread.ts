/**
 * The shape of a pool as nearest neighbours show it: what balancing can gain at all, and how far the distances can be
 * trusted. Local density at a point is estimated by the distance r to its k-th neighbour (Loftsgaarden & Quesenberry 1965),
 * as r^−m, with the m that the same distances show (Levina & Bickel 2005, in the form of a slope between two k). Hubness is
 * that of Radovanović et al. 2010, as a coefficient of variation in place of the skewness, which a sample tells too poorly.
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
/** A point with a neighbour nearer than this part of the usual distance to the tenth is a copy, or nearly. */
const COPY = 0.3;
/** Stands for the distance of equal points, whose density has no bound. */
const DISTANCE_MIN = 1e-6;

export interface PoolShape {
  /**
   * Log of how many times denser the densest tenth of the pool is than its median: about 1.5 to 2 for photographs of evenly
   * many concepts, 2.5 to 3 for long tails, more where distances say little of what is in the pictures.
   */
  readonly spread: number;
  /** Intrinsic dimension m: 18 to 27 for photographs under a self-supervised model, whatever d is. */
  readonly dimension: number;
  /** Share of the points with a copy, exact or near, 0 to 1. */
  readonly copies: number;
  /** Median distance to the tenth neighbour over the root mean square distance of any two points, 0 to about 1. */
  readonly contrast: number;
  /** Coefficient of variation of how often a point is among the ten neighbours of others, ≥ 0. */
  readonly hubness: number;
}

interface Probed {
  readonly near: Float64Array;
  readonly at: Float64Array;
  readonly far: Float64Array;
  readonly nearest: Float64Array;
  /** Of each point, the probes that have it among their neighbours. */
  readonly chosen: Float64Array;
  readonly meanSquare: number;
}

/**
 * @param points all in memory
 * @param stream draws the points to look at
 * @returns null where there are too few points to tell, or equal ones. O(1024 · n · d) products.
 */
export async function poolShape(points: Points, engine: SearchEngine, stream: RandomStream, signal: AbortSignal): Promise<PoolShape | null> {
  const { n } = points;
  assert(points.values !== undefined, 'Expected points in memory');
  if (n <= 2 * FAR) return null;
  const probes = drawDistinct(stream, n, Math.min(n, PROBES));
  const { near, at, far, nearest, chosen, meanSquare } = await probe(points, probes, engine, signal);
  const usual = quantile(at, 0.5);
  const growth = quantile(far, 0.5) - quantile(near, 0.5);
  if (growth <= 0) return null;
  const dimension = Math.log(FAR / NEAR) / growth;
  const copies = nearest.reduce((count, log) => count + (log < usual + Math.log(COPY) ? 1 : 0), 0) / probes.length;
  const contrast = Math.exp(usual) / Math.max(DISTANCE_MIN, Math.sqrt(meanSquare));
  return { spread: (usual - quantile(at, DENSE_SHARE)) * dimension, dimension, copies, contrast, hubness: variation(chosen, probes.length / n) };
}

async function probe(points: Points, probes: Uint32Array, engine: SearchEngine, signal: AbortSignal): Promise<Probed> {
  const { n, d, values } = points;
  const logs = () => new Float64Array(probes.length);
  const probed = { near: logs(), at: logs(), far: logs(), nearest: logs(), chosen: new Float64Array(n) };
  let sum = 0;
  const distances = await engine.distances(values!, n, d);
  try {
    const candidates = new Float32Array(CANDIDATES * d);
    const distance = new Float32Array(CANDIDATES * n);
    for (let first = 0; first < probes.length; first += CANDIDATES) {
      throwIfAborted(signal);
      const count = Math.min(CANDIDATES, probes.length - first);
      await points.gather(probes.subarray(first, first + count), candidates);
      await distances.to(candidates, count, distance);
      for (let c = 0; c < count; c++) {
        const row = distance.subarray(c * n, (c + 1) * n);
        // The first of the sorted is the point itself.
        const sorted = row.toSorted();
        probed.nearest[first + c] = logDistance(sorted[1]!);
        probed.near[first + c] = logDistance(sorted[NEAR]!);
        probed.at[first + c] = logDistance(sorted[NEIGHBOUR]!);
        probed.far[first + c] = logDistance(sorted[FAR]!);
        const bound = sorted[NEIGHBOUR]!;
        for (let i = 0; i < n; i++) {
          sum += row[i]!;
          if (row[i]! <= bound && i !== probes[first + c]) probed.chosen[i]!++;
        }
      }
    }
  } finally {
    await distances.close();
  }
  return { ...probed, meanSquare: sum / (probes.length * n) };
}

/** Coefficient of variation of counts of which each unit was seen with the chance `share`: the variance that thinning adds is taken off. */
function variation(seen: Float64Array, share: number): number {
  const mean = seen.reduce((sum, one) => sum + one, 0) / seen.length;
  const variance = seen.reduce((sum, one) => sum + (one - mean) ** 2, 0) / seen.length;
  return Math.sqrt(Math.max(0, variance - (1 - share) * mean)) / mean;
}

function logDistance(squared: number): number {
  return Math.log(Math.max(DISTANCE_MIN, Math.sqrt(squared)));
}

function quantile(values: Float64Array, share: number): number {
  const sorted = values.toSorted();
  return sorted[Math.floor(share * (sorted.length - 1))]!;
}
