/**
 * Image bytes to the RGB pixels of a model's input, or to the reason there are none: the one file of the library that
 * knows sharp.
 *
 * Order: signature allow-list, file size, header limits, then pixels: first frame or page, EXIF orientation, embedded
 * profile to sRGB (CMYK without one: libvips' SWOP-like default), 8 bits (16-bit samples by their full range, without a
 * stretch of contrast), alpha over the background, resize and crop as Hugging Face processors do them.
 *
 * Two ways to scale. Images up to about 0.5 megapixels are decoded whole and scaled by `resample.ts`: bit for bit what
 * Pillow gives, and in a third of the time where an image is enlarged. Larger ones are scaled by libvips while they
 * stream by, JPEG at a half to an eighth in its decoder but never below twice the wanted size. Against Pillow, four
 * photographs of 0.8 to 8 megapixels to 224 × 224, bicubic: mean difference 0.16 to 0.30 of 255 levels, 99.9 % of the
 * bytes within 5, largest 9. A screened print, the worst case for halving in the decoder: mean 1.9, 99 % within 17.
 */
import sharp, { type OutputInfo, type Sharp } from 'sharp';
import type { Decoded, DecodeLimits, EmbeddingStatus, PreprocessSpec } from './embedding.ts';
import { inputSize } from './embedding.ts';
import { placeImage, type Placement } from './geometry.ts';
import { endsEarly, isRareJpeg, readSize } from './header.ts';
import { type Filter, resample, resampleCost, type Size } from './resample.ts';
import { type ImageFormat, isDecodable, sniffFormat } from './sniff.ts';
import { readTiffHeader, type TiffHeader } from './tiff-header.ts';

// Calls come many at a time and are the parallelism; a thread pool inside each only adds switches. No input is decoded
// twice, so libvips' operation cache would only hold memory.
sharp.concurrency(1);
sharp.cache(false);

export { DEFAULT_DECODE_LIMITS } from './embedding.ts';

/** For runs without a model: decodes every pixel, scales to almost nothing. */
export const CHECK_ONLY: PreprocessSpec = {
  resize: { mode: 'exact', width: 8, height: 8 },
  crop: null,
  resample: 'bilinear',
  background: [255, 255, 255],
  layout: 'nhwc',
  type: 'uint8',
  rescale: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

/**
 * Decodes one image to `inputSize(spec)`.
 *
 * Never throws for what is in the bytes. The result depends on bytes, spec and limits alone: it is the same in any order
 * and with any number of calls at once (a file that keeps the decoder busy for more than a minute is the exception).
 * Every row is decoded, cropped ones too, so that a damaged file does not pass because a crop spared the damage; only
 * images taller than 16 times the crop are read no further than needed.
 *
 * Any warning of the decoder counts as damage: libjpeg and others go on after them with invented pixels. Some harmless
 * oddities (stray bytes between JPEG segments) are refused with them. JPEG and WebP have no checksum: of scrambled bytes
 * that still read as codes, those in small files are mostly found, those in large ones mostly not.
 *
 * Cost, one core: 0.6 ms for a JPEG of 64 × 64 pixels, 2.5 ms for 500 × 375, 12 ms for 3840 × 2160, mostly on libuv's
 * threads (four unless UV_THREADPOOL_SIZE says otherwise). Memory: up to 12 MB a call for the small way, a few rows for
 * the large one. Formats that do not stream hold the whole image; above 16 megapixels those take turns, so that many
 * calls at once need no more than one of them does.
 *
 * @param bytes the whole file; must not change until the promise settles
 */
export async function decodeImage(bytes: Uint8Array, spec: PreprocessSpec, limits: DecodeLimits): Promise<Decoded> {
  const kind = sniffFormat(bytes);
  if (kind === 'empty' || kind === 'not-an-image') return refusal(kind);
  if (!isDecodable(kind)) return refusal('unsupported-format');
  if (bytes.length > limits.sizeBytesMax) return refusal('too-large-file');
  // Zeros at the end, as an interrupted download leaves them, decode as grey without a warning.
  if (kind === 'jpeg' && endsEarly(bytes, kind)) return refusal('truncated', await readHeader(bytes));
  const tiff = kind === 'tiff' ? readTiffHeader(bytes) : null;
  if (tiff !== null && !tiff.isPicture) return refusal(tiff.endByte > bytes.length ? 'truncated' : 'unsupported-format');

  const known = readSize(bytes, kind);
  const outside = known === null ? null : limitStatus(known, limits);
  // Only the decoder knows the orientation, and only large images and refusals need it beforehand.
  const isSmall = known !== null && outside === null && isSmallWork(known, spec);
  const header = isSmall ? { ...known, isWideGamut: false, isWhole: false } : await readHeader(bytes);
  if (header === null) return refusal(outside ?? failureStatus(bytes, kind, tiff), known);
  const status = outside ?? limitStatus(header, limits);
  if (status !== null) return refusal(status, header);

  const source: Source = { bytes, header, limits, tiff };
  const decoded = isSmallWork(header, spec) || tiff?.extraBands === 'other' ? await decodeWhole(source, spec) : await decodeStreaming(source, spec);
  return decoded ?? refusal(failureStatus(bytes, kind, tiff), isSmall ? await readHeader(bytes) : header);
}

/** What the manifest records: pixels of another version may differ in the last bit. */
export function decoderVersions(): { sharp: string; libvips: string } {
  return { sharp: sharp.versions.sharp ?? 'unknown', libvips: sharp.versions.vips };
}

interface Header extends Size {
  /** 16-bit RGB with an embedded profile, which sharp converts to Display P3 and leaves there. */
  readonly isWideGamut: boolean;
  /** Has to be held whole: WebP, AVIF, progressive JPEG, interlaced PNG. */
  readonly isWhole: boolean;
}

interface Source {
  readonly bytes: Uint8Array;
  readonly header: Header;
  readonly limits: DecodeLimits;
  readonly tiff: TiffHeader | null;
}

/** Multiply-adds up to which scaling on the calling thread is cheaper than in libvips: 1.5 ms. */
const SMALL_COST = 8e6;
const SMALL_PIXELS = 2 ** 22;
const TALL = 16;
const HEAVY_PIXELS = 2 ** 24;
const TIMEOUT_SECONDS = 60;
const LIBVIPS_KERNELS = { nearest: 'nearest', bilinear: 'linear', bicubic: 'cubic', lanczos: 'lanczos3' } as const satisfies Record<Filter, string>;

function refusal(status: Exclude<EmbeddingStatus, 'ok'>, size: Size | null = null): Decoded {
  return { status, width: size?.width ?? null, height: size?.height ?? null };
}

function limitStatus({ width, height }: Size, limits: DecodeLimits): 'too-long-side' | 'too-many-pixels' | 'too-small' | null {
  if (width * height > limits.pixelsMax) return 'too-many-pixels';
  if (Math.max(width, height) > limits.sideMax) return 'too-long-side';
  return Math.min(width, height) < limits.sideMin ? 'too-small' : null;
}

function isSmallWork(from: Size, spec: PreprocessSpec): boolean {
  const { to, window } = placeImage(from, spec);
  return from.width * from.height <= SMALL_PIXELS && resampleCost(from, to, window, spec.resample) <= SMALL_COST;
}

/** Asks libvips for the size after orientation; null when it cannot open the file. Decodes no pixels. */
async function readHeader(bytes: Uint8Array): Promise<Header | null> {
  const image = sharp(bytes, { failOn: 'warning', limitInputPixels: false });
  try {
    const { autoOrient, format, space, hasProfile, isProgressive } = await image.metadata();
    const isWhole = isProgressive || format === 'webp' || format === 'heif';
    return { width: autoOrient.width, height: autoOrient.height, isWideGamut: space === 'rgb16' && hasProfile, isWhole };
  } catch {
    return null;
  }
}

/** The reason of a failure, found in the bytes: error messages may belong to another call. */
function failureStatus(bytes: Uint8Array, format: ImageFormat, tiff: TiffHeader | null): 'truncated' | 'unsupported-format' | 'corrupt' {
  if (endsEarly(bytes, format)) return 'truncated';
  const isUnsupported = (format === 'jpeg' && isRareJpeg(bytes)) || tiff?.isCommonCompression === false;
  return isUnsupported ? 'unsupported-format' : 'corrupt';
}

function open({ bytes, header, limits }: Source): Sharp {
  const image = sharp(bytes, { failOn: 'warning', autoOrient: true, limitInputPixels: limits.pixelsMax }).timeout({ seconds: TIMEOUT_SECONDS });
  return header.isWideGamut ? image.withIccProfile('srgb') : image;
}

async function toRaw(image: Sharp): Promise<{ data: Uint8Array; info: OutputInfo } | null> {
  try {
    const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
    return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), info };
  } catch {
    return null;
  }
}

async function decodeWhole(source: Source, spec: PreprocessSpec): Promise<Decoded | null> {
  const raw = await toRaw(open(source));
  if (raw === null) return null;
  const { width, height } = raw.info;
  const rgb = flatten(raw.data, raw.info.channels, source.tiff, spec.background);
  const placement = placeImage(raw.info, spec);
  const pixels = resample(rgb, { width, height }, placement.to, placement.window, spec.resample);
  return { status: 'ok', width, height, pixels: pad(pixels, placement, inputSize(spec)) };
}

async function decodeStreaming(source: Source, spec: PreprocessSpec): Promise<Decoded | null> {
  const { width, height } = source.header;
  const placement = placeImage({ width, height }, spec);
  const { to, window } = placement;
  const isTall = to.height > TALL * window.height;
  const top = isTall ? window.top : 0;
  const image = open(source)
    .resize(to.width, to.height, { fit: 'fill', kernel: LIBVIPS_KERNELS[spec.resample], fastShrinkOnLoad: false })
    .extract({ left: window.left, top, width: window.width, height: isTall ? window.height : to.height });
  const isHeavy = source.header.isWhole && width * height > HEAVY_PIXELS;
  const raw = await (isHeavy ? inTurn(() => toRaw(image)) : toRaw(image));
  if (raw === null) return null;
  const rgb = flatten(raw.data, raw.info.channels, source.tiff, spec.background);
  const start = (window.top - top) * window.width * 3;
  const pixels = rgb.subarray(start, start + window.height * window.width * 3);
  return { status: 'ok', width, height, pixels: pad(pixels, placement, inputSize(spec)) };
}

let turn: Promise<void> = Promise.resolve();

/** Runs one call after the other; `run` must not reject. */
function inTurn<T>(run: () => Promise<T>): Promise<T> {
  const result = turn.then(run);
  turn = result.then(() => undefined);
  return result;
}

/** Lays `channels` bytes a pixel (red, green, blue, perhaps alpha, perhaps more) over the background. */
function flatten(data: Uint8Array, channels: number, tiff: TiffHeader | null, background: PreprocessSpec['background']): Uint8Array {
  if (channels === 3) return data;
  const isOpaque = tiff?.extraBands === 'other';
  const n = data.length / channels;
  const rgb = new Uint8Array(n * 3);
  for (let i = 0; i < n; i++) {
    const from = i * channels;
    const opacity = isOpaque ? 255 : (data[from + 3] as number);
    for (let c = 0; c < 3; c++) {
      rgb[i * 3 + c] = ((data[from + c] as number) * opacity + (background[c] as number) * (255 - opacity) + 127) / 255;
    }
  }
  return rgb;
}

/** Puts a smaller window into a black input. */
function pad(pixels: Uint8Array, { window, left, top }: Placement, input: Size): Uint8Array {
  if (window.width === input.width && window.height === input.height) return pixels;
  const padded = new Uint8Array(input.width * input.height * 3);
  for (let y = 0; y < window.height; y++) {
    const row = pixels.subarray(y * window.width * 3, (y + 1) * window.width * 3);
    padded.set(row, ((top + y) * input.width + left) * 3);
  }
  return padded;
}
