/**
 * Which kind of file some bytes are, by their signature alone: the allow-list in front of the decoder.
 *
 * libvips picks a loader by content and accepts much more than a corpus should hold: it renders a web page with an
 * inline `<svg>` whatever its name is. So only files that this list knows, and knows as decodable, get that far.
 * Signatures: the formats' own specifications; ISO 14496-12 for the `ftyp` brands.
 */

/** Formats that reach the decoder: those that sharp's prebuilt libvips 8.18 reads and that hold pixels, not drawings. */
export const IMAGE_FORMATS = ['jpeg', 'png', 'gif', 'webp', 'tiff', 'avif'] as const;

export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** Known kinds of images and videos that do not reach it. A camera's raw file is a TIFF here: `tiff-header.ts` tells it. */
export type ForeignFormat =
  | 'svg' | 'pdf' | 'postscript' | 'wmf' | 'emf' // drawings
  | 'heic' | 'jp2' | 'jxl' | 'exr' | 'hdr' | 'bmp' | 'ico' | 'psd' | 'dds' | 'blp' | 'pcx' | 'pnm' | 'sgi' | 'qoi' | 'photo-cd'
  | 'dicom' | 'fits' | 'hdf5' // scientific containers
  | 'flic' | 'video';

/**
 * Tells a file's kind from its first bytes, 4 KB at most. Never throws; about 1 µs.
 *
 * @param bytes the whole file, or at least its first 4 KB
 * @returns an allowed format, a known one that is not, `empty`, or `not-an-image` for everything else (text, web pages,
 * archives, audio, formats without a signature such as TGA)
 */
export function sniffFormat(bytes: Uint8Array): ImageFormat | ForeignFormat | 'empty' | 'not-an-image' {
  if (bytes.length === 0) return 'empty';
  if (isText(bytes, 4, 'ftyp')) return ofBrands(bytes);
  if (isText(bytes, 0, 'RIFF')) return isText(bytes, 8, 'WEBP') ? 'webp' : isText(bytes, 8, 'AVI ') ? 'video' : 'not-an-image';
  for (const [kind, offset, signature] of SIGNATURES) {
    if (typeof signature === 'string' ? isText(bytes, offset, signature) : startsWith(bytes, offset, signature)) return kind;
  }
  return ofWeakSignature(bytes) ?? (isSvg(bytes) ? 'svg' : 'not-an-image');
}

/** Whether a sniffed kind reaches the decoder. */
export function isDecodable(kind: ReturnType<typeof sniffFormat>): kind is ImageFormat {
  return (IMAGE_FORMATS as readonly string[]).includes(kind);
}

const SIGNATURES: readonly (readonly [ImageFormat | ForeignFormat, number, string | readonly number[]])[] = [
  ['jpeg', 0, [0xff, 0xd8]], // what follows may be damaged: still a JPEG, to libvips too
  ['png', 0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ['gif', 0, 'GIF87a'],
  ['gif', 0, 'GIF89a'],
  ['tiff', 0, [0x49, 0x49, 42, 0]],
  ['tiff', 0, [0x4d, 0x4d, 0, 42]],
  ['tiff', 0, [0x49, 0x49, 43, 0]], // BigTIFF
  ['tiff', 0, [0x4d, 0x4d, 0, 43]],
  ['pdf', 0, '%PDF-'],
  ['postscript', 0, '%!PS'],
  ['wmf', 0, [0xd7, 0xcd, 0xc6, 0x9a]],
  ['emf', 40, ' EMF'],
  ['jp2', 0, [0, 0, 0, 12, 0x6a, 0x50, 0x20, 0x20]],
  ['jp2', 0, [0xff, 0x4f, 0xff, 0x51]], // bare codestream
  ['jxl', 0, [0, 0, 0, 12, 0x4a, 0x58, 0x4c, 0x20]],
  ['jxl', 0, [0xff, 0x0a]],
  ['exr', 0, [0x76, 0x2f, 0x31, 0x01]],
  ['hdr', 0, '#?RADIANCE'],
  ['hdr', 0, '#?RGBE'],
  ['ico', 0, [0, 0, 1, 0]],
  ['ico', 0, [0, 0, 2, 0]], // cursor
  ['psd', 0, '8BPS'],
  ['dds', 0, 'DDS '],
  ['blp', 0, 'BLP1'],
  ['blp', 0, 'BLP2'],
  ['sgi', 0, [0x01, 0xda]],
  ['qoi', 0, 'qoif'],
  ['photo-cd', 2048, 'PCD_IPI'],
  ['dicom', 128, 'DICM'],
  ['fits', 0, 'SIMPLE  ='],
  ['hdf5', 0, [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]],
  ['flic', 4, [0x11, 0xaf]],
  ['flic', 4, [0x12, 0xaf]],
  ['video', 0, [0x1a, 0x45, 0xdf, 0xa3]], // Matroska, WebM
  ['video', 0, [0, 0, 1, 0xba]], // MPEG
  ['video', 0, [0, 0, 1, 0xb3]],
  ['video', 0, 'FLV\x01'],
  ['video', 0, [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]], // ASF, WMV
  ['video', 0, 'OggS'],
  ['video', 4, 'moov'],
];

/** Brands of an ISO base media file. A `mif1` still image says in its compatible brands which codec it needs. */
function ofBrands(bytes: Uint8Array): ImageFormat | ForeignFormat {
  const end = Math.min(bytes.length, 8 + Math.max(8, readBox(bytes) - 8), 8 + 256);
  const brands = new Set<string>();
  for (let at = 8; at + 4 <= end; at += 4) if (at !== 12) brands.add(latin1(bytes, at, at + 4));
  if (brands.has('avif') || brands.has('avis')) return 'avif';
  return ['heic', 'heix', 'hevc', 'hevx', 'heim', 'heis', 'mif1', 'msf1'].some((brand) => brands.has(brand)) ? 'heic' : 'video';
}

function readBox(bytes: Uint8Array): number {
  return (((bytes[0] as number) << 24) | ((bytes[1] as number) << 16) | ((bytes[2] as number) << 8) | (bytes[3] as number)) >>> 0;
}

/** Formats whose two signature bytes a text may also start with: a second field has to fit. */
function ofWeakSignature(bytes: Uint8Array): ForeignFormat | null {
  const [a, b, c] = bytes;
  if (a === 0x42 && b === 0x4d && [12, 16, 40, 52, 56, 64, 108, 124].includes(bytes[14] as number) && bytes[15] === 0) return 'bmp';
  if (a === 0x50 && b !== undefined && b >= 0x31 && b <= 0x37 && c !== undefined && /\s/.test(String.fromCharCode(c))) return 'pnm';
  if (a === 10 && b !== undefined && b <= 5 && c === 1) return 'pcx';
  return null;
}

/** True when the first element is `svg`: a web page that holds a drawing is a web page. */
function isSvg(bytes: Uint8Array): boolean {
  const start = latin1(bytes, 0, 4096).replace(/^\xef\xbb\xbf/, '');
  const root = start.replace(/^(\s+|<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<!DOCTYPE[^[>]*(\[[^\]]*\]\s*)?>)*/i, '');
  return /^<([\w-]+:)?svg[\s/>]/.test(root);
}

function startsWith(bytes: Uint8Array, offset: number, signature: readonly number[]): boolean {
  if (bytes.length < offset + signature.length) return false;
  return signature.every((byte, i) => bytes[offset + i] === byte);
}

function isText(bytes: Uint8Array, offset: number, signature: string): boolean {
  if (bytes.length < offset + signature.length) return false;
  for (let i = 0; i < signature.length; i++) if (bytes[offset + i] !== signature.charCodeAt(i)) return false;
  return true;
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1', start, end);
}
