/**
 * Source → `images/`. Listing is done anew on every run, since only that shows which files came and went, unless the run
 * before was broken off while it listed; an unchanged listing gives unchanged bytes, so the stages after it are kept.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type StoredManifest, hashOf, rowCountOf } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import { IMAGES_PART_ROWS, IMAGE_EXTENSIONS, type ImageRows, type ImagesManifest, type NamedSource, type SourceConfig } from './image.ts';
import { formatS3Uri, isS3Uri, parseS3Uri, type S3Options } from '../store/s3-uri.ts';
import { downloadsLocation, listDownloads, requireDownloads } from './downloaded.ts';
import { listEntries } from './list.ts';
import { extensionOf, isInside, sourceError } from './path.ts';
import { removeListingRecords } from './listing-records.ts';
import { type Counts, type Listing, addCount } from './rows.ts';
import { requireS3Path, resolveS3Source } from './s3-source.ts';
import { listFolder } from './scan.ts';
import { listTars } from './tar.ts';
import { listTiles, makeTiles, tilesConfig } from './tiles-list.ts';
import type { TilesManifest } from './tiles.ts';
import { type ListingPlan, type ListingResult, writeListing } from './write-listing.ts';

/**
 * Gives every source its name and absolute paths. Touches no file.
 *
 * @param baseDirectory folder that relative paths start from
 * @param s3 where the object store is, when an s3:// name does not say; it becomes part of the location
 * @param store of the run, which holds what is downloaded; undefined where no bytes are read
 * @throws {WinnowError} CONFIG_INVALID when two sources have one name, or an s3:// name is no such
 */
export function resolveSources(configs: readonly SourceConfig[], baseDirectory: string, s3: S3Options = {}, store?: string): NamedSource[] {
  const sources = configs.map((config) => (config.urls === undefined ? resolveSource(config, baseDirectory, s3) : resolveUrls(config, config.urls, baseDirectory, s3, store)));
  requireDistinctNames(sources);
  return sources;
}

/**
 * The images of a source in batches of bounded size, in the order that row numbers follow. Reads no image bytes. Tiles, which
 * have to be drawn first, are listed by `listTiles`.
 *
 * @throws {WinnowError} INPUT_MISSING, INPUT_MALFORMED, STORE_DENIED; ABORTED
 */
export function listSource(source: NamedSource, listing: Listing): AsyncIterable<ImageRows> {
  if (source.kind === 'folder') return listFolder(source, listing);
  return source.kind === 'tars' ? listTars(source, listing) : listEntries(source, listing);
}

export interface IngestRequest {
  /** Key prefix, such as `images` or `seeds/flowers/images`. */
  readonly path: string;
  readonly sources: readonly NamedSource[];
}

/**
 * Writes the `images/` table and its manifest. Equal sources give equal bytes, wherever they lie. A listing that is broken off
 * is taken up by the next call, see `write-listing.ts`; one that was finished never is.
 *
 * @throws {WinnowError} INPUT_EMPTY when there is no image at all; CONFIG_INVALID when two sources have one name
 */
export async function ingest(context: RunContext, { path: prefix, sources }: IngestRequest): Promise<StoredManifest<ImagesManifest>> {
  requireDistinctNames(sources);
  throwIfAborted(context.signal);
  const states: string[] = [];
  for (const source of sources) for (const path of source.kind === 'urls' ? source.entries : [...source.entries, source.location]) states.push(await requirePath(path, source, context.signal));
  await forgetFinished(context, prefix);
  const tiles = await drawTileSources(context, prefix, sources);
  const config = { sources: sources.map(manifestConfig) };
  const downloads = await requireDownloads(context, sources);
  const inputs = [...[...tiles.values()].flatMap(({ stored }) => stored ?? []), ...downloads.values()];
  const plan: ListingPlan = {
    path: prefix, sources, avoid: await placeOf(context.store), partRows: IMAGES_PART_ROWS,
    madeFrom: hashOf({ places: sources.map(({ location, entries }) => [location, ...entries]), states }), // the stage starts over when its settings or inputs change
    list: (source, listing) => rowsOf(context, source, listing, tiles, downloads),
    countedBefore: ({ name }) => tiles.get(name)?.counts ?? {},
  };
  return runStage<ImagesManifest>(context, { path: prefix, stage: 'ingest', config, inputs, seeded: false, make: () => listImages(context, plan) });
}

/** Otherwise `runStage` would keep the old listing. Its records go first: a listing with a manifest is not one to go on with. */
async function forgetFinished({ store }: RunContext, path: string): Promise<void> {
  if ((await store.head(`${path}/manifest.json`)) === null) return;
  await removeListingRecords(store, path);
  await store.remove(`${path}/manifest.json`);
}

function rowsOf(context: RunContext, source: NamedSource, listing: Listing, tiles: TileSources, downloads: Awaited<ReturnType<typeof requireDownloads>>): AsyncIterable<ImageRows> {
  const fetched = downloads.get(source.name);
  if (fetched !== undefined) return listDownloads(context, source, fetched);
  const drawn = tiles.get(source.name);
  if (drawn === undefined) return listSource(source, listing);
  return drawn.stored === null ? none() : listTiles(context, source, drawn.stored);
}

async function* none(): AsyncGenerator<ImageRows> {
  // a raster without room for a tile has no rows
}

async function listImages(context: RunContext, plan: ListingPlan): Promise<ListingResult> {
  const { path, sources } = plan;
  const listed = await writeListing(context, plan);
  const { parts, stats } = listed;
  const empty = sources.filter(({ name }) => stats.sources[name]!.rows === 0).map((source) => nothingFound(source, { ...stats.sources[source.name]!.skipped, ...stats.sources[source.name]!.remarks }));
  if (parts.length === 0) throw new WinnowError('INPUT_EMPTY', empty.join('. ') || 'Expected at least one source of images, got none', { details: { stats: stats.sources } });
  for (const sentence of empty) context.log.warn({ stage: 'ingest', path }, sentence);
  context.progress.end(`${rowCountOf(parts)} images listed`);
  return listed;
}

/** Tiles of each such source, and what was counted on the way to them. */
type TileSources = ReadonlyMap<string, { readonly stored: StoredManifest<TilesManifest> | null; readonly counts: Counts }>;

async function drawTileSources(context: RunContext, path: string, sources: readonly NamedSource[]): Promise<TileSources> {
  const drawn = new Map<string, { stored: StoredManifest<TilesManifest> | null; counts: Counts }>();
  for (const source of sources.filter(({ kind }) => kind === 'tiles')) {
    const counts: Counts = {};
    const listing: Listing = { signal: context.signal, avoid: await placeOf(context.store), count: (reason, times) => addCount(counts, reason, times) };
    drawn.set(source.name, { stored: await makeTiles(context, path, source, listing), counts });
  }
  return drawn;
}

/** What a listing must not enter; a store that does not exist yet has no path. */
async function placeOf({ uri }: RunContext['store']): Promise<string | undefined> {
  return isS3Uri(uri) ? uri : realpath(uri).catch(() => undefined);
}

function resolveSource(config: SourceConfig, baseDirectory: string, s3: S3Options): NamedSource {
  const absolute = (path: string): string => resolve(baseDirectory, path);
  const remote = resolveS3Source(config, s3, absolute);
  if (remote !== null) return { config, kind: remote.kind, name: nameOf(config, remote.path), location: remote.location, entries: remote.entries };
  if (config.tiles !== undefined) {
    if (isS3Uri(config.tiles.folder)) throw new WinnowError('CONFIG_INVALID', `Expected tiles.folder to be a folder of this machine, got ${config.tiles.folder}: windows are not read from a bucket; mount it`);
    const folder = absolute(config.tiles.folder);
    return { config, kind: 'tiles', name: nameOf(config, folder), location: folder, entries: [folder] };
  }
  if (config.folder !== undefined) {
    const folder = absolute(config.folder);
    return { config, kind: 'folder', name: nameOf(config, folder), location: folder, entries: [folder] };
  }
  if (config.list !== undefined) {
    const list = absolute(config.list);
    return { config, kind: 'list', name: nameOf(config, list), location: config.root === undefined ? dirname(list) : absolute(config.root), entries: [list] };
  }
  const entries = [config.tars ?? []].flat().map(absolute);
  const location = entries.map((entry) => (extensionOf(entry) === 'tar' ? dirname(entry) : entry)).reduce(commonFolder);
  return { config, kind: 'tars', name: nameOf(config, entries.length === 1 ? entries[0]! : location), location, entries };
}

function resolveUrls(config: SourceConfig, urls: string, baseDirectory: string, s3: S3Options, store: string | undefined): NamedSource {
  const list = isS3Uri(urls) ? formatS3Uri(parseS3Uri(urls, s3)) : resolve(baseDirectory, urls);
  const name = nameOf(config, list.split('?')[0]!);
  return { config, kind: 'urls', name, location: downloadsLocation(store, name, s3), entries: [list] };
}

/** The last segment of the path, with what a name may not hold replaced. */
function nameOf({ name }: SourceConfig, path: string): string {
  if (name !== undefined) return name;
  const plain = basename(path).replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[._-]+|-+$/g, '');
  return plain === '' ? 'images' : plain;
}

function commonFolder(a: string, b: string): string {
  let folder = a;
  while (!isInside(folder, b)) folder = dirname(folder);
  return folder;
}

function requireDistinctNames(sources: readonly NamedSource[]): void {
  const places = new Map<string, string>();
  for (const { name, entries } of sources) {
    const other = places.get(name);
    if (other !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected sources with different names, got two named ${name}, ${other} and ${entries[0]}: give one of them a \`name\``);
    places.set(name, entries[0]!);
  }
}

/** @returns what tells a list or tar from another one in its place; of folders nothing */
async function requirePath(path: string, source: NamedSource, signal: AbortSignal): Promise<string> {
  if (isS3Uri(path)) return `${(await requireS3Path(path, source, signal)) ?? ''}`;
  const facts = await stat(path).catch((error: unknown) => {
    throw sourceError(`find ${path} of source ${source.name}`, error);
  });
  return facts.isFile() ? `${facts.size} ${facts.mtimeMs}` : '';
}

/** What decides the rows besides the files themselves; where they lie on this machine does not. */
function manifestConfig(source: NamedSource): Record<string, unknown> {
  const { config, name, kind } = source;
  if (kind === 'tiles') return tilesConfig(source);
  const shared = { name, kind, label: config.label };
  return kind === 'list' || kind === 'urls' ? { ...shared, column: config.column } : { ...shared, extensions: [...new Set(config.extensions ?? IMAGE_EXTENSIONS)].sort() };
}

function nothingFound(source: NamedSource, counts: Counts): string {
  const wanted = source.kind === 'list' || source.kind === 'urls' ? `entries in column ${source.config.column}` : source.kind === 'tiles' ? 'rasters with room for a tile' : `files ending in ${(source.config.extensions ?? IMAGE_EXTENSIONS).map((extension) => `.${extension}`).join(' ')}`;
  const passed = Object.entries(counts).map(([reason, times]) => `${times} ${reason}`);
  return `Expected images in ${source.kind} source ${source.name} (${wanted}) at ${source.entries.join(', ')}, got none${passed.length === 0 ? '' : `; passed over: ${passed.join(', ')}`}`;
}
