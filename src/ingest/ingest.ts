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
import { isS3Uri, type S3Options } from '../store/s3-uri.ts';
import { listEntries } from './list.ts';
import { extensionOf, isInside, sourceError } from './path.ts';
import { type Listing, createRowBuffer, rowAt } from './rows.ts';
import { requireS3Path, resolveS3Source } from './s3-source.ts';
import { listFolder } from './scan.ts';
import { listTars } from './tar.ts';

/**
 * Gives every source its name and absolute paths. Touches no file.
 *
 * @param baseDirectory folder that relative paths start from
 * @param s3 where the object store is, when an s3:// name does not say; it becomes part of the location
 * @throws {WinnowError} CONFIG_INVALID when two sources have one name, or an s3:// name is no such
 */
export function resolveSources(configs: readonly SourceConfig[], baseDirectory: string, s3: S3Options = {}): NamedSource[] {
  const sources = configs.map((config) => resolveSource(config, baseDirectory, s3));
  requireDistinctNames(sources);
  return sources;
}

/**
 * The images of a source in batches of bounded size, in the order that row numbers follow. Reads no image bytes.
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
  for (const source of sources) for (const path of [...source.entries, source.location]) await requirePath(path, source, context.signal);
  await context.store.remove(`${prefix}/manifest.json`); // otherwise `runStage` would keep the old listing
  const config = { sources: sources.map(manifestConfig) };
  return runStage<ImagesManifest>(context, { path: prefix, stage: 'ingest', config, inputs: [], seeded: false, make: () => writeListing(context, prefix, sources) });
}

function resolveSource(config: SourceConfig, baseDirectory: string, s3: S3Options): NamedSource {
  const absolute = (path: string): string => resolve(baseDirectory, path);
  const remote = resolveS3Source(config, s3, absolute);
  if (remote !== null) return { config, kind: remote.kind, name: nameOf(config, remote.path), location: remote.location, entries: remote.entries };
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
function manifestConfig({ config, name, kind }: NamedSource): Record<string, unknown> {
  const shared = { name, kind, label: config.label };
  return kind === 'list' ? { ...shared, column: config.column } : { ...shared, extensions: [...new Set(config.extensions ?? IMAGE_EXTENSIONS)].sort() };
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

async function writeListing(context: RunContext, path: string, sources: readonly NamedSource[]): Promise<ImagesResult> {
  const { progress, signal } = context;
  progress.begin('ingest', null, 'files');
  const table = createPartWriter(context, path, sources.some(({ kind }) => kind !== 'folder'));
  const placed: ImagesResult['sources'][number][] = [];
  const stats: Record<string, SourceStats> = {};
  const { uri } = context.store;
  const avoid = isS3Uri(uri) ? uri : await realpath(uri).catch(() => undefined); // a store elsewhere has no path
  for (const source of sources) {
    const counts: Counts = {};
    const firstRow = table.rowCount();
    let sizeBytes = 0;
    let unsized = 0;
    for await (const rows of listSource(source, { signal, avoid, count: (reason, times = 1) => addCount(counts, reason, times) })) {
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
function createPartWriter(context: RunContext, path: string, withText: boolean): PartWriter {
  const parts: Part[] = [];
  const buffer = createRowBuffer();
  const flush = async (): Promise<void> => {
    throwIfAborted(context.signal);
    const rows = buffer.take();
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await context.store.write(key, encodeTable(imageColumns(rows, withText)));
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
  const wanted = source.kind === 'list' ? `entries in column ${source.config.column}` : `files ending in ${(source.config.extensions ?? IMAGE_EXTENSIONS).map((extension) => `.${extension}`).join(' ')}`;
  const passed = Object.entries(counts).map(([reason, times]) => `${times} ${reason}`);
  return `Expected images in ${source.kind} source ${source.name} (${wanted}) at ${source.entries.join(', ')}, got none${passed.length === 0 ? '' : `; passed over: ${passed.join(', ')}`}`;
}
