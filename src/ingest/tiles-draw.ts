/**
 * Draws tiles uniformly over the area of all rasters: a raster with probability proportional to the places where a window
 * fits, then one of those places. Draw i, try t is a function of (seed, source, i, t) alone. A window with too large a share
 * without data is drawn again by the next try, from all rasters, so that tiles are uniform over the windows that have enough.
 * Windows are looked at only where a raster can lack data. One that cannot be read stays drawn: its row will say so.
 */
import { encodeTable } from '../arrow/ipc.ts';
import { throwIfAborted } from '../errors.ts';
import { type RandomStream, randomStream } from '../random.ts';
import type { Part } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { createOpener } from './bytes.ts';
import { openRasterFile } from './raster-file.ts';
import { absentShare } from './tile-pixels.ts';
import { lookOf } from './tile-path.ts';
import { type TileReader, createTileReader } from './tile-reader.ts';
import type { TilesConfig } from './tiles-config.ts';
import { refusalOf } from './tiles-survey.ts';
import { type RasterTable, readRasters, tileColumns } from './tiles.ts';

export interface DrawPayload {
  readonly source: string;
  readonly config: Omit<TilesConfig, 'folder' | 'count'>;
  readonly seed: number;
  /** The table of rasters. */
  readonly rasters: { readonly path: string; readonly sha256: string };
  readonly firstDraw: number;
  readonly draws: number;
  /** Key of the part to write. */
  readonly out: string;
}

export interface DrawResult {
  /** `firstRow` is 0: how many tiles the parts before gave up is not known here. */
  readonly part: Part;
  /** Windows drawn again. */
  readonly again: number;
  /** Tiles without a window. */
  readonly givenUp: number;
}

export const drawTiles: TaskKind<DrawPayload, DrawResult> = {
  name: 'draw-tiles',
  version: 1,
  run: async (payload, env) => {
    const area = await openArea(payload, env);
    const tiles: Candidate[] = [];
    let pending = Array.from({ length: payload.draws }, (_, i) => payload.firstDraw + i);
    let again = 0;
    for (let t = 0; pending.length > 0 && t < payload.config.nodata.tries; t++) {
      again += t === 0 ? 0 : pending.length;
      const place = createDraw(payload, area, t);
      const drawn = pending.map((draw) => ({ draw, tries: t + 1, ...place(draw) })).sort(byPlace);
      const enough = await judge(drawn, payload, area, env);
      tiles.push(...drawn.filter((_, i) => enough[i] === 1));
      pending = drawn.filter((_, i) => enough[i] === 0).map(({ draw }) => draw);
    }
    env.advance(pending.length);
    tiles.sort(byPlace);
    const columns = tileColumns({ raster: Uint32Array.from(tiles, (tile) => tile.raster), x: Uint32Array.from(tiles, (tile) => tile.x), y: Uint32Array.from(tiles, (tile) => tile.y), tries: Uint16Array.from(tiles, (tile) => tile.tries) });
    const { sizeBytes, sha256 } = await env.store.write(payload.out, encodeTable(columns));
    return { part: { path: payload.out, firstRow: 0, rowCount: tiles.length, bytes: sizeBytes, sha256 }, again, givenUp: pending.length };
  },
};

interface Candidate {
  readonly draw: number;
  readonly tries: number;
  readonly raster: number;
  readonly x: number;
  readonly y: number;
}

/** Equal places by draw, so that the order is one. */
function byPlace(a: Candidate, b: Candidate): number {
  return a.raster - b.raster || a.y - b.y || a.x - b.x || a.draw - b.draw;
}

interface Area extends RasterTable {
  /** Positions of the rasters up to and including each. */
  readonly upTo: Float64Array;
  /** Of each raster, the places from left to right. */
  readonly across: Float64Array;
  close(): Promise<void>;
}

function openArea({ rasters }: DrawPayload, env: TaskEnv): Promise<Area> {
  return env.resource(`rasters ${rasters.path} ${rasters.sha256}`, async () => {
    const table = await readRasters(env.store, rasters.path);
    let total = 0;
    return { ...table, upTo: table.positions.map((positions) => (total += positions)), across: Float64Array.from(table.width, (width, i) => width - table.w[i]! + 1), close: async () => undefined };
  });
}

/** Where try t of a draw lies. */
function createDraw({ seed, source }: DrawPayload, { upTo, positions, across }: Area, t: number): (draw: number) => Pick<Candidate, 'raster' | 'x' | 'y'> {
  const stream = (of: string): RandomStream => randomStream(seed, 'tiles', source, of, t);
  const [ofRaster, ofX, ofY] = [stream('raster'), stream('x'), stream('y')];
  const total = upTo.at(-1)!;
  return (draw) => {
    const raster = firstAbove(upTo, Math.floor(ofRaster.uniform(draw) * total));
    return { raster, x: ofX.below(draw, across[raster]!), y: ofY.below(draw, positions[raster]! / across[raster]!) };
  };
}

/** The first entry above a value. */
function firstAbove(ascending: Float64Array, value: number): number {
  let low = 0;
  let high = ascending.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** @returns 1 where a window has enough data */
async function judge(windows: readonly Candidate[], { source, config }: DrawPayload, area: Area, env: TaskEnv): Promise<Uint8Array> {
  const { max, value } = config.nodata;
  const enough = new Uint8Array(windows.length).fill(1);
  const doubtful = windows.map((_, i) => i).filter((i) => max < 1 && (value !== undefined || area.hasNodata[windows[i]!.raster] === 1));
  env.advance(windows.length - doubtful.length);
  if (doubtful.length === 0) return enough;
  const reader: TileReader = createTileReader();
  const open = createOpener(env.locations);
  const look = lookOf(config);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < doubtful.length) {
      throwIfAborted(env.signal);
      const i = doubtful[next++]!;
      const { raster, x, y } = windows[i]!;
      const path = area.path[raster]!;
      const [w, h] = [area.w[raster]!, area.h[raster]!];
      try {
        const share = await reader.use(path, async () => openRasterFile(await open({ source, path })), async (one) => absentShare(await one.read({ x, y, w, h, bands: look.bands }), look));
        if (share > max) enough[i] = 0;
        else env.advance(1);
      } catch (error) {
        refusalOf(error); // throws what is not the raster's fault
        env.advance(1);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, env.execution.concurrency) }, lane));
  } finally {
    await reader.close();
  }
  return enough;
}
