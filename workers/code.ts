/** What must be equal in the driver and in every worker of a run, or outputs of two kinds would mix in one stage. */
import { instructionSet, runtimeVersion } from '../src/onnx/session.ts';
import { VERSION } from '../src/version.ts';

export interface CodeFacts {
  readonly version: string;
  /** Version of ONNX Runtime, and the widest vector unit: together they decide the last bit of a product. */
  readonly runtime: string;
  readonly instructionSet: string;
}

/** What this process is. */
export const CODE: CodeFacts = { version: VERSION, runtime: runtimeVersion, instructionSet };

/** What a job is refused for: anything that could make its bytes others than its run's. Null: nothing. */
export function differenceOf(job: CodeFacts, own: CodeFacts): string | null {
  if (job.version !== own.version) return `Expected jobs of winnow ${own.version}, which this worker is, got one of winnow ${job.version}: run workers and driver with the same version`;
  if (job.runtime !== own.runtime) return `Expected jobs of ONNX Runtime ${own.runtime}, got one of ${job.runtime}: results could differ in the last bit; run workers and driver with the same version`;
  if (job.instructionSet !== own.instructionSet) return `Expected jobs of a machine with ${own.instructionSet}, got one of ${job.instructionSet}: products could differ in the last bit; run the driver on such a machine as its workers`;
  return null;
}
