/**
 * Clusters of very few images are kept (published behaviour), merged into the nearest larger cluster, or set aside, before
 * the next level is built on the centroids (reference, section D: lonely leaves otherwise become top clusters and take
 * most of the quota).
 */
import { throwIfAborted } from '../errors.ts';
import type { SearchEngine } from '../vector/search.ts';
import type { Points } from './points.ts';
import { NO_CLUSTER } from './tree.ts';

export interface OutlierOptions {
  readonly policy: 'keep' | 'merge' | 'set-aside';
  /** Clusters with fewer points are outliers. */
  readonly minSize: number;
  readonly engine: SearchEngine;
  readonly blockRows: number;
  readonly signal?: AbortSignal;
}

export interface Treated {
  readonly k: number;
  readonly centroids: Float32Array;
  /** NO_CLUSTER for points that were set aside. */
  readonly assignment: Uint32Array;
  readonly outlierClusters: number;
  readonly outlierImages: number;
  readonly merged: number;
  readonly setAside: number;
}

/** When every cluster is an outlier, or none is, all are kept. Centroids that stay are not moved. */
export async function treatOutliers(points: Points, found: { k: number; centroids: Float32Array; assignment: Uint32Array }, options: OutlierOptions): Promise<Treated> {
  const { k } = found;
  const { policy, minSize } = options;
  const { small, members } = smallClusters(found.assignment, k, minSize);
  const counts = { outlierClusters: small.size, outlierImages: members.length, merged: 0, setAside: 0 };
  if (policy === 'keep' || small.size === 0 || small.size === k) return { ...found, ...counts };
  const centroids = leaveOut(found.centroids, points.d, k, small);
  const assignment = renumber(found.assignment, k, small);
  if (policy === 'set-aside') return { ...counts, k: k - small.size, centroids, assignment, setAside: members.length };
  await assignMembers(points, members, centroids, assignment, options);
  return { ...counts, k: k - small.size, centroids, assignment, merged: members.length };
}

function smallClusters(assignment: Uint32Array, k: number, minSize: number): { small: Set<number>; members: Uint32Array } {
  const size = new Float64Array(k);
  for (const c of assignment) size[c]!++;
  const small = new Set<number>();
  size.forEach((count, c) => count > 0 && count < minSize && small.add(c));
  const members = Uint32Array.from(assignment.keys()).filter((point) => small.has(assignment[point]!));
  return { small, members };
}

function leaveOut(centroids: Float32Array, d: number, k: number, small: ReadonlySet<number>): Float32Array {
  const kept = new Float32Array((k - small.size) * d);
  let at = 0;
  for (let c = 0; c < k; c++) {
    if (small.has(c)) continue;
    kept.set(centroids.subarray(c * d, (c + 1) * d), at);
    at += d;
  }
  return kept;
}

/** Members of small clusters get NO_CLUSTER; the other clusters close ranks. */
function renumber(assignment: Uint32Array, k: number, small: ReadonlySet<number>): Uint32Array {
  const to = new Uint32Array(k);
  let next = 0;
  for (let c = 0; c < k; c++) to[c] = small.has(c) ? NO_CLUSTER : next++;
  return assignment.map((c) => to[c]!);
}

/** Each member of a small cluster goes to the centroid nearest to it among those that stay. */
async function assignMembers(points: Points, members: Uint32Array, centroids: Float32Array, assignment: Uint32Array, { engine, blockRows, signal }: OutlierOptions): Promise<void> {
  const { d } = points;
  const rows = Math.min(members.length, blockRows);
  const block = new Float32Array(rows * d);
  const index = new Uint32Array(rows);
  const distance = new Float32Array(rows);
  const search = await engine.nearest(centroids, centroids.length / d, d);
  try {
    for (let start = 0; start < members.length; start += rows) {
      throwIfAborted(signal);
      const some = members.subarray(start, start + rows);
      await points.gather(some, block);
      await search.nearest(block, some.length, index, distance);
      for (let i = 0; i < some.length; i++) assignment[some[i]!] = index[i]!;
    }
  } finally {
    await search.close();
  }
}
