/**
 * Metres on the ground that a pixel of a GeoTIFF shows, from its own tags (OGC GeoTIFF 1.1, sections 7.2 and 7.4; PixelScale
 * or Transformation). Without a database of coordinate systems: projected ones are taken at their stated linear unit, metres
 * when none is stated; Web Mercator is corrected for its stretch, degrees for the latitude, both at the raster's centre.
 */

/** What the tags say, as parsed. */
export interface GeoTags {
  readonly width: number;
  readonly height: number;
  /** Model units a pixel, across, down, up. */
  readonly scale: ArrayLike<number> | undefined;
  /** Pixel and model coordinates of a point: i, j, k, x, y, z. */
  readonly tiepoint: ArrayLike<number> | undefined;
  /** 4 × 4, row-major. */
  readonly transformation: ArrayLike<number> | undefined;
  readonly keys: Readonly<Record<string, unknown>> | null;
}

/** Null without a georeference, or with one in units that nothing here knows. */
export function groundResolution(tags: GeoTags): readonly [x: number, y: number] | null {
  const { keys, scale, transformation: t } = tags;
  const model = keys?.GTModelTypeGeoKey;
  const units = scale !== undefined ? [scale[0]!, scale[1]!] : t !== undefined ? [Math.hypot(t[0]!, t[4]!), Math.hypot(t[1]!, t[5]!)] : null;
  if (units === null || (model !== PROJECTED && model !== GEOGRAPHIC)) return null;
  const y = centreY(tags);
  const metres = model === GEOGRAPHIC ? metresOfDegrees(keys?.GeogAngularUnitsGeoKey, y) : metresOfUnits(keys ?? {}, y);
  if (metres === null) return null;
  const found = [Math.abs(units[0]!) * metres[0], Math.abs(units[1]!) * metres[1]] as const;
  return found.every((one) => Number.isFinite(one) && one >= RESOLUTION_MIN && one <= RESOLUTION_MAX) ? found : null;
}

const PROJECTED = 1;
const GEOGRAPHIC = 2;
const RESOLUTION_MIN = 1e-4;
const RESOLUTION_MAX = 1e6;
const DEGREE = 9102;
/** Metre, international foot, US survey foot. */
const LINEAR_UNITS: Readonly<Record<number, number>> = { 9001: 1, 9002: 0.3048, 9003: 1200 / 3937 };
const WEB_MERCATOR = [3857, 900913, 3785];
const EARTH_RADIUS = 6378137;

/** Model coordinate of the raster's middle row; 0 when nothing says it. */
function centreY({ height, width, scale, tiepoint, transformation: t }: GeoTags): number {
  if (t !== undefined) return t[4]! * (width / 2) + t[5]! * (height / 2) + t[7]!;
  return tiepoint === undefined || scale === undefined ? 0 : tiepoint[4]! - (height / 2 - tiepoint[1]!) * scale[1]!;
}

function metresOfUnits(keys: Readonly<Record<string, unknown>>, y: number): [number, number] | null {
  const unit = keys.ProjLinearUnitsGeoKey;
  const metres = unit === undefined || unit === 0 || unit === 32767 ? 1 : (LINEAR_UNITS[Number(unit)] ?? null);
  if (metres === null) return null;
  const stretch = WEB_MERCATOR.includes(Number(keys.ProjectedCSTypeGeoKey)) ? Math.cosh(y / EARTH_RADIUS) : 1;
  return [metres / stretch, metres / stretch];
}

/** Lengths of a degree on the WGS 84 ellipsoid. */
function metresOfDegrees(unit: unknown, latitude: number): [number, number] | null {
  if ((unit !== undefined && unit !== DEGREE) || Math.abs(latitude) >= 90) return null;
  const phi = (latitude * Math.PI) / 180;
  return [111412.84 * Math.cos(phi) - 93.5 * Math.cos(3 * phi), 111132.954 - 559.822 * Math.cos(2 * phi) + 1.175 * Math.cos(4 * phi)];
}
