/**
 * Orders that look at clusters, for losses that do (KoLeo, hard negatives): each row still comes once a pass before any
 * comes twice. `stratified` spreads every batch over all strata in proportion to their sizes: row j of stratum k has the
 * time (j + φ) / size, φ keyed, and rows are drawn by time, so any run of c rows has c·size/n of each stratum, give or
 * take one. `cluster` draws a batch from one stratum: strata are cut into runs of a batch's length, taken in keyed
 * order; the rows that fill no run come between and at the ends of a pass, a stratum after another.
 *
 * The public loaders have neither; a third-party script (reference section 4.6) writes such batches out beforehand.
 */
import type { RandomStream } from '../random.ts';
import type { PartOrder } from './order.ts';
import { type Permutation, createPermutation } from './permutation.ts';

/** Rows of a part, grouped by the cluster they lie in. 4 bytes a row. */
export interface Strata {
  /** Rows of stratum 0, then of stratum 1 …, each ascending; length n. */
  readonly rows: Uint32Array;
  /** Stratum k has the entries ends[k − 1] … ends[k] − 1 of `rows`; none is empty; length K. */
  readonly ends: Float64Array;
}

/** O(K + count·log(count)) a range. */
export function createStratifiedOrder(strata: Strata, stream: RandomStream, phases: RandomStream): PartOrder {
  const n = strata.rows.length;
  const K = strata.ends.length;
  const shuffled = createShuffledStrata(strata, stream);
  const offset = new Float64Array(K);
  let loaded = -1;
  const timeOf = (k: number, j: number): number => (j + offset[k]!) / sizeOf(strata, k);
  /** Rows of stratum k with a time below. */
  const countBelow = (k: number, time: number): number => {
    const size = sizeOf(strata, k);
    let count = Math.max(0, Math.min(size, Math.ceil(time * size - offset[k]!)));
    while (count > 0 && timeOf(k, count - 1) >= time) count--;
    while (count < size && timeOf(k, count) < time) count++;
    return count;
  };
  const rowsBelow = (time: number): number => {
    let count = 0;
    for (let k = 0; k < K; k++) count += countBelow(k, time);
    return count;
  };
  /** A time with at most (or at least) `rows` rows below, and few less (or more) than that. */
  const timeAround = (rows: number, side: 'at most' | 'at least'): number => {
    let low = Math.max(0, (rows - K - 1) / n);
    let high = Math.min(1, (rows + K + 1) / n);
    for (let halving = 0; halving < 40 && high - low > 16 / n; halving++) {
      const middle = (low + high) / 2;
      if (side === 'at most' ? rowsBelow(middle) <= rows : rowsBelow(middle) < rows) low = middle;
      else high = middle;
    }
    return side === 'at most' ? low : high;
  };
  const fill = (pass: number, first: number, count: number, out: Float64Array, at: number): void => {
    if (loaded !== pass) for (let k = 0; k < K; k++) offset[k] = phases.uniform(pass * K + k);
    loaded = pass;
    const from = timeAround(first, 'at most');
    const to = timeAround(first + count, 'at least');
    const found: { k: number; j: number; time: number }[] = [];
    for (let k = 0; k < K; k++) for (let j = countBelow(k, from), end = countBelow(k, to); j < end; j++) found.push({ k, j, time: timeOf(k, j) });
    found.sort((a, b) => a.time - b.time || a.k - b.k);
    const skip = first - rowsBelow(from);
    for (let i = 0; i < count; i++) out[at + i] = shuffled.at(pass, found[skip + i]!.k, found[skip + i]!.j);
  };
  return createPassOrder(n, fill);
}

/**
 * @param slot images that a batch takes of the part, on average: batch r is meant to have positions ⌊r·slot⌋ and on.
 * O(K) a pass and O(log K) a row
 */
export function createClusterOrder(strata: Strata, slot: number, stream: RandomStream, runs: RandomStream): PartOrder {
  const n = strata.rows.length;
  const K = strata.ends.length;
  const length = Math.max(1, Math.floor(slot));
  const shuffled = createShuffledStrata(strata, stream);
  // runEnds[k]: runs of the strata up to k.
  const runEnds = new Float64Array(K);
  for (let k = 0; k < K; k++) runEnds[k] = (runEnds[k - 1] ?? 0) + Math.floor(sizeOf(strata, k) / length);
  const R = runEnds[K - 1]!;
  let pass = createRunPass(0, n, slot, length, R, runs, strata, runEnds);
  const fill = (number: number, first: number, count: number, out: Float64Array, at: number): void => {
    if (pass.number !== number) pass = createRunPass(number, n, slot, length, R, runs, strata, runEnds);
    for (let i = 0; i < count; i++) {
      const [k, j] = pass.at(first + i);
      out[at + i] = shuffled.at(number, k, j);
    }
  };
  return createPassOrder(n, fill);
}

interface RunPass {
  readonly number: number;
  /** Stratum, and place in it, of a position of the pass. */
  at(position: number): readonly [k: number, j: number];
}

/** One pass: slots that lie whole in it hold a run each, as far as runs go; the loose rows fill the other positions in order. */
function createRunPass(number: number, n: number, slot: number, length: number, R: number, runs: RandomStream, strata: Strata, runEnds: Float64Array): RunPass {
  const start = number * n;
  const slotStart = (r: number): number => Math.floor(r * slot);
  let r0 = Math.floor(start / slot);
  while (slotStart(r0) < start) r0++;
  let used = Math.max(0, Math.min(R, Math.floor((start + n) / slot) - r0));
  while (used > 0 && slotStart(r0 + used - 1) + length > start + n) used--;
  const runOrder = R > 0 ? createPermutation(R, runs, 2 * number) : null;
  const strataOrder = createPermutation(strata.ends.length, runs, 2 * number + 1);
  // Runs of each stratum that no slot has taken are loose, and so is what is left of a stratum after its runs.
  const taken = new Set<number>();
  for (let u = used; u < R; u++) taken.add(runOrder!.at(u));
  const loose: { readonly k: number; readonly from: number; readonly end: number }[] = [];
  let total = 0;
  const addLoose = (k: number, from: number, count: number): void => {
    if (count > 0) loose.push({ k, from, end: (total += count) });
  };
  const spare = new Map<number, number[]>();
  for (const run of taken) {
    const k = stratumOf(run, runEnds);
    spare.set(k, [...(spare.get(k) ?? []), run - (runEnds[k - 1] ?? 0)]);
  }
  for (let i = 0; i < strata.ends.length; i++) {
    const k = strataOrder.at(i);
    for (const run of spare.get(k) ?? []) addLoose(k, run * length, length);
    addLoose(k, Math.floor(sizeOf(strata, k) / length) * length, sizeOf(strata, k) % length);
  }
  const looseAt = (i: number): readonly [number, number] => {
    let low = 0;
    let high = loose.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (loose[middle]!.end > i) high = middle;
      else low = middle + 1;
    }
    return [loose[low]!.k, loose[low]!.from + i - (loose[low - 1]?.end ?? 0)];
  };
  return {
    number,
    at: (position) => {
      const x = start + position;
      let r = Math.floor(x / slot);
      while (slotStart(r + 1) <= x) r++;
      while (slotStart(r) > x) r--;
      const before = Math.max(0, Math.min(used, r - r0));
      const inSlot = x - slotStart(r);
      if (r < r0 || r >= r0 + used) return looseAt(position - before * length);
      if (inSlot >= length) return looseAt(position - (before + 1) * length);
      const run = runOrder!.at(r - r0);
      const k = stratumOf(run, runEnds);
      return [k, (run - (runEnds[k - 1] ?? 0)) * length + inSlot];
    },
  };
}

/** The stratum that a run is of: the first whose runs end after it. */
function stratumOf(run: number, runEnds: Float64Array): number {
  let low = 0;
  let high = runEnds.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runEnds[middle]! > run) high = middle;
    else low = middle + 1;
  }
  return low;
}

function sizeOf({ ends }: Strata, k: number): number {
  return ends[k]! - (k === 0 ? 0 : ends[k - 1]!);
}

/** Strata whose permutations are kept, so that a batch over many of them makes each once. */
const PERMUTATIONS_KEPT = 65_536;

/** Row j of stratum k in the order of a pass. */
function createShuffledStrata(strata: Strata, stream: RandomStream): { at(pass: number, k: number, j: number): number } {
  const K = strata.ends.length;
  const kept = new Map<number, Permutation>();
  return {
    at: (pass, k, j) => {
      const number = pass * K + k;
      let permutation = kept.get(number);
      if (permutation === undefined) {
        if (kept.size >= PERMUTATIONS_KEPT) kept.clear();
        kept.set(number, (permutation = createPermutation(sizeOf(strata, k), stream, number)));
      }
      return strata.rows[strata.ends[k]! - sizeOf(strata, k) + permutation.at(j)]!;
    },
  };
}

/** Cuts ranges at the ends of passes. */
function createPassOrder(n: number, fill: (pass: number, first: number, count: number, out: Float64Array, at: number) => void): PartOrder {
  return {
    range: (first, count) => {
      const out = new Float64Array(count);
      for (let done = 0; done < count; ) {
        const pass = Math.floor((first + done) / n);
        const inPass = first + done - pass * n;
        const some = Math.min(count - done, n - inPass);
        fill(pass, inPass, some, out, done);
        done += some;
      }
      return out;
    },
  };
}
