/** Groups of centroids that lie near each other, all of one size: what bounds.ts keeps bounds on. */
import type { SearchEngine } from '../vector/search.ts';

/** A partition of k centroids: group g is `member[offset[g] … offset[g + 1])`. */
export interface CentroidGroups {
  readonly member: Uint32Array;
  readonly offset: Float64Array;
}

/** Bytes that a bound of one point on one group takes. */
const BOUND_BYTES = 2;

/** Centroids in a group: fewer make tighter bounds and more of them, and narrower products. */
const GROUP_SIZE = 32;
const GROUPS_MAX = 512;
/** Under so many groups, bounds save less than they cost. */
const GROUPS_MIN = 8;

/** Groups that bounds of n points to k centroids are kept for in `bytes`; 0 where bounds do not pay. */
export function groupCount(n: number, k: number, bytes: number): number {
  const count = Math.min(GROUPS_MAX, Math.ceil(k / GROUP_SIZE), Math.floor(bytes / (BOUND_BYTES * n)));
  return count < GROUPS_MIN ? 0 : count;
}

/**
 * Puts k centroids in `count` groups of equal size, the last ones one smaller: each is the lowest centroid that is left
 * and the ones nearest to it that are left. Which decides how much is compared, never a result. O(count · k · d).
 */
export async function groupCentroids(engine: SearchEngine, centroids: Float32Array, k: number, d: number, count: number): Promise<CentroidGroups> {
  const member = Uint32Array.from({ length: k }, (_, c) => c);
  const offset = Float64Array.from({ length: count + 1 }, (_, g) => Math.round((g * k) / count));
  const distances = await engine.distances(centroids, k, d);
  try {
    const far = new Float32Array(k);
    for (let g = 0; g + 1 < count; g++) {
      const left = member.subarray(offset[g]).sort();
      await distances.to(centroids.subarray(left[0]! * d, (left[0]! + 1) * d), 1, far);
      left.sort((a, b) => far[a]! - far[b]! || a - b);
    }
  } finally {
    await distances.close();
  }
  return { member, offset };
}
