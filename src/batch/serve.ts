/**
 * The feed over HTTP: one server for many ranks. `GET /batches` is a range of steps of one rank as an Arrow IPC stream;
 * the same request gives the same bytes whenever and however often it is asked, so a client that lost its connection
 * asks again from the step it needs. A batch is made when the client reads: a slow one holds its own few batches and no
 * other's, one that vanishes frees them, and what all streams may hold together is reserved before a stream begins.
 */
import { Readable } from 'node:stream';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { hasDerived } from '../shard/shard.ts';
import { type Load, createFeedMetrics, createLoad } from './feed-metrics.ts';
import type { Feed, FeedWish } from './feed.ts';

export interface ServeOptions extends FeedLimits {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** What streams may take. */
export interface FeedLimits {
  readonly log: Log;
  /** Bytes that all streams may be expected to hold; a stream that would pass it is told to come again, unless it is alone. */
  readonly memoryBytes: number;
  /** Streams at once. */
  readonly streamsMax: number;
  /** A client that reads nothing for so long is let go; it may ask again. */
  readonly stallMs: number;
  /** Batches a stream holds at once: as many as the feed makes ahead, the one being taken, and the one being sent. */
  readonly batchesHeld: number;
}

export interface FeedServer {
  readonly url: string;
  /** Ends every stream and stops listening. */
  close(): Promise<void>;
}

const ARROW_STREAM = 'application/vnd.apache.arrow.stream';

/** @throws {WinnowError} CONFIG_INVALID when the port cannot be had */
export async function serveFeed(feed: Feed, options: ServeOptions): Promise<FeedServer> {
  const { host, port, log } = options;
  const server = fastify({ logger: false, forceCloseConnections: true, exposeHeadRoutes: false, requestTimeout: 60_000 });
  addFeedRoutes(server, feed, options);
  server.setNotFoundHandler((request, reply) => reply.code(404).send({ code: 'CONFIG_INVALID', message: `Expected GET of /batches, /schema, /health or /metrics, got ${request.method} ${request.url.split('?')[0]}` }));
  server.setErrorHandler((error: Error, _, reply) => {
    const known = error instanceof WinnowError ? error : null;
    const status = known?.code === 'CONFIG_INVALID' ? 400 : ((error as { statusCode?: number }).statusCode ?? 500);
    if (status >= 500) log.error({ stage: 'batch', event: 'request failed' }, `serve: ${error.message}`);
    return reply.code(status).send({ code: known?.code ?? 'FAILED', message: error.message });
  });
  try {
    const url = await server.listen({ host, port });
    return { url, close: () => server.close() };
  } catch (cause) {
    await server.close();
    throw new WinnowError('CONFIG_INVALID', `Expected to listen on ${host}:${port}, could not: ${(cause as Error).message}`, { cause });
  }
}

/** Adds `/batches`, `/schema`, `/health` and `/metrics` to a server that says what errors are. */
export function addFeedRoutes(server: FastifyInstance, feed: Feed, limits: FeedLimits): void {
  const load = createLoad();
  const metrics = createFeedMetrics(feed, load);
  server.get('/batches', (request, reply) => sendBatches(request, reply, feed, load, limits));
  server.get('/schema', () => describeFeed(feed));
  server.get('/health', () => ({ status: 'ok', dataset: feed.sha256, streams: load.streams }));
  server.get('/metrics', async (_, reply) => reply.type(metrics.contentType).send(await metrics.render()));
}

async function sendBatches(request: FastifyRequest, reply: FastifyReply, feed: Feed, load: Load, options: FeedLimits): Promise<unknown> {
  const wanted = feed.resolve(parseQuery(request.query as Record<string, unknown>));
  const bytes = feed.estimateBytes(wanted) * Math.min(options.batchesHeld, wanted.steps);
  if (load.streams >= options.streamsMax || (load.streams > 0 && load.reservedBytes + bytes > options.memoryBytes)) {
    load.refused++;
    return reply.code(503).header('retry-after', '1').send({ code: 'STORE_BUSY', message: `Expected room for this stream, about ${bytes} bytes, got ${load.streams} streams that hold ${load.reservedBytes}: ask again in a second` });
  }
  const stop = new AbortController();
  load.requests++;
  load.streams++;
  load.reservedBytes += bytes;
  let isOver = false;
  const release = (): void => {
    if (isOver) return;
    isOver = true;
    load.streams--;
    load.reservedBytes -= bytes;
    if (!reply.raw.writableFinished) load.broken++;
    stop.abort(new Error('the client is gone'));
  };
  reply.raw.on('close', release);
  reply.raw.setTimeout(options.stallMs, () => reply.raw.destroy());
  const chunks = feed.stream(wanted, stop.signal)[Symbol.asyncIterator]();
  // What is wrong with the first batch can still be said in words.
  const first = await chunks.next().catch((error: unknown) => {
    release();
    throw error;
  });
  const body = Readable.from(countBytes(first, chunks, load), { objectMode: false, highWaterMark: 65_536 });
  body.on('error', (error) => {
    if (!stop.signal.aborted) options.log.error({ stage: 'batch', event: 'stream failed' }, `serve: ${error.message}`);
  });
  return reply.type(ARROW_STREAM).header('x-winnow-dataset', feed.sha256).send(body);
}

async function* countBytes(first: IteratorResult<Uint8Array>, chunks: AsyncIterator<Uint8Array>, load: Load): AsyncGenerator<Uint8Array> {
  try {
    for (let chunk = first; chunk.done !== true; chunk = await chunks.next()) {
      load.sentBytes += chunk.value.byteLength;
      yield chunk.value;
    }
  } finally {
    await chunks.return?.();
  }
}

/** Query keys that are whole numbers, and what they ask for. */
const NUMBERS = { step: 'fromStep', steps: 'steps', every: 'every', rank: 'rank', worldSize: 'worldSize', batchSize: 'batchSize', seed: 'seed' } as const;
const FLAGS = { images: 'images', strict: 'strict' } as const;

function parseQuery(query: Readonly<Record<string, unknown>>): FeedWish {
  const wanted: Record<string, unknown> & { steps: number } = { steps: 1 };
  for (const [key, value] of Object.entries(query)) {
    if (typeof value !== 'string') throw new WinnowError('CONFIG_INVALID', `Expected ${key} once in the query, got it ${Array.isArray(value) ? value.length : 0} times`);
    if (key in NUMBERS) wanted[NUMBERS[key as keyof typeof NUMBERS]] = parseNumber(key, value);
    else if (key in FLAGS) wanted[FLAGS[key as keyof typeof FLAGS]] = parseFlag(key, value);
    else if (key === 'groups') wanted['groups'] = value.split(',').map((size) => parseNumber('groups', size));
    else if (key === 'columns') wanted['columns'] = value.split(',');
    else if (key === 'part') wanted['part'] = value;
    else throw new WinnowError('CONFIG_INVALID', `Expected the query to have ${[...Object.keys(NUMBERS), ...Object.keys(FLAGS), 'groups', 'columns', 'part'].join(', ')}, got ${key}`);
  }
  if (wanted['seed'] !== undefined && !Number.isSafeInteger(wanted['seed'])) throw new WinnowError('CONFIG_INVALID', `Expected seed to be an integer of at most 53 bits, got ${wanted['seed']}`);
  return wanted;
}

function parseNumber(key: string, value: string): number {
  if (!/^-?\d{1,30}$/.test(value)) throw new WinnowError('CONFIG_INVALID', `Expected ${key} to be a whole number, got ${JSON.stringify(value.slice(0, 40))}`);
  return Number(value);
}

function parseFlag(key: string, value: string): boolean {
  if (['', '1', 'true'].includes(value)) return true;
  if (['0', 'false'].includes(value)) return false;
  throw new WinnowError('CONFIG_INVALID', `Expected ${key} to be 1 or 0, got ${JSON.stringify(value.slice(0, 40))}`);
}

function describeFeed({ manifest, sha256, mixture, defaults }: Feed): Record<string, unknown> {
  return {
    dataset: sha256,
    parts: manifest.parts.map(({ name, kind, rows, uniqueImages }) => ({ name, kind, rows, uniqueImages })),
    mixture, defaults,
    columns: COLUMNS.filter(({ name }) => name !== 'derivedId' || hasDerived(manifest)),
    metadata: METADATA,
  };
}

const COLUMNS = [
  { name: 'part', type: 'dictionary<int32, utf8>', says: 'name of the part; its codes are the ordinals of `parts`' },
  { name: 'index', type: 'uint64', says: 'row in that part' },
  { name: 'id', type: 'utf8', says: 'first 32 hex digits of the SHA-256 of the image\'s bytes' },
  { name: 'uri', type: 'utf8', says: 'what the image is called' },
  { name: 'source', type: 'utf8', says: 'name of the source that has the file' },
  { name: 'path', type: 'utf8', says: 'path of the file in the source' },
  { name: 'offset', type: 'uint64', says: 'where in the file the image begins; null: the whole file' },
  { name: 'length', type: 'uint64', says: 'bytes of it; null: the whole file' },
  { name: 'derivedId', type: 'utf8', says: 'the same of the bytes of `image` where they are derived from the original; null: they are the original; only with images=1' },
  { name: 'image', type: 'binary', says: 'encoded bytes; only with images=1' },
] as const;

const METADATA = {
  step: 'training step', kind: 'homogeneous or heterogeneous', rank: 'rank', worldSize: 'ranks in all', batchSize: 'images of the global batch',
  first: 'place of the first image in the global batch', group: 'ordinal of the rank group', groupRank: 'rank in the group', groupSize: 'ranks of the group',
  globalCrop: 'side of the global crops, pixels', localCrop: 'side of the local crops', gramCrop: 'side of the Gram teacher\'s crops', substituted: 'images in the place of others that could not be read',
} as const;
