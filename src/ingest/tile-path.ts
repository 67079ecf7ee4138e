/**
 * The path of a tile: that of its raster and, as the fragment that W3C Media Fragments 1.0 gives to a region of an image,
 * the window and all else that decides the tile's pixels. So a row says by itself what it shows, in every table.
 */
import type { TilesConfig } from './tiles-config.ts';

/** What of a raster becomes a tile. */
export interface Tile {
  /** Relative to the source. */
  readonly raster: string;
  /** In pixels of the raster. */
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  readonly look: TileLook;
}

/** How samples become the pixels of a tile. */
export interface TileLook {
  /** Side of the tile in pixels. */
  readonly size: number;
  /** Counted from 1; null: by rule. */
  readonly bands: readonly number[] | null;
  readonly range: readonly [low: number, high: number] | null;
  /** Sample value without data; null: what the raster says. */
  readonly nodata: number | null;
}

/** Largest window: 48 MiB of 8-bit RGB samples. */
export const WINDOW_PIXELS_MAX = 2 ** 24;

/** What of the settings decides a tile's pixels, given its window. */
export function lookOf({ size, bands, range, nodata }: Pick<TilesConfig, 'size' | 'bands' | 'range' | 'nodata'>): TileLook {
  return { size, bands: bands ?? null, range: range ?? null, nodata: nodata.value ?? null };
}

/** `scenes/a.tif#xywh=1024,96,512,512&size=512` */
export function formatTilePath({ raster, x, y, w, h, look }: Tile): string {
  const { size, bands, range, nodata } = look;
  return `${raster}#xywh=${x},${y},${w},${h}&size=${size}${bands === null ? '' : `&bands=${bands.join()}`}${range === null ? '' : `&range=${range.join()}`}${nodata === null ? '' : `&nodata=${nodata}`}`;
}

/** Null for a path that is no tile's, or a tile that none of ours can be. */
export function parseTilePath(path: string): Tile | null {
  const found = path.includes('#xywh=') ? TILE_PATH.exec(path) : null;
  if (found === null) return null;
  const [x, y, w, h, size] = found.slice(2, 7).map(Number) as [number, number, number, number, number];
  const bands = found[7]?.split(',').map(Number) ?? null;
  const range = found[8]?.split(',').map(Number) ?? null;
  const nodata = found[9] === undefined ? null : Number(found[9]);
  if (w < 1 || h < 1 || w * h > WINDOW_PIXELS_MAX || size < 1 || size > 2048) return null;
  if (bands !== null && (bands.length !== 3 || bands.some((band) => band < 1))) return null;
  if (range !== null && (range.length !== 2 || range.some((end) => !Number.isFinite(end)) || range[0]! >= range[1]!)) return null;
  return { raster: found[1]!, x, y, w, h, look: { size, bands, range: range as [number, number] | null, nodata } };
}

const TILE_PATH = /^(.+)#xywh=(\d{1,10}),(\d{1,10}),(\d{1,10}),(\d{1,10})&size=(\d{1,4})(?:&bands=([\d,]{5,20}))?(?:&range=([-+.\de,]{3,60}))?(?:&nodata=([-+.\de]{1,30}))?$/s;
