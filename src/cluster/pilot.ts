/**
 * A small tree in memory, built like the real one on a sample of the pool: what `winnow levels` shows before anybody
 * pays for the whole.
 */
import type { SearchEngine } from '../vector/search.ts';
import type { ClusterConfig, LevelPlan } from './config.ts';
import { treatOutliers } from './outliers.ts';
import { type Clustering, assignAll } from './kmeans.ts';
import { type PartitionOptions, partition } from './partition.ts';
import { type Points, cached, memoryPoints, subsetPoints } from './points.ts';
import { resample } from './resample.ts';
import { type ClusterTree, type TreeLevel, NO_CLUSTER } from './tree.ts';

export interface PilotOptions {
  readonly engine: SearchEngine;
  readonly seed: number;
  readonly iterations: number;
  readonly empty: ClusterConfig['empty'];
  readonly resampling: LevelPlan['resampling'];
  readonly signal?: AbortSignal;
}

export interface Pilot {
  readonly tree: ClusterTree;
  /** Level-1 cluster of each point, NO_CLUSTER where set aside. */
  readonly leaf: Uint32Array;
  readonly distance: Float32Array;
}

/**
 * Builds the levels of a plan over points in memory; split levels are built unsplit.
 *
 * @param levels clusters of each level, finest first; a level never has more than the one below has left
 */
export async function buildPilot(points: Points, levels: readonly number[], outliers: LevelPlan['outliers'], options: PilotOptions): Promise<Pilot> {
  const { engine, seed, iterations, empty, signal } = options;
  const shared = { engine, seed, iterations, empty, splits: 1, seedingRows: points.n, blockRows: 8192, cacheBytes: Infinity, ...(signal && { signal }) };
  const leaves = await clusterLevel(points, { ...shared, k: Math.min(levels[0]!, points.n) }, 1, options);
  const treated = await treatOutliers(points, leaves, { ...outliers, engine, blockRows: 8192, ...(signal && { signal }) });
  const built = [levelOf(treated.k, treated.assignment, null)];
  let centroids = treated.centroids;
  for (let level = 2; level <= levels.length; level++) {
    const below = built.at(-1)!;
    const found = await clusterLevel(memoryPoints(centroids, below.k, points.d), { ...shared, k: Math.min(levels[level - 1]!, below.k), seedingRows: below.k }, level, options);
    built[built.length - 1] = { ...below, parent: found.assignment };
    built.push(levelOf(found.k, found.assignment, below.size));
    centroids = found.centroids;
  }
  return { tree: { d: points.d, levels: built }, leaf: treated.assignment, distance: leaves.distance };
}

/** A first k-means and its resampling rounds, as the tasks of level.ts run them. */
async function clusterLevel(points: Points, shared: Omit<PartitionOptions, 'labels'>, level: number, { seed, resampling }: PilotOptions): Promise<Clustering> {
  let found = await partition(points, { ...shared, labels: [level, 0] });
  for (let round = 1; round <= resampling.rounds; round++) {
    const { strategy } = resampling;
    const drawn = resample(found.assignment, found.distance, found.k, { sampleSize: resampling.sampleSize[level - 1]!, strategy, seed, level, round });
    const sampled = await partition(await cached(subsetPoints(points, drawn), Infinity), { ...shared, labels: [level, round] });
    found = await assignAll(points, sampled.centroids, shared);
  }
  return found;
}

function levelOf(k: number, assignment: Uint32Array, below: Float64Array | null): TreeLevel {
  const size = new Float64Array(k);
  for (let i = 0; i < assignment.length; i++) if (assignment[i] !== NO_CLUSTER) size[assignment[i]!]! += below === null ? 1 : below[i]!;
  return { k, size, parent: new Uint32Array(k).fill(NO_CLUSTER) };
}
