/** `winnow simulate`: what a mixture comes to over a run, for a dataset or for parts given by name and size. */
import { openBatchFeed } from '../../pipelines/9-batch.ts';
import { type SimulatedPart, type Simulation, renderSimulation, simulate } from '../batch/simulate.ts';
import { STEPS_MAX } from '../batch/schedule.ts';
import { loadRecipe } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { SILENT } from '../log.ts';
import { MixConfig } from '../mix/config.ts';
import { mixParts } from '../mix/mix.ts';
import { openStoreToRead } from './session.ts';

export interface SimulateFlags {
  readonly steps: number;
  readonly batchSize?: number;
  readonly seed?: number;
  readonly recipe?: string;
  /** `name=rows`: instead of a store. */
  readonly part: readonly string[];
  /** `name=probability`. */
  readonly homogeneous: readonly string[];
  /** Bytes of an image, where the dataset does not tell. */
  readonly imageBytes?: number;
  readonly window: number;
  /** Images a second; without it the feed of the store is timed for a second. */
  readonly rate?: number;
}

export interface SimulateOutcome {
  readonly text: string;
  readonly json: Simulation;
}

/** @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING */
export async function simulateRun(store: string | null, flags: SimulateFlags): Promise<SimulateOutcome> {
  if ((store === null) === (flags.part.length === 0)) throw new WinnowError('CONFIG_INVALID', 'Expected a store, or parts as --part name=rows, and not both');
  if (flags.steps >= STEPS_MAX) throw new WinnowError('CONFIG_INVALID', `Expected --steps to be below ${STEPS_MAX}, got ${flags.steps}`);
  const json = store === null ? await ofParts(flags) : await ofStore(store, flags);
  return { text: renderSimulation(json), json };
}

async function ofParts({ part, homogeneous, recipe, batchSize, seed = 0, steps, window, rate, imageBytes }: SimulateFlags): Promise<Simulation> {
  const parts = part.map((one) => {
    const [name, rows] = nameAndNumber('--part', one);
    if (!Number.isSafeInteger(rows) || rows < 1) throw new WinnowError('CONFIG_INVALID', `Expected --part to be name=rows with rows from 1 up, got "${one}"`);
    return { name, kind: 'raw' as const, rows, uniqueImages: rows };
  });
  const loaded = recipe === undefined ? null : (await loadRecipe(recipe)).recipe;
  const alone = homogeneous.map((one) => {
    const [name, probability] = nameAndNumber('--homogeneous', one);
    return { part: name, probability };
  });
  const { mixture } = mixParts(parts, loaded?.mix ?? MixConfig.parse({ homogeneous: alone.length > 0 ? alone : null }));
  const simulated = parts.map(({ name, rows, uniqueImages }): SimulatedPart => ({ name, rows, uniqueImages, shards: Math.ceil(rows / SHARD_ROWS), imageBytes: imageBytes ?? null }));
  return simulate(simulated, { mixture, seed, batchSize: batchSize ?? loaded?.batch.size ?? 4096, steps, windowSteps: window, rate: rate ?? null });
}

/** Rows of a shard where no dataset tells. */
const SHARD_ROWS = 65_536;

async function ofStore(store: string, { recipe, batchSize, seed, steps, window, rate, imageBytes }: SimulateFlags): Promise<Simulation> {
  const loaded = recipe === undefined ? null : (await loadRecipe(recipe)).recipe;
  const feed = await openBatchFeed(await openStoreToRead(store), { recipe: loaded, log: SILENT });
  try {
    const { manifest, mixture, defaults } = feed;
    const hasBytes = (manifest.config as { withBytes?: boolean }).withBytes === true;
    const parts = manifest.parts.map(({ name, rows, uniqueImages, shards }): SimulatedPart => ({ name, rows, uniqueImages, shards: shards.length, imageBytes: imageBytes ?? (hasBytes ? shards.reduce((sum, { bytes }) => sum + bytes, 0) / rows : null) }));
    const size = batchSize ?? defaults.batchSize;
    const measured = rate ?? (await timeFeed(feed, size, hasBytes));
    return simulate(parts, { mixture, seed: seed ?? defaults.seed, batchSize: size, steps, windowSteps: window, rate: measured });
  } finally {
    await feed.close();
  }
}

/** Images a second that the feed gives one reader, with their bytes where shards have them. */
async function timeFeed(feed: Awaited<ReturnType<typeof openBatchFeed>>, batchSize: number, images: boolean): Promise<number> {
  const stop = new AbortController();
  const started = performance.now();
  let count = 0;
  for await (const _ of feed.stream(feed.resolve({ steps: 10_000, batchSize, images }), stop.signal)) {
    count += batchSize;
    if (performance.now() - started > TIMED_MS) break;
  }
  return (count / (performance.now() - started)) * 1000;
}

const TIMED_MS = 1000;

function nameAndNumber(flag: string, text: string): [string, number] {
  const [, name, number] = /^([^=]+)=([\d.e+]+)$/.exec(text) ?? [];
  if (name === undefined || !Number.isFinite(Number(number))) throw new WinnowError('CONFIG_INVALID', `Expected ${flag} to be name=number, got "${text}"`);
  return [name, Number(number)];
}
