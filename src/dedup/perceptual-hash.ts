/**
 * Perceptual hashes of 64 bits, for near-duplicates without a model. `dhash`: whether each of 8 × 8 cells is darker than its
 * right neighbour (N. Krawetz, "Kind of Like That", 2013). `phash`: signs of the 8 × 8 lowest frequencies of a 32 × 32 cosine
 * transform against their median (the same author, "Looks Like It", 2011, after C. Zauner's pHash). Both see luma alone, of the
 * whole picture squeezed into a square.
 *
 * Departures: an image with next to no contrast has no hash, since noise alone would decide its bits and all blank pages would be
 * one group; and an image can have the hashes of its eight flips and quarter turns, which a plain hash does not see through.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { decodeTable } from '../arrow/ipc.ts';
import type { PreprocessSpec } from '../embed/embedding.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

export const PerceptualConfig = z.strictObject({
  hash: z.enum(['phash', 'dhash']).default('phash').describe('phash: signs of low frequencies, which survive codecs and scaling best; dhash: signs of horizontal differences, which see past a watermark more often and take a strong codec for a change.'),
  radius: z.int().min(0).max(16).default(6).describe('Bits of 64 in which two images may differ and still be near-duplicates. Higher: more altered copies are found, and more different pictures are taken for copies.'),
  flips: z.boolean().default(false).describe('Also find mirrored and turned copies: eight hashes an image and eight searches, with eight times the chance of a false pair.'),
});
export type PerceptualConfig = z.infer<typeof PerceptualConfig>;

export const HASH_BITS = 64;

/** Flips and quarter turns of a square: the picture itself first. */
const VARIANTS = 8;

/** Hashes of an image: 1, or 8 with flips. */
export function variantsOf({ flips }: Pick<PerceptualConfig, 'flips'>): number {
  return flips ? VARIANTS : 1;
}

export interface HashesManifest extends Manifest {
  /** Hashes of an image. */
  readonly variants: number;
}

/** Hashes of the rows firstRow … firstRow + rowCount − 1. */
export interface HashBlock {
  readonly firstRow: number;
  readonly rowCount: number;
  /** 1 where the row has hashes. */
  readonly valid: Uint8Array;
  /** rowCount × variants × 2 words: the lower 32 bits, then the upper ones. Zeros where there are none. */
  readonly words: Uint32Array;
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readHashes(store: Store, part: Part): Promise<HashBlock> {
  const view = decodeTable(await readPart(store, part), part.path);
  const { values } = view.vector('hash');
  return { firstRow: part.firstRow, rowCount: part.rowCount, valid: view.validity('hash') ?? new Uint8Array(part.rowCount).fill(1), words: values as Uint32Array };
}

/** How an image is scaled before it is hashed: to a square, so that turning the thumbnail is turning the image. */
export function hashSpec({ hash }: Pick<PerceptualConfig, 'hash'>): PreprocessSpec {
  const side = SIDES[hash];
  return { resize: { mode: 'exact', width: side, height: side }, crop: null, resample: 'bilinear', background: [255, 255, 255], layout: 'nhwc', type: 'uint8', rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
}

/**
 * Hashes one thumbnail. Integer arithmetic throughout for `dhash`, float64 in a fixed order for `phash`.
 *
 * @param pixels RGB at the size of `hashSpec`
 * @param out length variants × 2: for each variant the lower 32 bits, then the upper ones
 * @returns false, with nothing written, when the picture has too little contrast to be told from another
 */
export function hashPixels(pixels: Uint8Array, { hash, flips }: Pick<PerceptualConfig, 'hash' | 'flips'>, out: Uint32Array): boolean {
  const side = SIDES[hash];
  assert.equal(pixels.length, side * side * 3, `Expected a thumbnail of ${side} × ${side} pixels`);
  const luma = lumaOf(pixels);
  if (isFlat(luma, side)) return false;
  const turned = new Int32Array(luma.length);
  for (let variant = 0; variant < variantsOf({ flips }); variant++) {
    const [low, high] = hash === 'dhash' ? differenceHash(turn(luma, side, variant, turned)) : frequencyHash(turn(luma, side, variant, turned));
    out[variant * 2] = low;
    out[variant * 2 + 1] = high;
  }
  return true;
}

/** Bits in which two hashes differ, 0 … 64. */
export function hammingDistance(lowA: number, highA: number, lowB: number, highB: number): number {
  return bitCount(lowA ^ lowB) + bitCount(highA ^ highB);
}

/** 72 pixels are 8 rows of nine and 9 columns of eight. */
const SIDES = { dhash: 72, phash: 32 } as const;
/** Cells of a side in which contrast is looked for, and the least difference between two of them, of 255 levels. */
const CONTRAST_CELLS = 8;
const CONTRAST_MIN = 8;
/** Rec. 601 weights in thousandths. */
const LUMA = [299, 587, 114] as const;

/** Luma in thousandths of a level. */
function lumaOf(pixels: Uint8Array): Int32Array {
  const luma = new Int32Array(pixels.length / 3);
  for (let i = 0; i < luma.length; i++) luma[i] = LUMA[0] * pixels[i * 3]! + LUMA[1] * pixels[i * 3 + 1]! + LUMA[2] * pixels[i * 3 + 2]!;
  return luma;
}

function isFlat(luma: Int32Array, side: number): boolean {
  const means = cellSums(luma, side, CONTRAST_CELLS, CONTRAST_CELLS);
  const pixels = (side / CONTRAST_CELLS) ** 2;
  return (Math.max(...means) - Math.min(...means)) / pixels / 1000 < CONTRAST_MIN;
}

/** Sums over rows × columns equal cells. */
function cellSums(luma: Int32Array, side: number, rows: number, columns: number): Int32Array {
  const sums = new Int32Array(rows * columns);
  const [height, width] = [side / rows, side / columns];
  for (let y = 0; y < side; y++) {
    const row = Math.floor(y / height) * columns;
    for (let x = 0; x < side; x++) sums[row + Math.floor(x / width)]! += luma[y * side + x]!;
  }
  return sums;
}

/** Variants 1 and 2 flip left to right and top to bottom, 4 along the diagonal; the others are these together. */
function turn(luma: Int32Array, side: number, variant: number, out: Int32Array): Int32Array {
  if (variant === 0) return luma;
  for (let y = 0; y < side; y++) {
    const fromY = (variant & 2) === 0 ? y : side - 1 - y;
    for (let x = 0; x < side; x++) {
      const fromX = (variant & 1) === 0 ? x : side - 1 - x;
      out[y * side + x] = luma[(variant & 4) === 0 ? fromY * side + fromX : fromX * side + fromY]!;
    }
  }
  return out;
}

function differenceHash(luma: Int32Array): [low: number, high: number] {
  const sums = cellSums(luma, SIDES.dhash, 8, 9);
  return packBits((y, x) => sums[y * 9 + x]! < sums[y * 9 + x + 1]!);
}

/** COSINES[u · 32 + x]: the cosine transform of 32 samples, frequencies 0 … 7. */
const COSINES = Float64Array.from({ length: 8 * 32 }, (_, i) => Math.cos((Math.PI * Math.floor(i / 32) * (2 * (i % 32) + 1)) / 64));

/** The mean brightness, frequency (0, 0), gives no bit: it is always 0. */
function frequencyHash(luma: Int32Array): [low: number, high: number] {
  const side = SIDES.phash;
  const rows = new Float64Array(8 * side); // frequency across × y
  for (let y = 0; y < side; y++) for (let u = 0; u < 8; u++) for (let x = 0; x < side; x++) rows[u * side + y]! += luma[y * side + x]! * COSINES[u * side + x]!;
  const values = new Float64Array(64); // frequency down × frequency across
  for (let v = 0; v < 8; v++) for (let u = 0; u < 8; u++) for (let y = 0; y < side; y++) values[v * 8 + u]! += rows[u * side + y]! * COSINES[v * side + y]!;
  const median = values.slice(1).sort()[31]!;
  return packBits((v, u) => v + u > 0 && values[v * 8 + u]! > median);
}

function packBits(bit: (y: number, x: number) => boolean): [low: number, high: number] {
  let low = 0;
  let high = 0;
  for (let i = 0; i < 32; i++) {
    if (bit(i >> 3, i & 7)) low |= 1 << i;
    if (bit(4 + (i >> 3), i & 7)) high |= 1 << i;
  }
  return [low >>> 0, high >>> 0];
}

function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
