/**
 * Which steps are homogeneous, of which part, and how many were before: a pure function of the step. The paper (section
 * 3.1) draws "randomly" 10 % of its iterations; whether by independent draws or by a schedule is not disclosed.
 *
 * `independent`: the distribution of independent draws, but drawn so that they can be counted without walking: the count
 * of each block of 1,024 steps is binomial, by inversion, and a keyed permutation says which steps of the block they are.
 * Counting costs one lookup a block before. `exact`: step s is homogeneous when ⌊s·p + φ⌋ goes up at it (Beatty), so any
 * window of m steps has ⌊m·p⌋ or ⌈m·p⌉; several parts share those steps in the same way, one after another.
 */
import type { Homogeneous } from '../mix/mixture.ts';
import { type RandomStream, randomStream } from '../random.ts';
import { createPermutation } from './permutation.ts';

/** Homogeneous steps of a phase. Steps count from the phase's first. */
export interface HomogeneousSteps {
  /** @returns `which`: ordinal of the homogeneous part, −1 for a heterogeneous step; `before`: earlier steps of each part */
  at(step: number): { readonly which: number; readonly before: readonly number[] };
}

/** @param labels tell this phase's draws from another's */
export function createHomogeneousSteps(parts: readonly Homogeneous[], schedule: 'independent' | 'exact', seed: number, ...labels: (string | number)[]): HomogeneousSteps {
  const probabilities = parts.map(({ probability }) => probability);
  const none = parts.map(() => 0);
  if (probabilities.every((probability) => probability === 0)) return { at: () => ({ which: -1, before: none }) };
  return schedule === 'exact' ? createExact(probabilities, randomStream(seed, 'batch', 'homogeneous phase', ...labels)) : createIndependent(probabilities, seed, labels);
}

const BLOCK = 1024;

function createIndependent(probabilities: readonly number[], seed: number, labels: readonly (string | number)[]): HomogeneousSteps {
  const J = probabilities.length;
  const counts = randomStream(seed, 'batch', 'homogeneous count', ...labels);
  const places = randomStream(seed, 'batch', 'homogeneous place', ...labels);
  // Part j is drawn among the steps that the parts before it have left.
  const binomials = probabilities.map((probability, j) => createBinomial(Math.min(1, probability / (1 - sum(probabilities.slice(0, j))))));
  // sums[b · J + j]: steps of part j in the blocks before b.
  const sums: number[] = new Array<number>(J).fill(0);
  const countsOf = (block: number): number[] => {
    let left = BLOCK;
    return binomials.map((binomial, j) => {
      const count = binomial(left, counts.uniform(block * J + j));
      left -= count;
      return count;
    });
  };
  const reach = (block: number): void => {
    for (let b = sums.length / J - 1; b < block; b++) countsOf(b).forEach((count, j) => sums.push(sums[b * J + j]! + count));
  };
  // The block looked at: the part of each step, and the steps of part j before step i at i · J + j. Filled anew for each
  // block: arrays of their own would outlive the young generation and fill the old one.
  const which = new Int32Array(BLOCK);
  const earlier = new Uint16Array((BLOCK + 1) * J);
  let held = -1;
  const load = (block: number): void => {
    reach(block);
    const ends = countsOf(block).map((total => (count: number) => (total += count))(0));
    const permutation = createPermutation(BLOCK, places, block);
    for (let i = 0; i < BLOCK; i++) {
      const place = permutation.at(i);
      which[i] = ends.findIndex((end) => place < end);
      for (let j = 0; j < J; j++) earlier[(i + 1) * J + j] = earlier[i * J + j]! + (which[i] === j ? 1 : 0);
    }
    held = block;
  };
  return {
    at: (step) => {
      const block = Math.floor(step / BLOCK);
      if (held !== block) load(block);
      const i = step - block * BLOCK;
      const before: number[] = [];
      for (let j = 0; j < J; j++) before.push(sums[block * J + j]! + earlier[i * J + j]!);
      return { which: which[i]!, before };
    },
  };
}

/** Binomial(n, p) by inversion of its distribution function, which is made of products only: the same on any machine. */
function createBinomial(p: number): (n: number, u: number) => number {
  const tables = new Map<number, Float64Array>();
  const tableOf = (n: number): Float64Array => {
    const weights = new Float64Array(n + 1);
    const mode = Math.min(n, Math.floor((n + 1) * p));
    weights[mode] = 1;
    for (let k = mode; k < n; k++) weights[k + 1] = (weights[k]! * ((n - k) / (k + 1)) * p) / (1 - p);
    for (let k = mode; k > 0; k--) weights[k - 1] = (weights[k]! * (k / (n - k + 1)) * (1 - p)) / p;
    let total = 0;
    return weights.map((weight) => (total += weight));
  };
  return (n, u) => {
    if (p <= 0) return 0;
    if (p >= 1) return n;
    let table = tables.get(n);
    if (table === undefined) tables.set(n, (table = tableOf(n)));
    const wanted = u * table[n]!;
    let low = 0;
    let high = n;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (table[middle]! > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

function createExact(probabilities: readonly number[], phases: RandomStream): HomogeneousSteps {
  const all = createBeatty(Math.min(1, sum(probabilities)), phases.uniform(0));
  // Part j takes its share of the homogeneous steps that the parts before it have left.
  const shares = probabilities.map((probability, j) => createBeatty(j === probabilities.length - 1 ? 1 : probability / sum(probabilities.slice(j)), phases.uniform(j + 1)));
  const countsAfter = (steps: number): number[] => {
    let left = all(steps);
    return shares.map((share) => {
      const count = share(left);
      left -= count;
      return count;
    });
  };
  return {
    at: (step) => {
      const before = countsAfter(step);
      const after = countsAfter(step + 1);
      return { which: after.findIndex((count, j) => count > before[j]!), before };
    },
  };
}

/** k → ⌊k · rate + phase⌋, exact: rate and phase are multiples of 2^-53. */
function createBeatty(rate: number, phase: number): (k: number) => number {
  const step = BigInt(Math.round(rate * 2 ** 53));
  const start = BigInt(Math.floor(phase * 2 ** 53));
  return (k) => Number((BigInt(k) * step + start) >> 53n);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
