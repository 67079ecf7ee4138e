/** `winnow batches` and `winnow serve --batches`: the feed of a dataset on stdout or over HTTP. */
import { batches, openBatchFeed } from '../../pipelines/9-batch.ts';
import { type FeedServer, addFeedRoutes, serveFeed } from '../batch/serve.ts';
import { loadRecipe } from '../config.ts';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { LIVE_KEY } from '../run/live-log.ts';
import { openStoreToRead } from './session.ts';

/** What the flags of both commands say. */
export interface FeedFlags {
  readonly recipe?: string;
  readonly source: readonly string[];
  readonly cacheMb: number;
  readonly ahead: number;
  readonly reads: number;
  readonly verify: 'crc32' | 'sha256' | 'none';
}

export interface BatchesFlags extends FeedFlags {
  readonly steps: number;
  readonly fromStep: number;
  readonly every: number;
  readonly rank: number;
  readonly worldSize?: number;
  readonly batchSize?: number;
  readonly seed?: number;
  readonly part?: string;
  readonly groups?: readonly number[];
  readonly columns?: readonly string[];
  readonly withImages?: boolean;
  readonly strict?: boolean;
}

export interface ServeFlags extends FeedFlags {
  readonly host: string;
  readonly port: number;
  readonly memoryMb: number;
  readonly streams: number;
  readonly stallSeconds: number;
}

/** Chunks of one Arrow IPC stream, each used up before the next is asked for. @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING, ABORTED */
export async function* streamBatches(store: string, flags: BatchesFlags, log: Log, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const { withImages = false, strict = false, part = null, worldSize, groups, columns, ...rest } = flags;
  const opened = await openStoreToRead(store);
  yield* batches(opened, { ...rest, ...(worldSize !== undefined && { worldSize }), ...(groups !== undefined && { groups }), ...(columns !== undefined && { columns }), part, images: withImages, strict, ...(await feedSettings(store, flags, log)), signal, reuse: true });
}

/** Serves the feed alone until `signal` is aborted. @param onReady is told the address */
export async function serveBatches(store: string, flags: ServeFlags, log: Log, signal: AbortSignal, onReady: (url: string) => void): Promise<void> {
  const feed = await openBatchFeed(await openStoreToRead(store), await feedSettings(store, flags, log));
  let server: FeedServer | null = null;
  try {
    server = await serveFeed(feed, { host: flags.host, port: flags.port, log, ...feedLimits(flags) });
    onReady(server.url);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    await server?.close();
    await feed.close();
  }
}

/** The feed as a part of another server. */
export async function feedPlugin(store: string, flags: ServeFlags, log: Log): Promise<{ plugin: (server: Parameters<typeof addFeedRoutes>[0]) => void; close(): Promise<void> }> {
  const feed = await openBatchFeed(await openStoreToRead(store), await feedSettings(store, flags, log));
  return { plugin: (server) => addFeedRoutes(server, feed, { log, ...feedLimits(flags) }), close: () => feed.close() };
}

function feedLimits({ memoryMb, streams, stallSeconds, ahead }: ServeFlags) {
  return { memoryBytes: memoryMb * 2 ** 20, streamsMax: streams, stallMs: stallSeconds * 1000, batchesHeld: ahead + 2 };
}

async function feedSettings(store: string, { recipe, source, cacheMb, ahead, reads, verify }: FeedFlags, log: Log) {
  const locations = await sourceLocations(store, source);
  return { recipe: recipe === undefined ? null : (await loadRecipe(recipe)).recipe, locations, log, cacheBytes: cacheMb * 2 ** 20, ahead, readsAtOnce: reads, verify };
}

/** Folder of each source: as given (`name=folder`), else where it lies for the run under way, else where it lay when the store was made. @throws {WinnowError} CONFIG_INVALID */
export async function sourceLocations(store: string, given: readonly string[]): Promise<Record<string, string>> {
  return { ...(await loggedLocations(store)), ...(await liveLocations(store)), ...parseSources(given) };
}

/** Folders of the sources as `name=folder`. @throws {WinnowError} CONFIG_INVALID */
function parseSources(sources: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    sources.map((source) => {
      const [, name, folder] = /^([^=]+)=(.+)$/.exec(source) ?? [];
      if (name === undefined || folder === undefined) throw new WinnowError('CONFIG_INVALID', `Expected --source to be name=folder, got "${source}"`);
      return [name, folder];
    }),
  );
}

/** As a run that has not ended tells. */
async function liveLocations(store: string): Promise<Record<string, string>> {
  const opened = await openStoreToRead(store);
  if ((await opened.head(LIVE_KEY)) === null) return {};
  try {
    return (JSON.parse(new TextDecoder().decode(await opened.read(LIVE_KEY))) as { locations?: Record<string, string> }).locations ?? {};
  } catch {
    return {};
  }
}

const RUN_LOG = 'run-log.ndjson';

/** Where the sources lay when the store was made, as its run log tells; nothing without one. */
async function loggedLocations(store: string): Promise<Record<string, string>> {
  const opened = await openStoreToRead(store);
  if ((await opened.head(RUN_LOG)) === null) return {};
  const text = new TextDecoder().decode(await opened.read(RUN_LOG));
  const locations: Record<string, string> = {};
  for (const line of text.split('\n').filter((one) => one !== '')) {
    try {
      Object.assign(locations, (JSON.parse(line) as { locations?: Record<string, string> }).locations);
    } catch {
      // A line cut off by a crash tells nothing.
    }
  }
  return locations;
}
