/**
 * Facts of single rows of a dataset, read by range: a shard may hold gigabytes of images, and a batch has a few rows of
 * each. A shard's size is checked against the manifest, and the hash of a small one; that larger ones are as written is
 * checked image by image, by CRC-32 or by id.
 */
import { isAbsolute } from 'node:path';
import { type ColumnLayout, type TableLayout, readTableLayout } from '../arrow/layout.ts';
import { WinnowError } from '../errors.ts';
import { type Part, readPart } from '../run/manifest.ts';
import { type DatasetRows, shardOf } from '../shard/read.ts';
import type { DatasetPart } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import type { Limiter } from './limiter.ts';
import { type FileSpan, createPages } from './pages.ts';
import type { Sum } from './read-pool.ts';

/** Facts of some rows, in the order asked for. What was not wanted is an empty text, −1 or null. */
export interface RowFacts extends DatasetRows {
  /** Where the shard has the image itself; null in shards without bytes. */
  readonly stored: readonly (FileSpan | null)[];
  /** CRC-32 of the image in the shard; null in shards without bytes or without sums. */
  readonly crc32: readonly (number | null)[];
}

export type RowColumn = keyof DatasetRows;

/** What is to be read of rows. Each column lies elsewhere in its shard: from a bucket, what is not read is not paid for. */
export interface RowsWanted {
  readonly columns: ReadonlySet<RowColumn>;
  /** What the images, which are read next, will be checked by; null: no images are. What that takes is read too. */
  readonly images: Sum | null;
}

export interface RowReader {
  /** @param indices rows of the part, repeats allowed. @throws {WinnowError} CHECKSUM_MISMATCH when a shard is not as written, INPUT_MISSING */
  read(part: DatasetPart, indices: ArrayLike<number>, wanted: RowsWanted): Promise<RowFacts>;
}

/** Of stores that are far away: 64 KiB come sooner than a second answer does. */
const GAP_PAGES = 4;
/** Shards up to this size are read whole and checked by hash when they are opened. */
const HASHED_BYTES_MAX = 2 ** 20;
/** Layouts of shards that are kept, about 2 KB each. */
const LAYOUTS_KEPT = 32_768;

/** @param cacheBytes bytes of tables kept in memory */
export function createRowReader(store: Store, limiter: Limiter, cacheBytes: number): RowReader {
  // Reads of another machine take their time whatever they bring.
  const pages = createPages(store, limiter, cacheBytes, { gapPages: isAbsolute(store.uri) ? 0 : GAP_PAGES });
  const shards = new Map<string, Promise<OpenShard>>();
  const open = (shard: Part): Promise<OpenShard> => {
    const known = shards.get(shard.path);
    if (known !== undefined) return known;
    const opening = openShard(store, shard, limiter);
    shards.set(shard.path, opening);
    opening.catch(() => shards.delete(shard.path));
    if (shards.size > LAYOUTS_KEPT) shards.delete(shards.keys().next().value!);
    return opening;
  };
  return {
    read: async (part, indices, wanted) => {
      const n = indices.length;
      const parts = Array.from(indices, (index) => shardOf(part, index));
      const opened = await openAll(parts, async (shard) => pick(await open(shard), wanted));
      const rows = parts.map(({ firstRow }, i) => indices[i]! - firstRow);
      // One fetch finds where the texts lie and reads the numbers, a second reads the texts.
      const fixed = await pages.fetch(opened.flatMap((shard, i) => fixedSpans(shard, rows[i]!)));
      const texts = await pages.fetch(opened.flatMap((shard, i) => textSpans(shard, fixed, i * FIXED)));
      const text = (t: number): string[] => rows.map((_, i) => TEXT.decode(texts[i * FETCHED + t]!));
      const number = (f: number): Float64Array => Float64Array.from(rows, (row, i) => (fixed[i * FIXED + f]!.length > 0 && hasBit(fixed[i * FIXED + VALIDITY]!, row & 7) ? uint64(fixed[i * FIXED + f]!) : -1));
      const derived = (i: number): string | null => TEXT.decode(texts[i * FETCHED + DERIVED_TEXT]!) || null; // a null has no bytes
      return {
        id: text(0),
        uri: text(1),
        path: text(2),
        source: opened.map(({ source }, i) => (source === null ? '' : source.dictionary![int32(fixed[i * FIXED + SOURCE]!, 0)]!)),
        offset: number(OFFSET),
        length: number(LENGTH),
        derivedId: Array.from({ length: n }, (_, i) => derived(i)),
        crc32: opened.map(({ crc32 }, i) => (crc32 === null ? null : int32(fixed[i * FIXED + CRC32]!, 0) >>> 0)),
        stored: opened.map((shard, i) => (shard.image === null ? null : textSpan(shard, shard.image, fixed[i * FIXED + IMAGE]!))),
      };
    },
  };
}

/** Where the columns of a shard lie that batches are made of. */
interface OpenShard extends Record<RowColumn, ColumnLayout | null> {
  readonly shard: Part;
  /** Null in shards without. */
  readonly image: ColumnLayout | null;
  readonly derivedId: ColumnLayout | null;
  readonly crc32: ColumnLayout | null;
}

/** The shard with those columns alone that are wanted, or that reading and checking the image takes. */
function pick(shard: OpenShard, { columns, images }: RowsWanted): OpenShard {
  const isStored = images !== null && shard.image !== null;
  const isListed = images !== null && shard.image === null;
  const isHashed = isStored && (images === 'sha256' || (images === 'crc32' && shard.crc32 === null));
  const one = (name: RowColumn, isNeeded: boolean): ColumnLayout | null => (isNeeded || columns.has(name) ? shard[name] : null);
  return {
    shard: shard.shard,
    ...{ id: one('id', isListed || isHashed), uri: one('uri', false), path: one('path', isListed), source: one('source', isListed) },
    ...{ offset: one('offset', isListed), length: one('length', isListed), derivedId: one('derivedId', isStored) },
    ...{ image: isStored ? shard.image : null, crc32: isStored && images === 'crc32' ? shard.crc32 : null },
  };
}

/** Each shard once: a batch has many rows of few, or few rows of many. */
async function openAll(parts: readonly Part[], open: (shard: Part) => Promise<OpenShard>): Promise<OpenShard[]> {
  const known = new Map<Part, OpenShard>();
  await Promise.all(Array.from(new Set(parts), async (shard) => known.set(shard, await open(shard))));
  return parts.map((shard) => known.get(shard)!);
}

/** Places in a row's run of fixed spans, after the offsets of its texts. */
const SOURCE = 3;
const OFFSET = 4;
const LENGTH = 5;
const VALIDITY = 6;
const IMAGE = 7;
const DERIVED = 8;
const CRC32 = 9;
const FIXED = 10;
/** Texts of a row that are fetched: id, uri, path, and last the id of its derived image. */
const DERIVED_TEXT = 3;
const FETCHED = 4;

function fixedSpans({ shard, id, uri, path, source, offset, length, image, derivedId, crc32 }: OpenShard, row: number): FileSpan[] {
  const span = (at: number, bytes: number): FileSpan => ({ key: shard.path, sizeBytes: shard.bytes, offset: at, length: bytes });
  const ends = (column: ColumnLayout | null): FileSpan => (column === null ? span(0, 0) : span(column.offsets!.offset + 4 * row, 8));
  const value = (column: ColumnLayout | null, bytes: number): FileSpan => (column === null ? span(0, 0) : span(column.values.offset + bytes * row, bytes));
  const bits = (offset ?? length)?.validity ?? null; // both are null where the image is a whole file
  return [
    ...[ends(id), ends(uri), ends(path)],
    ...[value(source, 4), value(offset, 8), value(length, 8), bits === null ? span(0, 0) : span(bits.offset + (row >> 3), 1)],
    ...[ends(image), ends(derivedId), value(crc32, 4)],
  ];
}

/** @param first of the row's run in `fixed` */
function textSpans(shard: OpenShard, fixed: readonly Uint8Array[], first: number): FileSpan[] {
  const one = (column: ColumnLayout | null, at: number): FileSpan => (column === null ? { key: shard.shard.path, sizeBytes: shard.shard.bytes, offset: 0, length: 0 } : textSpan(shard, column, fixed[first + at]!));
  return [one(shard.id, 0), one(shard.uri, 1), one(shard.path, 2), one(shard.derivedId, DERIVED)];
}

/** @param ends offsets of the row's first byte and of the byte after its last */
function textSpan({ shard }: OpenShard, { values }: ColumnLayout, ends: Uint8Array): FileSpan {
  const start = int32(ends, 0);
  const end = int32(ends, 4);
  if (start < 0 || end < start || end > values.length) throw damaged(shard, `text from byte ${start} to ${end} of ${values.length}`);
  return { key: shard.path, sizeBytes: shard.bytes, offset: values.offset + start, length: end - start };
}

async function openShard(store: Store, shard: Part, limiter: Limiter): Promise<OpenShard> {
  const entry = await store.head(shard.path);
  if (entry === null) throw new WinnowError('INPUT_MISSING', `Expected the shard ${shard.path} in ${store.uri}, found none: run again with --force shard`, { details: { path: shard.path } });
  if (entry.sizeBytes !== shard.bytes) throw damaged(shard, `${entry.sizeBytes} bytes`);
  if (shard.bytes <= HASHED_BYTES_MAX) await limiter(() => readPart(store, shard));
  const layout = await readTableLayout((span) => limiter(() => store.read(shard.path, span)), shard.bytes, shard.path);
  if (layout.rowCount !== shard.rowCount) throw damaged(shard, `${layout.rowCount} rows`);
  const column = (name: string): ColumnLayout => columnOf(layout, name, shard);
  const optional = (name: string): ColumnLayout | null => layout.columns.get(name) ?? null;
  return {
    shard,
    ...{ id: column('id'), uri: column('uri'), path: column('path'), source: column('source'), offset: column('offset'), length: column('length') },
    ...{ image: optional('image'), derivedId: optional('derivedId'), crc32: optional('crc32') },
  };
}

function columnOf(layout: TableLayout, name: string, shard: Part): ColumnLayout {
  const column = layout.columns.get(name);
  if (column === undefined) throw damaged(shard, `no column ${name}`);
  return column;
}

function damaged(shard: Part, found: string): WinnowError {
  return new WinnowError('CHECKSUM_MISMATCH', `Expected ${shard.path} as it was written, ${shard.bytes} bytes and ${shard.rowCount} rows, got ${found}: run again with --force shard`, { details: { path: shard.path } });
}

/** An empty span stands for a column without nulls. */
function hasBit(bytes: Uint8Array, bit: number): boolean {
  return bytes.length === 0 || ((bytes[0]! >> bit) & 1) === 1;
}

function int32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function uint64(bytes: Uint8Array): number {
  return (int32(bytes, 0) >>> 0) + (int32(bytes, 4) >>> 0) * 4_294_967_296;
}

const TEXT = new TextDecoder();
