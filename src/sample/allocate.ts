/**
 * Quotas of balanced sampling: water-filling over the clusters of a group, top-down through the tree (reference
 * section 2.2 and 2.3; the max-min fair split of Vo et al. 2024). Departures: the remainder goes by a keyed order
 * instead of a fresh draw, the tree is walked level by level without recursion, zero quotas are not descended into,
 * and the cut is found by Newton's method instead of bisection.
 *
 * Nested targets: at one seed the order of the remainder is fixed, so one more unit of target gives one more unit to
 * one cluster and takes none away: either the next cluster in the order, or, when the order is used up, the first one
 * of the next cut. So every quota is monotone in the target; a parent's quota is its children's target, so this holds
 * at every level; and a leaf takes its images in a fixed order. A smaller target's selection is therefore contained in
 * a larger one's exactly, copies counted: the number of images that leave when the target grows is bounded by 0.
 */
import assert from 'node:assert/strict';
import { type ClusterTree, type Grouping, PROPORTIONAL, type TreeLevel, groupByParent } from '../cluster/tree.ts';
import { randomStream } from '../random.ts';
import { type Allocation, allocateByRate, allocateWithFloor } from './floor.ts';
import { allocateProportional, branchOrder } from './proportional.ts';
import { forSmallest } from './smallest.ts';

/** Quotas of one level and how they came about. A group is the children of one parent, or the whole top level. */
export interface LevelAllocation {
  /** Images (copies counted) that each cluster of the level gives, length k. */
  readonly quota: Float64Array;
  /** Groups with a quota to share. */
  readonly groups: number;
  /** Smallest and largest cut of those groups; 0 when there are none. */
  readonly cutMin: number;
  readonly cutMax: number;
  /** Units that the keyed order gave away, summed over the groups. */
  readonly remainder: number;
}

/** What a person decided of single branches, as the quotas see it: by level, level 1 first. Made by `overrides.ts`. */
export interface TreeLimits {
  /** Units that each cluster may give, at most what its children may give together; length k. */
  readonly capacity: readonly Float64Array[];
  /** How fast each cluster fills among its siblings, length k; null: all alike. The top level's holds the floor. */
  readonly rate: readonly (Float64Array | null)[];
  /** Of that, at the level of the draw, what the person decided, length k; null: nothing. */
  readonly boost: Float64Array | null;
}

export interface TreeDraw {
  /** Level whose clusters share the target; all levels when left out. */
  readonly depth?: number;
  /** Share that large clusters of that level keep, see `floor.ts`; 0: the published method. */
  readonly floor?: number;
  /** Capacities and rates that take the place of sizes and floor. */
  readonly limits?: TreeLimits | null;
}

/**
 * Splits `target` units over clusters so that the smallest quota is as large as capacities allow: cluster i gets
 * min(cut, capacity[i]), and the remainder goes one unit each to the clusters above the cut that come first by key.
 *
 * Exact for capacities and targets up to 2^53. O(m · passes) time, where passes ≤ log2(target · m) + log1.5(m) and
 * rarely above five, plus a sort of the keys above the cut when there is a remainder; O(m) memory.
 *
 * @param capacity units available, length m, non-negative integers
 * @param target units wanted; above Σ capacity everything is taken
 * @param keyOf key of a cluster, finite; smaller comes first, ties by cluster number. Asked only when needed
 * @throws {AssertionError} unless target and capacities are non-negative safe integers
 */
export function allocate(capacity: Float64Array, target: number, keyOf: (cluster: number) => number): Allocation {
  assertTarget(target);
  capacity.forEach((a, i) => assert(Number.isSafeInteger(a) && a >= 0, `Expected capacity ${i} to be a non-negative integer, got ${a}`));
  const level = { k: capacity.length, size: capacity };
  const { quota, cutMax, remainder } = allocateLevel({ ...level, multiplier: 1, limits: null }, wholeLevel(level.k), Float64Array.of(target), keyOf);
  return { quota, cut: cutMax, remainder };
}

/**
 * Quotas of every cluster from the level of the draw down, each cluster's quota shared among its children.
 *
 * The remainder order of a level is one random stream, keyed by cluster number: it depends on the seed and the level,
 * not on the parent, the target or the multiplier. O(Σ k) time and memory: 20 bytes a cluster beside the tree.
 *
 * @param multiplier how often one image may be given at most
 * @returns one entry a level up to the draw's, level 1 (finest) first like `tree.levels`
 */
export function allocateTree(tree: ClusterTree, target: number, multiplier: number, seed: number, { depth = tree.levels.length, floor = 0, limits = null }: TreeDraw = {}): LevelAllocation[] {
  assertTarget(target);
  assert(Number.isSafeInteger(multiplier) && multiplier >= 1, `Expected the multiplier to be an integer of at least 1, got ${multiplier}`);
  const result: LevelAllocation[] = [];
  let quotaAbove: Float64Array = Float64Array.of(target);
  assert(depth >= 1 && depth <= tree.levels.length, `Expected a depth from 1 to ${tree.levels.length}, got ${depth}`);
  for (let l = depth - 1; l >= 0; l--) {
    const level = tree.levels[l]!;
    const isTop = l === depth - 1;
    const grouping = isTop ? wholeLevel(level.k) : groupByParent(level.parent, tree.levels[l + 1]!.k);
    const stream = randomStream(seed, 'sample', 'quota', l + 1);
    const keyOf = (cluster: number): number => stream.uniform(cluster);
    const own = limits === null ? null : { capacity: limits.capacity[l]!, rate: limits.rate[l]! };
    const order = isTop && floor >= PROPORTIONAL ? branchOrder(tree, depth) : null;
    const allocation = order !== null ? proportionalLevel(level, order, target, multiplier, keyOf(0), limits) : isTop && floor > 0 && own === null ? floorLevel(level, floor, target, multiplier, keyOf) : allocateLevel({ ...level, multiplier, limits: own }, grouping, quotaAbove, keyOf);
    result.unshift(allocation);
    quotaAbove = allocation.quota;
  }
  return result;
}

/** The top level where large clusters keep a floor. */
function floorLevel({ size }: TreeLevel, floor: number, target: number, multiplier: number, keyOf: (cluster: number) => number): LevelAllocation {
  const { quota, cut, remainder } = allocateWithFloor(size.map((images) => images * multiplier), floor, target, keyOf);
  return { quota, groups: 1, cutMin: cut, cutMax: cut, remainder };
}

/** The top level where the selection is as the pool. @param order of the clusters along the tree */
function proportionalLevel({ size }: TreeLevel, order: Uint32Array, target: number, multiplier: number, start: number, limits: TreeLimits | null): LevelAllocation {
  const boost = limits?.boost ?? null;
  const units = size.map((images, c) => (boost === null || images === 0 ? images * multiplier : Math.max(1, Math.round(images * multiplier * boost[c]!))));
  const { quota, cut, remainder } = allocateProportional(units, order, target, start, limits?.capacity.at(-1) ?? units);
  return { quota, groups: 1, cutMin: cut, cutMax: cut, remainder };
}

/** A level as its quotas see it: sizes, or the limits that take their place. */
interface SharedLevel extends Pick<TreeLevel, 'k' | 'size'> {
  readonly multiplier: number;
  readonly limits: { readonly capacity: Float64Array; readonly rate: Float64Array | null } | null;
}

/** Shares each parent's quota among its children. */
function allocateLevel({ k, size, multiplier, limits }: SharedLevel, { offset, child }: Grouping, quotaAbove: Float64Array, keyOf: (cluster: number) => number): LevelAllocation {
  const widest = widestGroup(offset);
  const capacity = new Float64Array(widest);
  const share = createShare(widest, keyOf);
  const quota = new Float64Array(k);
  const counts = { groups: 0, cutMin: 0, cutMax: 0, remainder: 0 };
  for (let p = 0; p < quotaAbove.length; p++) {
    const target = quotaAbove[p]!;
    if (target === 0) continue;
    const members = child.subarray(offset[p]!, offset[p + 1]!);
    // Beyond the target a capacity changes nothing, and the product is exact wherever it is below it.
    for (let j = 0; j < members.length; j++) capacity[j] = Math.min(target, limits === null ? size[members[j]!]! * multiplier : limits.capacity[members[j]!]!);
    const rate = limits?.rate ?? null;
    const { cut, remainder } = rate === null || members.every((cluster) => rate[cluster] === 1) ? share(members, capacity, target, quota) : shareByRate(members, capacity, rate, target, quota, keyOf);
    counts.cutMin = counts.groups === 0 ? cut : Math.min(counts.cutMin, cut);
    counts.cutMax = Math.max(counts.cutMax, cut);
    counts.remainder += remainder;
    counts.groups++;
  }
  return { quota, ...counts };
}

type Share = (members: Uint32Array, capacity: Float64Array, target: number, quota: Float64Array) => { cut: number; remainder: number };

/** One group at a time, at equal rates; its arrays serve every group. */
function createShare(widest: number, keyOf: (cluster: number) => number): Share {
  const keys = new Float64Array(widest);
  const scratch = new Float64Array(widest);
  const candidate = new Uint32Array(widest);
  return (members, capacity, target, quota) => {
    const { cut, rest, open } = findCut(capacity, members.length, target);
    let candidates = 0;
    const remainder = open === 0 ? 0 : rest - cut * open;
    for (let j = 0; j < members.length; j++) {
      const cluster = members[j]!;
      quota[cluster] = Math.min(cut, capacity[j]!);
      if (remainder > 0 && capacity[j]! > cut) {
        keys[candidates] = keyOf(cluster);
        candidate[candidates++] = cluster;
      }
    }
    forSmallest(keys, candidates, remainder, scratch, (position) => {
      quota[candidate[position]!]!++;
    });
    return { cut, remainder };
  };
}

function shareByRate(members: Uint32Array, capacity: Float64Array, rate: Float64Array, target: number, quota: Float64Array, keyOf: (cluster: number) => number): { cut: number; remainder: number } {
  const given = allocateByRate(capacity.slice(0, members.length), Float64Array.from(members, (cluster) => rate[cluster]!), target, (j) => keyOf(members[j]!));
  members.forEach((cluster, j) => (quota[cluster] = given.quota[j]!));
  return { cut: given.cut, remainder: given.remainder };
}

/**
 * The cut, the units left for the clusters above it (`rest`) and how many those are (`open`); open = 0 when
 * everything is taken.
 *
 * Newton's method from below on S(x) = Σ min(x, a_i): S is concave, so a step never passes the root, and rounding a
 * step down keeps S(x) ≤ target. At the fixed point floor(rest / open) = x no larger integer fits. All sums are
 * integers of at most `target`, hence exact.
 */
function findCut(capacity: Float64Array, m: number, target: number): { cut: number; rest: number; open: number } {
  let cut = 0;
  for (;;) {
    let rest = target;
    let open = 0;
    let largest = 0;
    for (let i = 0; i < m; i++) {
      const a = capacity[i]!;
      if (a > cut) open++;
      else {
        rest -= a;
        if (a > largest) largest = a;
      }
    }
    if (open === 0) return { cut: largest, rest, open };
    // A quotient that is no integer lies 1 / open or more below the next one, which is over half a float64 step as long
    // as rest < 2^53: it never rounds up to it.
    const next = Math.floor(rest / open);
    if (next === cut) return { cut, rest, open };
    cut = next;
  }
}

/** The top level as one group. */
function wholeLevel(k: number): Grouping {
  const child = new Uint32Array(k);
  for (let i = 0; i < k; i++) child[i] = i;
  return { offset: Float64Array.of(0, k), child };
}

function widestGroup(offset: Float64Array): number {
  let widest = 0;
  for (let p = 1; p < offset.length; p++) widest = Math.max(widest, offset[p]! - offset[p - 1]!);
  return widest;
}

function assertTarget(target: number): void {
  assert(Number.isSafeInteger(target) && target >= 0, `Expected the target to be a non-negative integer, got ${target}`);
}
