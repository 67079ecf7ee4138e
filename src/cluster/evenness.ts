/**
 * Where balanced sampling would go, before anything is drawn: the expected share of every image under a tree, and how
 * evenly that spreads over clusterings that had no part in the tree. Quotas are water-filled as in the sample stage
 * (reference, section 2.2, with the floor of large clusters), but as real numbers, so there is no noise of a draw.
 */
import assert from 'node:assert/strict';
import { type ClusterTree, type Grouping, NO_CLUSTER, groupByParent } from './tree.ts';

export interface DrawOptions {
  /** Target as a share of the clustered images, 0 < share ≤ 1. */
  readonly share: number;
  /** Floor of large clusters at the top level, ≥ 0: cluster i fills at the rate max(1, floor · size_i / mean size). */
  readonly floor: number;
}

/**
 * exp(entropy) of the expected selection over that of the pool, mean over flat clusterings. 1: as even as the pool, which
 * is what a random subset is; low: the selection crowds into few of their clusters.
 *
 * @param leaf level-1 cluster of each image, NO_CLUSTER where set aside
 * @param flats each the flat cluster of every image; 1 when there are none
 */
export function flatEvenness(tree: ClusterTree, leaf: Uint32Array, flats: readonly Uint32Array[], options: DrawOptions): number {
  if (flats.length === 0) return 1;
  const expected = expectedShares(tree, options);
  const drawn = Float64Array.from(leaf, (c) => (c === NO_CLUSTER ? 0 : expected[c]!));
  const pool = new Float64Array(leaf.length).fill(1);
  let sum = 0;
  for (const flat of flats) sum += effective(flat, drawn) / effective(flat, pool);
  return sum / flats.length;
}

/**
 * Chance of one image of each level-1 cluster to be selected.
 *
 * @returns length k of level 1, each in [0, 1]; Σ size · chance = share · Σ size. O(Σ k log k) time.
 */
export function expectedShares({ levels }: ClusterTree, { share, floor }: DrawOptions): Float64Array {
  assert(share > 0 && share <= 1 && floor >= 0, `Expected a share in (0, 1] and a floor of at least 0, got ${share} and ${floor}`);
  const top = levels.at(-1)!;
  const total = top.size.reduce((sum, size) => sum + size, 0);
  const filled = top.size.reduce((count, size) => count + (size > 0 ? 1 : 0), 0);
  const rates = top.size.map((size) => Math.max(1, (floor * size * filled) / total));
  let quota = pour(top.size, rates, share * total);
  for (let l = levels.length - 2; l >= 0; l--) quota = pourBelow(levels[l]!.size, groupByParent(levels[l]!.parent, quota.length), quota);
  return quota.map((wanted, c) => (levels[0]!.size[c] === 0 ? 0 : wanted / levels[0]!.size[c]!));
}

function pourBelow(size: Float64Array, { offset, child }: Grouping, above: Float64Array): Float64Array {
  const quota = new Float64Array(size.length);
  for (let p = 0; p < above.length; p++) {
    const children = child.subarray(offset[p]!, offset[p + 1]!);
    const sizes = Float64Array.from(children, (c) => size[c]!);
    const shared = pour(sizes, new Float64Array(sizes.length).fill(1), above[p]!);
    children.forEach((c, j) => {
      quota[c] = shared[j]!;
    });
  }
  return quota;
}

/** Water-filling over real numbers: min(size, rate · level) with Σ = min(target, Σ size). Clusters fill up in order of size / rate. */
function pour(size: Float64Array, rate: Float64Array, target: number): Float64Array {
  const order = Uint32Array.from(size.keys()).sort((a, b) => size[a]! / rate[a]! - size[b]! / rate[b]! || a - b);
  let rest = target;
  let open = rate.reduce((sum, one) => sum + one, 0);
  let level = Infinity;
  for (const i of order) {
    if ((size[i]! / rate[i]!) * open >= rest) {
      level = Math.max(0, rest / open);
      break;
    }
    rest -= size[i]!;
    open -= rate[i]!;
  }
  return size.map((units, i) => Math.min(units, rate[i]! * level));
}

function effective(cluster: Uint32Array, weight: Float64Array): number {
  const mass = new Map<number, number>();
  let total = 0;
  for (let i = 0; i < cluster.length; i++) {
    mass.set(cluster[i]!, (mass.get(cluster[i]!) ?? 0) + weight[i]!);
    total += weight[i]!;
  }
  let entropy = 0;
  for (const part of mass.values()) if (part > 0) entropy -= (part / total) * Math.log(part / total);
  return Math.exp(entropy);
}
