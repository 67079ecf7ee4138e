/**
 * Which images make a batch: a pure function of (parts, mixture, seed, batch size, step, rank, world size), with no
 * state to save (reference section 7, points 27 to 32: the public loaders change their order on resume, drop tails and
 * hold a permutation a rank).
 *
 * A part's images are taken in the order of a keyed permutation, another one each pass: each row once a pass, no tail
 * dropped; `stratified` and `cluster` orders keep that. The global batch has a fixed order in which parts alternate; rank r of W gets its run from ⌊B·r/W⌋ to
 * ⌊B·(r+1)/W⌋, so the ranks in order are the global batch at any world size, and their sizes differ by 1 at most.
 */
import assert from 'node:assert/strict';
import { type Mixture, homogeneousOf } from '../mix/mixture.ts';
import { randomStream } from '../random.ts';
import type { Batch } from './batch.ts';
import { type PartOrder, type PlainOrder, createPlainOrder } from './order.ts';
import { type Composition, createSchedule } from './schedule.ts';
import { type Strata, createClusterOrder, createStratifiedOrder } from './strata.ts';

/** What a sampler has to know of a dataset. */
export interface SamplerSource {
  readonly parts: readonly SamplerPart[];
  readonly mixture: Mixture;
  readonly seed: number;
  /** How the rows of parts with `strata` are drawn. Default: plain. */
  readonly compose?: 'plain' | 'stratified' | 'cluster';
}

export interface SamplerPart {
  readonly name: string;
  readonly rows: number;
  /** Clusters of the rows; parts without are drawn plainly. */
  readonly strata?: Strata | null;
}

export interface BatchSampler {
  /**
   * @param step 0 … STEPS_MAX − 1; any order of steps gives the same batches
   * @param rank 0 … worldSize − 1. O(images of the rank) for any step, but see `Schedule`; `stratified` and `cluster`
   * orders cost O(images of the batch)
   */
  batch(step: number, rank: number, worldSize: number): Batch;
}

/** @param batchSize images of the global batch */
export function createSampler(source: SamplerSource, batchSize: number): BatchSampler {
  const { parts, mixture, seed } = source;
  const schedule = createSchedule(parts.map(({ name }) => name), mixture, batchSize, seed);
  const orders = parts.map((part) => createOrder(part, source, batchSize));
  const shifts = randomStream(seed, 'batch', 'shift');
  const stride = evenStride(batchSize);
  const isPlain = orders.every((order) => 'at' in order);
  const indices = createSlab();
  const held = createGlobalBatch(parts.length);
  const look = (step: number): void => {
    held.step = -1; // until all of it is there
    const { kind, counts, taken } = schedule.at(step);
    let end = 0;
    for (let p = 0; p < counts.length; p++) {
      held.shifted[p] = taken[p]! - end;
      held.ends[p] = end += counts[p]!;
    }
    if (!isPlain) held.rows = orders.map((order, p) => ('at' in order || counts[p] === 0 ? null : { first: taken[p]!, rows: order.range(taken[p]!, counts[p]!) }));
    held.kind = kind;
    held.shift = shifts.below(step, batchSize);
    held.step = step;
  };
  return {
    batch: (step, rank, worldSize) => {
      if (!(rank >= 0 && rank < worldSize)) assert.fail(`Expected a rank from 0 to ${worldSize - 1}, got ${rank}`);
      if (held.step !== step) look(step);
      const { kind, ends, shifted, rows } = held;
      const from = Math.floor((batchSize * rank) / worldSize);
      const size = Math.floor((batchSize * (rank + 1)) / worldSize) - from;
      const part = new Uint32Array(size);
      const index = indices(size);
      let place = (from * stride + held.shift) % batchSize;
      for (let i = 0; i < size; i++) {
        let p = 0;
        while (place >= ends[p]!) p++;
        part[i] = p;
        const ordered = rows[p] ?? null;
        const position = place + shifted[p]!;
        index[i] = ordered === null ? (orders[p] as PlainOrder).at(position) : ordered.rows[position - ordered.first]!;
        place += stride;
        if (place >= batchSize) place -= batchSize;
      }
      return { step, kind, rank, worldSize, part, index };
    },
  };
}

/** Arrays cut from a larger one: an array of over 64 bytes of its own costs as much as six images. */
function createSlab(): (size: number) => Float64Array {
  let slab = new Float64Array(SLAB);
  let used = 0;
  return (size) => {
    if (size > SLAB >> 2) return new Float64Array(size);
    if (used + size > SLAB) [slab, used] = [new Float64Array(SLAB), 0];
    return slab.subarray(used, (used += size));
  };
}

const SLAB = 1024;

/** What the ranks of a step share; filled anew for each step, as arrays of its own would cost more than a rank's indices. */
interface GlobalBatch {
  /** −1 before the first. */
  step: number;
  kind: Composition['kind'];
  shift: number;
  /** Part p has the places up to ends[p] − 1 of the global batch, before they are spread. */
  readonly ends: Float64Array;
  /** The position of a part's image is its place plus this. */
  readonly shifted: Float64Array;
  /** Rows of the parts that are not drawn plainly, from position `first`. */
  rows: readonly ({ readonly first: number; readonly rows: Float64Array } | null)[];
}

function createGlobalBatch(parts: number): GlobalBatch {
  return { step: -1, kind: 'heterogeneous', shift: 0, ends: new Float64Array(parts), shifted: new Float64Array(parts), rows: [] };
}

function createOrder({ name, rows, strata = null }: SamplerPart, { seed, mixture, compose = 'plain' }: SamplerSource, batchSize: number): PlainOrder | PartOrder {
  const stream = randomStream(seed, 'batch', 'permutation', name);
  if (compose === 'plain' || strata === null) return createPlainOrder(rows, stream);
  assert(strata.rows.length === rows, `Expected the clusters of ${rows} rows of part ${name}, got ${strata.rows.length}`);
  if (compose === 'stratified') return createStratifiedOrder(strata, stream, randomStream(seed, 'batch', 'stratum', name));
  return createClusterOrder(strata, slotOf(name, mixture, batchSize), stream, randomStream(seed, 'batch', 'run', name));
}

/** Images that a batch takes of a part where it first takes any. */
function slotOf(name: string, mixture: Mixture, batchSize: number): number {
  for (const draws of [mixture, ...(mixture.phases ?? [])]) {
    if (homogeneousOf(draws).some(({ part, probability }) => part === name && probability > 0)) return batchSize;
    const ratio = draws.heterogeneous.find(({ part }) => part === name)?.ratio ?? 0;
    if (ratio > 0) return Math.max(1, ratio * batchSize);
  }
  return batchSize;
}

/**
 * A stride near B / φ without a common factor with B: slots 0, 1, 2 … then visit every place once, and any run of them
 * spreads over the places evenly, the more so the smaller the partial quotients of stride / B are (Weyl's sequences).
 * So every rank's share has each part in the batch's proportion, within 3 images for B up to 1,200.
 */
function evenStride(batchSize: number): number {
  const golden = Math.round(batchSize * 0.6180339887498949);
  let best = 1;
  let least = Infinity;
  for (let away = 0; away <= 64; away++) {
    for (const stride of [golden - away, golden + away]) {
      if (stride < 1 || stride > batchSize) continue;
      const quotient = largestQuotient(stride, batchSize);
      if (quotient < least) [best, least] = [stride, quotient];
    }
  }
  return best;
}

/** Largest partial quotient of the continued fraction of a / b; Infinity when they have a common factor. */
function largestQuotient(a: number, b: number): number {
  let largest = 0;
  while (a > 0) {
    largest = Math.max(largest, Math.floor(b / a));
    [a, b] = [b % a, a];
  }
  return b === 1 ? largest : Infinity;
}
