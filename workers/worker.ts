/**
 * A worker: takes jobs of the stages it serves and has them run in task processes, while this process renews their locks.
 * A job whose lock is lost has its process ended before another worker can be well under way; what both wrote is equal.
 * A job of other code is put back and ends the worker. A fault of this machine makes it step aside, for others to try.
 */
import { hostname } from 'node:os';
import { type Job, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import { type ErrorCode, WinnowError } from '../src/errors.ts';
import type { Log } from '../src/log.ts';
import { VERSION } from '../src/version.ts';
import { type ProcessConfig, type TaskOutcome, type TaskProcesses, createTaskProcesses } from './processes.ts';
import type { WorkerMetrics } from './metrics.ts';
import { PREFIX, type TaskJob, failureText } from './queue.ts';
import { type Connection, type Redis, closeRedis, connectRedis, redisOptions, tellOutages, watchRedis, within } from './redis.ts';
import { isCancelled } from './runs.ts';
import { workerName } from './worker-name.ts';

export interface QueueWorkerOptions extends ProcessConfig {
  readonly redis: string;
  /** Stages to serve, each with up to `concurrency` tasks at once. */
  readonly stages: readonly string[];
  readonly log: Log;
  /** Time that tasks under way have once the worker is told to end; then they go back to the queue. Default 25 s. */
  readonly drainMs?: number;
  /** How long a job stays this worker's without being renewed. Default 30 s. */
  readonly lockMs?: number;
  /** How long Redis may be away. Default 5 minutes. */
  readonly redisTimeoutMs?: number;
  /** Counts what the worker does. */
  readonly metrics?: WorkerMetrics;
}

export interface QueueWorker {
  /** Rejects with what ends the worker before it is told to. */
  readonly ended: Promise<never>;
  /** Null while it takes tasks; otherwise why not: it drains, Redis is away, or it stepped aside with every stage. */
  notReady(): string | null;
  /** Lets tasks under way end, up to `drainMs`, and takes no more. */
  close(): Promise<void>;
}

/** Times a job may be found without a worker (killed, or cut off) before it counts as the cause of that. */
const STALLED_MAX = 10;
const CANCEL_EVERY_MS = 2_000;
const ASIDE_MS = { first: 5_000, longest: 300_000 };
/** What another machine may well not have. */
const MACHINE_FAULTS: readonly (ErrorCode | null)[] = ['MODEL_UNAVAILABLE', 'PROVIDER_UNAVAILABLE', 'STORE_FULL', 'STORE_DENIED'];

/** @throws {WinnowError} STORE_UNAVAILABLE, STORE_DENIED, CONFIG_INVALID when there is no Redis to serve */
export async function createQueueWorker(options: QueueWorkerOptions): Promise<QueueWorker> {
  const { log, stages, drainMs = 25_000, lockMs = 30_000, redisTimeoutMs = 300_000 } = options;
  const connection = redisOptions(options.redis);
  const redis = await connectRedis(connection);
  tellOutages(redis, connection, log);
  const { metrics } = options;
  const processes = createTaskProcesses(processConfig(options), log, (measure) => metrics?.observe(measure));
  const watch = watchRedis(redis, connection, redisTimeoutMs);
  const state: State = { connection, redis, processes, log, workers: new Map(), renewed: new Map(), lockMs, metrics, draining: false, end: () => undefined };
  const refused = new Promise<never>((_, reject) => (state.end = reject));
  const name = workerName({ host: hostname(), pid: process.pid, concurrency: options.concurrency, providers: options.providers ?? ['any'], version: options.version ?? VERSION });
  for (const stage of stages) {
    const worker: Worker<TaskJob, null> = new Worker(stage, (job, token) => processJob(state, stage, job, token!), {
      connection, prefix: PREFIX, name, concurrency: options.concurrency,
      lockDuration: lockMs, stalledInterval: lockMs, maxStalledCount: STALLED_MAX, metrics: { maxDataPoints: 120 },
      removeOnComplete: { count: 0 },
    });
    worker.on('error', (error) => log.debug({ stage }, `queue ${stage}: ${error.message}`));
    worker.on('locksRenewed', ({ jobIds }) => jobIds.forEach((id) => state.renewed.set(id, performance.now())));
    worker.on('lockRenewalFailed', (ids) => ids.forEach((id) => processes.kill(id, LOST)));
    worker.on('stalled', (id) => log.warn({ stage, task: id }, `${stage}: the worker of ${id} is gone; the task is given to another`));
    state.workers.set(stage, { worker, asideMs: 0 });
  }
  const timers = [setInterval(() => endLost(state), Math.min(1_000, lockMs / 10)), setInterval(() => void endCancelled(state), CANCEL_EVERY_MS)];
  const ended = Promise.race([refused, watch.lost]);
  ended.catch(() => undefined);
  return { ended, notReady: () => notReady(state), close: () => closeWorker(state, drainMs, () => { timers.forEach(clearInterval); watch.stop(); }) };
}

const LOST = 'lost';
const DRAINED = 'drained';
const CANCELLED = 'cancelled';

interface State {
  readonly connection: Connection;
  readonly redis: Redis;
  readonly processes: TaskProcesses;
  readonly log: Log;
  readonly workers: Map<string, { readonly worker: Worker<TaskJob, null>; asideMs: number }>;
  /** When each job's lock was last known to be ours. */
  readonly renewed: Map<string, number>;
  readonly lockMs: number;
  readonly metrics: WorkerMetrics | undefined;
  draining: boolean;
  end(error: WinnowError): void;
}

function processConfig({ concurrency, providers, stores, locations, taskModules, version }: QueueWorkerOptions): ProcessConfig {
  return { concurrency, providers, stores, locations, taskModules, ...(version !== undefined && { version }) };
}

const PROGRESS_EVERY_MS = 1_000;

async function processJob(state: State, stage: string, job: Job<TaskJob, null>, token: string): Promise<null> {
  const id = job.id!;
  const { run, scope, kind } = job.data;
  const started = performance.now();
  state.renewed.set(id, started);
  if (await isCancelled(state.redis, run)) return null;
  let told = 0;
  try {
    const outcome = await state.processes.run(id, job.data, (progress) => {
      if (performance.now() - told < PROGRESS_EVERY_MS) return;
      told = performance.now();
      void job.updateProgress(progress).catch(() => undefined);
    });
    const seconds = (performance.now() - started) / 1000;
    state.metrics?.endTask({ stage, kind, outcome: outcome.state, seconds });
    state.log.debug({ run, stage, scope, kind, task: id, seconds, outcome: outcome.state, event: 'task' }, `${stage}: ${id} ${outcome.state} in ${seconds.toFixed(2)} s`);
    return await answer(state, stage, job, token, outcome);
  } finally {
    state.renewed.delete(id);
  }
}

function notReady({ draining, redis, workers }: State): string | null {
  if (draining) return 'draining';
  if (redis.status !== 'ready') return 'no connection to Redis';
  return [...workers.values()].every(({ worker }) => worker.isPaused()) ? 'stepped aside after a fault of this machine' : null;
}

/** What the queue is told of a task's end. */
async function answer(state: State, stage: string, job: Job<TaskJob, null>, token: string, outcome: TaskOutcome): Promise<null> {
  const serving = state.workers.get(stage)!;
  switch (outcome.state) {
    case 'done':
      serving.asideMs = 0;
      return null;
    case 'obsolete':
      return null;
    case 'refused':
      await Promise.all([...state.workers.values()].map(({ worker }) => worker.pause(true)));
      await job.moveToWait(token);
      state.end(new WinnowError('FORMAT_VERSION', outcome.message));
      throw new WaitingError();
    case 'killed':
      if (outcome.reason === CANCELLED) return null;
      // A job that is no longer ours cannot be moved; the one that has it now answers for it.
      if (outcome.reason === DRAINED) await job.moveToWait(token);
      throw new WaitingError();
    case 'failed': {
      const text = failureText(outcome.code, outcome.message);
      state.log.warn({ run: job.data.run, stage, task: job.id, code: outcome.code }, `${stage}: ${job.id} failed (attempt ${job.attemptsMade + 1}): ${text}`);
      if (MACHINE_FAULTS.includes(outcome.code)) stepAside(state, stage);
      else if (!outcome.retryable) throw new UnrecoverableError(text);
      throw new Error(text);
    }
  }
}

/** Takes no job of the stage for a while, longer each time, so that machines without this fault get it. */
function stepAside(state: State, stage: string): void {
  const serving = state.workers.get(stage)!;
  if (serving.worker.isPaused() || state.draining) return;
  serving.asideMs = Math.min(ASIDE_MS.longest, Math.max(ASIDE_MS.first, 2 * serving.asideMs));
  state.log.warn({ stage }, `${stage}: the fault may be this machine's, so it takes no task for ${serving.asideMs / 1000} s`);
  void serving.worker.pause(true);
  setTimeout(() => {
    if (!state.draining) void serving.worker.resume();
  }, serving.asideMs).unref();
}

/** The lock in Redis runs out by itself; a worker that cannot reach Redis has to know the moment by its own clock. */
function endLost({ processes, renewed, lockMs }: State): void {
  const now = performance.now();
  for (const id of processes.running().keys()) if (now - (renewed.get(id) ?? now) > 0.95 * lockMs) processes.kill(id, LOST);
}

async function endCancelled({ redis, processes }: State): Promise<void> {
  const running = processes.running();
  for (const run of new Set([...running.values()].map((job) => job.run))) {
    if (!(await isCancelled(redis, run).catch(() => false))) continue;
    for (const [id, job] of running) if (job.run === run) processes.kill(id, CANCELLED);
  }
}

async function closeWorker(state: State, drainMs: number, stopTimers: () => void): Promise<void> {
  state.draining = true;
  const { redis, connection, processes } = state;
  // Without Redis nothing can be handed back: it finds out by itself when the locks have run out.
  const isCut = redis.status !== 'ready';
  if (isCut) {
    connection.reconnect.wanted = false;
    await processes.close();
  }
  const closed = Promise.all([...state.workers.values()].map(({ worker }) => worker.close(isCut)));
  const late = setTimeout(() => {
    for (const [id, job] of processes.running()) {
      state.log.warn({ run: job.run, scope: job.scope, task: id }, `${id} is not done after ${drainMs / 1000} s; it goes back to the queue`);
      processes.kill(id, DRAINED);
    }
  }, drainMs);
  await within(drainMs + 3_000, closed).catch(() => (connection.reconnect.wanted = false));
  clearTimeout(late);
  stopTimers();
  await processes.close();
  await closeRedis(redis);
}
