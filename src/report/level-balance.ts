/** How even the clusters of each level are, in the pool and in the selection: sizes, Lorenz curve, Gini, entropy. */
import { type ClusterTree, NO_CLUSTER } from '../cluster/tree.ts';
import { balanceOf } from './balance.ts';
import type { PoolRows } from './pool-rows.ts';

export interface Evenness {
  readonly images: number;
  /** Clusters with an image. */
  readonly used: number;
  /** exp(entropy of the shares). */
  readonly effective: number;
  /** Entropy over that of all k clusters in equal shares. */
  readonly entropy: number;
  /** 0: all equal; towards 1: all in one. */
  readonly gini: number;
}

export interface LevelBalance {
  /** 1 is the finest. */
  readonly level: number;
  readonly k: number;
  /** Images under each cluster, length k; selected ones with their copies. */
  readonly pool: Float64Array;
  readonly selection: Float64Array;
  readonly before: Evenness;
  readonly after: Evenness;
}

/** Level 1 first. O(n + Σ k log k). */
export function measureLevels(tree: ClusterTree, { leaf, copies }: Pick<PoolRows, 'leaf' | 'copies'>): LevelBalance[] {
  let selection = new Float64Array(tree.levels[0]?.k ?? 0);
  for (let row = 0; row < leaf.length; row++) if (copies[row] !== 0 && leaf[row] !== NO_CLUSTER) selection[leaf[row]!]! += copies[row]!;
  return tree.levels.map(({ k, parent, size }, l) => {
    const own = selection;
    selection = new Float64Array(tree.levels[l + 1]?.k ?? 0);
    if (selection.length > 0) own.forEach((count, c) => (selection[parent[c]!]! += count));
    return { level: l + 1, k, pool: size, selection: own, before: evennessOf(size), after: evennessOf(own) };
  });
}

/** @returns at most `pointsMax` (rank from 1, size) pairs, ranks about evenly spaced on a log scale, sizes descending and above 0 */
export function rankCurve(sizes: Float64Array, pointsMax = 120): [number, number][] {
  const sorted = sizes.slice().sort().reverse();
  const used = sorted.indexOf(0);
  const k = used < 0 ? sorted.length : used;
  const ranks = new Set<number>();
  for (let i = 0; i < pointsMax && k > 0; i++) ranks.add(Math.round(k ** (i / (pointsMax - 1))));
  return [...ranks].map((rank) => [rank, sorted[rank - 1]!]);
}

/** @returns at most `pointsMax` + 1 (share of the clusters, share of the images) pairs from (0, 0) to (1, 1), smallest clusters first */
export function lorenzCurve(sizes: Float64Array, pointsMax = 100): [number, number][] {
  const sorted = sizes.slice().sort();
  const total = sorted.reduce((sum, size) => sum + size, 0);
  const k = sorted.length;
  const steps = Math.min(k, pointsMax);
  if (total === 0) return [[0, 0]];
  const curve: [number, number][] = [[0, 0]];
  let below = 0;
  for (let step = 1, c = 0; step <= steps; step++) {
    const end = Math.round((step * k) / steps);
    for (; c < end; c++) below += sorted[c]!;
    curve.push([end / k, below / total]);
  }
  return curve;
}

function evennessOf(sizes: Float64Array): Evenness {
  const { images, labels, effective, entropy } = balanceOf(sizes, sizes.length);
  return { images, used: labels, effective, entropy, gini: giniOf(sizes) };
}

/** Σ (2i − k − 1) x_i / (k Σ x), sizes ascending, i from 1. */
function giniOf(sizes: Float64Array): number {
  const k = sizes.length;
  let total = 0;
  let weighted = 0;
  sizes.slice().sort().forEach((size, i) => {
    total += size;
    weighted += (2 * (i + 1) - k - 1) * size;
  });
  return total === 0 ? 0 : weighted / (k * total);
}
