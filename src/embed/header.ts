/**
 * What a file's own structure says without decoding it: the size of the common formats, and whether the file ends
 * before its structure does. Specifications: ITU-T T.81 (JPEG), W3C PNG, GIF89a, RFC 9649 (WebP), ISO 14496-12 (AVIF).
 *
 * The decoder's error messages are no help here: libvips keeps them in one buffer for all threads, so under concurrency
 * they name other images. A reason found in the bytes is the same in every run.
 */
import type { Size } from './resample.ts';
import type { ImageFormat } from './sniff.ts';
import { readTiffHeader } from './tiff-header.ts';

/**
 * Reads the size before EXIF orientation from the header. O(header), no allocation.
 *
 * @returns null when in any doubt, and for TIFF, AVIF, GIF (whose screen size many files get wrong) and 16-bit PNG:
 * then the decoder has to be asked
 */
export function readSize(bytes: Uint8Array, format: ImageFormat): Size | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (format === 'png') return pngSize(view);
  if (format === 'webp') return webpSize(view);
  if (format !== 'jpeg') return null;
  const frame = walkJpeg(view).frame;
  if (frame === null || frame + 9 > bytes.length) return null;
  return positive(view.getUint16(frame + 7), view.getUint16(frame + 5));
}

/**
 * True when the structure promises more bytes than the file has: it was cut. Meant for files that did not decode;
 * some that did lack only an end marker.
 */
export function endsEarly(bytes: Uint8Array, format: ImageFormat): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (format === 'jpeg') return jpegEndsEarly(bytes, view);
  if (format === 'png') return pngEndsEarly(view);
  if (format === 'gif') return gifEndsEarly(view);
  if (format === 'webp') return bytes.length < 12 || view.getUint32(4, true) + 8 > bytes.length;
  if (format === 'tiff') return bytes.length < 16 || (readTiffHeader(bytes)?.endByte ?? 0) > bytes.length;
  return boxesEndEarly(view);
}

/** True for JPEG processes other than 8-bit baseline, extended and progressive: this build has no decoder for them. */
export function isRareJpeg(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { frame } = walkJpeg(view);
  if (frame === null || frame + 9 > bytes.length) return false;
  return view.getUint8(frame + 4) !== 8 || ![0xc0, 0xc1, 0xc2, 0xc9, 0xca].includes(view.getUint8(frame + 1));
}

function positive(width: number, height: number): Size | null {
  return width > 0 && height > 0 ? { width, height } : null;
}

/**
 * Walks the marker segments up to the first scan.
 *
 * @returns offsets of the frame header's and the first scan's marker, null when not met; `end`: where the walk stopped,
 * beyond the file when a segment is cut
 */
function walkJpeg(view: DataView): { frame: number | null; scan: number | null; end: number } {
  let frame: number | null = null;
  let at = 2;
  while (at + 1 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return { frame: null, scan: null, end: at };
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0x00 || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd9)) return { frame, scan: null, end: at };
    if (at + 4 > view.byteLength) break;
    if (marker === 0xda) return { frame, scan: at, end: at };
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) frame ??= at;
    at += 2 + view.getUint16(at + 2);
  }
  return { frame, scan: null, end: Math.max(at, view.byteLength + 1) };
}

function jpegEndsEarly(bytes: Uint8Array, view: DataView): boolean {
  const { scan, end } = walkJpeg(view);
  if (end > bytes.length) return true;
  // 0xFFD9 cannot occur inside entropy-coded data, but does end the thumbnails in front of it.
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return buffer.lastIndexOf(END_OF_JPEG) < (scan ?? end);
}

const END_OF_JPEG = Buffer.from([0xff, 0xd9]);

function pngSize(view: DataView): Size | null {
  const isHeader = view.byteLength >= 33 && view.getUint32(8) === 13 && view.getUint32(12) === 0x49484452;
  if (!isHeader || view.getUint8(24) > 8) return null;
  return positive(view.getUint32(16), view.getUint32(20));
}

function pngEndsEarly(view: DataView): boolean {
  for (let at = 8; ; ) {
    if (at + 12 > view.byteLength) return true;
    if (view.getUint32(at + 4) === 0x49454e44) return false;
    at += 12 + view.getUint32(at);
  }
}

function webpSize(view: DataView): Size | null {
  if (view.byteLength < 30) return null;
  const chunk = view.getUint32(12);
  if (chunk === 0x56503858) return positive(1 + uint24(view, 24), 1 + uint24(view, 27)); // VP8X
  if (chunk === 0x56503820 && view.getUint16(23) === 0x9d01 && view.getUint8(25) === 0x2a) {
    return positive(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff); // VP8, key frame
  }
  if (chunk !== 0x5650384c || view.getUint8(20) !== 0x2f) return null; // VP8L
  const bits = view.getUint32(21, true);
  return positive(1 + (bits & 0x3fff), 1 + ((bits >>> 14) & 0x3fff));
}

function uint24(view: DataView, at: number): number {
  return view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
}

/** Follows blocks and sub-blocks to the trailer. Bytes that are no block end the walk: damage, not a cut. */
function gifEndsEarly(view: DataView): boolean {
  if (view.byteLength < 13) return true;
  let at = 13 + paletteBytes(view.getUint8(10));
  while (at < view.byteLength) {
    const block = view.getUint8(at);
    if (block === 0x3b) return false;
    if (block === 0x21) at += 2;
    else if (block !== 0x2c) return false;
    else if (at + 10 > view.byteLength) return true;
    else at += 11 + paletteBytes(view.getUint8(at + 9));
    while (at < view.byteLength && view.getUint8(at) !== 0) at += 1 + view.getUint8(at);
    at += 1;
  }
  return true;
}

function paletteBytes(flags: number): number {
  return (flags & 0x80) === 0 ? 0 : 3 << ((flags & 7) + 1);
}

function boxesEndEarly(view: DataView): boolean {
  let at = 0;
  while (at + 8 <= view.byteLength) {
    const size = view.getUint32(at);
    if (size === 0) return false; // to the end of the file
    const isLong = size === 1 && at + 16 <= view.byteLength;
    const length = isLong ? view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12) : size;
    if (length < 8) return false;
    at += length;
  }
  return at > view.byteLength;
}
