/**
 * Windows of GeoTIFF and BigTIFF files: only the tiles or strips that a window touches are read and decoded. Tags and pixels by
 * geotiff.js, behind checks that bound what it allocates, with decoders of our own (`tiff-check.ts`, `tiff-codecs.ts`).
 */
import { GeoTIFF, type GeoTIFFImage } from 'geotiff';
import { groundResolution } from './ground-resolution.ts';
import { type Raster, type RasterFile, RasterRefusal, type RasterWindow, type Samples, type WindowRequest, pickBands } from './raster.ts';
import { checkTiff } from './tiff-check.ts';
import { registerCodecs } from './tiff-codecs.ts';
import { type TiffLayout, readLayout } from './tiff-layout.ts';

/** @throws {RasterRefusal} */
export async function openTiff(file: RasterFile): Promise<Raster> {
  await checkTiff(file);
  registerCodecs();
  const { image, layout, resolution, nodata } = await understand(file);
  const { width, height, samples, format, bits, alpha } = layout;
  return {
    header: { width, height, bands: samples, resolution, range: format === 1 ? [0, 2 ** bits - 1] : null, hasNodata: nodata !== null || alpha !== null || layout.isSparse },
    cost: (w) => rowBytes(layout, w),
    read: async (request) => {
      const { x, y, w, h } = request;
      if (x + w > width || y + h > height) throw new RasterRefusal('raster-malformed', `has ${width} × ${height} pixels, and the window ends at ${x + w}, ${y + h}`);
      const isHeavy = Math.min(SLAB_BYTES, rowBytes(layout, w) * (Math.ceil(h / layout.blockHeight) + 1)) > HEAVY_BYTES;
      return isHeavy ? inTurn(() => readWindow(image, layout, nodata, request)) : readWindow(image, layout, nodata, request);
    },
    close: () => file.close(),
  };
}

/** Decoded blocks held at a time, unless a single row of blocks is more. */
const SLAB_BYTES = 2 ** 26;
/** Windows that hold more take turns. */
const HEAVY_BYTES = 2 ** 24;
const WHITE_IS_ZERO = 0;

interface Understood {
  readonly image: GeoTIFFImage;
  readonly layout: TiffLayout;
  readonly resolution: readonly [number, number] | null;
  /** NaN when that is what means no data. */
  readonly nodata: number | null;
}

async function understand(file: RasterFile): Promise<Understood> {
  try {
    // The library asks for more than there is at the end of a file, and takes less.
    const fetch = async (slices: { offset: number; length: number }[]): Promise<ArrayBufferLike[]> =>
      Promise.all(slices.map(async ({ offset, length }) => (await file.read(offset, Math.min(length, Math.max(0, file.sizeBytes - offset)))).buffer));
    const tiff = await GeoTIFF.fromSource({ fetch } as unknown as Parameters<typeof GeoTIFF.fromSource>[0]);
    tiff.parser.eager = true; // what it reads later it takes for little-endian
    const image = await tiff.getImage(0);
    const layout = await readLayout(image, file.sizeBytes);
    return { image, layout, resolution: locate(image, layout), nodata: nodataOf(image) };
  } catch (error) {
    if (error instanceof RasterRefusal) throw error;
    if (error instanceof Error && 'syscall' in error) throw new RasterRefusal('raster-unreadable', 'could not be read');
    throw new RasterRefusal('raster-malformed', 'has a directory that makes no sense');
  }
}

/** A georeference that makes no sense is none: the pixels are as good. */
function locate(image: GeoTIFFImage, { width, height }: TiffLayout): readonly [number, number] | null {
  const tags = image.fileDirectory;
  const values = (name: 'ModelPixelScale' | 'ModelTiepoint' | 'ModelTransformation', length: number): ArrayLike<number> | undefined => {
    const found = tags.getValue(name) as ArrayLike<number> | undefined;
    return found !== undefined && found.length >= length ? found : undefined;
  };
  try {
    return groundResolution({ width, height, scale: values('ModelPixelScale', 2), tiepoint: values('ModelTiepoint', 6), transformation: values('ModelTransformation', 16), keys: image.getGeoKeys() });
  } catch {
    return null;
  }
}

function nodataOf(image: GeoTIFFImage): number | null {
  const text: unknown = image.fileDirectory.getValue('GDAL_NODATA');
  if (typeof text !== 'string') return null;
  const plain = text.replaceAll('\0', '').trim();
  return plain === '' || (Number.isNaN(Number(plain)) && plain.toLowerCase() !== 'nan') ? null : Number(plain);
}

/** Bytes of one row of the blocks that a window of width w touches at worst. */
function rowBytes({ width, blockWidth, blockBytes, isPlanar, samples }: TiffLayout, w: number): number {
  return Math.min(Math.ceil(width / blockWidth), Math.ceil(w / blockWidth) + 1) * blockBytes * (isPlanar ? Math.min(samples, 4) : 1);
}

async function readWindow(image: GeoTIFFImage, layout: TiffLayout, nodata: number | null, { x, y, w, h, bands }: WindowRequest): Promise<RasterWindow> {
  const picked = pickBands(bands, layout.samples);
  const samples = [...new Set([...picked, ...(layout.alpha === null ? [] : [layout.alpha])])];
  const planes = new Map<number, Samples>();
  const slabRows = Math.max(1, Math.floor(SLAB_BYTES / rowBytes(layout, w))) * layout.blockHeight;
  for (let top = y; top < y + h; ) {
    const bottom = Math.min(y + h, (Math.floor(top / layout.blockHeight) * layout.blockHeight) + slabRows);
    const read = await readSlab(image, [x, top, x + w, bottom], samples);
    samples.forEach((sample, i) => {
      const plane = planes.get(sample) ?? (read[i]!.length === w * h ? read[i]! : new (read[i]!.constructor as Float64ArrayConstructor)(w * h));
      if (plane !== read[i]) plane.set(read[i]!, (top - y) * w);
      planes.set(sample, plane);
    });
    top = bottom;
  }
  const absent = findAbsent(layout, nodata, { x, y, w, h }, picked.map((band) => planes.get(band)!), layout.alpha === null ? null : planes.get(layout.alpha)!);
  const [red, green, blue] = layout.palette === null ? picked.map((band) => invert(planes.get(band)!, layout)) : paint(planes.get(picked[0])!, layout.palette, layout.bits);
  return { bands: [red!, green!, blue!], absent };
}

async function readSlab(image: GeoTIFFImage, window: [number, number, number, number], samples: readonly number[]): Promise<Samples[]> {
  try {
    return (await image.readRasters({ window, samples: [...samples], interleave: false })) as unknown as Samples[];
  } catch (error) {
    if (error instanceof RasterRefusal) throw error;
    throw new RasterRefusal('raster-unreadable', 'has blocks that are damaged or end early');
  }
}

/** A pixel is without data where all bands have the value, where it is fully transparent, or where its block was left out. */
function findAbsent(layout: TiffLayout, nodata: number | null, window: { x: number; y: number; w: number; h: number }, bands: readonly Samples[], alpha: Samples | null): Uint8Array | null {
  if (nodata === null && alpha === null && !layout.isSparse) return null;
  const absent = new Uint8Array(window.w * window.h);
  if (nodata !== null) markValue(absent, bands, nodata);
  if (alpha !== null) for (let i = 0; i < absent.length; i++) if (alpha[i] === 0) absent[i] = 1;
  if (layout.isSparse) markMissing(absent, layout, window);
  return absent;
}

/** Marks pixels whose bands all have a value. */
export function markValue(absent: Uint8Array, bands: readonly Samples[], value: number): void {
  const own = bands[0] instanceof Float32Array ? Math.fround(value) : value;
  const isNone = Number.isNaN(own);
  for (let i = 0; i < absent.length; i++) {
    let isAbsent = true;
    for (const band of bands) isAbsent &&= isNone ? Number.isNaN(band[i]) : band[i] === own;
    if (isAbsent) absent[i] = 1;
  }
}

function markMissing(absent: Uint8Array, { width, blockWidth, blockHeight, byteCounts }: TiffLayout, { x, y, w, h }: { x: number; y: number; w: number; h: number }): void {
  const across = Math.ceil(width / blockWidth);
  for (let row = 0; row < h; row++) {
    const first = Math.floor((y + row) / blockHeight) * across;
    for (let column = 0; column < w; column++) if (byteCounts[first + Math.floor((x + column) / blockWidth)] === 0) absent[row * w + column] = 1;
  }
}

function invert(plane: Samples, { photometric, format, bits }: TiffLayout): Samples {
  return photometric === WHITE_IS_ZERO && format === 1 ? plane.map((value) => 2 ** bits - 1 - value) : plane;
}

function paint(indexes: Samples, palette: ArrayLike<number>, bits: number): Uint8Array[] {
  return [0, 1, 2].map((colour) => Uint8Array.from(indexes, (index) => palette[colour * 2 ** bits + index]! >>> 8));
}

let turn: Promise<unknown> = Promise.resolve();

function inTurn<T>(run: () => Promise<T>): Promise<T> {
  const result = turn.then(run, run);
  turn = result.catch(() => undefined);
  return result;
}
