/**
 * Quotas in proportion to size, by one systematic pass over the clusters in the order of the tree (Madow & Madow 1944), made
 * nested: the units lie on a ring, and the pass takes every s-th of them, s near the golden section of the ring and coprime to
 * it, so any number of steps is spread almost evenly (Weyl 1916) and all steps visit each unit once. Every image has the
 * same chance, as in a random subset, but a branch of the tree gets its share to within a few images, and not only on average.
 */
import assert from 'node:assert/strict';
import { type ClusterTree, groupByParent } from '../cluster/tree.ts';
import { type Allocation, allocateByRate } from './floor.ts';

const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * A larger target takes all that a smaller one takes, and a cluster whose capacity is lowered moves no other but up.
 * O(m + min(target, Σ units − target)) time, O(m + Σ units) where capacities are lower than units; O(m) memory.
 *
 * @param units of each cluster on the ring, length m, non-negative integers with a sum below 2^52
 * @param order the clusters, those that are to share a pass next to each other; length m
 * @param start where the pass begins, in [0, 1)
 * @param capacity what each cluster can give, where that is not its units
 * @returns quotas with Σ = min(target, Σ capacity); `cut` is the largest of them
 */
export function allocateProportional(units: Float64Array, order: Uint32Array, target: number, start: number, capacity = units): Allocation {
  const bound = boundsOf(units, order);
  const total = bound.at(-1)!;
  assert(total < 2 ** 52, `Expected units with a sum below 2^52, got ${total}`);
  if (sumOf(capacity) <= target) return { quota: capacity.slice(), cut: largest(capacity), remainder: 0 };
  const step = stepOf(total);
  const clusterAt = createLookup(bound);
  const quota = new Float64Array(units.length);
  // Where most is taken, what is left is counted: the steps after the target.
  const isRest = capacity === units && target > total / 2;
  const first = Math.floor(start * total);
  let unit = isRest ? Number((BigInt(first) + BigInt(target) * BigInt(step)) % BigInt(total)) : first;
  let left = isRest ? total - target : target;
  for (let steps = 0; left > 0 && steps < total; steps++) {
    const cluster = order[clusterAt(unit)]!;
    if (quota[cluster]! < capacity[cluster]!) {
      quota[cluster]!++;
      left--;
    }
    unit += step;
    if (unit >= total) unit -= total;
  }
  if (isRest) for (let i = 0; i < quota.length; i++) quota[i] = capacity[i]! - quota[i]!;
  else if (left > 0) fillUp(quota, capacity, order, left);
  return { quota, cut: largest(quota), remainder: 0 };
}

/** What a whole turn left over, where some have fewer units than they can give: evenly, in the order of the clusters. */
function fillUp(quota: Float64Array, capacity: Float64Array, order: Uint32Array, left: number): void {
  const place = new Uint32Array(order.length);
  order.forEach((cluster, i) => (place[cluster] = i));
  const rest = allocateByRate(capacity.map((most, i) => most - quota[i]!), new Float64Array(quota.length).fill(1), left, (i) => place[i]! / order.length);
  rest.quota.forEach((more, i) => (quota[i]! += more));
}

function sumOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Clusters of a level so that those of one branch follow each other, at every level above. */
export function branchOrder({ levels }: ClusterTree, level: number): Uint32Array {
  let order = Uint32Array.from({ length: levels.at(-1)!.k }, (_, c) => c);
  for (let l = levels.length - 2; l >= level - 1; l--) {
    const { offset, child } = groupByParent(levels[l]!.parent, levels[l + 1]!.k);
    const below = new Uint32Array(child.length);
    let filled = 0;
    for (const p of order) for (let i = offset[p]!; i < offset[p + 1]!; i++) below[filled++] = child[i]!;
    order = below;
  }
  return order;
}

/** Units before each cluster of the order, and all of them last; length m + 1. */
function boundsOf(capacity: Float64Array, order: Uint32Array): Float64Array {
  const bound = new Float64Array(order.length + 1);
  for (let i = 0; i < order.length; i++) bound[i + 1] = bound[i]! + capacity[order[i]!]!;
  return bound;
}

/** Of the numbers next to the golden section that are coprime to the ring's length, the one that spreads steps best. */
function stepOf(total: number): number {
  const golden = Math.max(1, Math.round(total * GOLDEN));
  let best = { step: 1, quotient: Infinity };
  // The last number before the length is coprime to it.
  for (let step = golden; step < total && (step < golden + CANDIDATES || best.quotient === Infinity); step++) {
    const quotient = largestQuotient(total, step);
    if (quotient < best.quotient) best = { step, quotient };
  }
  return best.step;
}

const CANDIDATES = 64;

/** Largest term of the continued fraction of step / total, which bounds the discrepancy of its multiples; infinite unless coprime. */
function largestQuotient(total: number, step: number): number {
  let [a, b, most] = [total, step, 0];
  while (b !== 0) {
    most = Math.max(most, Math.floor(a / b));
    [a, b] = [b, a % b];
  }
  return a === 1 ? most : Infinity;
}

/** Place in the order of the cluster that has a unit: a table of as many even ranges as there are clusters, then halving. */
function createLookup(bound: Float64Array): (unit: number) => number {
  const m = bound.length - 1;
  const width = Math.ceil(bound[m]! / m);
  const from = new Uint32Array(m + 1).fill(m - 1);
  for (let range = 0, i = 0; range < m && range * width < bound[m]!; range++) {
    while (bound[i + 1]! <= range * width) i++;
    from[range] = i;
  }
  return (unit) => {
    const range = Math.floor(unit / width);
    let low = from[range]!;
    let high = from[range + 1]!;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (bound[middle]! <= unit) low = middle;
      else high = middle - 1;
    }
    // Clusters without units begin where the next one does.
    return low;
  };
}

function largest(values: Float64Array): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}
