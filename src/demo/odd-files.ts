/** The odd files of the demo corpus: what a crawl brings home besides good pictures. */
import type { RandomStream } from '../random.ts';
import type { OddKind } from './corpus.ts';
import { ODD_KINDS } from './corpus.ts';
import { Dice } from './dice.ts';
import type { Picture } from './draw-picture.ts';
import { encodeJpeg, encodeUnusual } from './write.ts';

const HTML = '<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body><h1>Not Found</h1><p>Picture <NAME> was not found on this server.</p></body></html>\n';
const TEXT = 'Picture <NAME> is kept elsewhere. Ask the archive for it.\n';
/** EXIF orientation → clockwise turn of the stored pixels, in degrees, that the reader has to undo. */
const TURNS = [[6, 270], [3, 180], [8, 90]] as const;

/**
 * The bytes of an odd file made of `picture`.
 *
 * @param ordinal which odd file of the corpus this is: cycles through the variants of a kind
 * @param stream  draws of this file only
 */
export async function makeOddFile(kind: OddKind, picture: Picture, ordinal: number, stream: RandomStream): Promise<Uint8Array> {
  const dice = new Dice(stream);
  switch (kind) {
    case 'empty':
      return new Uint8Array(0);
    case 'html':
      return new TextEncoder().encode(HTML.replace('<NAME>', String(ordinal)));
    case 'text':
      return new TextEncoder().encode(TEXT.replace('<NAME>', String(ordinal)));
    case 'truncated': {
      const jpeg = await encodeJpeg(picture, stream);
      return jpeg.slice(0, Math.floor(jpeg.length * dice.between(0.3, 0.8)));
    }
    case 'scrambled':
      return scramble(await encodeJpeg(picture, stream), dice);
    case 'huge-header':
      return claimSize(await encodeJpeg(picture, stream), 65_000);
    case 'exif-rotated': {
      const [orientation, angle] = TURNS[Math.floor(ordinal / ODD_KINDS.length) % TURNS.length] ?? TURNS[0];
      return insertOrientation(await encodeUnusual.turned(picture, angle), orientation);
    }
    case 'too-small':
      return encodeUnusual.tiny(picture);
    case 'cmyk':
      return encodeUnusual.cmyk(picture);
    case 'grey':
      return encodeUnusual.grey(picture);
    case 'png-16-bit':
      return encodeUnusual.png16(picture);
    case 'png-alpha':
      return encodeUnusual.pngAlpha(picture);
    case 'gif-animated':
      return encodeUnusual.gifAnimated(picture);
  }
}

/** Overwrites 64 bytes of the entropy-coded data, the end marker left in place. */
function scramble(jpeg: Uint8Array, dice: Dice): Uint8Array {
  const bytes = jpeg.slice();
  const scan = findSegment(bytes, 0xda);
  const from = dice.integer(scan + 20, Math.max(scan + 20, bytes.length - 80));
  for (let i = from; i < Math.min(from + 64, bytes.length - 2); i++) bytes[i] = dice.integer(0, 254);
  return bytes;
}

/** Writes `side` as width and height into the frame header (ITU T.81, B.2.2); the data stays small. */
function claimSize(jpeg: Uint8Array, side: number): Uint8Array {
  const bytes = jpeg.slice();
  const view = new DataView(bytes.buffer);
  const frame = findSegment(bytes, 0xc0);
  view.setUint16(frame + 5, side);
  view.setUint16(frame + 7, side);
  return bytes;
}

/** Puts an EXIF segment with nothing but the orientation tag (TIFF 6.0, tag 0x0112, SHORT) after the start marker. */
function insertOrientation(jpeg: Uint8Array, orientation: number): Uint8Array {
  const tiff = [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];
  const body = [0x45, 0x78, 0x69, 0x66, 0, 0, ...tiff];
  const segment = [0xff, 0xe1, 0, body.length + 2, ...body];
  return Uint8Array.from([...jpeg.subarray(0, 2), ...segment, ...jpeg.subarray(2)]);
}

/** Offset of the marker byte pair FF `marker` in a well-formed JPEG; segments before it are skipped by their lengths. */
function findSegment(jpeg: Uint8Array, marker: number): number {
  let at = 2;
  while (jpeg[at + 1] !== marker) at += 2 + (jpeg[at + 2]! << 8) + jpeg[at + 3]!;
  return at;
}
