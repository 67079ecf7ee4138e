/**
 * Feeds a stage's tasks to its queue and waits for their ends. Events tell quickly; because they can be missed (Redis
 * restarted, a stream trimmed), what is pending is also looked up now and then: a job that is gone without a record in the
 * store is queued again. A task that failed for good does not stop the others; when all have ended the first is the error.
 */
import { Queue, QueueEvents } from 'bullmq';
import { ERROR_CODES, type ErrorCode, WinnowError, throwIfAborted } from '../src/errors.ts';
import type { Log } from '../src/log.ts';
import type { Store } from '../src/store/store.ts';
import { PREFIX, type TaskJob, jobOptions } from './queue.ts';
import { type Connection, type Redis, type RedisWatch, keepConnected } from './redis.ts';
import { type RunEntry, isCancelled, reenterRun } from './runs.ts';

export interface FeedOptions {
  readonly store: Store;
  readonly signal: AbortSignal;
  readonly log: Log;
  onAdvance(units: number, kept: boolean): void;
  onNote(text: string): void;
  /** How often to look for what events did not tell, as after a restart of Redis. Default 5 s. */
  readonly lookEveryMs?: number;
  /** Jobs of one stage that are in Redis at a time. Default 4,096. */
  readonly queuedMax?: number;
}

/** What drives a run: its connection, and its place in line. */
export interface Driver {
  readonly options: FeedOptions;
  /** The name by which jobs know the store. */
  readonly storeUri: string;
  readonly redis: Redis;
  readonly watch: RedisWatch;
  readonly entry: RunEntry;
}

export interface QueuedTask {
  readonly jobId: string;
  readonly task: string;
  /** Place among the payloads. */
  readonly place: number;
  jobOf(): Promise<TaskJob>;
  /** Units told so far. */
  units: number;
  /** Times it was queued again because it was gone without a record. */
  tries: number;
}

type TaskQueue = Queue<TaskJob, null, string, TaskJob, null, string>;

export interface StageFeed {
  readonly queue: TaskQueue;
  /** Told of each job's events. One listener at a time for a job. */
  readonly listeners: Set<FeedListener>;
  close(): Promise<void>;
}

export interface FeedListener {
  ended(jobId: string, failure: string | null): void;
  progress(jobId: string, units: number, note: string | null): void;
}

/** Opens a stage's queue and listens from now on. */
export async function openFeed(stage: string, connection: Connection): Promise<StageFeed> {
  const queue: TaskQueue = new Queue(stage, { connection, prefix: PREFIX });
  const events = new QueueEvents(stage, { connection, prefix: PREFIX });
  const listeners = new Set<FeedListener>();
  queue.on('error', () => undefined);
  events.on('error', () => undefined);
  events.on('completed', ({ jobId }) => listeners.forEach((listener) => listener.ended(jobId, null)));
  events.on('failed', ({ jobId, failedReason }) => listeners.forEach((listener) => listener.ended(jobId, failedReason)));
  events.on('progress', ({ jobId, data }) => {
    const { units = 0, note = null } = data as unknown as { units?: number; note?: string | null };
    listeners.forEach((listener) => listener.progress(jobId, units, note));
  });
  await events.waitUntilReady();
  const { client } = events.getBackend() as unknown as { readonly client: Promise<Redis> }; // the types know of any backend
  keepConnected(await client, connection, () => events.closing !== undefined);
  return { queue, listeners, close: async () => void (await Promise.allSettled([events.close(), queue.close()])) };
}

export interface Wait {
  readonly queued: ReadonlyMap<string, QueuedTask>;
  readonly scope: string;
  readonly attempt: string | null;
  /** Takes the task's result from its record. @returns its units, or null when there is no record */
  read(task: QueuedTask): Promise<number | null>;
  tell(counts: { done: number; failed: number }): Promise<void>;
}

/** Jobs of a stage that wait in Redis unless a run says otherwise: hours of work for hundreds of workers, and 6 MB. */
export const QUEUED_MAX = 4_096;

const CHUNK = 200;
const LOOK_EVERY_MS = 5_000;
const READS_AT_ONCE = 16;
const TRIES_MAX = 20;

/** Everything that `waitForTasks` knows while it waits. */
interface Waiting extends Wait {
  readonly driver: Driver;
  readonly feed: StageFeed;
  /** In the queue, not known to have ended. */
  readonly pending: Map<string, QueuedTask>;
  readonly failures: Map<string, string>;
  /** Ids that an event named since they were last looked at, with the reason of those that failed. */
  readonly news: Map<string, string | null>;
  done: number;
  wake(): void;
}

/** @throws {WinnowError} of the first task that failed; ABORTED; STORE_UNAVAILABLE when Redis is lost; STORE_BUSY */
export async function waitForTasks(driver: Driver, feed: StageFeed, wait: Wait): Promise<void> {
  const { signal, onAdvance, onNote, queuedMax = QUEUED_MAX, lookEveryMs = LOOK_EVERY_MS } = driver.options;
  const w: Waiting = { ...wait, driver, feed, pending: new Map(), failures: new Map(), news: new Map(), done: 0, wake: () => undefined };
  const listener: FeedListener = {
    ended: (jobId, failure) => {
      if (!w.pending.has(jobId) && !w.failures.has(jobId)) return;
      w.news.set(jobId, failure);
      w.wake();
    },
    progress: (jobId, units, note) => {
      const task = w.pending.get(jobId);
      if (task === undefined) return;
      if (note !== null) onNote(note);
      if (units <= task.units) return;
      onAdvance(units - task.units, false);
      task.units = units;
    },
  };
  const stop = (): void => w.wake();
  signal.addEventListener('abort', stop);
  feed.listeners.add(listener);
  try {
    await bounded(w, waitForOthers(w));
    const rest = wait.queued.values();
    let looked = performance.now();
    let exhausted = false;
    while (!exhausted || w.pending.size > 0) {
      throwIfAborted(signal);
      while (!exhausted && w.pending.size < queuedMax && w.news.size === 0) exhausted = await bounded(w, queueMore(w, rest));
      await wait.tell({ done: w.done, failed: w.failures.size });
      if (w.pending.size > 0 && w.news.size === 0) await bounded(w, sleep(w, Math.max(50, lookEveryMs - (performance.now() - looked))));
      throwIfAborted(signal);
      await bounded(w, takeNews(w));
      await wait.tell({ done: w.done, failed: w.failures.size });
      if (performance.now() - looked < lookEveryMs) continue;
      const started = performance.now();
      await bounded(w, lookUp(w));
      // However many tasks there are, looking takes at most a tenth of the time.
      looked = performance.now() + 9 * (performance.now() - started);
    }
  } finally {
    feed.listeners.delete(listener);
    signal.removeEventListener('abort', stop);
  }
  throwFirst(w);
}

function bounded<T>({ driver }: Waiting, work: Promise<T>): Promise<T> {
  return driver.watch.guard(work, driver.options.signal);
}

function sleep(w: Waiting, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    w.wake = () => {
      clearTimeout(timer);
      resolve();
    };
    if (w.news.size > 0 || w.driver.options.signal.aborted) w.wake();
  });
}

/** A task of another attempt at this scope would write over this one's parts, so those under way end first; none begins any more. */
async function waitForOthers(w: Waiting): Promise<void> {
  const { signal, onNote, lookEveryMs = LOOK_EVERY_MS } = w.driver.options;
  for (;;) {
    throwIfAborted(signal);
    const active = await w.feed.queue.getJobs(['active']);
    const other = active.filter((job) => job?.data.store === w.driver.storeUri && job.data.scope === w.scope && job.data.attempt !== w.attempt);
    if (other.length === 0) return;
    onNote(`waiting for ${other.length} tasks of an earlier attempt`);
    await sleep(w, Math.min(1_000, lookEveryMs));
  }
}

/** @returns whether there are no more */
async function queueMore(w: Waiting, rest: IterableIterator<QueuedTask>): Promise<boolean> {
  const chunk: QueuedTask[] = [];
  let ended = false;
  while (chunk.length < CHUNK && !ended) {
    const next = rest.next();
    if (next.done === true) ended = true;
    else chunk.push(next.value);
  }
  if (chunk.length > 0) await queueTasks(w, chunk);
  return ended;
}

async function queueTasks(w: Waiting, tasks: readonly QueuedTask[]): Promise<void> {
  const { driver, feed } = w;
  // What failed in an earlier run is tried anew: somebody may have mended the cause.
  const states = await statesOf(w, tasks);
  for (const [t, state] of states.entries()) if (state !== null && state.failure !== null) await feed.queue.remove(tasks[t]!.jobId);
  for (const task of tasks) w.pending.set(task.jobId, task);
  const jobs = [];
  for (const task of tasks) jobs.push({ name: task.task.slice(0, task.task.lastIndexOf('-')), data: await task.jobOf(), opts: jobOptions(task.jobId, driver.entry.number) });
  await feed.queue.addBulk(jobs);
}

/** Null for a job that Redis does not know; `failure` when it failed for good. */
async function statesOf({ driver, feed }: Waiting, tasks: readonly QueuedTask[]): Promise<({ failure: string | null } | null)[]> {
  const pipeline = driver.redis.pipeline();
  for (const { jobId } of tasks) pipeline.hmget(feed.queue.toKey(jobId), 'name', 'finishedOn', 'failedReason');
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error !== null) throw error;
    const [name, finished, reason] = reply as (string | null)[];
    return name === null ? null : { failure: finished !== null && reason !== null ? (reason ?? '') : null };
  });
}

async function takeNews(w: Waiting): Promise<void> {
  const news = [...w.news];
  w.news.clear();
  const ended: QueuedTask[] = [];
  for (const [jobId, failure] of news) {
    const task = w.queued.get(jobId)!;
    if (failure === null) ended.push(task);
    else fail(w, task, failure);
  }
  await readAll(w, ended);
}

function fail(w: Waiting, { jobId }: QueuedTask, reason: string): void {
  w.pending.delete(jobId);
  w.failures.set(jobId, reason);
}

/** @returns tasks without a record */
async function readAll(w: Waiting, tasks: readonly QueuedTask[]): Promise<QueuedTask[]> {
  const without: QueuedTask[] = [];
  for (let first = 0; first < tasks.length; first += READS_AT_ONCE) {
    await Promise.all(
      tasks.slice(first, first + READS_AT_ONCE).map(async (task) => {
        const units = await w.read(task);
        if (units === null) return void without.push(task);
        w.pending.delete(task.jobId);
        w.failures.delete(task.jobId);
        w.driver.options.onAdvance(Math.max(0, units - task.units), false);
        w.done += 1;
      }),
    );
  }
  return without;
}

/** Sees for itself what has become of the pending tasks. */
async function lookUp(w: Waiting): Promise<void> {
  const { redis, entry, options } = w.driver;
  if (await isCancelled(redis, entry.run)) throw new WinnowError('ABORTED', `The run ${entry.run} was cancelled; \`winnow run\` goes on from here`);
  const pending = [...w.pending.values()];
  for (let first = 0; first < pending.length; first += CHUNK) {
    const chunk = pending.slice(first, first + CHUNK);
    const gone: QueuedTask[] = [];
    for (const [t, state] of (await statesOf(w, chunk)).entries()) {
      if (state === null) gone.push(chunk[t]!);
      else if (state.failure !== null) fail(w, chunk[t]!, state.failure);
    }
    const lost = await readAll(w, gone);
    if (lost.length === 0) continue;
    for (const task of lost) {
      if (++task.tries > TRIES_MAX) throw new WinnowError('STORE_BUSY', `Expected a record of ${task.task} under work/${w.scope}/ in ${options.store.uri}, found none though workers took it ${TRIES_MAX} times: another run may be writing there`);
    }
    options.log.warn({ run: entry.run, tasks: lost.length }, `${w.scope}: ${lost.length} tasks were gone from Redis and are queued again`);
    await reenterRun(redis, entry);
    await queueTasks(w, lost);
  }
}

function throwFirst({ failures, queued }: Waiting): void {
  if (failures.size === 0) return;
  const first = [...failures.keys()].map((id) => queued.get(id)!).reduce((a, b) => (a.place < b.place ? a : b));
  const reason = failures.get(first.jobId)!;
  const code = /^([A-Z_]+): /.exec(reason)?.[1];
  const rest = failures.size === 1 ? '' : ` (one of ${failures.size} tasks that failed, of ${queued.size}; all others are done)`;
  if (code !== undefined && Object.hasOwn(ERROR_CODES, code)) throw new WinnowError(code as ErrorCode, `${reason.slice(code.length + 2)}${rest}`, { details: { task: first.jobId } });
  throw new Error(`${first.jobId}: ${reason}${rest}`);
}
