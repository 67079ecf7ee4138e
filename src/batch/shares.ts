/**
 * How many images of each part a heterogeneous batch takes: largest remainder with the remainder carried from batch to
 * batch. After h batches every part has given its exact share h·B·ratio, rounded up or down, so the error never reaches
 * 1 image. Where every part has an image a batch or more, the rounding at h can be chosen without looking back (its
 * batches then never come out negative), so any h costs the same.
 *
 * Carried plainly, largest remainders break the bound when a part has a share of less than one image a batch, so an
 * image that falls due sooner goes first: image j of a part may be given once its share passes j − 1 and must be before
 * it passes j. That is a schedule of unit jobs with release and due times, for which earliest due first always works
 * (Jackson 1955; Baruah et al. 1996 for shares; Tijdeman's chairman assignment), and it is walked, with checkpoints.
 */
import assert from 'node:assert/strict';

/** What the heterogeneous batches take. */
export interface Shares {
  /** @returns `given`: images of each part in the first h batches; `next`: images of each part in the one after */
  at(h: number): Taken;
}

interface Taken {
  readonly given: readonly number[];
  readonly next: readonly number[];
}

/** Ratios as multiples of 2^-50, so that every sum below is an exact integer; a share is off by less than 2^-50. */
const WHOLE = 2 ** 50;

/** @param ratios one a part, 0 for a part that takes no share; they sum to 1, or are all 0 where no batch is heterogeneous */
export function createShares(ratios: readonly number[], batchSize: number): Shares {
  const weights = exactWeights(ratios);
  if (weights.every((weight) => weight === 0)) return { at: () => ({ given: weights.slice(), next: weights.slice() }) };
  const look = createWalk(weights, batchSize);
  let held = { h: 0, taken: look(0) };
  return {
    at: (h) => {
      if (held.h !== h) held = { h, taken: look(h) }; // homogeneous steps ask for the same h again
      return held.taken;
    },
  };
}

/** Batches from one checkpoint to the next. */
const CHECKPOINT = 4096;

function createWalk(weights: readonly number[], batchSize: number): (h: number) => Taken {
  const ledger = createLedger(weights, batchSize);
  const { floor, ahead } = ledger;
  const checkpoints: Uint8Array[] = [ahead.slice()];
  let at = 0;
  const advance = (): number[] => {
    const counts = ledger.advance();
    if (++at === checkpoints.length * CHECKPOINT && !ledger.isDirect) checkpoints.push(ahead.slice());
    return counts;
  };
  const seek = (h: number): void => {
    const known = ledger.isDirect ? h : CHECKPOINT * Math.min(checkpoints.length - 1, Math.floor(h / CHECKPOINT));
    if (h < at || known > at) {
      at = known;
      ledger.place(known, ledger.isDirect ? null : checkpoints[known / CHECKPOINT]!);
    }
    while (at < h) advance();
  };
  return (h) => {
    if (h !== at) seek(h);
    const given: number[] = [];
    for (let i = 0; i < weights.length; i++) given.push(floor[i]! + ahead[i]!);
    return { given, next: advance() };
  };
}

/** What each part has been given: its share so far is floor + rest / WHOLE images, and it has had floor + ahead of them. */
interface Ledger {
  readonly floor: Float64Array;
  readonly ahead: Uint8Array;
  /** Whether `ahead` follows from the shares alone. */
  readonly isDirect: boolean;
  /** Goes to the state after h batches. @param known its `ahead`, where that does not follow from the shares */
  place(h: number, known: Uint8Array | null): void;
  /** Moves one batch on. @returns what each part gives to it */
  advance(): number[];
}

function createLedger(weights: readonly number[], batchSize: number): Ledger {
  const P = weights.length;
  // A batch adds perBatch + perBatchRest / WHOLE images to a part's share.
  const perBatch = Float64Array.from(weights, (weight) => Number((BigInt(batchSize) * BigInt(weight)) / BigInt(WHOLE)));
  const perBatchRest = Float64Array.from(weights, (weight) => Number((BigInt(batchSize) * BigInt(weight)) % BigInt(WHOLE)));
  const floor = new Float64Array(P);
  const rest = new Float64Array(P);
  const ahead = new Uint8Array(P);
  const place = (h: number, known: Uint8Array | null): void => {
    weights.forEach((weight, i) => {
      const share = BigInt(h) * BigInt(batchSize) * BigInt(weight);
      floor[i] = Number(share / BigInt(WHOLE));
      rest[i] = Number(share % BigInt(WHOLE));
    });
    ahead.fill(0);
    if (known !== null) ahead.set(known);
    else for (let left = Math.round(rest.reduce((sum, one) => sum + one / WHOLE, 0)); left > 0; left--) ahead[firstDue(rest, ahead, perBatch, perBatchRest)] = 1;
  };
  const advance = (): number[] => {
    const counts: number[] = [];
    let left = batchSize;
    for (let i = 0; i < P; i++) {
      const before = floor[i]! + ahead[i]!;
      floor[i]! += perBatch[i]!;
      rest[i]! += perBatchRest[i]!;
      if (rest[i]! >= WHOLE) {
        rest[i]! -= WHOLE;
        floor[i]!++;
      }
      counts.push(Math.max(0, floor[i]! - before));
      ahead[i] = Math.max(0, before - floor[i]!);
      left -= counts[i]!;
    }
    for (; left > 0; left--) {
      const i = firstDue(rest, ahead, perBatch, perBatchRest);
      ahead[i] = 1;
      counts[i]!++;
    }
    if (left !== 0) assert.fail(`Expected at most ${batchSize} images to fall due in a batch, got ${batchSize - left}`);
    return counts;
  };
  return { floor, ahead, isDirect: weights.every((weight, i) => weight === 0 || perBatch[i]! > 0), place, advance };
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

/** Integers that sum to WHOLE, in proportion to the ratios; what rounding leaves over goes to the largest. */
function exactWeights(ratios: readonly number[]): number[] {
  const total = ratios.reduce((sum, ratio) => sum + ratio, 0);
  if (total === 0) return ratios.map(() => 0);
  const weights = ratios.map((ratio) => Math.floor((ratio / total) * WHOLE));
  weights[weights.indexOf(Math.max(...weights))]! += WHOLE - weights.reduce((sum, weight) => sum + weight, 0);
  return weights;
}
