/** The nouns of a plan: what a step takes on one worker, and what that makes of a stage on several. */

/** A run of equal tasks; steps of a stage follow each other. */
export interface Step {
  readonly name: string;
  /** Tasks that may run at once, each on one worker. */
  readonly tasks: number;
  /** Products counted as two operations a multiply-add. */
  readonly flop: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Resident memory of the worker with the largest task. */
  readonly peakBytes: number;
  /** Of all tasks together, on one worker. */
  readonly seconds: number;
}

export interface StageCost {
  readonly stage: string;
  readonly steps: readonly Step[];
  /** What the product cannot do at this size, or does in a way that will cost; a sentence each. */
  readonly warnings: readonly string[];
}

export interface Totals {
  readonly tasks: number;
  readonly flop: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly peakBytes: number;
  /** From the first task to the last, on W workers. */
  readonly hours: number;
  /** Hours that workers are at work, whatever their number. */
  readonly workerHours: number;
}

/** What a worker's process takes before it holds anything: Node, ONNX Runtime, the code. */
export const BASE_BYTES = 160 * 2 ** 20;

/** A step with what most have: nothing. */
export function step(name: string, made: Partial<Step>): Step {
  return { name, tasks: 1, flop: 0, bytesRead: 0, bytesWritten: 0, peakBytes: BASE_BYTES, seconds: 0, ...made };
}

/** Steps follow each other; the tasks of one are shared by up to W workers. */
export function totalsOf(steps: readonly Step[], workers: number): Totals {
  const sum = (of: (one: Step) => number): number => steps.reduce((total, one) => total + of(one), 0);
  return {
    tasks: sum((one) => one.tasks),
    flop: sum((one) => one.flop),
    bytesRead: sum((one) => one.bytesRead),
    bytesWritten: sum((one) => one.bytesWritten),
    peakBytes: steps.reduce((most, one) => Math.max(most, one.peakBytes), 0),
    hours: sum((one) => one.seconds / Math.max(1, Math.min(workers, one.tasks))) / 3600,
    workerHours: sum((one) => one.seconds) / 3600,
  };
}
