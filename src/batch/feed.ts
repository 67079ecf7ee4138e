/**
 * The feed of a dataset: any batches of any rank as one Arrow IPC stream. It keeps no record of who asked for what; equal
 * requests give equal bytes, so a consumer that lost its place asks again. What is cached only saves time, and is bounded.
 */
import { type StreamBatch, encodeStream } from '../arrow/ipc.ts';
import { spliceBinaries } from '../arrow/splice.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Mixture } from '../mix/mixture.ts';
import { openDataset } from '../shard/read.ts';
import { type DatasetManifest, hasDerived } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import { BATCH_COLUMNS, type BatchColumn, type BatchRequest, batchColumns, batchMetadata, checkBatchRequest, parseColumns, placeInGroup } from './batch.ts';
import { readStrata } from './clusters.ts';
import type { BatchConfig, CropSizes } from './config.ts';
import { createCrops } from './crops.ts';
import { type ImageSource, createImageSource } from './fill.ts';
import { createImageReader } from './images.ts';
import { createLimiter } from './limiter.ts';
import type { Sum } from './read-pool.ts';
import { createRowReader } from './rows.ts';
import { type BatchSampler, type SamplerPart, createSampler } from './sampler.ts';
import { STEPS_MAX } from './schedule.ts';
import { NO_SLABS, type Slabs, createSlabs } from './slabs.ts';
import type { Strata } from './strata.ts';

/** What a consumer asks for. */
export interface FeedRequest extends BatchRequest {
  readonly seed: number;
  /** What is told of each image; from a bucket each costs reads of its own. Default: all. */
  readonly columns: readonly BatchColumn[];
  /** Draw from this part alone; null: from the mixture. */
  readonly part: string | null;
  /** Add the encoded bytes of each image. */
  readonly images: boolean;
  /** Fail on an image whose bytes cannot be had, where another is put in its place otherwise. */
  readonly strict: boolean;
}

/** A request that may leave out all but the steps. Columns go by name; `image` among them asks for the bytes. */
export interface FeedWish extends Partial<Omit<FeedRequest, 'columns'>> {
  readonly steps: number;
  readonly columns?: readonly string[];
}

export interface FeedOptions {
  /** How batches are cut and drawn. */
  readonly batch: BatchConfig;
  /** Default: the dataset's own. */
  readonly mixture?: Mixture | undefined;
  /** Folder of each source, by name, for images that lie outside the shards. */
  readonly locations: Readonly<Record<string, string>>;
  readonly log: Log;
  /** Bytes of images kept, and as many of tables. */
  readonly cacheBytes: number;
  /** Reads under way at once. */
  readonly readsAtOnce: number;
  /** Batches made ahead of the one that is taken, a stream. */
  readonly ahead: number;
  /** What images are checked by; those of files, and of shards without CRC-32, by their SHA-256 unless by nothing. */
  readonly verify: Sum;
}

/** What a feed has given since it was opened. */
export interface FeedCounts {
  batches: number;
  rows: number;
  imageBytes: number;
  substituted: number;
}

export interface Feed {
  readonly manifest: DatasetManifest;
  /** SHA-256 of the dataset's manifest. */
  readonly sha256: string;
  readonly mixture: Mixture;
  /** What a request has where it says nothing. */
  readonly defaults: Pick<FeedRequest, 'batchSize' | 'seed' | 'groups' | 'worldSize'> & Pick<BatchConfig, 'compose' | 'level' | 'crops'>;
  readonly counts: Readonly<FeedCounts>;
  /** Fills in what is left out, from the dataset and its recipe, and checks all. @throws {WinnowError} CONFIG_INVALID */
  resolve(wanted: FeedWish): FeedRequest;
  /** Bytes that the largest batch of a request is likely to take. */
  estimateBytes(request: FeedRequest): number;
  /**
   * Pieces of one Arrow IPC stream, batches being made a few ahead of the one that is taken.
   *
   * @param options.reuse a piece is read no more when the next is asked for: memory is then used again, about twice as fast
   * @throws {WinnowError} ABORTED; strict: INPUT_MISSING
   */
  stream(request: FeedRequest, signal: AbortSignal, options?: { readonly reuse?: boolean }): AsyncIterable<Uint8Array>;
  /** Ends every stream. */
  close(): Promise<void>;
}

/** @throws {WinnowError} INPUT_MISSING without a dataset */
export async function openFeed(store: Store, options: FeedOptions): Promise<Feed> {
  const { manifest, sha256 } = await openDataset(store);
  const { batch: config, locations, log, ahead } = options;
  const mixture = options.mixture ?? manifest.mixture;
  const limiter = createLimiter(options.readsAtOnce);
  const reader = createImageReader({ store, locations, limiter, cacheBytes: options.cacheBytes, verify: options.verify });
  const rows = createRowReader(store, createLimiter(options.readsAtOnce), options.cacheBytes);
  const source = createImageSource(manifest, { rows, reader, verify: options.verify, log });
  const counts: FeedCounts = { batches: 0, rows: 0, imageBytes: 0, substituted: 0 };
  const active = new Set<Promise<unknown>>();
  const ending = new AbortController();
  const kept = createSlabs();
  const samplerOf = createSamplers(store, manifest, mixture, config);
  const groups = config.groups ?? [];
  const { compose = 'plain', level, crops } = config;
  const defaults = { batchSize: config.size, seed: manifest.seed, groups, worldSize: groups.reduce((sum, size) => sum + size, 0) || 1, compose, level, crops };
  const resolve = (wanted: FeedWish): FeedRequest => {
    const groups = wanted.groups ?? defaults.groups;
    const worldSize = wanted.worldSize ?? (groups.reduce((sum, size) => sum + size, 0) || 1);
    const { fromStep = 0, every = 1, rank = 0, batchSize = defaults.batchSize, seed = defaults.seed, part = null, strict = false, steps } = wanted;
    const named = wanted.columns === undefined ? { columns: BATCH_COLUMNS, images: false } : parseColumns(wanted.columns);
    const images = named.images || (wanted.images ?? false);
    const columns = named.columns.filter((name) => name !== 'derivedId' || (images && hasDerived(manifest)));
    const request = { fromStep, steps, every, rank, worldSize, batchSize, groups, seed, columns, part, images, strict };
    checkBatchRequest(request, STEPS_MAX);
    if (columns.length === 0 && !images) throw new WinnowError('CONFIG_INVALID', 'Expected a batch of one column at least, got none');
    const names = manifest.parts.map(({ name }) => name);
    if (part !== null && !names.includes(part)) throw new WinnowError('CONFIG_INVALID', `Expected a part of the dataset (${names.join(', ')}), got "${part}"`);
    return request;
  };
  return {
    manifest, sha256, mixture, defaults, counts, resolve,
    estimateBytes: ({ batchSize, rank, worldSize, groups, images }) => {
      const place = placeInGroup(rank, worldSize, groups);
      return (1 + Math.ceil(batchSize / place.size)) * (ROW_BYTES + (images ? source.meanBytes() : 0));
    },
    stream: (request, signal, { reuse = false } = {}) => {
      const slabs = reuse ? kept : NO_SLABS;
      const cropsOf = createCrops(crops ?? null, request.seed);
      const stop = AbortSignal.any([signal, ending.signal]);
      const make = async (step: number): Promise<MadeBatch> => makeBatch(step, request, { sampler: await samplerOf(request), source, crops: cropsOf(step), counts, slabs, signal: stop });
      const tracked = (step: number): Promise<MadeBatch> => {
        const made = make(step);
        active.add(made);
        made.catch(() => undefined).finally(() => active.delete(made));
        return made;
      };
      return encodeBatches(prefetch(stepsOf(request), tracked, ahead, stop), slabs);
    },
    close: async () => {
      ending.abort(new Error('the feed is closed'));
      await Promise.allSettled(active);
      await reader.close();
    },
  };
}

/** Facts of a row in a batch, about. */
const ROW_BYTES = 512;

interface Making {
  readonly sampler: BatchSampler;
  readonly source: ImageSource;
  readonly crops: CropSizes | null;
  readonly counts: FeedCounts;
  readonly slabs: Slabs;
  readonly signal: AbortSignal;
}

async function makeBatch(step: number, request: FeedRequest, { sampler, source, crops, counts, slabs, signal }: Making): Promise<MadeBatch> {
  const { rank, worldSize, groups, batchSize, images } = request;
  const wanted = new Set(request.columns);
  const place = placeInGroup(rank, worldSize, groups);
  const { batch, facts, substituted, slabs: taken } = await source.fill(sampler.batch(step, place.rank, place.size), { ...request, columns: wanted }, slabs, signal);
  counts.batches += 1;
  counts.rows += batch.index.length;
  counts.substituted += substituted;
  for (const image of facts.image ?? []) counts.imageBytes += image.byteLength;
  const columns = batchColumns(batch, source.names, facts.image === null ? facts : { ...facts, image: facts.image.map(() => NOTHING) }, wanted);
  const notes = { crops, place: groups.length > 0 ? place : null, batchSize, substituted: images ? substituted : null };
  return { images: facts.image, slabs: taken, columns, metadata: batchMetadata({ ...batch, rank, worldSize }, notes) };
}

/** A batch whose images are still beside its columns, where an empty one stands for them. */
interface MadeBatch extends StreamBatch {
  readonly images: readonly Uint8Array[] | null;
  /** What the images lie in. */
  readonly slabs: readonly ArrayBufferLike[];
}

const NOTHING = new Uint8Array(0);

async function* encodeBatches(batches: AsyncIterable<MadeBatch>, slabs: Slabs): AsyncGenerator<Uint8Array> {
  let made: MadeBatch | null = null;
  const records = async function* (): AsyncGenerator<StreamBatch> {
    for await (const batch of batches) {
      made = batch;
      yield batch;
    }
    made = null;
  };
  // One chunk comes for each batch, before the next batch is asked for, and a last one that ends the stream.
  for await (const chunk of encodeStream(records())) {
    const { images = null, slabs: taken = [] } = (made as MadeBatch | null) ?? {};
    if (images === null) yield chunk;
    else yield* spliceBinaries(chunk, images);
    slabs.give(taken);
  }
}

function* stepsOf({ fromStep, steps, every }: BatchRequest): Iterable<number> {
  for (let i = 0; i < steps; i++) yield fromStep + i * every;
}

/** Results in order, `ahead` of them under way or waiting beside the one that is taken. */
async function* prefetch<R>(items: Iterable<number>, make: (item: number) => Promise<R>, ahead: number, signal: AbortSignal): AsyncGenerator<R> {
  const waiting: Promise<R>[] = [];
  const next = items[Symbol.iterator]();
  try {
    for (;;) {
      throwIfAborted(signal);
      while (waiting.length <= ahead) {
        const { value, done } = next.next();
        if (done === true) break;
        const made = make(value);
        made.catch(() => undefined); // heard when its turn comes, if it comes
        waiting.push(made);
      }
      const first = waiting.shift();
      if (first === undefined) return;
      yield await first;
    }
  } finally {
    await Promise.allSettled(waiting);
  }
}

/** Samplers kept, one for each seed, batch size and part asked for. */
const SAMPLERS_KEPT = 16;

function createSamplers(store: Store, manifest: DatasetManifest, mixture: Mixture, { compose = 'plain', level }: BatchConfig): (request: FeedRequest) => Promise<BatchSampler> {
  const kept = new Map<string, Promise<BatchSampler>>();
  let strata: Promise<readonly (Strata | null)[]> | null = null;
  const readAllStrata = async (): Promise<(Strata | null)[]> => {
    const read: (Strata | null)[] = [];
    for (const part of manifest.parts) read.push(await readStrata(store, part, level ?? null));
    return read;
  };
  const make = async ({ seed, batchSize, part }: FeedRequest): Promise<BatchSampler> => {
    if (compose !== 'plain') strata ??= readAllStrata();
    const known = await strata;
    const parts = manifest.parts.map(({ name, rows }, p): SamplerPart => ({ name, rows, strata: known?.[p] ?? null }));
    const drawn: Mixture = part === null ? mixture : { homogeneous: { part, probability: 1 }, heterogeneous: [] };
    return createSampler({ parts, mixture: drawn, seed, compose }, batchSize);
  };
  return (request) => {
    const key = JSON.stringify([request.seed, request.batchSize, request.part]);
    const known = kept.get(key);
    if (known !== undefined) return known;
    const sampler = make(request);
    kept.set(key, sampler);
    sampler.catch(() => {
      kept.delete(key);
      strata = null;
    });
    if (kept.size > SAMPLERS_KEPT) kept.delete(kept.keys().next().value!);
    return sampler;
  };
}
