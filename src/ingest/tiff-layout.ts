/** How the pixels of a TIFF lie in its file, from tags that are checked against each other and against the file's length. */
import type { GeoTIFFImage } from 'geotiff';
import { RasterRefusal } from './raster.ts';
import { TIFF_CODECS } from './tiff-codecs.ts';

export interface TiffLayout {
  readonly width: number;
  readonly height: number;
  readonly samples: number;
  readonly bits: number;
  /** 1: unsigned, 2: signed, 3: floating-point. */
  readonly format: number;
  readonly photometric: number;
  readonly isPlanar: boolean;
  readonly blockWidth: number;
  readonly blockHeight: number;
  /** Of one decoded block. */
  readonly blockBytes: number;
  /** By block; 0 where a sparse file leaves it out. */
  readonly byteCounts: ArrayLike<number>;
  readonly isSparse: boolean;
  /** Which sample is opacity, counted from 0; null without one. */
  readonly alpha: number | null;
  /** Red, green and blue of each value, 16 bits each, for pictures with a palette. */
  readonly palette: ArrayLike<number> | null;
}

/** A block is decoded whole, whatever part of it a window needs. */
const BLOCK_BYTES_MAX = 2 ** 26;
const SAMPLES_MAX = 1024;
const RGB = 2;
const PALETTE = 3;
const YCBCR = 6;
const DATA_TYPES = ['1 8', '1 16', '1 32', '2 8', '2 16', '2 32', '3 32', '3 64'];

/** @throws {RasterRefusal} raster-format, raster-malformed, raster-truncated, raster-blocks */
export async function readLayout(image: GeoTIFFImage, sizeBytes: number): Promise<TiffLayout> {
  const tags = image.fileDirectory;
  const [width, height, samples] = [numberOf(image.getWidth()), numberOf(image.getHeight()), numberOf(image.getSamplesPerPixel())];
  if (![width, height, samples].every((one) => Number.isSafeInteger(one) && one >= 1) || samples > SAMPLES_MAX) throw new RasterRefusal('raster-malformed', `says it has ${width} × ${height} pixels of ${samples} samples`);
  const depths = Array.from((await tags.loadValue('BitsPerSample')) ?? [1], Number);
  const formats = Array.from(tags.getValue('SampleFormat') ?? [1], Number);
  const [bits, format] = [depths[0] ?? 1, formats[0] ?? 1];
  if (depths.length < samples) throw new RasterRefusal('raster-malformed', `has ${samples} samples a pixel and depths of ${depths.length}`);
  if (!DATA_TYPES.includes(`${format} ${bits}`) || [...depths, ...formats.map(() => bits)].some((one) => one !== bits) || formats.some((one) => one !== format)) {
    throw new RasterRefusal('raster-format', `has samples of ${depths.slice(0, 8).join(', ')} bits in format ${formats.slice(0, 8).join(', ')}; 8, 16 and 32-bit integers and 32 and 64-bit floats are read, all bands alike`);
  }
  const compression = numberOf(tags.getValue('Compression') ?? 1);
  const photometric = numberOf(tags.getValue('PhotometricInterpretation') ?? 1);
  const isPlanar = image.planarConfiguration === 2;
  checkCoding({ compression, photometric, bits, format, samples, isPlanar, predictor: numberOf((await tags.loadValue('Predictor')) ?? 1), littleEndian: image.littleEndian });
  const [blockWidth, blockHeight] = [numberOf(image.getTileWidth()), numberOf(image.getTileHeight())];
  if (![blockWidth, blockHeight].every((one) => Number.isSafeInteger(one) && one >= 1)) throw new RasterRefusal('raster-malformed', `says its blocks have ${blockWidth} × ${blockHeight} pixels`);
  const blockBytes = blockWidth * blockHeight * (isPlanar ? 1 : samples) * (bits / 8);
  if (blockBytes > BLOCK_BYTES_MAX) throw new RasterRefusal('raster-blocks', `has ${image.isTiled ? 'tiles' : 'strips'} of ${blockBytes} bytes where up to ${BLOCK_BYTES_MAX} are read: rewrite it with \`gdal_translate -co TILED=YES\``);
  const blocks = Math.ceil(width / blockWidth) * Math.ceil(height / blockHeight) * (isPlanar ? samples : 1);
  const byteCounts = await checkBlocks(image, blocks, blockBytes, sizeBytes);
  const palette = photometric === PALETTE ? ((await tags.loadValue('ColorMap')) as ArrayLike<number> | undefined) ?? [] : null;
  if (palette !== null && palette.length < 3 * 2 ** bits) throw new RasterRefusal('raster-malformed', `has a palette of ${palette.length} values where ${3 * 2 ** bits} belong`);
  const colours = photometric === RGB || photometric === YCBCR ? 3 : 1;
  const extra = Array.from((tags.getValue('ExtraSamples') as ArrayLike<number> | undefined) ?? [], Number).findIndex((one) => one === 1 || one === 2);
  const alpha = extra >= 0 && colours + extra < samples ? colours + extra : null;
  return { width, height, samples, bits, format, photometric, isPlanar, blockWidth, blockHeight, blockBytes, byteCounts, isSparse: Array.prototype.includes.call(byteCounts, 0), alpha, palette };
}

/** A tag with several values where one belongs is no number. */
function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : Number.NaN;
}

interface Coding extends Pick<TiffLayout, 'photometric' | 'bits' | 'format' | 'samples' | 'isPlanar'> {
  readonly compression: number;
  readonly predictor: number;
  readonly littleEndian: boolean;
}

function checkCoding({ compression, photometric, bits, format, samples, isPlanar, predictor, littleEndian }: Coding): void {
  const codec = TIFF_CODECS[compression];
  const refuse = (message: string): never => {
    throw new RasterRefusal('raster-format', message);
  };
  if (codec === undefined) refuse(`is compressed by method ${compression}; ${[...new Set(Object.values(TIFF_CODECS))].join(', ')} are read: rewrite it with \`gdal_translate -co COMPRESS=DEFLATE\``);
  const isPicture = codec === 'JPEG' || codec === 'WebP';
  if (isPicture && (bits !== 8 || format !== 1 || isPlanar || (samples !== 3 && (samples !== 1 || codec === 'WebP') && (samples !== 4 || codec === 'JPEG')))) refuse(`has ${codec} blocks of ${samples} bands of ${bits} bits; three bands of 8 bits are read, with JPEG one, with WebP four`);
  if (photometric > PALETTE && !(photometric === YCBCR && codec === 'JPEG')) refuse(`has the colour space ${photometric}; grey, RGB and palettes are read, and YCbCr within JPEG blocks`);
  if (photometric === PALETTE && (bits !== 8 || format !== 1)) refuse(`has a palette of ${bits} bits; 8 are read`);
  if (photometric === RGB && samples < 3) throw new RasterRefusal('raster-malformed', `says it is RGB and has ${samples} bands`);
  if (![1, 2, 3].includes(predictor) || (predictor === 3 && format !== 3) || (predictor === 2 && format === 3)) refuse(`has the predictor ${predictor} on samples of format ${format}`);
  // The library undoes predictors in the machine's byte order.
  if (predictor !== 1 && bits > 8 && !littleEndian) refuse('is big-endian with a predictor on samples of more than 8 bits');
}

async function checkBlocks(image: GeoTIFFImage, blocks: number, blockBytes: number, sizeBytes: number): Promise<ArrayLike<number>> {
  const [offsetTag, countTag] = image.isTiled ? (['TileOffsets', 'TileByteCounts'] as const) : (['StripOffsets', 'StripByteCounts'] as const);
  const offsets = (await image.fileDirectory.loadValue(offsetTag)) as ArrayLike<number> | undefined;
  const counts = (await image.fileDirectory.loadValue(countTag)) as ArrayLike<number> | undefined;
  if (offsets === undefined || counts === undefined || typeof offsets === 'number' || typeof counts === 'number' || offsets.length < blocks || counts.length < blocks) {
    throw new RasterRefusal('raster-malformed', `has room for ${blocks} blocks and places of ${Math.min(offsets?.length ?? 0, counts?.length ?? 0)}`);
  }
  for (let i = 0; i < blocks; i++) {
    const [offset, count] = [Number(offsets[i]), Number(counts[i])];
    if (count > 2 * blockBytes + 65_536) throw new RasterRefusal('raster-malformed', `says that block ${i} takes ${count} bytes where it holds ${blockBytes}`);
    if (offset + count > sizeBytes) throw new RasterRefusal('raster-truncated', `has block ${i} of ${blocks} up to byte ${offset + count} of ${sizeBytes}`);
  }
  return counts;
}
