/**
 * Facts of single rows of a dataset, read by range: a shard may hold gigabytes of images, and a batch has a few rows of
 * each. A shard's size is checked against the manifest, and the hash of a small one; that larger ones are as written is
 * checked image by image, by CRC-32 or by id.
 */
import { type ColumnLayout, type TableLayout, readTableLayout } from '../arrow/layout.ts';
import { WinnowError } from '../errors.ts';
import { type Part, readPart } from '../run/manifest.ts';
import { type DatasetRows, shardOf } from '../shard/read.ts';
import type { DatasetPart } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import type { Limiter } from './limiter.ts';
import { type FileSpan, createPages } from './pages.ts';

/** Facts of some rows, in the order asked for. */
export interface RowFacts extends DatasetRows {
  /** Where the shard has the image itself; null in shards without bytes. */
  readonly stored: readonly (FileSpan | null)[];
  /** CRC-32 of the image in the shard; null in shards without bytes or without sums. */
  readonly crc32: readonly (number | null)[];
}

export interface RowReader {
  /** @param indices rows of the part, repeats allowed. @throws {WinnowError} CHECKSUM_MISMATCH when a shard is not as written, INPUT_MISSING */
  read(part: DatasetPart, indices: ArrayLike<number>): Promise<RowFacts>;
}

/** Shards up to this size are read whole and checked by hash when they are opened. */
const HASHED_BYTES_MAX = 2 ** 20;
/** Layouts of shards that are kept, about 2 KB each. */
const LAYOUTS_KEPT = 32_768;

/** @param cacheBytes bytes of tables kept in memory */
export function createRowReader(store: Store, limiter: Limiter, cacheBytes: number): RowReader {
  const pages = createPages(store, limiter, cacheBytes);
  const layouts = new Map<string, Promise<TableLayout>>();
  const layoutOf = (shard: Part): Promise<TableLayout> => {
    const known = layouts.get(shard.path);
    if (known !== undefined) return known;
    const opening = openShard(store, shard, limiter);
    layouts.set(shard.path, opening);
    opening.catch(() => layouts.delete(shard.path));
    if (layouts.size > LAYOUTS_KEPT) layouts.delete(layouts.keys().next().value!);
    return opening;
  };
  return {
    read: async (part, indices) => {
      const n = indices.length;
      const shards = Array.from(indices, (index) => shardOf(part, index));
      const open = await Promise.all(shards.map(layoutOf));
      const rows = shards.map((shard, i) => indices[i]! - shard.firstRow);
      // One fetch finds where the texts lie and reads the numbers, a second reads the texts.
      const at = (i: number, name: string): ColumnLayout => columnOf(open[i]!, name, shards[i]!);
      const fixed = await pages.fetch(shards.flatMap((shard, i) => fixedSpans(shard, rows[i]!, (name) => at(i, name), open[i]!)));
      const texts = await pages.fetch(shards.flatMap((shard, i) => [
        ...TEXTS.map((name, t) => textSpan(shard, at(i, name), fixed[i * FIXED + t]!)),
        open[i]!.columns.has('derivedId') ? textSpan(shard, at(i, 'derivedId'), fixed[i * FIXED + DERIVED]!) : { key: shard.path, sizeBytes: shard.bytes, offset: 0, length: 0 },
      ]));
      const text = (t: number): string[] => Array.from({ length: n }, (_, i) => TEXT.decode(texts[i * FETCHED + t]!));
      const number = (f: number): Float64Array => Float64Array.from({ length: n }, (_, i) => (hasBit(fixed[i * FIXED + VALIDITY]!, rows[i]! & 7) ? uint64(fixed[i * FIXED + f]!) : -1));
      return {
        id: text(0),
        uri: text(1),
        path: text(2),
        source: shards.map((_, i) => at(i, 'source').dictionary![int32(fixed[i * FIXED + SOURCE]!, 0)]!),
        offset: number(OFFSET),
        length: number(LENGTH),
        derivedId: Array.from({ length: n }, (_, i) => TEXT.decode(texts[i * FETCHED + DERIVED_TEXT]!) || null), // a null has no bytes
        crc32: shards.map((_, i) => (open[i]!.columns.has('crc32') ? int32(fixed[i * FIXED + CRC32]!, 0) >>> 0 : null)),
        stored: shards.map((shard, i) => (open[i]!.columns.has('image') ? textSpan(shard, at(i, 'image'), fixed[i * FIXED + IMAGE]!) : null)),
      };
    },
  };
}

const TEXTS = ['id', 'uri', 'path'] as const;
/** Places in a row's run of fixed spans, after the offsets of its texts. */
const SOURCE = 3;
const OFFSET = 4;
const LENGTH = 5;
const VALIDITY = 6;
const IMAGE = 7;
const DERIVED = 8;
const CRC32 = 9;
const FIXED = 10;
/** Texts of a row that are fetched, the id of its derived image last. */
const DERIVED_TEXT = TEXTS.length;
const FETCHED = TEXTS.length + 1;

function fixedSpans(shard: Part, row: number, at: (name: string) => ColumnLayout, { columns }: TableLayout): FileSpan[] {
  const span = (offset: number, length: number): FileSpan => ({ key: shard.path, sizeBytes: shard.bytes, offset, length });
  const ends = (name: string): FileSpan => span(at(name).offsets!.offset + 4 * row, 8);
  const { validity } = at('offset');
  return [
    ...TEXTS.map(ends),
    span(at('source').values.offset + 4 * row, 4),
    span(at('offset').values.offset + 8 * row, 8),
    span(at('length').values.offset + 8 * row, 8),
    validity === null ? span(0, 0) : span(validity.offset + (row >> 3), 1),
    columns.has('image') ? ends('image') : span(0, 0),
    columns.has('derivedId') ? ends('derivedId') : span(0, 0),
    columns.has('crc32') ? span(at('crc32').values.offset + 4 * row, 4) : span(0, 0),
  ];
}

/** @param ends offsets of the row's first byte and of the byte after its last */
function textSpan(shard: Part, { values }: ColumnLayout, ends: Uint8Array): FileSpan {
  const start = int32(ends, 0);
  const end = int32(ends, 4);
  if (start < 0 || end < start || end > values.length) throw damaged(shard, `text from byte ${start} to ${end} of ${values.length}`);
  return { key: shard.path, sizeBytes: shard.bytes, offset: values.offset + start, length: end - start };
}

async function openShard(store: Store, shard: Part, limiter: Limiter): Promise<TableLayout> {
  const entry = await store.head(shard.path);
  if (entry === null) throw new WinnowError('INPUT_MISSING', `Expected the shard ${shard.path} in ${store.uri}, found none: run again with --force shard`, { details: { path: shard.path } });
  if (entry.sizeBytes !== shard.bytes) throw damaged(shard, `${entry.sizeBytes} bytes`);
  if (shard.bytes <= HASHED_BYTES_MAX) await limiter(() => readPart(store, shard));
  const layout = await readTableLayout((span) => limiter(() => store.read(shard.path, span)), shard.bytes, shard.path);
  if (layout.rowCount !== shard.rowCount) throw damaged(shard, `${layout.rowCount} rows`);
  return layout;
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
