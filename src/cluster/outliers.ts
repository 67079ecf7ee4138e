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

/**
 * When every cluster with members is an outlier, or none is, all are kept. Centroids that stay are not moved; those of
 * empty clusters stay, and nothing is merged into them. Which cluster is nearest does not depend on `blockRows`.
 */
export async function treatOutliers(points: Points, found: { k: number; centroids: Float32Array; assignment: Uint32Array }, options: OutlierOptions): Promise<Treated> {
  const { k, centroids, assignment } = found;
  const { policy, minSize } = options;
  const size = new Float64Array(k);
  for (let i = 0; i < assignment.length; i++) size[assignment[i]!]!++;
  const clusters = Uint32Array.from(size.keys());
  const large = clusters.filter((c) => size[c]! >= minSize);
  const staying = clusters.filter((c) => size[c]! >= minSize || size[c] === 0);
  const members = membersOfSmall(assignment, size, minSize);
  const counts = { outlierClusters: k - staying.length, outlierImages: members.length, merged: 0, setAside: 0 };
  if (policy === 'keep' || staying.length === k || large.length === 0) return { ...found, ...counts };
  const renumbered = new Uint32Array(k).fill(NO_CLUSTER);
  staying.forEach((c, i) => (renumbered[c] = i));
  const treated = { ...counts, k: staying.length, centroids: rowsAt(centroids, staying, points.d), assignment: assignment.map((c) => renumbered[c]!) };
  if (policy === 'set-aside') return { ...treated, setAside: members.length };
  await eachNearest(points, members, rowsAt(centroids, large, points.d), options, (point, c) => (treated.assignment[point] = renumbered[large[c]!]!));
  return { ...treated, merged: members.length };
}

/** Points of clusters under `minSize`, ascending. */
function membersOfSmall(assignment: Uint32Array, size: Float64Array, minSize: number): Uint32Array {
  let total = 0;
  for (const count of size) if (count < minSize) total += count;
  const members = new Uint32Array(total);
  for (let i = 0, filled = 0; filled < total; i++) if (size[assignment[i]!]! < minSize) members[filled++] = i;
  return members;
}

function rowsAt(matrix: Float32Array, rows: Uint32Array, d: number): Float32Array {
  const out = new Float32Array(rows.length * d);
  rows.forEach((row, i) => out.set(matrix.subarray(row * d, (row + 1) * d), i * d));
  return out;
}

/** Calls `take` with each member and the centroid nearest to it. */
async function eachNearest(points: Points, members: Uint32Array, centroids: Float32Array, { engine, blockRows, signal }: OutlierOptions, take: (point: number, centroid: number) => void): Promise<void> {
  const { d } = points;
  const rows = Math.min(members.length, blockRows);
  const block = new Float32Array(rows * d);
  const index = new Uint32Array(rows);
  const search = await engine.nearest(centroids, centroids.length / d, d);
  try {
    for (let start = 0; start < members.length; start += rows) {
      throwIfAborted(signal);
      const some = members.subarray(start, start + rows);
      await points.gather(some, block);
      await search.nearest(block, some.length, index, null);
      for (let i = 0; i < some.length; i++) take(some[i]!, index[i]!);
    }
  } finally {
    await search.close();
  }
}
