/** Stage 9, batch: `dataset/` → a stream of training batches for one rank. */
import { z } from 'zod';
import { BatchConfig } from '../src/batch/config.ts';
import { type Feed, type FeedOptions, type FeedWish, openFeed } from '../src/batch/feed.ts';
import type { Recipe } from '../src/config.ts';
import { SILENT } from '../src/log.ts';
import { mixParts } from '../src/mix/mix.ts';
import { openDataset } from '../src/shard/read.ts';
import type { Store } from '../src/store/store.ts';

export interface FeedSettings extends Partial<Omit<FeedOptions, 'batch' | 'mixture'>> {
  /** Draw and cut batches as these keys of a recipe say. Default: as the dataset's own recipe does. */
  readonly recipe?: Pick<Recipe, 'mix' | 'batch'> | null;
}

export interface BatchesOptions extends FeedSettings, FeedWish {
  readonly signal?: AbortSignal;
  /** Each piece is used up before the next is asked for: its memory is then used again. */
  readonly reuse?: boolean;
}

/**
 * Streams the batches of one rank as Arrow IPC: each record batch is one training batch, with `step`, `kind`, `rank`,
 * `worldSize` and more in its metadata. A batch is made when it is asked for, or a few ahead, and depends on nothing but
 * the dataset's manifest and the options: resuming at a step is asking from it.
 *
 * @throws {WinnowError} CONFIG_INVALID when a number is out of range, INPUT_MISSING without a dataset, ABORTED
 */
export async function* batches(store: Store, options: BatchesOptions): AsyncIterable<Uint8Array> {
  const feed = await openBatchFeed(store, options);
  try {
    yield* feed.stream(feed.resolve(options), options.signal ?? new AbortController().signal, { reuse: options.reuse ?? false });
  } finally {
    await feed.close();
  }
}

/**
 * Opens the feed of a dataset for any number of streams.
 *
 * @throws {WinnowError} INPUT_MISSING without a dataset; CONFIG_INVALID when `recipe` names parts that it does not have
 */
export async function openBatchFeed(store: Store, { recipe = null, ...settings }: FeedSettings): Promise<Feed> {
  const { manifest } = await openDataset(store);
  const { locations = {}, log = SILENT, cacheBytes = 2 ** 27, readsAtOnce = 16, ahead = 2, verify = 'crc32' } = settings;
  return openFeed(store, {
    batch: recipe?.batch ?? datasetBatchConfig(manifest.lineage),
    mixture: recipe === null ? undefined : mixParts(manifest.parts, recipe.mix).mixture,
    locations, log, cacheBytes, readsAtOnce, ahead, verify,
  });
}

/** What the recipe that made the dataset says of batches. */
function datasetBatchConfig(lineage: Readonly<Record<string, unknown>>): BatchConfig {
  const parsed = z.object({ batch: BatchConfig }).safeParse(lineage['recipe']);
  return parsed.success ? parsed.data.batch : BatchConfig.parse({});
}
