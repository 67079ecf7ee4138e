/**
 * Windows of PNG and JPEG files, and of JPEG 2000 where the build of the decoder has it; and pictures inside TIFF blocks. The
 * one file of this stage that knows sharp.
 *
 * PNG and JPEG have no index: a window costs decoding from the top down to its last row, a few rows held at a time.
 * Progressive JPEG and interlaced PNG are held whole, so they have a lower limit. Large mosaics belong in tiled GeoTIFF.
 */
import sharp, { type Sharp } from 'sharp';
import { type Raster, type RasterFile, RasterRefusal, type RasterWindow, type WindowRequest, pickBands } from './raster.ts';

sharp.concurrency(1);
sharp.cache(false);

/** Pixels above which a decode from the top to the bottom takes longer than the limit of time. */
const PIXELS_MAX = 2 ** 30;
const HELD_PIXELS_MAX = 2 ** 26;
const TIMEOUT_SECONDS = 60;

/** @param format as its first bytes say @throws {RasterRefusal} */
export async function openPicture(file: RasterFile, format: 'png' | 'jpeg' | 'jp2'): Promise<Raster> {
  // Not in the library's list of types: builds differ in whether they have it.
  const codecs = sharp.format as unknown as Readonly<Record<string, { readonly input?: { readonly file?: boolean } } | undefined>>;
  if (format === 'jp2' && codecs.jp2k?.input?.file !== true) {
    throw new RasterRefusal('raster-format', 'is JPEG 2000, for which this build of libvips has no codec: convert it with `gdal_translate -co TILED=YES -co COMPRESS=DEFLATE`');
  }
  const open = (): Sharp => sharp(file.path, { failOn: 'error', limitInputPixels: false, sequentialRead: true }).timeout({ seconds: TIMEOUT_SECONDS });
  const facts = await open().metadata().catch(() => {
    throw new RasterRefusal('raster-malformed', `has a damaged ${format.toUpperCase()} header`);
  });
  const { width, height, hasAlpha } = facts;
  const isHeld = facts.isProgressive === true;
  const limit = isHeld ? HELD_PIXELS_MAX : PIXELS_MAX;
  if (width * height > limit) throw new RasterRefusal('raster-blocks', `has ${width} × ${height} pixels, and ${isHeld ? 'an interlaced or progressive file' : 'a file without an index'} is read up to ${limit}: convert it with \`gdal_translate -co TILED=YES\``);
  const read = async (request: WindowRequest): Promise<RasterWindow> => {
    const { x, y, w, h } = request;
    if (x + w > width || y + h > height) throw new RasterRefusal('raster-malformed', `has ${width} × ${height} pixels, and the window ends at ${x + w}, ${y + h}`);
    const raw = await toRaw(open().extract({ left: x, top: y, width: w, height: h }));
    return toWindow(raw.data, raw.channels, hasAlpha, request);
  };
  return {
    header: { width, height, bands: 3, resolution: null, range: [0, 255], hasNodata: hasAlpha },
    cost: () => 0,
    read: (request) => (isHeld ? inTurn(() => read(request)) : read(request)),
    close: async () => undefined, // it is opened by path, for one read at a time
  };
}

/**
 * The picture in one block of a TIFF, its bands interleaved. A last strip may be lower than the others.
 *
 * @param isRgb the components are red, green and blue as they are; else a JPEG's three are luma and chroma
 */
export async function decodeBlock(bytes: Uint8Array, { width, height, bands, isRgb }: { width: number; height: number; bands: number; isRgb: boolean }): Promise<Uint8Array> {
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  const whole = isJpeg && bands === 3 ? withTransform(bytes, isRgb) : bytes;
  const isWebp = bytes[0] === 0x52 && bytes[8] === 0x57; // RIFF….WEBP
  if (!isJpeg && !isWebp) throw new RasterRefusal('raster-unreadable', 'has a block that is neither JPEG nor WebP');
  const image = sharp(whole, { failOn: 'error', limitInputPixels: width * height }).timeout({ seconds: TIMEOUT_SECONDS });
  const raw = await toRaw(bands === 1 ? image.toColourspace('b-w') : image);
  if (raw.width !== width || raw.height > height || raw.channels < bands) throw new RasterRefusal('raster-malformed', `has a block of ${raw.width} × ${raw.height} × ${raw.channels} where ${width} × ${height} × ${bands} belong`);
  if (raw.channels === bands) return raw.data;
  const kept = new Uint8Array(raw.width * raw.height * bands);
  for (let i = 0; i < kept.length; i++) kept[i] = raw.data[Math.floor(i / bands) * raw.channels + (i % bands)]!;
  return kept;
}

/** An Adobe segment after the start marker, which settles what the three components are. */
function withTransform(bytes: Uint8Array, isRgb: boolean): Uint8Array {
  const adobe = [0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, isRgb ? 0 : 1];
  const marked = new Uint8Array(bytes.length + adobe.length);
  marked.set(bytes.subarray(0, 2));
  marked.set(adobe, 2);
  marked.set(bytes.subarray(2), 2 + adobe.length);
  return marked;
}

async function toRaw(image: Sharp): Promise<{ data: Uint8Array; channels: number; width: number; height: number }> {
  try {
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), channels: info.channels, width: info.width, height: info.height };
  } catch {
    // libvips keeps its messages in one place for all threads: under concurrency they name other files.
    throw new RasterRefusal('raster-unreadable', 'has damaged pixels, or ends before them');
  }
}

function toWindow(data: Uint8Array, channels: number, hasAlpha: boolean, { w, h, bands }: WindowRequest): RasterWindow {
  const colours = channels - (hasAlpha ? 1 : 0);
  const [red, green, blue] = pickBands(bands, colours).map((band) => plane(data, channels, band, w * h)) as [Uint8Array, Uint8Array, Uint8Array];
  const absent = hasAlpha ? plane(data, channels, channels - 1, w * h).map((alpha) => (alpha === 0 ? 1 : 0)) : null;
  return { bands: [red, green, blue], absent };
}

function plane(data: Uint8Array, channels: number, band: number, n: number): Uint8Array {
  const values = new Uint8Array(n);
  for (let i = 0, at = band; i < n; i++, at += channels) values[i] = data[at]!;
  return values;
}

let turn: Promise<unknown> = Promise.resolve();

/** Those that are held whole take turns, so that many readers need no more memory than one. */
function inTurn<T>(run: () => Promise<T>): Promise<T> {
  const result = turn.then(run, run);
  turn = result.catch(() => undefined);
  return result;
}
