/** Puts a run together: store, executor, log, progress, Ctrl-C. The command line is the one place that knows them all. */
import { availableParallelism } from 'node:os';
import { prettyFactory } from 'pino-pretty';
import { pino } from 'pino';
import type { ExecutionConfig, Recipe } from '../config.ts';
import { type Log, createLog } from '../log.ts';
import { createLiveLog, teeProgress } from '../run/live-log.ts';
import { type LocalExecutor, type LocalExecutorOptions, createLocalExecutor } from '../run/local.ts';
import { appendRunLog } from '../run/run-log.ts';
import type { Execution, ProgressSink, RunContext } from '../run/stage.ts';
import { lockStore, openStore } from '../store/open.ts';
import type { SearchEngineName } from '../vector/engine.ts';
import { type S3Options, formatS3Uri, isS3Uri, parseS3Uri } from '../store/s3-uri.ts';
import type { Store } from '../store/store.ts';
import { SILENT_PROGRESS, createLogProgress, createProgress, writeAbove } from './progress.ts';

export interface SessionOptions {
  readonly store: string;
  readonly seed: number;
  readonly execution: ExecutionConfig;
  readonly clusterEngine: SearchEngineName;
  readonly locations: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: ProgressSink;
  /** What the run log says was run. */
  readonly command: string;
  /** Where the object store is, when neither the store's name nor the environment says. */
  readonly s3?: S3Options | undefined;
  /** Redis whose workers run the tasks of this recipe; absent: this process does. */
  readonly queue?: { readonly redis: string; readonly recipe: Recipe };
}

export interface Session {
  readonly context: RunContext;
  /** @param outcome `done`, or the code of the error that ended the run; `message`: what it says */
  close(outcome: string, message?: string): Promise<void>;
}

/** @throws {WinnowError} STORE_BUSY, STORE_DENIED, CONFIG_INVALID */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { signal, log, locations, seed, s3 } = options;
  const where = { signal, ...(s3 !== undefined && { s3 }) };
  const store = await openStore(options.store, where);
  const lock = await lockStore(options.store, { ...where, log });
  const live = createLiveLog(store, options, isS3Uri(options.store) ? 5000 : 1000);
  const progress = teeProgress(options.progress, live);
  const execution = { ...resolveExecution(options.execution), clusterEngine: options.clusterEngine };
  const shared = { store, signal, log, execution, locations, onAdvance: (units: number, kept: boolean) => progress.advance(units, kept), onNote: (text: string) => progress.note(text) };
  const executor = await openExecutor(options, shared).catch(async (error: unknown) => {
    await live.close('failed');
    await lock.release();
    throw error;
  });
  const started = new Date();
  return {
    context: { store, executor, signal, log, progress, execution, seed, resource: executor.resource },
    close: async (outcome, message) => {
      await executor.close(outcome);
      await live.close(outcome, message);
      const seconds = (Date.now() - started.getTime()) / 1000;
      await appendRunLog(store, [{ command: options.command, started: started.toISOString(), seconds, outcome, locations }]).catch(() => undefined);
      await lock.release();
    },
  };
}

type SessionExecutor = Pick<LocalExecutor, 'map' | 'resource'> & { close(outcome?: string): Promise<void> };

async function openExecutor({ queue, store: name, execution, s3 }: SessionOptions, shared: Omit<LocalExecutorOptions, 'tasks'>): Promise<SessionExecutor> {
  // Each task spreads over all cores by itself: decoders ahead of a model, or a threaded search.
  if (queue === undefined) return createLocalExecutor({ ...shared, tasks: 1 });
  const { createQueueExecutor } = await import('../../workers/executor.ts');
  return createQueueExecutor({ ...shared, ...queue, settings: execution, storeUri: isS3Uri(name) ? formatS3Uri(parseS3Uri(name, s3 ?? {})) : shared.store.uri });
}

/** Opens a store that must be there, and writes nothing: it may lie on a read-only disk. @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING */
export function openStoreToRead(store: string): Promise<Store> {
  return openStore(store, { readOnly: true });
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
