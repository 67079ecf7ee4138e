/** `winnow atlas` and `winnow serve`: puts the pages' server together from what the command line was given. */
import { availableParallelism } from 'node:os';
import { openTextTower } from '../../pipelines/retrieve-prompts.ts';
import { type LoadedRecipe, type Recipe, loadRecipe } from '../config.ts';
import { EmbedConfig } from '../embed/config.ts';
import { DEFAULT_DECODE_LIMITS, type DecodeLimits, type EmbeddingsManifest, type Encoder } from '../embed/embedding.ts';
import { createEncoder, resolveModelReference } from '../embed/encoder.ts';
import { WinnowError } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { Log } from '../log.ts';
import { readManifest } from '../run/manifest.ts';
import { openStore } from '../store/open.ts';
import type { Store } from '../store/store.ts';
import { createAccess } from '../web/access.ts';
import { atlasRoutes } from '../web/atlas-routes.ts';
import { ATLAS_PATH } from '../web/atlas-site.ts';
import { openDraft } from '../web/draft.ts';
import { LIVE_PATH } from '../web/live-page.ts';
import { liveRoutes } from '../web/live-routes.ts';
import { createLiveReader } from '../web/live-state.ts';
import { mapTopLevel } from '../web/map.ts';
import { readView, topPage } from '../web/node-page.ts';
import { openAtlas } from '../web/open-atlas.ts';
import { type QueryEncoder, createQueryEncoder } from '../web/query-encoder.ts';
import { createRepresentatives } from '../web/representatives.ts';
import type { Section } from '../web/route.ts';
import { type WebPlugin, serveWeb } from '../web/server.ts';
import { type TextQuery, createTextQuery } from '../web/text-query.ts';
import { createThumbnails } from '../web/thumbnails.ts';
import { sourceLocations } from './batches.ts';
import { openStoreToRead } from './session.ts';

/** What the flags of both commands say. */
export interface PageFlags {
  readonly host: string;
  readonly port: number;
  readonly token?: string;
  readonly source: readonly string[];
  readonly recipe?: string;
  readonly redis?: string;
}

export interface AtlasFlags extends PageFlags {
  readonly cache?: string;
  readonly cacheMb: number;
}

export interface PageOptions {
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Is told the address. */
  onReady(url: string): void;
}

/** Something that ends with the server. */
interface Part {
  readonly section: Section;
  close(): Promise<void>;
}

/** The navigation of both commands; a page that is not served is not in it. */
const NAVIGATION = { atlas: { title: 'Atlas', path: ATLAS_PATH }, byHand: { title: 'By hand', path: `${ATLAS_PATH}/overrides` }, live: { title: 'Live', path: LIVE_PATH } } as const;

/** Serves the atlas and the live page of a store until `signal` is aborted. @throws {WinnowError} INPUT_MISSING without a finished tree, CONFIG_INVALID */
export async function serveAtlas(store: string, flags: AtlasFlags, options: PageOptions): Promise<void> {
  // What is refused is refused before the tables are made.
  createAccess(flags.host, tokenOf(flags));
  const { atlas, byHand, live } = NAVIGATION;
  const navigation = [atlas, byHand, live];
  const opened = await openStoreToRead(store);
  const parts = [await atlasPart(store, opened, flags, navigation, options), { section: { ...byHand, routes: [] }, close: async () => undefined }, await livePart(store, opened, flags, navigation, null)];
  await serveParts(parts, [], flags, options);
}

/** Serves the live page of a store, the queue's own pages where there is a queue, and what `plugins` add, until `signal` is aborted. @throws {WinnowError} CONFIG_INVALID */
export async function serveLive(store: string, flags: PageFlags, plugins: readonly WebPlugin[], options: PageOptions): Promise<void> {
  const part = await livePart(store, await openStoreToRead(store), flags, [NAVIGATION.live], flags.redis === undefined ? null : QUEUES_PATH);
  const { redis } = flags;
  if (redis === undefined) return serveParts([part], plugins, flags, options);
  const { mountBoard } = await import('../../workers/board.ts');
  let board: { close(): Promise<void> } | null = null;
  const mount: WebPlugin = (server) => {
    server.addHook('onSend', async (request, reply) => {
      if (request.url.startsWith(QUEUES_PATH)) void reply.header('content-security-policy', BOARD_POLICY);
    });
    board = mountBoard(server, redis, QUEUES_PATH);
  };
  try {
    await serveParts([part], [...plugins, mount], flags, options);
  } finally {
    await (board as { close(): Promise<void> } | null)?.close();
  }
}

/** Where the queue's dashboard lies, and what it needs: it is a program of its own, with styles in its page. */
const QUEUES_PATH = '/queues';
const BOARD_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; script-src 'self'; frame-ancestors 'none'";

async function serveParts(parts: readonly Part[], plugins: readonly WebPlugin[], flags: PageFlags, { log, signal, onReady }: PageOptions): Promise<void> {
  try {
    const server = await serveWeb({ host: flags.host, port: flags.port, token: tokenOf(flags), log, sections: parts.map(({ section }) => section), plugins });
    try {
      onReady(server.url);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    } finally {
      await server.close();
    }
  } finally {
    await Promise.allSettled(parts.map((part) => part.close()));
  }
}

function tokenOf({ token }: PageFlags): string | null {
  return token ?? process.env['WINNOW_TOKEN'] ?? null;
}

/** Records sorted at a time when the atlas is opened first: 12 bytes each, some times over. */
const RECORDS_MAX = 4_000_000;

async function atlasPart(name: string, store: Store, flags: AtlasFlags, navigation: readonly Pick<Section, 'title' | 'path'>[], { log, signal }: PageOptions): Promise<Part> {
  const cache = await openStore(flags.cache ?? name).catch((error: unknown) => {
    if (!(error instanceof WinnowError) || error.code !== 'STORE_DENIED' || flags.cache !== undefined) throw error;
    throw new WinnowError('STORE_DENIED', `${error.message}; the atlas keeps its tables beside the store: --cache puts them elsewhere`, { cause: error });
  });
  const atlas = await openAtlas(store, { cache, cacheBytes: flags.cacheMb * 2 ** 20, recordsMax: RECORDS_MAX, signal, note: (text) => log.info({ event: 'atlas' }, text) });
  const embeddings = atlas.manifests.embeddings.manifest;
  const reader = openByteReader(await sourceLocations(name, flags.source));
  const map = await mapTopLevel(atlas, cache, signal);
  const loaded = flags.recipe === undefined ? null : await loadRecipe(flags.recipe);
  const { query, whyNoQuery } = queryOf(embeddings, loaded);
  const text = textOf(embeddings, loaded);
  const site = {
    atlas, map, query, whyNoQuery,
    draft: await openDraft(atlas, cache),
    representatives: createRepresentatives(atlas),
    thumbnails: createThumbnails({ images: atlas.tables.images, reader, limits: limitsOf(embeddings), cacheBytes: flags.cacheMb * 2 ** 20, atOnce: availableParallelism() }),
    text,
    sections: navigation,
  };
  // The first page compares more centroids than any other; what it finds is kept.
  await topPage(site, readView({}));
  return {
    section: { ...NAVIGATION.atlas, routes: atlasRoutes(site) },
    close: async () => {
      await reader.close();
      await query?.close();
      await text?.close();
    },
  };
}

async function livePart(name: string, store: Store, flags: PageFlags, navigation: readonly Pick<Section, 'title' | 'path'>[], queuesPath: string | null): Promise<Part> {
  const { redis } = flags;
  const readQueue = redis === undefined ? null : async () => (await import('../../workers/status.ts')).readStatus(redis);
  const embeddings = await readManifest<EmbeddingsManifest>(store, 'embeddings').catch(() => null);
  const { routes, close } = liveRoutes({ store, reader: createLiveReader(store, readQueue), locations: () => sourceLocations(name, flags.source), limits: limitsOf(embeddings?.manifest ?? null), queuesPath, sections: navigation, everyMs: 1000 });
  return { section: { ...NAVIGATION.live, routes }, close };
}

function limitsOf(manifest: EmbeddingsManifest | null): DecodeLimits {
  return (manifest?.config as Partial<EmbedConfig> | undefined)?.limits ?? DEFAULT_DECODE_LIMITS;
}

/** The model that a dropped picture is embedded with: the built-in one, one of the hub, or the recipe's. */
function queryOf(manifest: EmbeddingsManifest, loaded: LoadedRecipe | null): { query: QueryEncoder | null; whyNoQuery: string } {
  const { encoder: provenance } = manifest;
  const config = EmbedConfig.parse({ ...pickSettings(manifest.config), ...(loaded === null ? {} : { providers: loaded.recipe.embed.providers }) });
  const open = (model: string): (() => Promise<Encoder>) => () => createEncoder(model, config, availableParallelism());
  const model = loaded === null ? knownModel(provenance) : resolveModelReference(loaded.recipe.embed.model, loaded.baseDirectory);
  if (model === null) return { query: null, whyNoQuery: 'To search by a picture, start the atlas with --recipe: the store knows its model only by the hash of a file.' };
  return { query: createQueryEncoder(manifest, open(model)), whyNoQuery: '' };
}

/** The text tower that the recipe retrieves by prompts with, if it does. */
function textOf({ d }: EmbeddingsManifest, loaded: LoadedRecipe | null): TextQuery | null {
  const text = loaded?.recipe.retrieve.find((entry) => entry.text !== undefined)?.text;
  if (loaded === null || text === undefined) return null;
  return createTextQuery(d, async () => (await openTextTower(text, loaded.baseDirectory)).encoder);
}

function knownModel(provenance: Readonly<Record<string, unknown>> | null): string | null {
  if (provenance?.['name'] === 'descriptor') return 'descriptor';
  const { repository, revision, file } = (provenance ?? {}) as Record<string, string | undefined>;
  return repository === undefined || file === undefined ? null : `hf:${repository}@${revision ?? 'main'}/${file}`;
}

/** Of a manifest's settings those that say how the model is used. */
function pickSettings(config: unknown): Partial<Recipe['embed']> {
  const { input, output, pool, batchSize } = config as Partial<Recipe['embed']>;
  if (typeof config !== 'object') throw new WinnowError('INPUT_MALFORMED', 'Expected settings in the manifest of embeddings/, got none');
  return { ...(input !== undefined && { input }), ...(output !== undefined && { output }), ...(pool !== undefined && { pool }), ...(batchSize !== undefined && { batchSize }) };
}
