/**
 * The first directory of a TIFF: which samples it holds. TIFF 6.0, its Adobe supplements, and BigTIFF.
 *
 * TIFF is a container of arrays more than a picture format, and libvips turns many of them into something without a
 * word: YCbCr without JPEG compression comes out as RGB, 32-bit and signed samples clipped, a fourth band as alpha.
 * Here is decided which of them have one meaning as a picture.
 */

export interface TiffHeader {
  /** Whether the samples mean one picture that the decoder shows rightly. */
  readonly isPicture: boolean;
  /** What the bands after the colours are: opacity (libvips divides colours multiplied by it), or something to leave out. */
  readonly extraBands: 'none' | 'alpha' | 'other';
  /** Whether the compression is one that every build of the decoder has. */
  readonly isCommonCompression: boolean;
  /** First byte after the directory and the pixels it points to. */
  readonly endByte: number;
}

/** Reads the first directory. Returns null when there is none inside the file's bounds or it makes no sense. */
export function readTiffHeader(bytes: Uint8Array): TiffHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const directory = readDirectory(view);
  if (directory === null) return null;
  const one = (tag: number, otherwise: number): number => directory.tags.get(tag)?.[0] ?? otherwise;
  const photometric = one(262, -1);
  const samples = one(277, 1);
  const extra = directory.tags.get(338) ?? [];
  // A fourth band that nothing describes is opacity by custom; one described as "unspecified" (near infrared) is not.
  const colours = COLOURS.get(photometric) ?? samples;
  const extraBands = samples <= colours ? 'none' : [1, 2].includes(extra[0] ?? 2) ? 'alpha' : 'other';
  return {
    isPicture: isPicture(photometric, samples - colours, directory.tags) && !isCameraRaw(view, directory.tags),
    extraBands,
    isCommonCompression: COMMON_COMPRESSIONS.has(one(259, 1)),
    endByte: Math.max(directory.end, lastByte(directory.tags, 273, 279), lastByte(directory.tags, 324, 325)),
  };
}

const COLOURS = new Map([[0, 1], [1, 1], [2, 3], [3, 1], [5, 4], [6, 3], [8, 3]]);
/** None, CCITT, LZW, JPEG, Deflate twice, PackBits. */
const COMMON_COMPRESSIONS = new Set([1, 2, 3, 4, 5, 7, 8, 32946, 32773]);
const SAMPLES_MAX = 5; // sharp's own limit

function isPicture(photometric: number, extras: number, tags: Tags): boolean {
  const bits = tags.get(258)?.[0] ?? 1;
  const isUnsigned = (tags.get(339)?.[0] ?? 1) === 1;
  const colours = COLOURS.get(photometric);
  if (colours === undefined || extras < 0 || colours + extras > SAMPLES_MAX) return false;
  // Several bands without colours are channels of an instrument, and none of them is the picture.
  if (photometric <= 1) return isUnsigned && [1, 2, 4, 8, 16].includes(bits) && (extras === 0 || extras === 1);
  // 32-bit floats in RGB are linear light, 1 = white. For grey ones nobody agrees what white is.
  if (photometric === 2) return isUnsigned ? bits === 8 || bits === 16 : tags.get(339)?.[0] === 3 && bits === 32 && extras === 0;
  if (photometric === 3) return bits <= 8;
  if (photometric === 5) return isUnsigned && (bits === 8 || bits === 16);
  if (photometric === 6) return tags.get(259)?.[0] === 7;
  return true;
}

/** DNG, CR2, NEF and their kin: the first directory is a thumbnail. */
function isCameraRaw(view: DataView, tags: Tags): boolean {
  const isCanon = view.byteLength > 10 && view.getUint16(8) === 0x4352;
  return isCanon || tags.has(50706) || ((tags.get(254)?.[0] ?? 0) & 1) === 1;
}

function lastByte(tags: Tags, offsetTag: number, countTag: number): number {
  const offsets = tags.get(offsetTag) ?? [];
  const counts = tags.get(countTag) ?? [];
  return offsets.reduce((last, offset, i) => Math.max(last, offset + (counts[i] ?? 0)), 0);
}

type Tags = ReadonlyMap<number, readonly number[]>;

const WANTED = new Set([254, 258, 259, 262, 273, 277, 279, 324, 325, 338, 339, 50706]);
/** Bytes of a value, by type number. */
const VALUE_BYTES = new Map([[1, 1], [2, 1], [3, 2], [4, 4], [5, 8], [6, 1], [7, 1], [8, 2], [9, 4], [10, 8], [11, 4], [12, 8], [13, 4], [16, 8], [17, 8], [18, 8]]);
const UNSIGNED_TYPES = new Set([1, 3, 4, 13, 16, 18]);
/** No picture has more strips or tiles: a limit on what a hostile file can make us hold. */
const VALUES_MAX = 1 << 20;

function readDirectory(view: DataView): { tags: Tags; end: number } | null {
  if (view.byteLength < 16) return null;
  const isLittle = view.getUint8(0) === 0x49;
  const isBig = view.getUint16(2, isLittle) === 43;
  const integer = (at: number, size: number): number => {
    if (size === 1) return view.getUint8(at);
    if (size === 2) return view.getUint16(at, isLittle);
    if (size === 4) return view.getUint32(at, isLittle);
    return view.getUint32(at + (isLittle ? 4 : 0), isLittle) * 2 ** 32 + view.getUint32(at + (isLittle ? 0 : 4), isLittle);
  };
  const word = isBig ? 8 : 4;
  const start = integer(isBig ? 8 : 4, word);
  const countBytes = isBig ? 8 : 2;
  if (start + countBytes > view.byteLength) return { tags: new Map(), end: start + countBytes };
  const entryBytes = 4 + 2 * word;
  const end = start + countBytes + integer(start, countBytes) * entryBytes;
  if (end > view.byteLength) return { tags: new Map(), end };
  const tags = new Map<number, number[]>();
  let last = end;
  for (let at = start + countBytes; at < end; at += entryBytes) {
    const tag = integer(at, 2);
    const type = integer(at + 2, 2);
    const size = VALUE_BYTES.get(type);
    const n = integer(at + 4, word);
    if (size === undefined) continue;
    const valuesAt = n * size <= word ? at + 4 + word : integer(at + 4 + word, word);
    last = Math.max(last, valuesAt + n * size);
    if (!WANTED.has(tag) || !UNSIGNED_TYPES.has(type) || valuesAt + n * size > view.byteLength) continue;
    if (n > VALUES_MAX) return null;
    tags.set(tag, Array.from({ length: n }, (_, i) => integer(valuesAt + i * size, size)));
  }
  return { tags, end: last };
}
