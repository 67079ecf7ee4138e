/**
 * The noun behind a tiles source: its rasters as a survey found them, and the windows drawn from them, both as tables under
 * `tiles/<source>/` so that a run that stopped goes on, workers share the drawing, and an unchanged folder is not drawn again.
 */
import { decodeTable } from '../arrow/ipc.ts';
import type { Columns } from '../arrow/tables.ts';
import type { Manifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { RasterFault } from './raster.ts';

/** Rasters of a source in scan order; those with a fault have no window and no position. */
export interface Rasters {
  readonly path: readonly string[];
  /** Bytes of each file. */
  readonly size: Float64Array;
  readonly width: Uint32Array;
  readonly height: Uint32Array;
  /** Metres on the ground a pixel shows across and down, n × 2; 0 where the raster does not say. */
  readonly resolution: Float32Array;
  /** Window of a tile in pixels of the raster. */
  readonly w: Uint32Array;
  readonly h: Uint32Array;
  /** Places where such a window fits: the area that tiles are uniform over. */
  readonly positions: Float64Array;
  /** 1: some pixels may be without data, so windows have to be looked at. */
  readonly hasNodata: Uint8Array;
  readonly fault: readonly (RasterFault | null)[];
  /** The fault in words. */
  readonly detail: readonly (string | null)[];
}

export interface TilesManifest extends Manifest {
  readonly rasters: { readonly path: string; readonly sha256: string };
}

/** Tiles a task draws: a constant of the format, since tiles are sorted within it. */
export const TILES_PART_DRAWS = 16_384;

/** Windows of one part, by raster, then top, then left. */
export interface DrawnTiles {
  readonly raster: Uint32Array;
  readonly x: Uint32Array;
  readonly y: Uint32Array;
  /** Windows drawn for this tile before one had enough data, itself included. */
  readonly tries: Uint16Array;
}

/** `nodata` is whether a raster can lack data, `reason` and `detail` why no tile is cut from it. */
export function rasterColumns(rasters: Rasters): Columns {
  const n = rasters.path.length;
  return {
    path: { type: 'utf8', values: rasters.path },
    size: { type: 'uint64', values: rasters.size },
    width: { type: 'uint32', values: rasters.width },
    height: { type: 'uint32', values: rasters.height },
    resolution: { type: 'vector', element: 'float32', d: 2, values: rasters.resolution, valid: Uint8Array.from({ length: n }, (_, i) => (rasters.resolution[2 * i]! > 0 ? 1 : 0)) },
    w: { type: 'uint32', values: rasters.w },
    h: { type: 'uint32', values: rasters.h },
    positions: { type: 'uint64', values: rasters.positions },
    nodata: { type: 'bool', values: rasters.hasNodata },
    reason: { type: 'dictionary', values: rasters.fault },
    detail: { type: 'utf8', values: rasters.detail },
  };
}

/** What drawing and listing need of the table of rasters. */
export type RasterTable = Pick<Rasters, 'path' | 'width' | 'w' | 'h' | 'positions' | 'hasNodata'>;

/** @param key of the table of rasters */
export async function readRasters(store: Store, key: string): Promise<RasterTable> {
  const view = decodeTable(await store.read(key), key);
  return {
    path: view.strings('path') as string[],
    width: view.numbers('width') as Uint32Array,
    w: view.numbers('w') as Uint32Array,
    h: view.numbers('h') as Uint32Array,
    positions: view.numbers('positions') as Float64Array,
    hasNodata: Uint8Array.from(view.numbers('nodata')),
  };
}

/** Which raster is its position in the table of rasters. */
export function tileColumns({ raster, x, y, tries }: DrawnTiles): Columns {
  return { raster: { type: 'uint32', values: raster }, x: { type: 'uint32', values: x }, y: { type: 'uint32', values: y }, tries: { type: 'uint16', values: tries } };
}

/** One part, from its bytes; `key` names it in errors. */
export function readTiles(bytes: Uint8Array, key: string): DrawnTiles {
  const view = decodeTable(bytes, key);
  const column = (name: string): Uint32Array => view.numbers(name) as Uint32Array;
  return { raster: column('raster'), x: column('x'), y: column('y'), tries: Uint16Array.from(view.numbers('tries')) };
}
