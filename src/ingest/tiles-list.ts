/**
 * A tiles source as rows of `images/`. The folder is scanned on every run; when its files, their sizes and the settings are
 * those of the last run, the windows drawn then are kept, else its rasters are surveyed and the windows drawn anew.
 */
import { createHash } from 'node:crypto';
import { encodeTable } from '../arrow/ipc.ts';
import { WinnowError } from '../errors.ts';
import { type Part, type StoredManifest, readPart } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import type { ImageRows, NamedSource, SkipReason } from './image.ts';
import { parentOf } from './path.ts';
import { type Listing, createRowBuffer } from './rows.ts';
import { scanFolder } from './scan.ts';
import { type DrawPayload, type DrawResult, drawTiles } from './tiles-draw.ts';
import { type FoundRasters, surveyRasters } from './tiles-survey.ts';
import { formatTilePath, lookOf } from './tile-path.ts';
import { RASTER_EXTENSIONS, type TilesConfig } from './tiles-config.ts';
import { type Rasters, TILES_PART_DRAWS, type TilesManifest, rasterColumns, readRasters, readTiles } from './tiles.ts';

/** Where the tables of a tiles source lie, beside its `images/`. */
export function tilesPath(images: string, source: string): string {
  return `${images.slice(0, images.lastIndexOf('/') + 1)}tiles/${source}`;
}

/** What decides the tiles of a source besides its rasters. */
export function tilesConfig({ config, name }: NamedSource): Record<string, unknown> & { readonly tiles: Omit<TilesConfig, 'folder'> } {
  const { folder: _, ...tiles } = config.tiles!;
  return { name, kind: 'tiles', label: config.label, extensions: extensionsOf(config), tiles };
}

/**
 * Surveys a source and draws its tiles, one task a part; keeps what is there when nothing changed.
 *
 * @param images key prefix of the table that the tiles become rows of
 * @returns null when no tile can be cut from any raster
 */
export async function makeTiles(context: RunContext, images: string, source: NamedSource, listing: Listing): Promise<StoredManifest<TilesManifest> | null> {
  const found = await scanRasters(source, listing);
  const path = tilesPath(images, source.name);
  const config = { ...tilesConfig(source), listing: hashOfListing(found) };
  const stored = await runStage<TilesManifest>(context, { path, stage: 'tiles', config, inputs: [], make: () => drawAll(context, path, source, found) });
  const { faults, unlocated, again, givenUp, rows } = stored.manifest.stats as unknown as TilesStats;
  for (const [fault, count] of Object.entries(faults)) listing.count(fault as SkipReason, count);
  if (source.config.tiles!.resolution !== undefined) listing.count('raster-own-pixels', unlocated);
  listing.count('tile-again', again);
  listing.count('tile-nodata', givenUp);
  return rows === 0 ? null : stored;
}

/** The rows of a tiles source, part by part: each part sorted by raster, then top, then left. */
export async function* listTiles({ store }: Pick<RunContext, 'store'>, source: NamedSource, { manifest }: StoredManifest<TilesManifest>): AsyncIterable<ImageRows> {
  const rasters = await readRasters(store, manifest.rasters.path);
  const look = lookOf(source.config.tiles!);
  const rows = createRowBuffer();
  for (const part of manifest.parts) {
    const { raster, x, y } = readTiles(await readPart(store, part), part.path);
    for (let i = 0; i < part.rowCount; i++) {
      const one = raster[i]!;
      const path = formatTilePath({ raster: rasters.path[one]!, x: x[i]!, y: y[i]!, w: rasters.w[one]!, h: rasters.h[one]!, look });
      const label = source.config.label === 'parent' ? parentOf(rasters.path[one]!) : null;
      rows.append({ uri: `${source.name}/${path}`, path, source: source.name, offset: -1, length: -1, size: -1, label, caption: null, meta: null });
      if (rows.isFull) yield rows.take();
    }
  }
  if (rows.rowCount > 0) yield rows.take();
}

interface TilesStats {
  readonly rasters: number;
  readonly usable: number;
  readonly wanted: number;
  readonly rows: number;
  readonly again: number;
  readonly givenUp: number;
  /** Rasters that do not say what their pixels show, among the usable ones. */
  readonly unlocated: number;
  readonly faults: Readonly<Record<string, number>>;
}

function extensionsOf({ extensions }: NamedSource['config']): string[] {
  return [...new Set(extensions ?? RASTER_EXTENSIONS)].sort();
}

async function scanRasters(source: NamedSource, listing: Listing): Promise<FoundRasters> {
  const paths: string[] = [];
  const sizes: number[] = [];
  for await (const found of scanFolder(source.location, new Set(extensionsOf(source.config)), listing)) {
    paths.push(...found.paths);
    sizes.push(...found.sizes);
  }
  return { paths, sizes: Float64Array.from(sizes) };
}

function hashOfListing({ paths, sizes }: FoundRasters): string {
  const hash = createHash('sha256');
  paths.forEach((path, i) => hash.update(`${path}\0${sizes[i]}\0`));
  return hash.digest('hex');
}

async function drawAll(context: RunContext, path: string, source: NamedSource, found: FoundRasters) {
  const { store, progress, execution, signal, seed, executor, log } = context;
  const tiles = source.config.tiles!;
  progress.begin('ingest', null, 'rasters');
  const rasters = await surveyRasters(source, tiles, found, 4 * execution.concurrency, signal);
  progress.end(`${rasters.path.length} rasters of ${source.name} looked at`);
  tellFaults(log, source.name, rasters);
  const key = `${path}/rasters.arrow`;
  const { sha256 } = await store.write(key, encodeTable(rasterColumns(rasters)));
  const positions = rasters.positions.reduce((sum, one) => sum + one, 0);
  if (!Number.isSafeInteger(positions)) throw new WinnowError('INPUT_MALFORMED', `Expected the rasters of ${source.name} to have fewer than 2^53 places for a window, got ${positions}: split them over several sources`);
  progress.begin('ingest', tiles.count, 'tiles');
  const results = positions === 0 ? [] : await executor.map(drawTiles, planDraws(path, source, seed, { path: key, sha256 }), path);
  const parts = placeParts(results);
  const rows = parts.reduce((sum, { rowCount }) => sum + rowCount, 0);
  progress.end(`${rows} tiles drawn from ${source.name}`);
  const again = results.reduce((sum, one) => sum + one.again, 0);
  const givenUp = results.reduce((sum, one) => sum + one.givenUp, 0);
  const usable = rasters.positions.filter((one) => one > 0).length;
  const unlocated = rasters.positions.filter((one, i) => one > 0 && rasters.resolution[2 * i] === 0).length;
  const stats: Record<string, unknown> & TilesStats = { rasters: rasters.path.length, usable, unlocated, positions, wanted: tiles.count, rows, again, givenUp, faults: countFaults(rasters) };
  return { parts, stats, rasters: { path: key, sha256 }, files: [key] };
}

/** Pure, so the same for every executor. */
function planDraws(path: string, source: NamedSource, seed: number, rasters: DrawPayload['rasters']): DrawPayload[] {
  const { count, folder: _, ...config } = source.config.tiles!;
  return Array.from({ length: Math.ceil(count / TILES_PART_DRAWS) }, (_, p) => ({
    source: source.name, config, seed, rasters,
    firstDraw: p * TILES_PART_DRAWS,
    draws: Math.min(TILES_PART_DRAWS, count - p * TILES_PART_DRAWS),
    out: `${path}/part-${String(p).padStart(5, '0')}.arrow`,
  }));
}

function placeParts(results: readonly DrawResult[]): Part[] {
  let firstRow = 0;
  return results.map(({ part }) => {
    const placed = { ...part, firstRow };
    firstRow += part.rowCount;
    return placed;
  });
}

function countFaults({ fault }: Rasters): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const one of fault) if (one !== null) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
}

/** The first few in words; the table of rasters has all. */
function tellFaults(log: RunContext['log'], name: string, { path, fault, detail }: Rasters): void {
  const faulty = path.map((_, i) => i).filter((i) => fault[i] !== null);
  for (const i of faulty.slice(0, TOLD_MAX)) log.warn({ stage: 'ingest', reason: fault[i] }, `${name}/${path[i]} ${detail[i]}: no tile is cut from it`);
  if (faulty.length > TOLD_MAX) log.warn({ stage: 'ingest' }, `${faulty.length - TOLD_MAX} more rasters of ${name} are left out: tiles/${name}/rasters.arrow says why`);
}

const TOLD_MAX = 5;
