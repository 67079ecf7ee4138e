/**
 * What each step is made of: its kind, and how many images of which part. Some steps are homogeneous (`homogeneous.ts`),
 * the others follow the ratios (`shares.ts`). A mixture may have phases, each with draws of its own: shares are exact
 * within a phase, and a part goes on through its rows from one phase into the next.
 */
import assert from 'node:assert/strict';
import { type Draws, type Mixture, homogeneousOf } from '../mix/mixture.ts';
import { type HomogeneousSteps, createHomogeneousSteps } from './homogeneous.ts';
import { type Shares, createShares } from './shares.ts';

/** Most steps of a schedule: a hundred times the paper's run. */
export const STEPS_MAX = 2 ** 27;

/** One step's global batch. */
export interface Composition {
  readonly kind: 'homogeneous' | 'heterogeneous';
  /** Images of each part, in the order of `names`; they sum to the batch size. */
  readonly counts: readonly number[];
  /** Images of each part that earlier steps have taken. */
  readonly taken: readonly number[];
  /** Homogeneous steps before. */
  readonly homogeneous: number;
}

/** A pure function of the step; what it remembers only saves counting again. */
export interface Schedule {
  /**
   * @param step 0 … STEPS_MAX − 1. Any step costs about the same, but for parts with less than an image a batch: then
   * the batches before it, or since the last of every 4,096 seen, are walked at some 50 ns each
   */
  at(step: number): Composition;
}

/** @param names parts, in the order of `Composition.counts`; the mixture names no other */
export function createSchedule(names: readonly string[], mixture: Mixture, batchSize: number, seed: number): Schedule {
  const { schedule = 'independent', phases: later = [] } = mixture;
  const phases = [{ ...mixture, fromStep: 0 }, ...later].map((draws) => createPhase(names, draws, draws.fromStep, schedule, batchSize, seed));
  // starts[i]: images taken before phase i; the last one is never ended.
  const starts: Pick<Composition, 'taken' | 'homogeneous'>[] = [{ taken: names.map(() => 0), homogeneous: 0 }];
  const startOf = (i: number): Pick<Composition, 'taken' | 'homogeneous'> => {
    for (let p = starts.length; p <= i; p++) starts.push(addStart(phases[p - 1]!.at(phases[p]!.fromStep - phases[p - 1]!.fromStep), starts[p - 1]!));
    return starts[i]!;
  };
  return {
    at: (step) => {
      // The text is made only where it is needed: a number turned into text stays in the old generation.
      if (!(Number.isSafeInteger(step) && step >= 0 && step < STEPS_MAX)) assert.fail(`Expected a step from 0 to ${STEPS_MAX - 1}, got ${step}`);
      let i = phases.length - 1;
      while (phases[i]!.fromStep > step) i--;
      const composition = phases[i]!.at(step - phases[i]!.fromStep);
      return i === 0 ? composition : addStart(composition, startOf(i));
    },
  };
}

/** What a phase has taken, and what the phases before it had. */
function addStart(composition: Composition, start: Pick<Composition, 'taken' | 'homogeneous'>): Composition {
  return { ...composition, taken: composition.taken.map((images, part) => images + start.taken[part]!), homogeneous: composition.homogeneous + start.homogeneous };
}

/** Steps count from the phase's first. */
interface Phase extends Schedule {
  readonly fromStep: number;
}

function createPhase(names: readonly string[], draws: Draws, fromStep: number, schedule: 'independent' | 'exact', batchSize: number, seed: number): Phase {
  const listed = homogeneousOf(draws);
  const parts = listed.map(({ part }) => ordinal(names, part));
  const steps: HomogeneousSteps = createHomogeneousSteps(listed, schedule, seed, fromStep);
  const ratios = new Array<number>(names.length).fill(0);
  for (const { part, ratio } of draws.heterogeneous) ratios[ordinal(names, part)] = ratio;
  const shares: Shares = createShares(ratios, batchSize);
  const whole = parts.map((part) => names.map((_, p) => (p === part ? batchSize : 0)));
  return {
    fromStep,
    at: (step) => {
      const { which, before } = steps.at(step);
      let homogeneous = 0;
      for (const count of before) homogeneous += count;
      const { given, next } = shares.at(step - homogeneous);
      const taken: number[] = [];
      for (let p = 0; p < given.length; p++) taken.push(given[p]!);
      for (let j = 0; j < parts.length; j++) taken[parts[j]!]! += before[j]! * batchSize;
      if (which < 0) return { kind: 'heterogeneous', counts: next, taken, homogeneous };
      return { kind: 'homogeneous', counts: whole[which]!, taken, homogeneous };
    },
  };
}

function ordinal(names: readonly string[], name: string): number {
  const found = names.indexOf(name);
  assert(found >= 0, `Expected the mixture to name parts among ${names.join(', ')}, got "${name}"`);
  return found;
}
