/**
 * Source → `images/`. Listing is done anew on every run, since only that shows which files came and went; an unchanged
 * listing gives unchanged bytes, so the stages after it are kept.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { encodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, type StoredManifest, rowCountOf } from '../run/manifest.ts';
import { type RunContext, type StageResult, runStage } from '../run/stage.ts';
import {
  IMAGES_PART_ROWS,
  IMAGES_PART_TEXT,
  IMAGE_EXTENSIONS,
  type ImageRows,
  type ImagesManifest,
  type NamedSource,
  REMARKS,
  type Remark,
  SKIP_REASONS,
  type SkipReason,
  type SourceConfig,
  imageColumns,
} from './image.ts';
import { formatS3Uri, isS3Uri, parseS3Uri, type S3Options } from '../store/s3-uri.ts';
import { downloadsLocation, listDownloads, requireDownloads } from './downloaded.ts';
import { listEntries } from './list.ts';
import { extensionOf, isInside, sourceError } from './path.ts';
import { type Listing, createRowBuffer, rowAt } from './rows.ts';
import { requireS3Path, resolveS3Source } from './s3-source.ts';
import { listFolder } from './scan.ts';
import { listTars } from './tar.ts';
import { listTiles, makeTiles, tilesConfig } from './tiles-list.ts';
import type { TilesManifest } from './tiles.ts';

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
 * Writes the `images/` table and its manifest. Equal sources give equal bytes, wherever they lie.
 *
 * @throws {WinnowError} INPUT_EMPTY when there is no image at all; CONFIG_INVALID when two sources have one name
 */
export async function ingest(context: RunContext, { path: prefix, sources }: IngestRequest): Promise<StoredManifest<ImagesManifest>> {
  requireDistinctNames(sources);
  throwIfAborted(context.signal);
  for (const source of sources) for (const path of source.kind === 'urls' ? source.entries : [...source.entries, source.location]) await requirePath(path, source, context.signal);
  await context.store.remove(`${prefix}/manifest.json`); // otherwise `runStage` would keep the old listing
  const tiles = await drawTileSources(context, prefix, sources);
  const config = { sources: sources.map(manifestConfig) };
  const downloads = await requireDownloads(context, sources);
  const inputs = [...[...tiles.values()].flatMap(({ stored }) => stored ?? []), ...downloads.values()];
  return runStage<ImagesManifest>(context, { path: prefix, stage: 'ingest', config, inputs, seeded: false, make: () => writeListing(context, prefix, sources, tiles, downloads) });
}

/** Tiles of each such source, and what was counted on the way to them. */
type TileSources = ReadonlyMap<string, { readonly stored: StoredManifest<TilesManifest> | null; readonly counts: Counts }>;

async function drawTileSources(context: RunContext, path: string, sources: readonly NamedSource[]): Promise<TileSources> {
  const drawn = new Map<string, { stored: StoredManifest<TilesManifest> | null; counts: Counts }>();
  for (const source of sources.filter(({ kind }) => kind === 'tiles')) {
    const counts: Counts = {};
    const listing: Listing = { signal: context.signal, avoid: await placeOf(context.store), count: (reason, times = 1) => addCount(counts, reason, times) };
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

async function requirePath(path: string, source: NamedSource, signal: AbortSignal): Promise<void> {
  if (isS3Uri(path)) return requireS3Path(path, source, signal);
  await stat(path).catch((error: unknown) => {
    throw sourceError(`find ${path} of source ${source.name}`, error);
  });
}

/** What decides the rows besides the files themselves; where they lie on this machine does not. */
function manifestConfig(source: NamedSource): Record<string, unknown> {
  const { config, name, kind } = source;
  if (kind === 'tiles') return tilesConfig(source);
  const shared = { name, kind, label: config.label };
  return kind === 'list' || kind === 'urls' ? { ...shared, column: config.column } : { ...shared, extensions: [...new Set(config.extensions ?? IMAGE_EXTENSIONS)].sort() };
}

type ImagesResult = StageResult<ImagesManifest>;
type Counts = Partial<Record<SkipReason | Remark, number>>;

/** What a source's listing counted; `unsized` are images whose bytes the listing does not know. */
interface SourceStats {
  readonly rows: number;
  readonly sizeBytes: number;
  readonly unsized: number;
  readonly skipped: Counts;
  readonly remarks: Counts;
}

async function writeListing(context: RunContext, path: string, sources: readonly NamedSource[], tiles: TileSources, downloads: Awaited<ReturnType<typeof requireDownloads>>): Promise<ImagesResult> {
  const { progress, signal } = context;
  progress.begin('ingest', null, 'files');
  const table = createPartWriter(context, path, sources);
  const placed: ImagesResult['sources'][number][] = [];
  const stats: Record<string, SourceStats> = {};
  const avoid = await placeOf(context.store);
  for (const source of sources) {
    const drawn = tiles.get(source.name);
    const fetched = downloads.get(source.name);
    const counts: Counts = { ...drawn?.counts };
    const firstRow = table.rowCount();
    let sizeBytes = 0;
    let unsized = 0;
    const listing: Listing = { signal, avoid, count: (reason, times = 1) => addCount(counts, reason, times) };
    for await (const rows of fetched !== undefined ? listDownloads(context, source, fetched) : drawn === undefined ? listSource(source, listing) : drawn.stored === null ? [] : listTiles(context, source, drawn.stored)) {
      for (const size of rows.size) {
        if (size < 0) unsized += 1;
        else sizeBytes += size;
      }
      await table.add(rows);
      progress.advance(rows.rowCount);
    }
    const rowCount = table.rowCount() - firstRow;
    placed.push({ name: source.name, kind: source.kind, firstRow, rowCount });
    stats[source.name] = { rows: rowCount, sizeBytes, unsized, skipped: pick(counts, SKIP_REASONS), remarks: pick(counts, REMARKS) };
  }
  const parts = await table.finish();
  const empty = sources.filter(({ name }) => stats[name]!.rows === 0).map((source) => nothingFound(source, { ...stats[source.name]!.skipped, ...stats[source.name]!.remarks }));
  if (parts.length === 0) throw new WinnowError('INPUT_EMPTY', empty.join('. ') || 'Expected at least one source of images, got none', { details: { stats } });
  for (const sentence of empty) context.log.warn({ stage: 'ingest', path }, sentence);
  progress.end(`${rowCountOf(parts)} images listed`);
  return { parts, sources: placed, stats: { rows: rowCountOf(parts), sources: stats } };
}

function addCount(counts: Counts, reason: SkipReason | Remark, times: number): void {
  if (times > 0) counts[reason] = (counts[reason] ?? 0) + times;
}

function pick(counts: Counts, names: readonly (SkipReason | Remark)[]): Counts {
  return Object.fromEntries(names.filter((name) => counts[name] !== undefined).map((name) => [name, counts[name]]));
}

interface PartWriter {
  rowCount(): number;
  add(rows: ImageRows): Promise<void>;
  finish(): Promise<Part[]>;
}

/** Parts end by rows and text alone, never by batches or sources, so equal listings are cut alike. */
function createPartWriter(context: RunContext, path: string, sources: readonly NamedSource[]): PartWriter {
  const withText = sources.some(({ kind }) => kind === 'tars' || kind === 'list' || kind === 'urls');
  const withStatus = sources.some(({ kind }) => kind === 'urls');
  const withWindows = sources.some(({ kind }) => kind === 'tiles');
  const parts: Part[] = [];
  const buffer = createRowBuffer();
  const flush = async (): Promise<void> => {
    throwIfAborted(context.signal);
    const taken = buffer.take();
    const rows = withStatus ? { status: new Array<null>(taken.rowCount).fill(null), ...taken } : taken;
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await context.store.write(key, encodeTable(imageColumns(rows, withText, withWindows)));
    parts.push({ path: key, firstRow: rowCountOf(parts), rowCount: rows.rowCount, bytes: sizeBytes, sha256 });
  };
  return {
    rowCount: () => rowCountOf(parts) + buffer.rowCount,
    add: async (rows) => {
      for (let i = 0; i < rows.rowCount; i++) {
        buffer.append(rowAt(rows, i));
        if (buffer.rowCount === IMAGES_PART_ROWS || buffer.textLength >= IMAGES_PART_TEXT) await flush();
      }
    },
    finish: async () => {
      if (buffer.rowCount > 0) await flush();
      return parts;
    },
  };
}

function nothingFound(source: NamedSource, counts: Counts): string {
  const wanted = source.kind === 'list' || source.kind === 'urls' ? `entries in column ${source.config.column}` : source.kind === 'tiles' ? 'rasters with room for a tile' : `files ending in ${(source.config.extensions ?? IMAGE_EXTENSIONS).map((extension) => `.${extension}`).join(' ')}`;
  const passed = Object.entries(counts).map(([reason, times]) => `${times} ${reason}`);
  return `Expected images in ${source.kind} source ${source.name} (${wanted}) at ${source.entries.join(', ')}, got none${passed.length === 0 ? '' : `; passed over: ${passed.join(', ')}`}`;
}
