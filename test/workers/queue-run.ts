/** A driver in this process over odd tasks, and what it leaves behind. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { SILENT } from '../../src/log.ts';
import { type Store, openFsStore } from '../../src/index.ts';
import { type QueueExecutor, type QueueExecutorOptions, createQueueExecutor } from '../../workers/executor.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** The stage whose queue the odd tasks go through. */
export const STAGE = 'cluster';

export interface QueueRun {
  readonly folder: string;
  readonly store: Store;
  readonly executor: QueueExecutor;
  /** Units told, and those of them that were kept. */
  readonly advanced: { units: number; kept: number };
  readonly stop: AbortController;
}

export async function openQueueRun(redis: string, options: Partial<QueueExecutorOptions> & { folder?: string } = {}): Promise<QueueRun> {
  const folder = options.folder ?? (await temporaryFolder());
  const store = await openFsStore(folder);
  const advanced = { units: 0, kept: 0 };
  const stop = new AbortController();
  const executor = await createQueueExecutor({
    redis, store, recipe: { name: folder }, settings: { blockRows: 1024, memoryMb: 64 }, lookEveryMs: 500, stageOf: () => STAGE,
    ...shared(stop.signal),
    onAdvance: (units, kept) => {
      advanced.units += units;
      if (kept) advanced.kept += units;
    },
    ...options,
  });
  onTestFinished(() => executor.close());
  return { folder, store, executor, advanced, stop };
}

/** The same tasks as one machine runs them. */
export async function openLocalRun(folder: string) {
  return createLocalExecutor({ store: await openFsStore(folder), tasks: 1, ...shared(new AbortController().signal), onAdvance: () => undefined });
}

function shared(signal: AbortSignal) {
  return { signal, log: SILENT, execution: { concurrency: 1, threads: 1, blockRows: 1024, memoryBytes: 2 ** 26 }, locations: {}, onNote: () => undefined };
}

/** Times that each odd task was run, by its number. */
export async function runsOf(folder: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const number of await readdir(join(folder, 'counted')).catch(() => [])) counts[number] = (await readdir(join(folder, 'counted', number))).length;
  return counts;
}

/** Task records, by file name. */
export async function recordsIn(folder: string, scope: string): Promise<Record<string, string>> {
  const records: Record<string, string> = {};
  for (const name of await readdir(join(folder, 'work', scope))) if (name.endsWith('.json')) records[name] = await readFile(join(folder, 'work', scope, name), 'utf8');
  return records;
}
