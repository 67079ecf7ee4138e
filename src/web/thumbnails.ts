/**
 * Thumbnails on demand: one image of the pool, read within its source, decoded with limits, scaled, and kept while there is
 * room. Equal requests under way are one.
 */
import { type Limiter, createLimiter } from '../batch/limiter.ts';
import type { DecodeLimits } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import type { ByteReader, ImagePlace } from '../ingest/image.ts';
import { drawThumbnail } from '../report/thumbnail.ts';
import type { TableRows } from './table-rows.ts';

/** A picture, or why there is none. */
export type Thumbnail = { readonly status: 'ok'; readonly webp: Uint8Array } | { readonly status: 'missing'; readonly reason: string };

export interface Thumbnails {
  /** @param side in pixels; squares of the middle of the image */
  read(row: number, side: number): Promise<Thumbnail>;
}

/** Sides that are made; others would let a stranger fill the cache. */
export const THUMBNAIL_SIDES = [96, 192, 512] as const;

export interface ThumbnailOptions {
  readonly images: TableRows;
  readonly reader: ByteReader;
  readonly limits: DecodeLimits;
  /** Bytes of thumbnails kept. */
  readonly cacheBytes: number;
  /** Images decoded at once. */
  readonly atOnce: number;
}

/** Requests that may wait for a decoder; more are told that the server is busy. */
const WAITING_MAX = 2000;

/** Opens nothing before the first read. */
export function createThumbnails({ images, reader, limits, cacheBytes, atOnce }: ThumbnailOptions): Thumbnails {
  const cache = new Map<string, Thumbnail>();
  const making = new Map<string, Promise<Thumbnail>>();
  const limiter: Limiter = createLimiter(atOnce);
  let held = 0;
  const keep = (name: string, made: Thumbnail): void => {
    cache.set(name, made);
    held += weight(made);
    for (const [oldest, one] of cache) {
      if (held <= cacheBytes) break;
      cache.delete(oldest);
      held -= weight(one);
    }
  };
  return {
    read: (row, side) => {
      const name = `${row}/${side}`;
      const known = cache.get(name);
      if (known !== undefined) {
        cache.delete(name);
        cache.set(name, known);
        return Promise.resolve(known);
      }
      const under = making.get(name);
      if (under !== undefined) return under;
      if (making.size >= WAITING_MAX) return Promise.resolve({ status: 'missing', reason: 'the server is busy' });
      const made = limiter(() => makeThumbnail(row, side, images, reader, limits)).then((thumbnail) => {
        keep(name, thumbnail);
        return thumbnail;
      });
      making.set(name, made);
      return made.finally(() => making.delete(name));
    },
  };
}

async function makeThumbnail(row: number, side: number, images: TableRows, reader: ByteReader, limits: DecodeLimits): Promise<Thumbnail> {
  const read = await reader.read(await placeOf(row, images), limits.sizeBytesMax).catch((error: unknown) => {
    // A source that is gone is no fault of the page.
    if (error instanceof WinnowError) return { status: 'unreadable', reason: 'the source is not where it was' } as const;
    throw error;
  });
  if (read.status !== 'ok') return { status: 'missing', reason: read.status === 'unreadable' ? read.reason : `it has ${read.sizeBytes} bytes` };
  // The shortest side is a limit for training, not for looking.
  const drawn = await drawThumbnail(read.bytes, { ...limits, sideMin: 1 }, side);
  return 'fault' in drawn ? { status: 'missing', reason: drawn.fault } : { status: 'ok', webp: drawn.webp };
}

async function placeOf(row: number, images: TableRows): Promise<ImagePlace> {
  const [source, path, offset, length] = await Promise.all([images.text('source', row), images.text('path', row), images.number('offset', 'uint64', row), images.number('length', 'uint64', row)]);
  return { source: source ?? '', path: path ?? '', offset: offset ?? -1, length: length ?? -1 };
}

/** Bytes of an entry with its bookkeeping. */
function weight(thumbnail: Thumbnail): number {
  return 200 + (thumbnail.status === 'ok' ? thumbnail.webp.byteLength : 0);
}
