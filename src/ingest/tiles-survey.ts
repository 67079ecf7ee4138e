/** Looks at the header of every raster of a tiles source: what size a window has in it, where one fits, or why there is none. */
import { throwIfAborted } from '../errors.ts';
import { type OpenFile, Refusal, createOpener } from './bytes.ts';
import type { NamedSource } from './image.ts';
import { openRaster } from './open-raster.ts';
import { faultReason, sourceError, systemCode } from './path.ts';
import { openRasterFile } from './raster-file.ts';
import { type Raster, type RasterHeader, RasterRefusal, pickBands } from './raster.ts';
import { requireRange } from './tile-pixels.ts';
import { WINDOW_PIXELS_MAX, lookOf } from './tile-path.ts';
import type { TilesConfig } from './tiles-config.ts';
import type { Rasters } from './tiles.ts';

/** Rasters as a scan finds them. */
export interface FoundRasters {
  readonly paths: readonly string[];
  readonly sizes: Float64Array;
}

/** Decoded blocks that one window may need at a time. */
const WINDOW_BYTES_MAX = 2 ** 28;

/**
 * One record a raster, some 200 bytes each. A raster at fault has its reason and takes no part; only the source itself
 * failing stops the survey.
 */
export async function surveyRasters(source: NamedSource, config: TilesConfig, { paths, sizes }: FoundRasters, atOnce: number, signal: AbortSignal): Promise<Rasters> {
  const open = createOpener({ [source.name]: source.location });
  const records = new Array<Surveyed>(paths.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < paths.length) {
      throwIfAborted(signal);
      const i = next++;
      records[i] = await survey(() => open({ source: source.name, path: paths[i]! }), config);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, paths.length) }, lane));
  return {
    path: paths,
    size: sizes,
    width: Uint32Array.from(records, ({ header }) => header?.width ?? 0),
    height: Uint32Array.from(records, ({ header }) => header?.height ?? 0),
    resolution: Float32Array.from(records.flatMap(({ header }) => [...(header?.resolution ?? [0, 0])])),
    w: Uint32Array.from(records, ({ w }) => w),
    h: Uint32Array.from(records, ({ h }) => h),
    positions: Float64Array.from(records, ({ header, w, h }) => (header === null || w === 0 ? 0 : (header.width - w + 1) * (header.height - h + 1))),
    hasNodata: Uint8Array.from(records, ({ header }) => (header?.hasNodata === true ? 1 : 0)),
    fault: records.map(({ refusal }) => refusal?.fault ?? null),
    detail: records.map(({ refusal }) => refusal?.message ?? null),
  };
}

interface Surveyed {
  readonly header: RasterHeader | null;
  readonly w: number;
  readonly h: number;
  readonly refusal: RasterRefusal | null;
}

async function survey(open: () => Promise<OpenFile>, config: TilesConfig): Promise<Surveyed> {
  let raster: Raster | null = null;
  try {
    raster = await openRaster(openRasterFile(await open()));
    const { header } = raster;
    pickBands(config.bands ?? null, header.bands);
    requireRange(lookOf(config), header);
    const [w, h] = windowOf(header, config);
    const cost = raster.cost(w, h);
    if (cost > WINDOW_BYTES_MAX) throw new RasterRefusal('raster-blocks', `needs ${cost} bytes of decoded blocks for one row of a window where up to ${WINDOW_BYTES_MAX} are held: rewrite it with \`gdal_translate -co TILED=YES\``);
    return { header, w, h, refusal: null };
  } catch (error) {
    return { header: raster?.header ?? null, w: 0, h: 0, refusal: refusalOf(error) };
  } finally {
    await raster?.close();
  }
}

/** A window that shows size × resolution metres, or `size` pixels. */
function windowOf({ width, height, resolution }: RasterHeader, config: TilesConfig): [number, number] {
  const { size, resolution: wanted, unlocated, enlarge } = config;
  if (wanted !== undefined && resolution === null && unlocated === 'skip') throw new RasterRefusal('raster-unlocated', 'says no ground resolution');
  const [w, h] = wanted === undefined || resolution === null ? [size, size] : resolution.map((one) => Math.max(1, Math.round((size * wanted) / one)));
  if (wanted !== undefined && resolution !== null && Math.max(...resolution) > wanted * enlarge) {
    throw new RasterRefusal('raster-too-coarse', `shows ${metres(resolution)} m a pixel, more than ${enlarge} times the wanted ${wanted} m`);
  }
  if (w! * h! > WINDOW_PIXELS_MAX) throw new RasterRefusal('raster-too-fine', `shows ${metres(resolution!)} m a pixel, so a window of ${size} × ${wanted} m has ${w} × ${h} pixels where up to ${WINDOW_PIXELS_MAX} are read`);
  if (w! > width || h! > height) throw new RasterRefusal('raster-too-small', `has ${width} × ${height} pixels where a window has ${w} × ${h}`);
  return [w!, h!];
}

function metres(resolution: readonly number[]): string {
  return [...new Set(resolution.map((one) => Number(one.toPrecision(4))))].join(' × ');
}

/** Why one raster cannot be read. @throws what is no fault of the one raster */
export function refusalOf(error: unknown): RasterRefusal {
  if (error instanceof RasterRefusal) return error;
  if (error instanceof Refusal) return new RasterRefusal('raster-unreadable', `cannot be read: ${error.message}`);
  const code = systemCode(error);
  if (!['EACCES', 'EPERM', 'ENOENT', 'EIO', 'ELOOP', 'ENOTDIR', 'EISDIR'].includes(code)) throw code === '' ? error : sourceError('survey the rasters', error);
  return new RasterRefusal('raster-unreadable', `cannot be read: ${faultReason(error)}`);
}
