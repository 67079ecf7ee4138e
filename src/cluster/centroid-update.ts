/** The update of a Lloyd iteration from exact sums (points.ts), and what follows from sums without looking at a point. */
import { splitLargest } from './empty-clusters.ts';
import { exactDistance } from './exact-distance.ts';
import { toGrid } from './points.ts';

/** Clusters as they are between an assignment and the update after it. */
export interface ClusterSums {
  /** k × d. */
  readonly centroids: Float32Array;
  /** k × d: exact sums of the members. */
  readonly sums: Float64Array;
  readonly size: Float64Array;
}

/**
 * Moves centroids to the means of their members. An empty cluster keeps its centroid or, with `split`, moves beside that
 * of a large one.
 *
 * @returns clusters that were split
 */
export function updateCentroids({ centroids, sums, size }: ClusterSums, d: number, empty: 'keep' | 'drop' | 'split'): number {
  for (let c = 0; c < size.length; c++) {
    if (size[c] === 0) continue;
    for (let j = c * d; j < (c + 1) * d; j++) centroids[j] = toGrid(sums[j]! / size[c]!);
  }
  return empty === 'split' ? splitLargest(centroids, size, d) : 0;
}

/** @returns length k: how far each centroid moved */
export function centroidMoves(old: Float32Array, centroids: Float32Array, d: number): Float64Array {
  return Float64Array.from({ length: centroids.length / d }, (_, c) => Math.sqrt(exactDistance(old, c * d, centroids, c * d, d)));
}

/**
 * Inertia as Σ‖x‖² − 2 Σ sum · c + Σ size ‖c‖²: O(n + k · d). Rounding is about 2⁻⁵⁰ of Σ‖x‖².
 *
 * @param squares squared norm of each point
 */
export function inertiaOf(squares: Float64Array, { centroids, sums, size }: ClusterSums, d: number): number {
  let inertia = 0;
  for (let i = 0; i < squares.length; i++) inertia += squares[i]!;
  for (let c = 0; c < size.length; c++) {
    let own = 0;
    for (let j = c * d; j < (c + 1) * d; j++) own += centroids[j]! * (size[c]! * centroids[j]! - 2 * sums[j]!);
    inertia += own;
  }
  return Math.max(0, inertia);
}
