/** What a stage needs to run in this process, without a command around it. */
import { createLog } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { RunContext } from '../../src/run/stage.ts';
import type { Store } from '../../src/store/store.ts';

export function localContext(store: Store, locations: Readonly<Record<string, string>> = {}): { context: RunContext; close(): Promise<void> } {
  const signal = new AbortController().signal;
  const log = createLog({ level: 'silent' });
  const execution = { concurrency: 2, threads: 2, blockRows: 1024, memoryBytes: 2 ** 26 };
  const executor = createLocalExecutor({ store, signal, log, execution, locations, tasks: 1, onAdvance: () => undefined, onNote: () => undefined });
  const progress = { begin: () => undefined, note: () => undefined, advance: () => undefined, end: () => undefined };
  return { context: { store, executor, signal, log, progress, execution, seed: 0, resource: executor.resource }, close: () => executor.close() };
}
