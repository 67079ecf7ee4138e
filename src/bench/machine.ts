/** The machine that figures were measured on: they mean little without it, and little on another. */
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { instructionSet, runtimeVersion } from '../onnx/session.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly instructionSet: string;
  readonly memoryGb: number;
  readonly node: string;
  readonly onnxRuntime: string;
  /** Of the last 1, 5 and 15 minutes: near the number of cores before anything is measured, figures are too low. */
  readonly loadAverage: readonly number[];
}

/** What the operating system says of this machine, now. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    instructionSet,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    onnxRuntime: runtimeVersion,
    loadAverage: loadavg().map((load) => Math.round(load * 100) / 100),
  };
}
