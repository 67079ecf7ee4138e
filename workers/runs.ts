/**
 * What is known of a run. In the store, under `runs/`, a record that a worker needs beside a job: where sources lie and
 * how the work is done. In Redis an entry that `winnow status` shows and that gives the run its turn among others.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ExecutionConfig } from '../src/config.ts';
import { WinnowError } from '../src/errors.ts';
import { canonicalJson, hashOf } from '../src/run/manifest.ts';
import type { Store } from '../src/store/store.ts';
import { CREATED_BY } from '../src/version.ts';
import { PREFIX } from './queue.ts';
import type { Redis } from './redis.ts';

const RUNS = `${PREFIX}:runs`;
const CANCELLED = `${PREFIX}:cancelled`;
const NEXT = `${PREFIX}:next-run`;

const RunRecord = z.strictObject({
  format: z.literal('winnow-run/1'),
  createdBy: z.string(),
  recipe: z.string().describe('SHA-256 of the recipe.'),
  locations: z.record(z.string(), z.string()).describe('Folder or URI of each source, by name.'),
  execution: ExecutionConfig,
  clusterEngine: z.enum(['onnxruntime', 'faiss']).describe('What clustering searches with.'),
});
export type RunRecord = z.infer<typeof RunRecord>;

/** One run is one recipe in one store: who drives it, and where, does not matter. */
export function runIdOf(store: string, recipeHash: string): string {
  return `run-${hashOf({ store, recipeHash }).slice(0, 16)}`;
}

/**
 * A record lies under its own hash, so that jobs of a driver that was elsewhere keep theirs.
 *
 * @returns SHA-256 of the record
 * @throws {WinnowError} CONFIG_INVALID when a location holds a user or password
 */
export async function writeRunRecord(store: Store, run: string, record: Omit<RunRecord, 'format' | 'createdBy'>): Promise<string> {
  for (const place of [store.uri, ...Object.values(record.locations)]) {
    if (/^[a-z][a-z0-9+.-]*:\/\/[^/]*@/i.test(place)) throw new WinnowError('CONFIG_INVALID', 'Expected stores and sources without a user or password in their URI, got one with: workers get their credentials from their own environment');
  }
  const whole: RunRecord = { format: 'winnow-run/1', createdBy: CREATED_BY, ...record };
  const bytes = new TextEncoder().encode(canonicalJson(whole));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await store.write(keyOf(run, sha256), bytes);
  return sha256;
}

/** @param sha256 as the job says. @throws {WinnowError} INPUT_MISSING, CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readRunRecord(store: Store, run: string, sha256: string): Promise<RunRecord> {
  const key = keyOf(run, sha256);
  const bytes = await store.read(key);
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== sha256) throw new WinnowError('CHECKSUM_MISMATCH', `Expected the record with SHA-256 ${sha256.slice(0, 12)}… at ${key} of ${store.uri}, got ${found.slice(0, 12)}…`);
  const parsed = RunRecord.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
  if (!parsed.success) throw new WinnowError('INPUT_MALFORMED', `Expected a run's record at ${key} of ${store.uri}, got something else: ${parsed.error.issues[0]?.message}`);
  return parsed.data;
}

function keyOf(run: string, sha256: string): string {
  return `runs/${run}/${sha256.slice(0, 16)}.json`;
}

/** A run as Redis knows it, for people; nothing depends on it but the order of runs. */
export interface RunEntry {
  readonly run: string;
  readonly name: string;
  readonly store: string;
  /** Order of submission; jobs of smaller numbers go first. */
  readonly number: number;
  readonly version: string;
  /** Where it stands: key prefix and tasks of the stage under way. */
  readonly scope: string | null;
  readonly stage: string | null;
  readonly tasks: number;
  readonly done: number;
  readonly failed: number;
  /** When its driver last wrote this, in milliseconds since 1970. */
  readonly seen: number;
}

/** Takes a run's place in line, or finds the one it has; a run that was cancelled is no longer. */
export async function enterRun(redis: Redis, entry: Pick<RunEntry, 'run' | 'name' | 'store' | 'version'>): Promise<RunEntry> {
  await redis.srem(CANCELLED, entry.run);
  const before = await redis.hget(RUNS, entry.run);
  const number = before === null ? await redis.incr(NEXT) : (JSON.parse(before) as RunEntry).number;
  const entered: RunEntry = { ...entry, number, scope: null, stage: null, tasks: 0, done: 0, failed: 0, seen: Date.now() };
  await updateRun(redis, entered);
  return entered;
}

/** Says where a run stands. */
export async function updateRun(redis: Redis, entry: RunEntry): Promise<void> {
  await redis.hset(RUNS, entry.run, JSON.stringify(entry));
}

/** After Redis has lost its data: the run takes the number it had, and later runs get later ones. */
export async function reenterRun(redis: Redis, entry: RunEntry): Promise<void> {
  if ((await redis.hexists(RUNS, entry.run)) === 1) return;
  if (Number(await redis.get(NEXT)) < entry.number) await redis.set(NEXT, entry.number);
  await updateRun(redis, entry);
}

/** Takes a run off the list. */
export async function leaveRun(redis: Redis, run: string): Promise<void> {
  await redis.hdel(RUNS, run);
}

/** All runs that Redis knows, earliest first. */
export async function listRuns(redis: Redis): Promise<RunEntry[]> {
  const entries = Object.values(await redis.hgetall(RUNS)).map((text) => JSON.parse(text) as RunEntry);
  return entries.sort((a, b) => a.number - b.number);
}

/** From now on jobs of the run end undone, on every worker. */
export async function markCancelled(redis: Redis, run: string): Promise<void> {
  await redis.sadd(CANCELLED, run);
  await redis.expire(CANCELLED, 7 * 24 * 3600);
}

/** Whether jobs of a run are to be left undone. */
export async function isCancelled(redis: Redis, run: string): Promise<boolean> {
  return (await redis.sismember(CANCELLED, run)) === 1;
}
