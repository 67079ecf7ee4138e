/**
 * Resampled k-means (reference section 1.7): after a level's first k-means, each round draws a few members of every
 * cluster, runs a fresh k-means on that sample alone, and assigns all points to the new centroids. Dense regions give as
 * few points as sparse ones, so each round flattens the density of centroids.
 */
import { randomStream } from '../random.ts';
import { type Grouping, groupByParent } from './tree.ts';

export interface ResampleOptions {
  /** Members a cluster gives at most. Smaller clusters give all they have. */
  readonly sampleSize: number;
  readonly strategy: 'closest' | 'random';
  readonly seed: number;
  readonly level: number;
  readonly round: number;
}

/**
 * @param assignment length n, cluster of each point
 * @param distance length n, squared distance to its centroid; decides `closest`, ties by point
 * @returns ascending points, at most k × sampleSize
 */
export function resample(assignment: Uint32Array, distance: Float32Array, k: number, options: ResampleOptions): Uint32Array {
  const members = groupByParent(assignment, k);
  const { sampleSize, strategy } = options;
  const stream = randomStream(options.seed, 'cluster', 'resample', options.level, options.round);
  const rank = strategy === 'closest' ? (point: number): number => distance[point]! : (point: number): number => stream.uniform(point);
  const drawn = new Uint32Array(drawnCount(members, k, sampleSize));
  let filled = 0;
  for (let c = 0; c < k; c++) {
    const cluster = members.child.subarray(members.offset[c]!, members.offset[c + 1]!);
    if (cluster.length > sampleSize) keepSmallest(cluster, sampleSize, rank);
    const count = Math.min(cluster.length, sampleSize);
    drawn.set(cluster.subarray(0, count), filled);
    filled += count;
  }
  return drawn.sort();
}

function drawnCount(members: Grouping, k: number, sampleSize: number): number {
  let total = 0;
  for (let c = 0; c < k; c++) total += Math.min(sampleSize, members.offset[c + 1]! - members.offset[c]!);
  return total;
}

/** Moves the `count` members of smallest rank to the front. */
function keepSmallest(cluster: Uint32Array, count: number, rank: (point: number) => number): void {
  const ranks = Float64Array.from(cluster, rank);
  const order = Uint32Array.from(cluster.keys()).sort((a, b) => ranks[a]! - ranks[b]! || cluster[a]! - cluster[b]!);
  const smallest = Uint32Array.from(order.subarray(0, count), (position) => cluster[position]!);
  cluster.set(smallest);
}
