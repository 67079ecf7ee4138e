/**
 * Curation by hand: what a recipe's `overrides` do to the quotas. A branch is a cluster of any level with all below it.
 *
 * Think of the images of a branch as arriving one after the other while the level of the water rises (see `floor.ts`).
 * `exclude`: none arrives. `boost`: the branch arrives at so many times the rate of its siblings. `cap`: only the first so
 * many arrive. What a branch does not give goes to its siblings, then to the rest of the tree; what the whole tree does not
 * give is the shortfall. A branch above the level where quotas start has no quota of its own: there an exclusion or a boost
 * falls on each of its clusters at that level, and a cap on the first arrivals among them.
 *
 * So quotas stay nested in the target, add up at every level, and one decision never moves the order of another's images.
 */
import { type ClusterTree, NO_CLUSTER } from '../cluster/tree.ts';
import { WinnowError } from '../errors.ts';
import { randomStream } from '../random.ts';
import type { LevelAllocation, TreeLimits } from './allocate.ts';
import type { BranchOverride, OverridesConfig } from './config.ts';
import { allocateByRate, floorRates } from './floor.ts';

/** What the draw is otherwise. */
export interface LimitOptions {
  /** Level whose clusters share the target; quotas start there. */
  readonly depth: number;
  readonly multiplier: number;
  readonly floor: number;
  readonly seed: number;
}

/**
 * Turns branches into capacities and rates of the levels up to `depth`. 16 bytes a cluster.
 *
 * @param tree all its levels
 * @throws {WinnowError} OVERRIDES_STALE when the branches are of another tree, CONFIG_INVALID when a branch is not in it
 */
export function limitTree(tree: ClusterTree, clusters: string, overrides: OverridesConfig, options: LimitOptions): TreeLimits {
  checkBranches(tree, clusters, overrides);
  const { depth, multiplier, floor, seed } = options;
  const byLevel = tree.levels.map((_, l) => overrides.branches.filter(({ level }) => level === l + 1));
  const inherited = inheritedFactors(tree, depth, byLevel);
  const capacity: Float64Array[] = [];
  const rate: (Float64Array | null)[] = [];
  const boosts = inherited.map((factor) => factor || 1);
  for (const { cluster, boost = 1 } of byLevel[depth - 1]!) boosts[cluster]! *= boost;
  for (let l = 0; l < depth; l++) {
    const { k, size } = tree.levels[l]!;
    const units = l === 0 ? size.map((images) => Math.min(Number.MAX_SAFE_INTEGER, images * multiplier)) : sumByParent(tree, l - 1, capacity[l - 1]!);
    const isTop = l === depth - 1;
    if (isTop) inherited.forEach((factor, c) => factor === 0 && (units[c] = 0));
    for (const { cluster, cap, exclude } of byLevel[l]!) units[cluster] = exclude === true ? 0 : Math.min(cap ?? Number.MAX_SAFE_INTEGER, units[cluster]!);
    capacity.push(units);
    const rates = isTop ? floorRates(units, floor).map((own, c) => own * (inherited[c] || 1)) : new Float64Array(k).fill(1);
    for (const { cluster, boost = 1 } of byLevel[l]!) rates[cluster]! *= boost;
    rate.push(rates.every((one) => one === 1) ? null : rates);
  }
  capTop(tree, byLevel, capacity, rate[depth - 1] ?? null, depth, seed);
  return { capacity, rate, boost: boosts.every((one) => one === 1) ? null : boosts };
}

/** Product of the boosts above each cluster of level `depth`, 0 where one of them is excluded. Length k. */
function inheritedFactors(tree: ClusterTree, depth: number, byLevel: readonly (readonly BranchOverride[])[]): Float64Array {
  let factor: Float64Array = new Float64Array(tree.levels.at(-1)!.k).fill(1);
  for (let l = tree.levels.length - 1; l >= depth; l--) {
    for (const { cluster, boost = 1, exclude } of byLevel[l]!) factor[cluster] = exclude === true ? 0 : factor[cluster]! * boost;
    const above = factor;
    factor = Float64Array.from(tree.levels[l - 1]!.parent, (p) => above[p]!);
  }
  return factor;
}

/** Caps above `depth`, lowest first: the clusters of the branch share the cap as they would share a target, and may give no more. */
function capTop(tree: ClusterTree, byLevel: readonly (readonly BranchOverride[])[], capacity: readonly Float64Array[], rate: Float64Array | null, depth: number, seed: number): void {
  const units = capacity[depth - 1]!;
  // The order in which `allocateTree` gives the remainder at this level.
  const stream = randomStream(seed, 'sample', 'quota', depth);
  let ancestor = Uint32Array.from({ length: units.length }, (_, c) => c);
  for (let l = depth; l < tree.levels.length; l++) {
    const { parent } = tree.levels[l - 1]!;
    ancestor = ancestor.map((c) => parent[c]!);
    for (const { cluster, cap } of byLevel[l]!) {
      if (cap === undefined) continue;
      const members = Uint32Array.from(ancestor.keys()).filter((c) => ancestor[c] === cluster);
      const { quota } = allocateByRate(Float64Array.from(members, (c) => units[c]!), Float64Array.from(members, (c) => rate?.[c] ?? 1), cap, (j) => stream.uniform(members[j]!));
      members.forEach((c, j) => (units[c] = quota[j]!));
    }
  }
}

/** Quotas of every level of the tree, level 1 first: those above the level where quotas start are the sums of what is below. */
export function quotasOfLevels(tree: ClusterTree, allocations: readonly LevelAllocation[]): Float64Array[] {
  const quotas = allocations.map(({ quota }) => quota);
  for (let l = quotas.length; l < tree.levels.length; l++) quotas.push(sumByParent(tree, l - 1, quotas[l - 1]!));
  return quotas;
}

/** What overrides changed, for a manifest and for people. */
export interface OverridesEffect {
  readonly clusters: string;
  /** Images (copies counted) that are drawn elsewhere, or not at all, because of the overrides. */
  readonly moved: number;
  /** Images that the draw is short of, beyond what it would be short of without them. */
  readonly lost: number;
  readonly branches: readonly (BranchOverride & { readonly images: number; readonly quotaBefore: number; readonly quota: number })[];
}

/** @param before quotas of all levels without the overrides; `after`: with them */
export function describeEffect(tree: ClusterTree, { clusters, branches }: OverridesConfig, before: readonly Float64Array[], after: readonly Float64Array[]): OverridesEffect {
  let moved = 0;
  let lost = 0;
  before[0]!.forEach((quota, c) => {
    moved += Math.max(0, quota - after[0]![c]!);
    lost += quota - after[0]![c]!;
  });
  const at = (quotas: readonly Float64Array[], { level, cluster }: BranchOverride): number => quotas[level - 1]![cluster]!;
  return { clusters, moved, lost, branches: branches.map((branch) => ({ ...branch, images: tree.levels[branch.level - 1]!.size[branch.cluster]!, quotaBefore: at(before, branch), quota: at(after, branch) })) };
}

function checkBranches(tree: ClusterTree, clusters: string, overrides: OverridesConfig): void {
  if (overrides.clusters !== clusters) {
    throw new WinnowError('OVERRIDES_STALE', `Expected overrides of the tree whose clusters/manifest.json has SHA-256 ${clusters.slice(0, 12)}…, got those of ${overrides.clusters.slice(0, 12)}…: cluster numbers of one tree mean nothing in another; make them again in \`winnow atlas\`, or take \`overrides\` out of the recipe`, {
      details: { expected: clusters, got: overrides.clusters },
    });
  }
  for (const { level, cluster } of overrides.branches) {
    const k = tree.levels[level - 1]?.k;
    if (k === undefined) throw new WinnowError('CONFIG_INVALID', `Expected overrides of levels 1 to ${tree.levels.length}, got level ${level}`);
    if (cluster >= k) throw new WinnowError('CONFIG_INVALID', `Expected clusters 0 to ${k - 1} in overrides of level ${level}, got ${cluster}`);
  }
}

/** Sums of level l + 1's values at level l + 2, up to 2^53 − 1. */
function sumByParent(tree: ClusterTree, l: number, values: Float64Array): Float64Array {
  const { parent } = tree.levels[l]!;
  const sums = new Float64Array(tree.levels[l + 1]!.k);
  values.forEach((value, c) => {
    const p = parent[c]!;
    if (p !== NO_CLUSTER) sums[p] = Math.min(Number.MAX_SAFE_INTEGER, sums[p]! + value);
  });
  return sums;
}
