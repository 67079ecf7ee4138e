/**
 * The executor of one machine: tasks run in this process, a few at a time. Each finished task leaves a record, so a run
 * that was killed repeats only the tasks that were under way.
 */
import type { Execution, Executor, Measure, TaskEnv, TaskKind } from './stage.ts';
import { hashOf } from './manifest.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../log.ts';
import { throwIfAborted } from '../errors.ts';

export interface LocalExecutorOptions {
  readonly store: Store;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly execution: Execution;
  readonly locations: Readonly<Record<string, string>>;
  /** Tasks at once; 1 when a task already uses every core, as clustering and embedding do. */
  readonly tasks: number;
  /** @param kept a record of an earlier run says that these are done */
  onAdvance(units: number, kept: boolean): void;
  onNote(text: string): void;
  onMeasure?(measure: Measure): void;
}

export interface LocalExecutor extends Executor {
  readonly resource: TaskEnv['resource'];
  /** Closes the resources that tasks opened. */
  close(): Promise<void>;
}

/** Runs up to `tasks` tasks at once in this process. Resources stay open until `close`. */
export function createLocalExecutor(options: LocalExecutorOptions): LocalExecutor {
  const resources = new Map<string, Promise<{ close(): Promise<void> }>>();
  const env: TaskEnv = {
    store: options.store,
    signal: options.signal,
    log: options.log,
    execution: options.execution,
    locations: options.locations,
    advance: (units) => options.onAdvance(units, false),
    note: options.onNote,
    ...(options.onMeasure !== undefined && { observe: options.onMeasure }),
    resource: <T extends { close(): Promise<void> }>(key: string, make: () => Promise<T>) => {
      let made = resources.get(key);
      if (made === undefined) {
        made = make();
        resources.set(key, made);
        made.catch(() => resources.delete(key));
      }
      return made as Promise<T>;
    },
  };
  return {
    resource: env.resource,
    map: (kind, payloads, scope) => mapTasks(kind, payloads, scope, env, options),
    close: async () => {
      const opened = [...resources.values()];
      resources.clear();
      await Promise.allSettled(opened.map(async (resource) => (await resource).close()));
    },
  };
}

async function mapTasks<P, R>(kind: TaskKind<P, R>, payloads: readonly P[], scope: string, env: TaskEnv, { tasks, onAdvance }: LocalExecutorOptions): Promise<R[]> {
  const results = new Array<R>(payloads.length);
  let next = 0;
  let failure: { error: unknown } | null = null;
  const lane = async (): Promise<void> => {
    while (next < payloads.length && failure === null) {
      const index = next++;
      try {
        results[index] = await runOnce(kind, payloads[index]!, scope, env, (units) => onAdvance(units, true));
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(Math.max(tasks, kind.atOnce ?? 1), payloads.length)) }, lane));
  if (failure !== null) throw (failure as { error: unknown }).error;
  return results;
}

/** The id is a hash of what the task is, so a changed setting or input finds no record. */
export function taskId<P>(kind: TaskKind<P, unknown>, payload: P): string {
  return `${kind.name}-${hashOf({ kind: kind.name, version: kind.version, payload }).slice(0, 24)}`;
}

interface TaskRecord<R> {
  readonly result: R;
  /** Units the task advanced, so that progress of a resumed run starts where it stands. */
  readonly units: number;
}

async function runOnce<P, R>(kind: TaskKind<P, R>, payload: P, scope: string, env: TaskEnv, onKept: (units: number) => void): Promise<R> {
  throwIfAborted(env.signal);
  const key = `work/${scope}/${taskId(kind, payload)}.json`;
  if ((await env.store.head(key)) !== null) {
    const record = JSON.parse(new TextDecoder().decode(await env.store.read(key))) as TaskRecord<R>;
    onKept(record.units);
    return record.result;
  }
  let units = 0;
  const advance = (count: number): void => {
    units += count;
    env.advance(count);
  };
  const result = await kind.run(payload, { ...env, advance });
  const record: TaskRecord<R> = { result, units };
  await env.store.write(key, new TextEncoder().encode(JSON.stringify(record)));
  return result;
}
