/**
 * What a stage is made of: tasks as data, an `Executor` that runs them, and a manifest that commits the result.
 * A task is idempotent and its outputs have deterministic keys, so that it may be run twice or by two workers.
 */
import type { SearchEngineName } from '../vector/engine.ts';
import { type StoredManifest, type Manifest, type Part, MANIFEST_FORMAT, MANIFEST_VERSION, hashOf, readManifest, writeManifest } from './manifest.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../log.ts';
import { throwIfAborted } from '../errors.ts';
import { CREATED_BY } from '../version.ts';

/** One kind of task. Registered by name, so that a worker in another process can run it from its payload alone. */
export interface TaskKind<P, R> {
  readonly name: string;
  /** Raised when the same payload would give other bytes than before: old task records are then not reused. */
  readonly version: number;
  /** Tasks of this kind that one process may run at once, where they wait more than they work. Default: as the executor is set. */
  readonly atOnce?: number;
  /** @returns a JSON-able summary; bytes go through `env.store` */
  run(payload: P, env: TaskEnv): Promise<R>;
}

/** What a task may touch. */
export interface TaskEnv {
  readonly store: Store;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly execution: Execution;
  /** Folders and URLs of the sources named in payloads; machine facts, so never part of a manifest. */
  readonly locations: Readonly<Record<string, string>>;
  /** Counts finished units (rows, usually) toward the stage's total, for progress. */
  advance(units: number): void;
  /** Tells what the task is doing now, for the progress line. */
  note(text: string): void;
  /** For whoever watches, where somebody does: times and counts that are no part of any output. */
  observe?(measure: Measure): void;
  /** A long-lived resource such as a model session: made once a process, closed when the run ends. */
  resource<T extends { close(): Promise<void> }>(key: string, make: () => Promise<T>): Promise<T>;
}

/** One thing that happened in a task. */
export type Measure =
  | { readonly of: 'image'; /** How the image ended. */ readonly status: string; readonly sizeBytes: number }
  | { readonly of: 'model-batch'; readonly seconds: number }
  | { readonly of: 'inertia'; readonly level: number; readonly inertia: number };

/** How the work is done. None of it changes a byte of output, so none of it is hashed. */
export interface Execution {
  /** Tasks at once, and decoders at once in a task. */
  readonly concurrency: number;
  /** Threads of one model or search session. */
  readonly threads: number;
  /** Rows read and searched at a time. */
  readonly blockRows: number;
  /** What clustering searches with, from the recipe; the stage hashes what it says of itself. Default: onnxruntime. */
  readonly clusterEngine?: SearchEngineName;
  /** Bytes of vectors that a clustering task may hold. */
  readonly memoryBytes: number;
}

/** Runs tasks; knows nothing of images. Results come in payload order, whatever order the tasks ended in. */
export interface Executor {
  /**
   * @param scope key prefix of the stage; finished tasks leave a record under `work/<scope>/` and are not run again
   * @throws the first task error, after the tasks in flight have ended
   */
  map<P, R>(kind: TaskKind<P, R>, payloads: readonly P[], scope: string): Promise<R[]>;
}

export interface RunContext {
  readonly store: Store;
  readonly executor: Executor;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: ProgressSink;
  readonly execution: Execution;
  readonly seed: number;
  /** The same resources that tasks of this process get. */
  readonly resource: TaskEnv['resource'];
}

export interface ProgressSink {
  /** @param total units in all, or null when unknown */
  begin(stage: string, total: number | null, unit: string): void;
  /** Sets what is shown beside the bar, such as the level and the inertia of an iteration. */
  note(text: string): void;
  /** @param kept these were done by an earlier run, so they tell nothing of this one's speed */
  advance(units: number, kept?: boolean): void;
  end(summary: string): void;
}

export interface StageRequest<M extends Manifest> {
  /** Key prefix, such as `clusters`; the manifest lies directly under it. */
  readonly path: string;
  readonly stage: string;
  /** Everything that decides the bytes, resolved; hashed together with the inputs. */
  readonly config: unknown;
  readonly inputs: readonly StoredManifest[];
  /** false: the stage draws nothing, so another seed keeps it and its manifest says seed 0. Default true. */
  readonly seeded?: boolean;
  /** Makes the parts under `path/` and returns what the manifest says of them. */
  make(): Promise<StageResult<M>>;
}

export type StageResult<M extends Manifest> = {
  parts: Part[];
  stats: Record<string, unknown>;
  /** Keys under the stage's path that belong to it but are not in `parts`. */
  files?: readonly string[];
} & Omit<M, keyof Manifest>;

/**
 * Completes a stage: returns its manifest when it is there and was made from the same config and inputs, and makes it
 * otherwise. The old manifest is removed before anything else, so that a stage is never half old and half new.
 */
export async function runStage<M extends Manifest = Manifest>(context: RunContext, request: StageRequest<M>): Promise<StoredManifest<M>> {
  throwIfAborted(context.signal);
  const { path, stage, config } = request;
  const inputs = request.inputs.map(({ manifest, sha256 }) => ({ stage: manifest.stage, sha256 }));
  const seed = request.seeded === false ? 0 : context.seed;
  const configHash = hashOf({ stage, config, inputs, seed, version: MANIFEST_VERSION, createdBy: CREATED_BY });
  const existing = await readManifest<M>(context.store, path);
  if (existing !== null && existing.manifest.configHash === configHash) {
    context.log.info({ stage, path }, `${path}: done before, kept`);
    return existing;
  }
  if (existing !== null) context.log.info({ stage, path }, `${path}: made with other settings or inputs, making it again`);
  await beginAttempt(context.store, path, configHash);
  const started = performance.now();
  const { parts, stats, files, ...rest } = await request.make();
  throwIfAborted(context.signal);
  await removeStrays(context.store, path, new Set([...parts.map((part) => part.path), ...(files ?? [])]));
  const manifest = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage, inputs, config, configHash, seed, parts, stats, createdBy: CREATED_BY, ...rest } as unknown as M;
  const stored = await writeManifest(context.store, path, manifest);
  await context.store.remove(`work/${path}/`);
  context.log.debug({ stage, path, seconds: (performance.now() - started) / 1000, event: 'stage' }, `${path}: done`);
  return stored;
}

/**
 * Outputs and task records of the last attempt are kept when it had the same settings and inputs. Otherwise all of it goes,
 * manifest first: a record of one attempt must never speak for a part that another attempt wrote over.
 */
async function beginAttempt(store: Store, path: string, configHash: string): Promise<void> {
  const key = `work/${path}/attempt`;
  const last = (await store.head(key)) === null ? null : new TextDecoder().decode(await store.read(key));
  await store.remove(`${path}/manifest.json`);
  if (last === configHash) return;
  await store.remove(`work/${path}/`);
  await store.remove(`${path}/`);
  await store.write(key, new TextEncoder().encode(configHash));
}

/** What an attempt with other settings left behind would otherwise lie among the outputs. */
async function removeStrays(store: Store, path: string, keep: ReadonlySet<string>): Promise<void> {
  const strays: string[] = [];
  for await (const { key } of store.list(`${path}/`)) if (!keep.has(key)) strays.push(key);
  for (const key of strays) await store.remove(key);
}
