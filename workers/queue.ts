/**
 * What travels through Redis: a job is a reference to a task (store, run, scope, kind and a payload of references), never its
 * data and never a secret. One queue a stage, so that machines choose what they serve by the stages they name.
 */
import type { JobsOptions } from 'bullmq';
import { hashOf } from '../src/run/manifest.ts';
import type { CodeFacts } from './code.ts';

/** Stages that have tasks; each has the queue of its name. Of ingest only the drawing of tiles has; listing and mix are done by the driver. */
export const QUEUE_STAGES = ['download', 'ingest', 'embed', 'filter', 'dedup', 'cluster', 'sample', 'retrieve', 'shard'] as const;

/** Prefix of every key of ours in Redis. */
export const PREFIX = 'winnow';

export interface TaskJob {
  readonly run: string;
  /** SHA-256 of the run's record in the store: a worker reads it again when it has changed. */
  readonly record: string;
  readonly store: string;
  /** Key prefix of the stage. */
  readonly scope: string;
  /** Hash of the stage's settings and inputs: a job of another attempt does nothing. Null where a scope has none. */
  readonly attempt: string | null;
  readonly kind: string;
  readonly kindVersion: number;
  readonly code: CodeFacts;
  /** The payload as JSON, or null: it was too long for a message and lies in the store at `payloadKey`. */
  readonly payload: string | null;
  readonly payloadKey: string | null;
}

/** Payloads up to this length travel in the job; longer ones through the store. */
export const PAYLOAD_CHARS_MAX = 8_192;
/** No job may be longer than this in Redis. */
const JOB_BYTES_MAX = 32_768;

/** Deterministic, so that two drivers of one run make one job; free of `:`, and no integer, as BullMQ asks. */
export function jobIdOf(kind: string, task: string, { store, run, scope, attempt }: Pick<TaskJob, 'store' | 'run' | 'scope' | 'attempt'>): string {
  return `${kind.replaceAll(':', '-')}-${hashOf({ store, run, scope, attempt, task }).slice(0, 32)}`;
}

/** Earlier runs first: BullMQ takes the smallest number first, from 1 to 2^21 − 1. */
const PRIORITY_MAX = 2 ** 21 - 1;

/** How jobs are tried and forgotten. @param number of the run, counted from 1 */
export function jobOptions(jobId: string, number: number): JobsOptions {
  return {
    jobId,
    priority: 1 + ((number - 1) % PRIORITY_MAX),
    attempts: 6,
    backoff: { type: 'exponential', delay: 1_000, jitter: 0.5 },
    // The record in the store says that a task is done, so Redis need not remember it.
    removeOnComplete: true,
    removeOnFail: { age: 14 * 24 * 3600, count: 10_000 },
    sizeLimit: JOB_BYTES_MAX,
    stackTraceLimit: 1,
    keepLogs: 0,
  };
}

/** Text of a failed job: its code, a colon, and the sentence; without a code only the sentence. */
export function failureText(code: string | null, message: string): string {
  return code === null ? message : `${code}: ${message}`;
}
