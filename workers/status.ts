/** What a queue's Redis knows of runs, stages and workers, and what a person may do about it from anywhere. */
import { Queue } from 'bullmq';
import { PREFIX, QUEUE_STAGES, type TaskJob } from './queue.ts';
import { type Redis, closeRedis, connectRedis, redisError, redisOptions, within } from './redis.ts';
import { type RunEntry, leaveRun, listRuns, markCancelled } from './runs.ts';
import { type WorkerFacts, parseWorkerName } from './worker-name.ts';

export interface StageStatus {
  readonly stage: string;
  readonly waiting: number;
  readonly active: number;
  /** Failed before, to be tried again after a pause. */
  readonly delayed: number;
  readonly failed: number;
  /** Tasks ever done here, of all runs. */
  readonly done: number;
  /** Tasks a minute over the last minutes; null before any was done. */
  readonly perMinute: number | null;
  /** Seconds until nothing waits, at that rate; null when unknown. */
  readonly etaSeconds: number | null;
}

export interface WorkerStatus extends WorkerFacts {
  readonly stages: readonly string[];
}

export interface FailedTask {
  readonly stage: string;
  readonly task: string;
  readonly run: string;
  readonly reason: string;
}

export interface QueueStatus {
  readonly runs: readonly RunEntry[];
  readonly stages: readonly StageStatus[];
  readonly workers: readonly WorkerStatus[];
  /** The newest ones of each stage. */
  readonly failures: readonly FailedTask[];
}

const FAILURES_SHOWN = 5;

/** @throws {WinnowError} STORE_UNAVAILABLE, STORE_DENIED, CONFIG_INVALID */
export function readStatus(redisUrl: string): Promise<QueueStatus> {
  return withQueues(redisUrl, async (redis, queues) => {
    const stages: StageStatus[] = [];
    const failures: FailedTask[] = [];
    const seen = new Map<string, WorkerStatus>();
    for (const queue of queues) {
      stages.push(await statusOf(queue));
      for (const job of await queue.getFailed(0, FAILURES_SHOWN - 1)) failures.push({ stage: queue.name, task: job.id!, run: job.data.run, reason: job.failedReason ?? '' });
      for (const { rawname = '' } of await queue.getWorkers()) {
        const name = rawname.slice(rawname.indexOf(':w:') + 3);
        const facts = parseWorkerName(name);
        if (facts !== null) seen.set(name, { ...facts, stages: [...new Set([...(seen.get(name)?.stages ?? []), queue.name])] });
      }
    }
    const workers = [...seen.values()].sort((a, b) => (a.host === b.host ? a.pid - b.pid : a.host < b.host ? -1 : 1));
    return { runs: await listRuns(redis), stages, workers, failures };
  });
}

/**
 * Takes a run's jobs out of every queue, has workers end those under way, and takes the run off the list. What is done
 * stays in the store, and `winnow run` goes on from there.
 *
 * @param run an id, or null: all runs
 * @returns jobs taken out, by run
 */
export function cancelRuns(redisUrl: string, run: string | null): Promise<Record<string, number>> {
  return withQueues(redisUrl, async (redis, queues) => {
    const known = (await listRuns(redis)).map((entry) => entry.run);
    const removed: Record<string, number> = Object.fromEntries(known.filter((id) => run === null || id === run).map((id) => [id, 0]));
    if (run !== null) removed[run] ??= 0;
    for (const id of Object.keys(removed)) await markCancelled(redis, id);
    for (const queue of queues) {
      await forJobs(queue, ['prioritized', 'waiting', 'delayed', 'failed'], async (jobs) => {
        for (const job of jobs) {
          if (removed[job.data.run] === undefined) continue;
          // A worker may have taken it a moment ago: it learns of the cancelling by itself.
          const gone = await queue.remove(job.id!).catch(() => 0);
          removed[job.data.run]! += gone;
        }
      });
    }
    for (const id of Object.keys(removed)) await leaveRun(redis, id);
    return removed;
  });
}

/** Puts failed tasks back in line, with all their attempts. @param run an id, or null: of all runs. @returns how many, by stage */
export function retryFailed(redisUrl: string, run: string | null): Promise<Record<string, number>> {
  return withQueues(redisUrl, async (_, queues) => {
    const retried: Record<string, number> = {};
    for (const queue of queues) {
      await forJobs(queue, ['failed'], async (jobs) => {
        for (const job of jobs) {
          if (run !== null && job.data.run !== run) continue;
          await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
          retried[queue.name] = (retried[queue.name] ?? 0) + 1;
        }
      });
    }
    return retried;
  });
}

type TaskQueue = Queue<TaskJob, null, string, TaskJob, null, string>;

const PATIENCE_MS = 120_000;

async function withQueues<T>(redisUrl: string, work: (redis: Redis, queues: readonly TaskQueue[]) => Promise<T>): Promise<T> {
  const connection = redisOptions(redisUrl);
  const redis = await connectRedis(connection);
  const queues = QUEUE_STAGES.map((stage): TaskQueue => new Queue(stage, { connection, prefix: PREFIX, skipMetasUpdate: true }));
  for (const queue of queues) queue.on('error', () => undefined);
  try {
    return await within(PATIENCE_MS, work(redis, queues));
  } catch (error) {
    throw redisError(connection, error);
  } finally {
    await Promise.allSettled(queues.map((queue) => queue.close()));
    await closeRedis(redis);
  }
}

const JOBS_AT_ONCE = 1_000;

/** All jobs in the states as they are now, read before any is touched so that places do not shift. */
async function forJobs(queue: TaskQueue, states: readonly ('prioritized' | 'waiting' | 'delayed' | 'failed')[], visit: (jobs: Awaited<ReturnType<TaskQueue['getJobs']>>) => Promise<void>): Promise<void> {
  for (const state of states) {
    const ids: string[] = [];
    for (let first = 0; ; first += JOBS_AT_ONCE) {
      const page = await queue.getRanges([state], first, first + JOBS_AT_ONCE - 1);
      ids.push(...page);
      if (page.length < JOBS_AT_ONCE) break;
    }
    for (let first = 0; first < ids.length; first += JOBS_AT_ONCE) {
      const jobs = await Promise.all(ids.slice(first, first + JOBS_AT_ONCE).map((id) => queue.getJob(id)));
      await visit(jobs.filter((job) => job !== undefined) as Awaited<ReturnType<TaskQueue['getJobs']>>);
    }
  }
}

const MINUTE_MS = 60_000;
/** Minutes that a rate is taken over. */
const RATE_MINUTES = 5;

async function statusOf(queue: TaskQueue): Promise<StageStatus> {
  const counts = await queue.getJobCounts('wait', 'prioritized', 'active', 'delayed', 'failed');
  const waiting = (counts.wait ?? 0) + (counts.prioritized ?? 0);
  const { meta, data } = await queue.getMetrics('completed', 0, RATE_MINUTES - 1);
  // Whole minutes as they were counted, and the one that is running.
  const running = meta.prevTS === 0 ? 0 : Math.min(1, (Date.now() - meta.prevTS) / MINUTE_MS);
  const minutes = Math.min(data.length, RATE_MINUTES) + running;
  const tasks = data.slice(0, RATE_MINUTES).reduce((sum, count) => sum + count, 0) + (meta.count - meta.prevCount);
  const perMinute = meta.count === 0 || minutes < 0.05 ? null : tasks / minutes;
  const left = waiting + (counts.active ?? 0) + (counts.delayed ?? 0);
  return {
    stage: queue.name,
    waiting,
    active: counts.active ?? 0,
    delayed: counts.delayed ?? 0,
    failed: counts.failed ?? 0,
    done: meta.count,
    perMinute,
    etaSeconds: left === 0 ? 0 : perMinute === null || perMinute === 0 ? null : (left / perMinute) * 60,
  };
}
