/**
 * The executor over BullMQ: a stage's tasks become jobs, workers leave the same records in the store as the local
 * executor does, and the driver reads them there. The driver keeps nothing that it could not find again: killed and started
 * elsewhere, it names the same jobs, finds the records of those that are done and waits for the rest. It merges by itself
 * instead of as a parent job (BullMQ's flows): a pipeline is a plain function, and its loops decide what comes next.
 */
import type { ExecutionConfig } from '../src/config.ts';
import { WinnowError, throwIfAborted } from '../src/errors.ts';
import { type LocalExecutor, type LocalExecutorOptions, createLocalExecutor, taskId } from '../src/run/local.ts';
import { hashOf } from '../src/run/manifest.ts';
import type { TaskKind } from '../src/run/stage.ts';
import type { Store } from '../src/store/store.ts';
import { VERSION } from '../src/version.ts';
import { CODE, type CodeFacts } from './code.ts';
import { type Driver, type FeedOptions, type QueuedTask, type StageFeed, openFeed, waitForTasks } from './feed.ts';
import { PAYLOAD_CHARS_MAX, type TaskJob, jobIdOf } from './queue.ts';
import { type Redis, closeRedis, connectRedis, redisOptions, tellOutages, watchRedis, within } from './redis.ts';
import { type RunEntry, enterRun, isCancelled, leaveRun, runIdOf, updateRun, writeRunRecord } from './runs.ts';

import { findTask } from './tasks.ts';

export interface QueueExecutorOptions extends Omit<LocalExecutorOptions, 'tasks'>, FeedOptions {
  readonly redis: string;
  /** The name by which workers open the store. Default: the store's own, which of an object store does not say where its server is. */
  readonly storeUri?: string;
  /** The recipe: with the store it is what makes a run. */
  readonly recipe: { readonly name: string };
  /** What the recipe says of execution; each worker fills in what it leaves to the machine. */
  readonly settings: ExecutionConfig;
  /** The queue of a kind of task. Default: that of its stage. */
  readonly stageOf?: (kind: string) => string;
  /** What this code calls itself. Default: the package's version. */
  readonly version?: string;
  /** How long Redis may be away. Default 2 minutes. */
  readonly redisTimeoutMs?: number;
}

export interface QueueExecutor extends Omit<LocalExecutor, 'close'> {
  /** Identifies the run in the queue, `winnow status` and worker logs. */
  readonly run: string;
  /** @param outcome `done`: the run is over and leaves the list of runs; anything else: it may go on */
  close(outcome?: string): Promise<void>;
}

/**
 * Takes the run's place in line. Another run that was left unfinished in the same store keeps its jobs, which do nothing
 * from now on, as the stages are no longer theirs.
 *
 * @throws {WinnowError} STORE_UNAVAILABLE, STORE_DENIED, CONFIG_INVALID
 */
export async function createQueueExecutor(options: QueueExecutorOptions): Promise<QueueExecutor> {
  const { store, log, locations, recipe, settings, storeUri = store.uri, redisTimeoutMs = 120_000, version = VERSION } = options;
  const connection = redisOptions(options.redis);
  const recipeHash = hashOf(recipe);
  const run = runIdOf(storeUri, recipeHash);
  const redis = await connectRedis(connection);
  tellOutages(redis, connection, log);
  const watch = watchRedis(redis, connection, redisTimeoutMs);
  // Resources of the driver itself, as it opens models to learn what they are.
  const local = createLocalExecutor({ ...options, tasks: 1 });
  const feeds = new Map<string, Promise<StageFeed>>();
  try {
    const record = await writeRunRecord(store, run, { recipe: recipeHash, locations: { ...locations }, execution: settings, clusterEngine: options.execution.clusterEngine ?? 'onnxruntime' });
    const entry = await enterRun(redis, { run, name: recipe.name, store: storeUri, version });
    log.info({ run }, `run ${run}: number ${entry.number} in line`);
    const driver: QueueDriver = { options, storeUri, redis, watch, record, code: { ...CODE, version }, entry };
    const feedOf = (stage: string): Promise<StageFeed> => {
      let feed = feeds.get(stage);
      if (feed === undefined) feeds.set(stage, (feed = openFeed(stage, connection)));
      return feed;
    };
    return {
      run,
      resource: local.resource,
      map: (kind, payloads, scope) => mapTasks(driver, feedOf, kind, payloads, scope),
      close: async (outcome = 'stopped') => {
        watch.stop();
        if (redis.status !== 'ready') connection.reconnect.wanted = false;
        await within(CLOSE_MS, Promise.allSettled([...feeds.values()].map(async (feed) => (await feed).close()))).catch(() => undefined);
        if (redis.status === 'ready') await endRun(redis, run, outcome).catch(() => undefined);
        await closeRedis(redis);
        await local.close();
      },
    };
  } catch (error) {
    watch.stop();
    await closeRedis(redis);
    throw error;
  }
}

const CLOSE_MS = 10_000;

/** A run that stopped before its end stays on the list, unless somebody took it off. */
async function endRun(redis: Redis, run: string, outcome: string): Promise<void> {
  if (outcome === 'done' || (await isCancelled(redis, run))) await leaveRun(redis, run);
}

interface QueueDriver extends Driver {
  readonly options: QueueExecutorOptions;
  /** Hash of the run's record. */
  readonly record: string;
  readonly code: CodeFacts;
  entry: RunEntry;
}

async function mapTasks<P, R>(driver: QueueDriver, feedOf: (stage: string) => Promise<StageFeed>, kind: TaskKind<P, R>, payloads: readonly P[], scope: string): Promise<R[]> {
  const { signal, store, onAdvance, stageOf = stageOfKind } = driver.options;
  throwIfAborted(signal);
  const stage = stageOf(kind.name);
  const ids = payloads.map((payload) => taskId(kind, payload));
  const results = new Map<string, R>();
  const known = await recordsOf(store, scope, ids);
  const queued = new Map<string, QueuedTask>();
  const attempt = await readAttempt(store, scope);
  const { entry: { run }, record, code, storeUri } = driver;
  const reference = { run, record, store: storeUri, scope, attempt, kind: kind.name, kindVersion: kind.version, code };
  for (const [p, payload] of payloads.entries()) {
    const task = ids[p]!;
    if (results.has(task)) continue;
    if (known.has(task)) {
      const record = await readRecord<R>(store, scope, task);
      if (record !== null) {
        results.set(task, record.result);
        onAdvance(record.units, true);
        continue;
      }
    }
    const jobId = jobIdOf(kind.name, task, reference);
    if (queued.has(jobId)) continue;
    queued.set(jobId, { jobId, task, place: p, jobOf: () => jobOf(store, reference, task, JSON.stringify(payload)), units: 0, tries: 0 });
  }
  if (queued.size > 0) {
    const read = async ({ task }: QueuedTask): Promise<number | null> => {
      const record = await readRecord<R>(store, scope, task);
      if (record === null) return null;
      results.set(task, record.result);
      return record.units;
    };
    const tell = (counts: { done: number; failed: number }): Promise<void> => tellRun(driver, { scope, stage, tasks: ids.length, ...counts, done: ids.length - queued.size + counts.done });
    await waitForTasks(driver, await driver.watch.guard(feedOf(stage), signal), { queued, scope, attempt, read, tell });
  }
  return ids.map((id) => results.get(id)!);
}

function stageOfKind(name: string): string {
  const found = findTask(name);
  if (found === null) throw new Error(`Expected tasks of a kind that workers know, got ${name}`);
  return found.stage;
}

async function readAttempt(store: Store, scope: string): Promise<string | null> {
  const key = `work/${scope}/attempt`;
  return (await store.head(key)) === null ? null : new TextDecoder().decode(await store.read(key));
}

/** Above this many tasks one list of the folder is cheaper than a look for each. */
const LOOK_AT_EACH = 16;

/** Which of the tasks have a record. */
async function recordsOf(store: Store, scope: string, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  if (ids.length <= LOOK_AT_EACH) {
    for (const id of ids) if ((await store.head(`work/${scope}/${id}.json`)) !== null) found.add(id);
    return found;
  }
  const prefix = `work/${scope}/`;
  const wanted = new Set(ids);
  for await (const { key } of store.list(prefix)) {
    const id = key.slice(prefix.length, -'.json'.length);
    if (key.endsWith('.json') && wanted.has(id)) found.add(id);
  }
  return found;
}

/** Null when there is none: one call where a look before would make two. */
async function readRecord<R>(store: Store, scope: string, task: string): Promise<{ result: R; units: number } | null> {
  try {
    return JSON.parse(new TextDecoder().decode(await store.read(`work/${scope}/${task}.json`))) as { result: R; units: number };
  } catch (error) {
    if (error instanceof WinnowError && error.code === 'INPUT_MISSING') return null;
    throw error;
  }
}

async function jobOf(store: Store, reference: Omit<TaskJob, 'payload' | 'payloadKey'>, task: string, payload: string): Promise<TaskJob> {
  if (payload.length <= PAYLOAD_CHARS_MAX) return { ...reference, payload, payloadKey: null };
  const payloadKey = `work/${reference.scope}/${task}.payload`;
  await store.write(payloadKey, new TextEncoder().encode(payload));
  return { ...reference, payload: null, payloadKey };
}

const TELL_EVERY_MS = 1_000;

/** Keeps the entry that `winnow status` shows; a failure to do so is no failure of the run. */
async function tellRun(driver: QueueDriver, facts: Pick<RunEntry, 'scope' | 'stage' | 'tasks' | 'done' | 'failed'>): Promise<void> {
  const ended = facts.done + facts.failed === facts.tasks;
  const isNews = facts.scope !== driver.entry.scope || ended;
  if (!isNews && Date.now() - driver.entry.seen < TELL_EVERY_MS) return;
  driver.entry = { ...driver.entry, ...facts, seen: Date.now() };
  await driver.watch.guard(updateRun(driver.redis, driver.entry), driver.options.signal);
}

