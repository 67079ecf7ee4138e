/**
 * What each step is made of: its kind, and how many images of which part. Homogeneous steps are independent keyed draws
 * with probability p (DINOv3 paper, section 3.1). Heterogeneous ones follow the ratios by largest remainder, the
 * remainder carried from batch to batch: after any number of batches every part has given its exact share, rounded up
 * or down, so the error never passes 1 image.
 *
 * Carried plainly, largest remainders break that bound when a part has a share of less than one image a batch, so an
 * image that falls due sooner goes first: image j of a part may be given once its share passes j − 1 and must be before
 * it passes j. That is a schedule of unit jobs with release and due times, for which earliest due first always works
 * (Jackson 1955; Baruah et al. 1996 for shares). Where every part has an image a batch it is the largest remainder rule.
 */
import assert from 'node:assert/strict';
import type { Mixture } from '../mix/mixture.ts';
import { randomStream } from '../random.ts';

/** Most steps of a schedule: a hundred times the paper's run. It is walked from its start, at about 100 ns a step. */
export const STEPS_MAX = 2 ** 27;

/** One step's global batch. */
export interface Composition {
  readonly kind: 'homogeneous' | 'heterogeneous';
  /** Images of each part, in the order of `names`; they sum to the batch size. */
  readonly counts: Float64Array;
  /** Images of each part that earlier steps have taken. */
  readonly taken: Float64Array;
}

/** A pure function of the step; what it remembers only saves walking again. */
export interface Schedule {
  /** @param step 0 … STEPS_MAX − 1. O(1) after the step before, else O(steps since the last of every 4,096 seen). */
  at(step: number): Composition;
}

/** @param names parts, in the order of `Composition.counts`; the mixture names no other */
export function createSchedule(names: readonly string[], mixture: Mixture, batchSize: number, seed: number): Schedule {
  const draws = randomStream(seed, 'batch', 'homogeneous');
  const shares = createShares(names, mixture, batchSize);
  const probability = mixture.homogeneous?.probability ?? 0;
  const homogeneousPart = mixture.homogeneous === null ? -1 : ordinal(names, mixture.homogeneous.part);
  const isHomogeneous = (step: number): boolean => probability > 0 && (probability >= 1 || draws.uniform(step) < probability);
  const checkpoints: Checkpoint[] = [{ homogeneous: 0, ahead: new Uint8Array(names.length) }];
  let step = 0;
  let homogeneous = 0;

  const load = (number: number): void => {
    const { ahead, homogeneous: before } = checkpoints[number]!;
    step = number * CHECKPOINT_STEPS;
    homogeneous = before;
    shares.seek(step - homogeneous, ahead);
  };
  const walk = (to: number): void => {
    const known = Math.min(checkpoints.length - 1, Math.floor(to / CHECKPOINT_STEPS));
    if (to < step || known * CHECKPOINT_STEPS > step) load(known);
    while (step < to) {
      if (isHomogeneous(step)) homogeneous++;
      else shares.advance();
      step++;
      if (step === checkpoints.length * CHECKPOINT_STEPS) checkpoints.push({ homogeneous, ahead: shares.ahead() });
    }
  };
  return {
    at: (wanted) => {
      assert(Number.isSafeInteger(wanted) && wanted >= 0 && wanted < STEPS_MAX, `Expected a step from 0 to ${STEPS_MAX - 1}, got ${wanted}`);
      walk(wanted);
      const taken = shares.given();
      if (homogeneousPart >= 0) taken[homogeneousPart]! += homogeneous * batchSize;
      if (!isHomogeneous(wanted)) return { kind: 'heterogeneous', counts: shares.next(), taken };
      const counts = new Float64Array(names.length);
      counts[homogeneousPart] = batchSize;
      return { kind: 'homogeneous', counts, taken };
    },
  };
}

const CHECKPOINT_STEPS = 4096;

interface Checkpoint {
  /** Homogeneous steps before. */
  readonly homogeneous: number;
  /** 1 for the parts that have given their share rounded up. */
  readonly ahead: Uint8Array;
}

/** The heterogeneous batches alone: position h is after h of them. */
interface Shares {
  /** Goes to position h, whose parts ahead are known. */
  seek(h: number, ahead: Uint8Array): void;
  advance(): void;
  ahead(): Uint8Array;
  /** Images each part has given so far. */
  given(): Float64Array;
  /** Images each part gives to the batch at this position. */
  next(): Float64Array;
}

/** Ratios as multiples of 2^-50, so that every sum below is an exact integer; a share is off by less than 2^-50. */
const WHOLE = 2 ** 50;

function createShares(names: readonly string[], mixture: Mixture, batchSize: number): Shares {
  const P = names.length;
  const weights = exactWeights(names, mixture);
  // A batch adds perBatch + perBatchRest / WHOLE images to a part's share.
  const perBatch = Float64Array.from(weights, (weight) => Number((BigInt(batchSize) * BigInt(weight)) / BigInt(WHOLE)));
  const perBatchRest = Float64Array.from(weights, (weight) => Number((BigInt(batchSize) * BigInt(weight)) % BigInt(WHOLE)));
  // A part's share so far is floor + rest / WHOLE images; it has given floor + ahead.
  const floor = new Float64Array(P);
  const rest = new Float64Array(P);
  const ahead = new Uint8Array(P);
  const counts = new Float64Array(P);

  /** Moves one batch on and leaves in `counts` what each part gives to it. */
  const advance = (): void => {
    let left = batchSize;
    for (let i = 0; i < P; i++) {
      const before = floor[i]! + ahead[i]!;
      floor[i]! += perBatch[i]!;
      rest[i]! += perBatchRest[i]!;
      if (rest[i]! >= WHOLE) {
        rest[i]! -= WHOLE;
        floor[i]!++;
      }
      counts[i] = Math.max(0, floor[i]! - before);
      ahead[i] = Math.max(0, before - floor[i]!);
      left -= counts[i]!;
    }
    for (; left > 0; left--) {
      const i = firstDue(rest, ahead, perBatch, perBatchRest);
      ahead[i] = 1;
      counts[i]!++;
    }
    assert(left === 0, `Expected at most ${batchSize} images to fall due in a batch, got ${batchSize - left}`);
  };
  const seek = (h: number, from: Uint8Array): void => {
    weights.forEach((weight, i) => {
      const share = BigInt(h) * BigInt(batchSize) * BigInt(weight);
      floor[i] = Number(share / BigInt(WHOLE));
      rest[i] = Number(share % BigInt(WHOLE));
    });
    ahead.set(from);
  };
  const given = (): Float64Array => floor.map((images, i) => images + ahead[i]!);
  const next = (): Float64Array => {
    const saved = [floor.slice(), rest.slice(), ahead.slice()] as const;
    advance();
    floor.set(saved[0]);
    rest.set(saved[1]);
    ahead.set(saved[2]);
    return counts.slice();
  };
  return { seek, advance, given, next, ahead: () => ahead.slice() };
}

/** The part not yet ahead whose next image falls due in the fewest batches; then the largest remainder; then the first. */
function firstDue(rest: Float64Array, ahead: Uint8Array, perBatch: Float64Array, perBatchRest: Float64Array): number {
  let best = -1;
  let bestDue = Infinity;
  for (let i = 0; i < rest.length; i++) {
    if (ahead[i] === 1 || rest[i] === 0) continue;
    const due = perBatch[i]! > 0 ? 1 : Math.ceil((WHOLE - rest[i]!) / perBatchRest[i]!);
    if (best < 0 || due < bestDue || (due === bestDue && rest[i]! > rest[best]!)) {
      best = i;
      bestDue = due;
    }
  }
  assert(best >= 0, 'Expected a part whose share is not yet given, found none');
  return best;
}

/** Integers that sum to WHOLE, in proportion to the ratios; what rounding leaves over goes to the largest. 0 for other parts. */
function exactWeights(names: readonly string[], { heterogeneous }: Mixture): number[] {
  const weights = new Array<number>(names.length).fill(0);
  const total = heterogeneous.reduce((sum, { ratio }) => sum + ratio, 0);
  for (const { part, ratio } of heterogeneous) weights[ordinal(names, part)] = Math.floor((ratio / total) * WHOLE);
  const largest = weights.indexOf(Math.max(...weights));
  const rest = WHOLE - weights.reduce((sum, weight) => sum + weight, 0);
  if (heterogeneous.length > 0) weights[largest]! += rest;
  return weights;
}

function ordinal(names: readonly string[], name: string): number {
  const found = names.indexOf(name);
  assert(found >= 0, `Expected the mixture to name parts among ${names.join(', ')}, got "${name}"`);
  return found;
}
