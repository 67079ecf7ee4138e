/**
 * Samples of a window to the 8-bit RGB pixels of a tile: range to bytes, pixels without data black, then scaling by a triangle
 * filter as wide as the step between pixels (what Pillow calls bilinear). All of it is IEEE arithmetic in one order, so the
 * bytes are the same on every machine.
 */
import { type RasterHeader, type RasterWindow, type Samples, RasterRefusal } from './raster.ts';
import { markValue } from './raster-tiff.ts';
import type { TileLook } from './tile-path.ts';

/** Pixels without data in a window, as a share of it. Marks those that `look.nodata` names, too. */
export function absentShare(window: RasterWindow, look: TileLook): number {
  const absent = absentOf(window, look);
  if (absent === null) return 0;
  let count = 0;
  for (const one of absent) count += one;
  return count / absent.length;
}

/**
 * @param w width of the window
 * @param h height of the window
 * @returns look.size × look.size × 3 bytes, rows top-down
 * @throws {RasterRefusal} raster-samples when neither look nor header says what is black and white
 */
export function toTile(window: RasterWindow, w: number, h: number, look: TileLook, header: Pick<RasterHeader, 'range'>): Uint8Array {
  const range = requireRange(look, header);
  const rgb = new Uint8Array(w * h * 3);
  const absent = absentOf(window, look);
  window.bands.forEach((band, c) => stretch(band, range, rgb, c));
  if (absent !== null) for (let i = 0; i < absent.length; i++) if (absent[i] === 1) rgb.fill(0, 3 * i, 3 * i + 3);
  return w === look.size && h === look.size ? rgb : scale(rgb, w, h, look.size);
}

/** @throws {RasterRefusal} raster-samples */
export function requireRange(look: TileLook, header: Pick<RasterHeader, 'range'>): readonly [number, number] {
  const range = look.range ?? header.range;
  if (range === null) throw new RasterRefusal('raster-samples', 'has signed or floating-point samples: say with `range` which values are black and white');
  return range;
}

function absentOf({ absent, bands }: RasterWindow, { nodata }: TileLook): Uint8Array | null {
  if (nodata === null) return absent;
  const marked = absent?.slice() ?? new Uint8Array(bands[0].length);
  markValue(marked, bands, nodata);
  return marked;
}

/** Rounds half up; what is not a number becomes 0. */
function stretch(band: Samples, [low, high]: readonly [number, number], out: Uint8Array, c: number): void {
  if (band instanceof Uint8Array && low === 0 && high === 255) {
    for (let i = 0; i < band.length; i++) out[3 * i + c] = band[i]!;
    return;
  }
  const factor = 255 / (high - low);
  for (let i = 0; i < band.length; i++) {
    const value = (band[i]! - low) * factor;
    out[3 * i + c] = value >= 255 ? 255 : value > 0 ? Math.floor(value + 0.5) : 0;
  }
}

/** Rows first, then columns, in float64 between. */
function scale(rgb: Uint8Array, w: number, h: number, size: number): Uint8Array {
  const across = taps(w, size);
  const down = taps(h, size);
  const narrow = new Float64Array(size * h * 3);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < size; x++) {
      const { first, weights } = across[x]!;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let t = 0, at = (y * w + first) * 3 + c; t < weights.length; t++, at += 3) sum += weights[t]! * rgb[at]!;
        narrow[(y * size + x) * 3 + c] = sum;
      }
    }
  }
  const out = new Uint8Array(size * size * 3);
  const row = size * 3;
  const sums = new Float64Array(row);
  for (let y = 0; y < size; y++) {
    const { first, weights } = down[y]!;
    sums.fill(0.5);
    for (let t = 0; t < weights.length; t++) for (let i = 0, at = (first + t) * row; i < row; i++, at++) sums[i]! += weights[t]! * narrow[at]!;
    for (let i = 0; i < row; i++) out[y * row + i] = Math.min(255, Math.floor(sums[i]!));
  }
  return out;
}

/** For each pixel out, which pixels in and how much of each; weights sum to 1. */
function taps(from: number, to: number): { readonly first: number; readonly weights: Float64Array }[] {
  const step = from / to;
  const reach = Math.max(1, step);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * step;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, t) => Math.max(0, 1 - Math.abs(first + t + 0.5 - centre) / reach));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}
