/**
 * The encoded bytes of images, from the shards where those hold them, else from the files they were listed in; checked
 * against the CRC-32 that a shard holds beside them, or against the id, which is the start of their SHA-256 (`derivedId`
 * where the shard's bytes are derived): files outside the store have no other sum. Shards of this machine are read on
 * threads, all images of a batch into one slab, and the system's page cache keeps them; images from elsewhere are kept up
 * to a number of bytes: small homogeneous parts come again and again, and a client that lost its connection asks twice.
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
import { type FileRanges, type RangesRead, type Sum, createReadPool } from './read-pool.ts';
import type { RowFacts } from './rows.ts';
import type { Slabs } from './slabs.ts';

export interface ImageReader {
  /**
   * @param rows row `at` of `facts` each
   * @returns the bytes of each row, or why they cannot be had, and the slabs that bytes lie in
   * @throws {WinnowError} when a source, not the image, is at fault; ABORTED
   */
  read(rows: readonly RowPlace[], slabs: Slabs, signal: AbortSignal): Promise<{ images: ImageFound[]; slabs: readonly ArrayBufferLike[] }>;
  close(): Promise<void>;
}

export interface RowPlace {
  readonly facts: RowFacts;
  readonly at: number;
}

export type ImageFound = Uint8Array | { readonly fault: string };

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
/** Bytes of a slab, unless one image has more: large batches are read on several threads. */
const SLAB_BYTES = 2 ** 23;
/** Reading is soon bound by the memory, not by the threads. */
const THREADS_MAX = 4;

/** Opens nothing before the first read. */
export function createImageReader({ store, locations, limiter, cacheBytes, verify }: ImageReaderOptions): ImageReader {
  const files = openByteReader(locations);
  const pool = createReadPool(Math.min(THREADS_MAX, availableParallelism()));
  const isLocal = isAbsolute(store.uri);
  const cache = createByteCache(cacheBytes);
  const readStored = async (span: FileSpan): Promise<ImageFound> => {
    try {
      return await store.read(span.key, { offset: span.offset, length: span.length });
    } catch (error) {
      if (error instanceof WinnowError && (error.code === 'INPUT_MALFORMED' || error.code === 'INPUT_MISSING')) return { fault: error.message };
      throw error;
    }
  };
  const readListed = async (rows: RowFacts, i: number): Promise<ImageFound> => {
    const read = await files.read({ source: rows.source[i]!, path: rows.path[i]!, offset: rows.offset[i]!, length: rows.length[i]! }, IMAGE_BYTES_MAX);
    if (read.status === 'ok') return read.bytes;
    return { fault: read.status === 'unreadable' ? read.reason : `it has ${read.sizeBytes} bytes` };
  };
  const readOne = async ({ facts, at }: RowPlace, signal: AbortSignal): Promise<ImageFound> => {
    const key = keyOf(facts, at);
    const held = cache.find(key);
    if (held !== undefined) return held;
    throwIfAborted(signal);
    return limiter(async () => {
      throwIfAborted(signal);
      const stored = facts.stored[at];
      const found = await (stored ? readStored(stored) : readListed(facts, at));
      if (!(found instanceof Uint8Array)) return found;
      if (!isAsWritten(found, verify, bytesId(facts, at), facts.crc32[at]!)) return { fault: changed(facts, at) };
      cache.keep(key, found);
      return found;
    });
  };
  const readSlab = async (run: readonly number[], rows: readonly RowPlace[], into: ImageFound[], slabs: Slabs, signal: AbortSignal): Promise<ArrayBufferLike> => {
    const { ranges, sizeBytes } = rangesOf(run, rows, store.uri, verify);
    const read = await pool.read(ranges, slabs.take(sizeBytes), signal);
    putImages(read, ranges, run, rows, into);
    return read.slab;
  };
  return {
    read: async (rows, slabs, signal) => {
      throwIfAborted(signal);
      const images = new Array<ImageFound>(rows.length);
      const isInSlab = ({ facts, at }: RowPlace): boolean => isLocal && facts.stored[at] !== null;
      const readOther = async (row: RowPlace, i: number): Promise<void> => {
        images[i] = await readOne(row, signal);
      };
      const [taken] = await Promise.all([
        Promise.all((isLocal ? cutRuns(rows) : []).map((run) => readSlab(run, rows, images, slabs, signal))),
        Promise.all(rows.flatMap((row, i) => (isInSlab(row) ? [] : [readOther(row, i)]))),
      ]);
      return { images, slabs: taken };
    },
    close: async () => {
      await files.close();
      await pool.close();
    },
  };
}

/** Rows whose bytes lie in shards, in runs of a slab each. */
function cutRuns(rows: readonly RowPlace[]): number[][] {
  const runs: number[][] = [];
  let sizeBytes = Infinity;
  for (const [i, { facts, at }] of rows.entries()) {
    const stored = facts.stored[at];
    if (!stored) continue;
    if (sizeBytes + stored.length > SLAB_BYTES) {
      runs.push([]);
      sizeBytes = 0;
    }
    runs.at(-1)!.push(i);
    sizeBytes += stored.length;
  }
  return runs;
}

function rangesOf(run: readonly number[], rows: readonly RowPlace[], folder: string, verify: Sum): { ranges: FileRanges; sizeBytes: number } {
  const n = run.length;
  const places = new Map<string, number>();
  const [file, offset, length] = [new Uint32Array(n), new Float64Array(n), new Float64Array(n)];
  const crc = verify === 'crc32' ? new Array<number | null>(n).fill(null) : null;
  let sha: (string | null)[] | null = null;
  let sizeBytes = 0;
  run.forEach((slot, i) => {
    const { facts, at } = rows[slot]!;
    const span = facts.stored[at]!;
    if (!places.has(span.key)) places.set(span.key, places.size);
    file[i] = places.get(span.key)!;
    offset[i] = span.offset;
    sizeBytes += length[i] = span.length;
    if (crc !== null) crc[i] = facts.crc32[at]!;
    if (verify === 'sha256' || (crc !== null && crc[i] === null)) (sha ??= new Array<string | null>(n).fill(null))[i] = bytesId(facts, at);
  });
  return { ranges: { paths: Array.from(places.keys(), (key) => join(folder, key)), file, offset, length, crc32: crc, sha256: sha }, sizeBytes };
}

function putImages({ slab, faults }: RangesRead, { length }: FileRanges, run: readonly number[], rows: readonly RowPlace[], into: ImageFound[]): void {
  let end = 0;
  run.forEach((slot, i) => {
    into[slot] = new Uint8Array(slab, end, length[i]);
    end += length[i]!;
  });
  for (const [i, fault] of faults) {
    const { facts, at } = rows[run[i]!]!;
    into[run[i]!] = { fault: fault === 'changed' ? changed(facts, at) : `${facts.stored[at]!.key}: ${fault}` };
  }
}

function changed({ derivedId }: RowFacts, at: number): string {
  return `its bytes are not those that were ${derivedId[at] === null ? 'embedded' : 'derived'}`;
}

function isAsWritten(bytes: Uint8Array, sum: Sum, id: string, expected: number | null): boolean {
  if (sum === 'none') return true;
  if (sum === 'crc32' && expected !== null) return crc32(bytes) === expected;
  return createHash('sha256').update(bytes).digest('hex').startsWith(id);
}

/** What the bytes hash to. */
function bytesId({ id, derivedId }: RowFacts, i: number): string {
  return derivedId[i] ?? id[i]!;
}

/** What bytes are kept under: their place in a shard, whose ids need not be read, else what they hash to. */
function keyOf(facts: RowFacts, at: number): string {
  const stored = facts.stored[at];
  return stored ? `${stored.key} ${stored.offset}` : bytesId(facts, at);
}

/** Bytes by key, the least recently used dropped first. */
function createByteCache(sizeBytesMax: number): { find(key: string): Uint8Array | undefined; keep(key: string, bytes: Uint8Array): void } {
  const held = new Map<string, Uint8Array>();
  let total = 0;
  return {
    find: (key) => {
      const bytes = held.get(key);
      if (bytes === undefined) return undefined;
      held.delete(key);
      held.set(key, bytes);
      return bytes;
    },
    keep: (key, bytes) => {
      if (bytes.byteLength > sizeBytesMax || held.has(key)) return;
      held.set(key, bytes);
      total += bytes.byteLength;
      for (const [oldest, { byteLength }] of held) {
        if (total <= sizeBytesMax) break;
        held.delete(oldest);
        total -= byteLength;
      }
    },
  };
}
