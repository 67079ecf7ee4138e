/** Puts a run together: store, executor, log, progress, Ctrl-C. The command line is the one place that knows them all. */
import { availableParallelism } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { prettyFactory } from 'pino-pretty';
import { pino } from 'pino';
import type { ExecutionConfig } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { type Log, createLog } from '../log.ts';
import { createLocalExecutor } from '../run/local.ts';
import { appendRunLog } from '../run/run-log.ts';
import type { Execution, ProgressSink, RunContext } from '../run/stage.ts';
import { lockFsStore, openFsStore } from '../store/fs.ts';
import type { Store } from '../store/store.ts';
import { SILENT_PROGRESS, createLogProgress, createProgress, writeAbove } from './progress.ts';

export interface SessionOptions {
  readonly store: string;
  readonly seed: number;
  readonly execution: ExecutionConfig;
  readonly locations: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: ProgressSink;
  /** What the run log says was run. */
  readonly command: string;
}

export interface Session {
  readonly context: RunContext;
  /** @param outcome `done`, or the code of the error that ended the run */
  close(outcome: string): Promise<void>;
}

/** @throws {WinnowError} STORE_BUSY, STORE_DENIED, CONFIG_INVALID */
export async function openSession(options: SessionOptions): Promise<Session> {
  const root = storeRoot(options.store);
  const store = await openFsStore(root);
  const lock = await lockFsStore(root);
  const { signal, log, progress, locations, seed } = options;
  const execution = resolveExecution(options.execution);
  const executor = createLocalExecutor({
    store, signal, log, execution, locations,
    // Each task spreads over all cores by itself: decoders ahead of a model, or a threaded search.
    tasks: 1,
    onAdvance: (units, kept) => progress.advance(units, kept),
    onNote: (text) => progress.note(text),
  });
  const started = new Date();
  return {
    context: { store, executor, signal, log, progress, execution, seed, resource: executor.resource },
    close: async (outcome) => {
      await executor.close();
      const seconds = (Date.now() - started.getTime()) / 1000;
      await appendRunLog(store, [{ command: options.command, started: started.toISOString(), seconds, outcome, locations }]).catch(() => undefined);
      await lock.release();
    },
  };
}

/** The folder of a store given as a path or a `file:` URL. @throws {WinnowError} CONFIG_INVALID */
export function storeRoot(store: string): string {
  if (store === '') throw new WinnowError('CONFIG_INVALID', 'Expected the store to be a folder or a file: URL, got an empty text');
  if (store.startsWith('file:')) return fileURLToPath(new URL(store, pathToFileURL(`${process.cwd()}/`)));
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//.exec(store)?.[1];
  if (scheme !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected the store to be a folder or a file: URL, got ${scheme}://: this version has the file system store only`);
  return store;
}

/** Opens the store that a command line names. @throws {WinnowError} CONFIG_INVALID, STORE_DENIED */
export function openStore(store: string): Promise<Store> {
  return openFsStore(storeRoot(store));
}

/** Opens a store that must be there, and writes nothing: it may lie on a read-only disk. @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING */
export function openStoreToRead(store: string): Promise<Store> {
  return openFsStore(storeRoot(store), { readOnly: true });
}

/** Fills in what the recipe leaves to the machine: its cores. */
export function resolveExecution({ concurrency, threads, blockRows, memoryMb }: ExecutionConfig): Execution {
  const cores = availableParallelism();
  return { concurrency: concurrency ?? cores, threads: threads ?? cores, blockRows, memoryBytes: memoryMb * 1024 * 1024 };
}

const WARNING = pino.levels.values.warn!;

/** Readable lines on stderr for people, NDJSON with `json`. */
export function createCliLog({ json, level }: { json: boolean; level: 'debug' | 'info' | 'warn' | 'error' | 'silent' }): Log {
  if (json) return createLog({ level });
  const prettify = prettyFactory({
    colorize: process.stderr.isTTY === true,
    ignore: 'time,pid,hostname,level,stage,path,event',
    hideObject: level !== 'debug',
    singleLine: true,
    messageFormat: (event, key) => `${Number(event.level) >= WARNING ? 'warning: ' : ''}${String(event[key])}`,
  });
  return pino({ level, base: null }, { write: (event: string) => writeAbove(`${prettify(event).trimEnd()}\n`) });
}

/** What a command reports its progress to. */
export function createCliProgress({ json, quiet, log }: { json: boolean; quiet: boolean; log: Log }): ProgressSink {
  if (quiet) return SILENT_PROGRESS;
  return json ? createLogProgress(log) : createProgress(process.stderr);
}
