/**
 * Decoders of TIFF blocks that give no more than a block holds. Those that come with the library grow without bound on
 * hostile bytes, so they are replaced: Deflate (zlib), LZW and PackBits (TIFF 6.0, sections 13 and 9), JPEG and WebP (the
 * picture decoder). Zstandard, LERC and JPEG 2000 inside TIFF are not read.
 */
import { promisify } from 'node:util';
import { inflate } from 'node:zlib';
import { BaseDecoder, addDecoder } from 'geotiff';
import { decodeBlock as decodePicture } from './raster-picture.ts';
import { RasterRefusal } from './raster.ts';

/** By number of the Compression tag. */
export const TIFF_CODECS: Readonly<Record<number, string>> = { 1: 'none', 5: 'LZW', 7: 'JPEG', 8: 'Deflate', 32773: 'PackBits', 32946: 'Deflate', 50001: 'WebP' };

/** Tells the library to use these decoders. Any number of times. */
export function registerCodecs(): void {
  if (isRegistered) return;
  isRegistered = true;
  addDecoder([8, 32946], async () => Deflate, blockOf);
  addDecoder(5, async () => Lzw, blockOf);
  addDecoder(32773, async () => PackBits, blockOf);
  addDecoder([7, 50001], async () => Picture, async (directory) => ({ ...(await blockOf(directory)), predictor: 1, tables: await directory.loadValue('JPEGTables'), photometric: await directory.loadValue('PhotometricInterpretation') }));
}

let isRegistered = false;

type Directory = Parameters<NonNullable<Parameters<typeof addDecoder>[2]>>[0];
type Block = Awaited<ReturnType<NonNullable<Parameters<typeof addDecoder>[2]>>>;

async function blockOf(directory: Directory): Promise<Block> {
  const tiled = directory.hasTag('TileWidth');
  const height = Number(await directory.loadValue('ImageLength'));
  return {
    tileWidth: Number(await directory.loadValue(tiled ? 'TileWidth' : 'ImageWidth')),
    tileHeight: tiled ? Number(await directory.loadValue('TileLength')) : Math.min(height, Number((await directory.loadValue('RowsPerStrip')) ?? height)),
    planarConfiguration: Number((await directory.loadValue('PlanarConfiguration')) ?? 1),
    bitsPerSample: (await directory.loadValue('BitsPerSample')) ?? [8],
    predictor: Number((await directory.loadValue('Predictor')) ?? 1),
  };
}

/** Bytes of a whole block; the last strip of a file holds fewer. */
function bytesOf({ tileWidth, tileHeight, bitsPerSample, planarConfiguration }: Block): number {
  const bits = typeof bitsPerSample === 'number' ? [bitsPerSample] : Array.from(bitsPerSample);
  return (tileWidth * tileHeight * (planarConfiguration === 2 ? bits[0]! : bits.reduce((sum, one) => sum + one, 0))) / 8;
}

const inflateAsync = promisify(inflate);

class Deflate extends BaseDecoder {
  override async decodeBlock(buffer: ArrayBufferLike): Promise<ArrayBufferLike> {
    try {
      return exact(await inflateAsync(new Uint8Array(buffer), { maxOutputLength: bytesOf(this.parameters as Block) }));
    } catch {
      throw damaged('Deflate');
    }
  }
}

class PackBits extends BaseDecoder {
  override decodeBlock(buffer: ArrayBufferLike): ArrayBufferLike {
    const bytes = new Uint8Array(buffer);
    const out = new Uint8Array(bytesOf(this.parameters as Block));
    let filled = 0;
    for (let at = 0; at < bytes.length && filled < out.length; ) {
      const header = bytes[at++]!;
      if (header === 128) continue;
      const run = header > 128 ? 257 - header : header + 1;
      if (header > 128) out.fill(bytes[at++] ?? 0, filled, filled + run);
      else out.set(bytes.subarray(at, Math.min(at + run, at + out.length - filled)), filled);
      if (header < 128) at += run;
      filled += run;
    }
    return out.buffer.slice(0, Math.min(filled, out.length));
  }
}

const CLEAR = 256;
const END = 257;

class Lzw extends BaseDecoder {
  /** Codes of 9 to 12 bits, high bits first; the width grows one code early, as TIFF writers have it. */
  override decodeBlock(buffer: ArrayBufferLike): ArrayBufferLike {
    const bytes = new Uint8Array(buffer);
    const out = new Uint8Array(bytesOf(this.parameters as Block));
    // Text of a code: where in `out` it was written first, and how long.
    const start = new Uint32Array(4097);
    const length = new Uint16Array(4097);
    let [filled, next, width, previous, bits, held] = [0, END + 1, 9, -1, 0, 0];
    for (let at = 0; filled < out.length; ) {
      for (; bits < width && at < bytes.length; bits += 8) held = ((held << 8) | bytes[at++]!) & 0xffffff;
      if (bits < width) break;
      bits -= width;
      const code = (held >>> bits) & ((1 << width) - 1);
      if (code === END) break;
      if (code === CLEAR) {
        [next, width, previous] = [END + 1, 9, -1];
        continue;
      }
      if (code > next || (code === next && previous < 0)) throw damaged('LZW');
      const begun = filled;
      if (code < CLEAR) out[filled++] = code;
      else if (code < next) for (let i = 0; i < length[code]! && filled < out.length; i++) out[filled++] = out[start[code]! + i]!;
      if (previous >= 0 && next < 4096) {
        // The text of the code before and one byte more: they lie together in the output already.
        const size = previous < CLEAR ? 1 : length[previous]!;
        start[next] = begun - size;
        length[next] = size + 1;
        if (code === next) for (let i = 0; i <= size && filled < out.length; i++) out[filled++] = out[begun - size + i]!;
        next += 1;
      }
      if (next >= (1 << width) - 1 && width < 12) width += 1;
      previous = code;
    }
    return out.buffer.slice(0, filled);
  }
}

class Picture extends BaseDecoder {
  override async decodeBlock(buffer: ArrayBufferLike): Promise<ArrayBufferLike> {
    const { tables, photometric, ...block } = this.parameters as Block & { readonly tables?: ArrayLike<number>; readonly photometric?: number };
    const bands = typeof block.bitsPerSample === 'number' ? 1 : block.bitsPerSample.length;
    const bytes = new Uint8Array(buffer);
    return exact(await decodePicture(tables === undefined ? bytes : withTables(bytes, Uint8Array.from(tables)), { width: block.tileWidth, height: block.tileHeight, bands, isRgb: photometric === 2 }));
  }
}

/** An abbreviated JPEG stream with the tables that the directory holds for all of them (TIFF technical note 2). */
function withTables(bytes: Uint8Array, tables: Uint8Array): Uint8Array {
  const whole = new Uint8Array(tables.length - 2 + bytes.length - 2);
  whole.set(tables.subarray(0, tables.length - 2)); // without its end marker
  whole.set(bytes.subarray(2), tables.length - 2); // without its start marker
  return whole;
}

function exact(bytes: Uint8Array): ArrayBufferLike {
  return bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
}

function damaged(codec: string): RasterRefusal {
  return new RasterRefusal('raster-unreadable', `has damaged ${codec} bytes`);
}
