/**
 * Reads tiles: one window of a raster, as PNG. Rasters stay open between tiles, the last few, since rows of one raster lie
 * together; one that is damaged is opened and refused again for each of its tiles.
 */
import { type ColourSums, sumColours } from './colour-sums.ts';
import { openRaster } from './open-raster.ts';
import { encodePng } from './png.ts';
import type { Raster, RasterFile } from './raster.ts';
import { toTile } from './tile-pixels.ts';
import type { Tile } from './tile-path.ts';

/** Directories of eight rasters: 64 MiB each at most, usually under one. */
const OPEN_RASTERS = 8;

export interface TileReader {
  /**
   * @param open opens the raster's file; called when it is not open already
   * @throws {RasterRefusal} why there is no such tile
   */
  read(tile: Tile, key: string, open: () => Promise<RasterFile>): Promise<{ readonly bytes: Uint8Array; readonly colours: ColourSums }>;
  /** Uses a raster that stays open until the promise settles. */
  use<T>(key: string, open: () => Promise<RasterFile>, work: (raster: Raster) => Promise<T>): Promise<T>;
  /** Closes every raster, after the reads under way. */
  close(): Promise<void>;
}

/** Opens nothing before the first tile. */
export function createTileReader(): TileReader {
  const open = new Map<string, OpenRaster>();
  const running = new Set<Promise<unknown>>();
  const settle = async (entry: OpenRaster): Promise<void> => {
    if (!entry.isDropped || entry.readers > 0 || entry.isClosed) return;
    entry.isClosed = true;
    await entry.opening.then((raster) => raster.close(), () => undefined);
  };
  const drop = async (key: string, entry: OpenRaster): Promise<void> => {
    if (open.get(key) === entry) open.delete(key);
    entry.isDropped = true;
    await settle(entry);
  };
  const work = async <T>(key: string, openFile: () => Promise<RasterFile>, todo: (raster: Raster) => Promise<T>): Promise<T> => {
    const entry = open.get(key) ?? { opening: openFile().then(openRaster), readers: 0, isDropped: false, isClosed: false };
    entry.opening.catch(() => undefined); // heard below
    entry.readers += 1;
    open.delete(key);
    open.set(key, entry); // to the end: most recently used
    try {
      const oldest = open.entries().next().value!;
      if (open.size > OPEN_RASTERS) await drop(...oldest);
      return await todo(await entry.opening);
    } finally {
      entry.readers -= 1;
      const failed = await entry.opening.then(() => false, () => true);
      await (failed ? drop(key, entry) : settle(entry));
    }
  };
  const use: TileReader['use'] = async (key, openFile, todo) => {
    const done = work(key, openFile, todo);
    running.add(done);
    try {
      return await done;
    } finally {
      running.delete(done);
    }
  };
  return {
    use,
    read: (tile, key, openFile) =>
      use(key, openFile, async (raster) => {
        const { x, y, w, h, look } = tile;
        const rgb = toTile(await raster.read({ x, y, w, h, bands: look.bands }), w, h, look, raster.header);
        return { bytes: await encodePng(rgb, look.size, look.size), colours: sumColours(rgb) };
      }),
    close: async () => {
      await Promise.all([...open].map(([key, entry]) => drop(key, entry)));
      await Promise.allSettled(running);
    },
  };
}

interface OpenRaster {
  readonly opening: Promise<Raster>;
  readers: number;
  isDropped: boolean;
  isClosed: boolean;
}
