/**
 * The encoded bytes of images, from the shards where those hold them, else from the files they were listed in; checked
 * against the CRC-32 that a shard holds beside them, or against the id, which is the start of their SHA-256 (`derivedId`
 * where the shard's bytes are derived): files outside the store have no other sum. Images read last are kept up to a number of bytes: small homogeneous parts come again and again, and a client that lost its
 * connection asks twice.
 */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { crc32 } from '../crc32.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { Store } from '../store/store.ts';
import type { Limiter } from './limiter.ts';
import type { FileSpan } from './pages.ts';
import { type Sum, createReadPool } from './read-pool.ts';
import type { RowFacts } from './rows.ts';

export interface ImageReader {
  /** @returns the bytes of row i of `rows`, or why they cannot be had. @throws {WinnowError} when a source, not the image, is at fault; ABORTED */
  read(rows: RowFacts, i: number, signal: AbortSignal): Promise<Uint8Array | { readonly fault: string }>;
  close(): Promise<void>;
}

export interface ImageReaderOptions {
  readonly store: Store;
  /** Folder of each source, by name; used where shards hold no bytes. */
  readonly locations: Readonly<Record<string, string>>;
  readonly limiter: Limiter;
  /** Bytes of images kept. */
  readonly cacheBytes: number;
  /** What images are checked by; those without a CRC-32 by their SHA-256 unless by nothing. */
  readonly verify: Sum;
}

/** A column of bytes holds less than 2 GiB. */
const IMAGE_BYTES_MAX = 2 ** 31 - 1;

/** Bytes, and their sum where it was asked for and is known already. */
type Found = { readonly bytes: Uint8Array; readonly sum: number | string | null } | { readonly fault: string };

/** Opens nothing before the first read. */
export function createImageReader({ store, locations, limiter, cacheBytes, verify }: ImageReaderOptions): ImageReader {
  const files = openByteReader(locations);
  const pool = createReadPool(Math.min(THREADS_MAX, availableParallelism()));
  const isLocal = isAbsolute(store.uri);
  const cache = createByteCache(cacheBytes);
  const readStored = async (span: FileSpan, sum: Sum): Promise<Found> => {
    if (isLocal) {
      const read = await pool.read({ path: join(store.uri, span.key), offset: span.offset, length: span.length }, sum);
      return 'fault' in read ? { fault: `${span.key}: ${read.fault}` } : read;
    }
    try {
      return { bytes: await store.read(span.key, { offset: span.offset, length: span.length }), sum: null };
    } catch (error) {
      if (error instanceof WinnowError && (error.code === 'INPUT_MALFORMED' || error.code === 'INPUT_MISSING')) return { fault: error.message };
      throw error;
    }
  };
  const readListed = async (rows: RowFacts, i: number): Promise<Found> => {
    const read = await files.read({ source: rows.source[i]!, path: rows.path[i]!, offset: rows.offset[i]!, length: rows.length[i]! }, IMAGE_BYTES_MAX);
    if (read.status === 'ok') return { bytes: read.bytes, sum: null };
    return { fault: read.status === 'unreadable' ? read.reason : `it has ${read.sizeBytes} bytes` };
  };
  const fetch = async (rows: RowFacts, i: number): Promise<Uint8Array | { readonly fault: string }> => {
    const stored = rows.stored[i];
    const sum = verify === 'crc32' && rows.crc32[i] === null ? 'sha256' : verify;
    const found = stored ? await readStored(stored, sum) : await readListed(rows, i);
    if ('fault' in found) return found;
    const id = bytesId(rows, i);
    if (!isAsWritten(found, sum, id, rows.crc32[i]!)) return { fault: rows.derivedId[i] === null ? 'its bytes are not those that were embedded' : 'its bytes are not those that were derived' };
    cache.keep(id, found.bytes);
    return found.bytes;
  };
  return {
    read: async (rows, i, signal) => {
      const held = cache.find(bytesId(rows, i));
      if (held !== undefined) return held;
      throwIfAborted(signal);
      if (isLocal && rows.stored[i] !== null) return fetch(rows, i); // the pool's threads are few
      return limiter(() => {
        throwIfAborted(signal);
        return fetch(rows, i);
      });
    },
    close: async () => {
      await files.close();
      await pool.close();
    },
  };
}

function isAsWritten({ bytes, sum: known }: Exclude<Found, { fault: string }>, sum: Sum, id: string, expected: number | null): boolean {
  if (sum === 'none') return true;
  if (sum === 'crc32') return (known ?? crc32(bytes)) === expected;
  return String(known ?? createHash('sha256').update(bytes).digest('hex')).startsWith(id);
}

/** What the bytes hash to. */
function bytesId({ id, derivedId }: RowFacts, i: number): string {
  return derivedId[i] ?? id[i]!;
}

/** Reading is soon bound by the memory, not by the threads. */
const THREADS_MAX = 4;

/** Bytes by what they hash to, the least recently used dropped first. Equal ids are equal bytes. */
function createByteCache(sizeBytesMax: number): { find(id: string): Uint8Array | undefined; keep(id: string, bytes: Uint8Array): void } {
  const held = new Map<string, Uint8Array>();
  let total = 0;
  return {
    find: (id) => {
      const bytes = held.get(id);
      if (bytes === undefined) return undefined;
      held.delete(id);
      held.set(id, bytes);
      return bytes;
    },
    keep: (id, bytes) => {
      if (bytes.byteLength > sizeBytesMax || held.has(id)) return;
      held.set(id, bytes);
      total += bytes.byteLength;
      for (const [oldest, { byteLength }] of held) {
        if (total <= sizeBytesMax) break;
        held.delete(oldest);
        total -= byteLength;
      }
    },
  };
}
