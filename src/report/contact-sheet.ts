/** Contact sheets: grids of thumbnails as one PNG, for people to look at. Never an input of anything. */
import sharp from 'sharp';
import { decodeTable } from '../arrow/ipc.ts';
import { decodeImage } from '../embed/decode.ts';
import type { DecodeLimits, PreprocessSpec } from '../embed/embedding.ts';
import type { ByteReader, ImagePlace, ImagesManifest } from '../ingest/image.ts';
import { readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** One block of a sheet: rows of cells, each a row of the pool or null for an empty cell. */
export interface SheetBlock {
  readonly cells: readonly (readonly (number | null)[])[];
}

export interface SheetOptions {
  readonly reader: ByteReader;
  readonly limits: DecodeLimits;
  /** Side of a thumbnail in pixels. Default 64. */
  readonly tile?: number;
}

/**
 * Draws blocks below each other, a gap between them. Images that cannot be read stay grey.
 *
 * @returns a PNG of at most max(columns) × tile by Σ rows × tile pixels and the gaps; memory is that of its pixels
 */
export async function drawContactSheet(store: Store, images: ImagesManifest, blocks: readonly SheetBlock[], options: SheetOptions): Promise<Uint8Array> {
  const tile = options.tile ?? 64;
  const columns = Math.max(1, ...blocks.flatMap(({ cells }) => cells.map((row) => row.length)));
  const width = columns * (tile + GAP) + GAP;
  const height = blocks.reduce((sum, { cells }) => sum + cells.length * (tile + GAP) + BLOCK_GAP, GAP);
  const pixels = new Uint8Array(width * height * 3).fill(PAPER);
  const places = await readPlaces(store, images, blocks.flatMap(({ cells }) => cells.flat()).filter((row): row is number => row !== null));
  let top = GAP;
  for (const { cells } of blocks) {
    for (const row of cells) {
      await Promise.all(row.map(async (image, column) => {
        if (image === null) return;
        const thumbnail = await readThumbnail(places.get(image), tile, options);
        paste(pixels, width, thumbnail, tile, GAP + column * (tile + GAP), top);
      }));
      top += tile + GAP;
    }
    top += BLOCK_GAP;
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

const GAP = 2;
const BLOCK_GAP = 14;
const PAPER = 250;
const MISSING = 190;

async function readPlaces(store: Store, images: ImagesManifest, rows: readonly number[]): Promise<Map<number, ImagePlace>> {
  const wanted = [...new Set(rows)].sort((a, b) => a - b);
  const places = new Map<number, ImagePlace>();
  for (const part of images.parts) {
    const here = wanted.filter((row) => row >= part.firstRow && row < part.firstRow + part.rowCount);
    if (here.length === 0) continue;
    const view = decodeTable(await readPart(store, part), part.path);
    for (const row of here) {
      const { source, path, offset, length } = view.row(row - part.firstRow) as { source: string; path: string; offset: number | null; length: number | null };
      places.set(row, { source, path, offset: offset ?? -1, length: length ?? -1 });
    }
  }
  return places;
}

async function readThumbnail(place: ImagePlace | undefined, tile: number, { reader, limits }: SheetOptions): Promise<Uint8Array | null> {
  if (place === undefined) return null;
  const read = await reader.read(place, limits.sizeBytesMax);
  if (read.status !== 'ok') return null;
  const decoded = await decodeImage(read.bytes, thumbnailSpec(tile), limits);
  return decoded.status === 'ok' ? decoded.pixels : null;
}

function thumbnailSpec(tile: number): PreprocessSpec {
  return { resize: { mode: 'cover', width: tile, height: tile }, crop: null, resample: 'bicubic', background: [255, 255, 255], layout: 'nhwc', type: 'uint8', rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
}

function paste(pixels: Uint8Array, width: number, thumbnail: Uint8Array | null, tile: number, left: number, top: number): void {
  for (let y = 0; y < tile; y++) {
    const at = ((top + y) * width + left) * 3;
    if (thumbnail === null) pixels.fill(MISSING, at, at + tile * 3);
    else pixels.set(thumbnail.subarray(y * tile * 3, (y + 1) * tile * 3), at);
  }
}
