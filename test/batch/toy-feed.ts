/** Feeds of the toy dataset, with the images in the shards or beside them. */
import { onTestFinished } from 'vitest';
import { RecordBatchReader } from 'apache-arrow';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { type FeedSettings, openBatchFeed } from '../../pipelines/9-batch.ts';
import type { Feed } from '../../src/batch/feed.ts';
import type { Store } from '../../src/store/store.ts';
import { type Toy, type ToyStore, buildToy, exampleToy } from '../shard/toy-store.ts';

export interface ToyDataset extends ToyStore {
  readonly toy: Toy;
}

export async function buildDataset(folder: string, overrides: Record<string, unknown> = {}, toy = exampleToy()): Promise<ToyDataset> {
  const built = await buildToy(toy, folder);
  const recipe = built.recipe({ mix: { homogeneous: { part: 'whole', probability: 0.3 } }, shard: { rows: 20 }, batch: { size: 10 }, ...overrides });
  await mix(built.context, recipe);
  await shard(built.context, recipe);
  return { ...built, toy };
}

/** Closed when the test ends. */
export async function openToyFeed(store: Store, settings: FeedSettings = {}): Promise<Feed> {
  const feed = await openBatchFeed(store, settings);
  onTestFinished(() => feed.close());
  return feed;
}

export interface ReadBatch {
  readonly metadata: Record<string, string>;
  readonly rows: Record<string, unknown>[];
}

/** Arrow's own reader: columns and metadata of each record batch; numbers as numbers. */
export function readStream(bytes: Uint8Array): ReadBatch[] {
  const plain = (value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);
  return [...RecordBatchReader.from(bytes)].map((batch) => ({
    metadata: Object.fromEntries(batch.metadata),
    rows: batch.toArray().map((row) => Object.fromEntries(Object.entries((row as { toJSON(): Record<string, unknown> }).toJSON()).map(([name, value]) => [name, plain(value)]))),
  }));
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** Of a stream that has its memory again when the next chunk is asked for. */
export async function collectCopies(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk.slice());
  return Buffer.concat(all);
}

export const NEVER = new AbortController().signal;
