/**
 * What a machine does a second, as `winnow bench --calibrate` measures it and `winnow plan` reads it. All rates are those
 * of the product's own code on the whole machine, so what a plan multiplies is what a run will meet.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { WinnowError } from '../errors.ts';

export const RATES_FORMAT = 'winnow-rates/2';

/** Stages that have a start-up of their own to measure. */
export const STARTED_STAGES = ['ingest', 'embed', 'filter', 'dedup', 'cluster', 'sample', 'retrieve', 'mix', 'shard'] as const;
export type StartedStage = (typeof STARTED_STAGES)[number];

const rate = z.number().positive();
const byClusters = z.array(z.strictObject({ k: z.int().min(1), flops: rate })).min(1);
const kmeans = z.array(z.strictObject({ k: z.int().min(1), first: rate, flops: rate })).min(1);

export const Rates = z.strictObject({
  format: z.literal(RATES_FORMAT),
  machine: z.looseObject({ cpu: z.string(), cores: z.int().min(1) }),
  assign: byClusters.describe('FLOP a second of one assignment of streamed vectors, counting 2 · n · k · d, at some k, ascending.'),
  kmeans: kmeans.describe('The same of a k-means in memory: its first two assignments, and those after them, where bounds hold, comparisons that they save counted as made.'),
  seeding: z.array(z.strictObject({ d: z.int().min(1), flops: rate })).min(1).describe('FLOP a second of greedy k-means++, counting 2 · m · d · k · 16 since candidates go in sixteens, at some d, ascending.'),
  retrieval: rate.describe('FLOP a second of the exact k nearest neighbours.'),
  decode: rate.describe('Images a second, decoded and scaled to 224 × 224.'),
  embed: z.array(z.strictObject({ model: z.string(), flop: rate.nullable().describe('Of one image; null where it is not known.'), images: rate })).describe('Images a second of the whole embed stage, by model.'),
  read: rate.describe('Bytes a second read from the store, checked and turned into vectors.'),
  readAgain: rate.describe('The same of bytes that were checked before.'),
  write: rate.describe('Bytes a second written to the store.'),
  hash: rate.describe('Bytes a second through SHA-256.'),
  look: rate.describe('Images a second read again, decoded at 256 × 256 pixels at most and measured, as filters do.'),
  list: rate.describe('Images a second listed by ingest, one file each.'),
  listTars: rate.describe('Images a second listed by ingest in tars, each with a text and a class beside it.'),
  leaves: rate.describe('Clusters a second that sampling shares quotas over, all levels counted.'),
  draw: rate.describe('Rows of the pool a second that the draw of the sample stage looks at.'),
  assemble: rate.describe('Numbers of vectors a second in the last steps of the cluster stage: exact distances and its tables.'),
  task: rate.describe('Seconds of a task that has next to nothing to do.'),
  start: z.strictObject(Object.fromEntries(STARTED_STAGES.map((stage) => [stage, z.number().min(0)])) as Record<StartedStage, z.ZodNumber>).describe('Seconds that a stage takes with next to no images in a process that has just begun: code is compiled, sessions and threads are opened.'),
  shard: rate.describe('Rows a second of the shard stage, by reference.'),
});
export type Rates = z.infer<typeof Rates>;

/** Where calibration leaves the rates unless told otherwise. */
export function ratesPath(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'winnow', 'rates.json');
}

/** @throws {WinnowError} INPUT_MISSING, INPUT_MALFORMED naming the first field that is wrong */
export async function readRates(path: string): Promise<Rates> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new WinnowError('INPUT_MISSING', `Expected rates at ${path}, ${cause.code === 'ENOENT' ? 'found none: make them with `winnow bench --calibrate`' : `could not read them: ${cause.code}`}`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WinnowError('INPUT_MALFORMED', `Expected rates as JSON in ${path}, got something else`, { cause });
  }
  const parsed = Rates.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new WinnowError('INPUT_MALFORMED', `Expected rates in ${path} as \`winnow bench --calibrate\` writes them; ${issue!.path.join('.') || 'the file'}: ${issue!.message}`);
}

/** The rate at k clusters, between measured ones by the logarithm of k, beyond them as at the nearest. */
export function rateAt(measured: Rates['assign'], k: number): number {
  return between(measured.map(({ k: at, flops }) => [at, flops]), k);
}

/** The rate of seeding at d dimensions, found likewise. */
export function seedingRate(measured: Rates['seeding'], d: number): number {
  return between(measured.map(({ d: at, flops }) => [at, flops]), d);
}

function between(measured: readonly (readonly [number, number])[], at: number): number {
  const above = measured.findIndex(([x]) => x >= at);
  if (above === 0) return measured[0]![1];
  if (above === -1) return measured.at(-1)![1];
  const [low, high] = [measured[above - 1]!, measured[above]!];
  const share = Math.log(at / low[0]) / Math.log(high[0] / low[0]);
  return low[1] * (high[1] / low[1]) ** share;
}
