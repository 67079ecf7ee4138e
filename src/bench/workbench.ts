/** What every work of the bench is given: where to put things, what to measure against, and how big to make it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { SILENT } from '../log.ts';
import { createLocalExecutor } from '../run/local.ts';
import type { Execution, RunContext } from '../run/stage.ts';
import { openFsStore } from '../store/fs.ts';

/** Sizes a command line may set; each work has defaults of its own. */
export interface Sizes {
  /** Vectors, rows or leaves. */
  readonly n?: number;
  readonly d?: number;
  /** Clusters: a contest for each. */
  readonly k?: readonly number[];
  readonly iterations?: number;
  readonly images?: number;
}

export interface Workbench {
  /** A folder that is removed in the end. */
  readonly scratch: string;
  /** Folder of the peers' scripts; null in an installed package. */
  readonly peers: string | null;
  readonly sizes: Sizes;
  readonly signal: AbortSignal;
  /** Tells what is being prepared or measured. */
  note(text: string): void;
}

/** Runs `work` with a folder of its own, which is gone afterwards. */
export async function withScratch<T>(work: (scratch: string) => Promise<T>): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'winnow-bench-'));
  try {
    return await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

export interface BenchContext extends RunContext {
  close(): Promise<void>;
}

export interface ContextOptions {
  readonly signal: AbortSignal;
  readonly memoryMb?: number;
  readonly locations?: Readonly<Record<string, string>>;
}

/** A store under `root` and what stages run with: all cores, one task at a time, as the command line does it. */
export async function openContext(root: string, { signal, memoryMb = 384, locations = {} }: ContextOptions): Promise<BenchContext> {
  const store = await openFsStore(root);
  const cores = availableParallelism();
  const execution: Execution = { concurrency: cores, threads: cores, blockRows: 8192, memoryBytes: memoryMb * 2 ** 20 };
  const quiet = { begin: () => undefined, note: () => undefined, advance: () => undefined, end: () => undefined };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations, tasks: 1, onAdvance: () => undefined, onNote: () => undefined });
  return { store, executor, signal, log: SILENT, progress: quiet, execution, seed: 0, resource: executor.resource, close: () => executor.close() };
}
