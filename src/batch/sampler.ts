/**
 * Which images make a batch: a pure function of (parts, mixture, seed, batch size, step, rank, world size), with no
 * state to save (reference section 7, points 27 to 32: the public loaders change their order on resume, drop tails and
 * hold a permutation a rank).
 *
 * A part's images are taken in the order of a keyed permutation, another one each pass: each row once a pass, no tail
 * dropped. The global batch has a fixed order in which parts alternate; rank r of W gets its run from ⌊B·r/W⌋ to
 * ⌊B·(r+1)/W⌋, so the ranks in order are the global batch at any world size, and their sizes differ by 1 at most.
 */
import assert from 'node:assert/strict';
import type { Mixture } from '../mix/mixture.ts';
import { type RandomStream, randomStream } from '../random.ts';
import type { Batch } from './batch.ts';
import { type Permutation, createPermutation } from './permutation.ts';
import { type Composition, createSchedule } from './schedule.ts';

/** What a sampler has to know of a dataset. */
export interface SamplerSource {
  readonly parts: readonly { readonly name: string; readonly rows: number }[];
  readonly mixture: Mixture;
  readonly seed: number;
}

export interface BatchSampler {
  /**
   * @param step 0 … STEPS_MAX − 1; any order of steps gives the same batches
   * @param rank 0 … worldSize − 1. O(images of the rank) after the step before; see `Schedule` for other steps
   */
  batch(step: number, rank: number, worldSize: number): Batch;
}

/** @param batchSize images of the global batch */
export function createSampler({ parts, mixture, seed }: SamplerSource, batchSize: number): BatchSampler {
  const schedule = createSchedule(parts.map(({ name }) => name), mixture, batchSize, seed);
  const orders = parts.map(({ name, rows }) => createOrder(rows, randomStream(seed, 'batch', 'permutation', name)));
  const shifts = randomStream(seed, 'batch', 'shift');
  const stride = evenStride(batchSize);
  return {
    batch: (step, rank, worldSize) => {
      assert(rank >= 0 && rank < worldSize, `Expected a rank from 0 to ${worldSize - 1}, got ${rank}`);
      const composition = schedule.at(step);
      const from = Math.floor((batchSize * rank) / worldSize);
      const size = Math.floor((batchSize * (rank + 1)) / worldSize) - from;
      const part = new Uint32Array(size);
      const index = new Float64Array(size);
      const shift = shifts.below(step, batchSize);
      const ends = runningSums(composition);
      for (let i = 0; i < size; i++) {
        const place = ((from + i) * stride + shift) % batchSize;
        let p = 0;
        while (place >= ends[p]!) p++;
        part[i] = p;
        index[i] = orders[p]!.at(composition.taken[p]! + place - (ends[p]! - composition.counts[p]!));
      }
      return { step, kind: composition.kind, rank, worldSize, part, index };
    },
  };
}

/** Part p has the places ends[p − 1] … ends[p] − 1 of the global batch, before they are spread. */
function runningSums({ counts }: Composition): Float64Array {
  let sum = 0;
  return counts.map((count) => (sum += count));
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

/** Rows of a part in the order they are drawn, endlessly: pass after pass. */
interface Order {
  at(position: number): number;
}

/** Permutations kept a part; a batch that is larger than the part spans several passes. */
const PASSES_KEPT = 64;

function createOrder(n: number, stream: RandomStream): Order {
  const passes = new Map<number, Permutation>();
  return {
    at: (position) => {
      const pass = Math.floor(position / n);
      let permutation = passes.get(pass);
      if (permutation === undefined) {
        if (passes.size >= PASSES_KEPT) passes.clear();
        passes.set(pass, (permutation = createPermutation(n, stream, pass)));
      }
      return permutation.at(position - pass * n);
    },
  };
}
