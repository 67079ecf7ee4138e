/**
 * Streams the records of a Parquet file, one row group at a time, by hyparquet. Columns of bytes are not read. Pages may
 * be stored plain or packed with Snappy, gzip or Brotli, and with Zstandard where this Node has it (22.15 and later). hyparquet believes
 * page headers: a file cut short is an error, one damaged inside a page header may keep it busy for ever.
 */
import * as zlib from 'node:zlib';
import { type AsyncBuffer, type Compressors, type SchemaTree, parquetMetadataAsync, parquetScan, parquetSchema } from 'hyparquet';
import { WinnowError } from '../errors.ts';
import type { ListFile } from './list-file.ts';
import { sourceError, systemCode } from './path.ts';
import { type ListRecord, RECORDS, recordOf, requireColumns } from './record.ts';
import type { Listing } from './rows.ts';

/** Holds one row group's columns. @throws {WinnowError} INPUT_MALFORMED when it is not Parquet, or packed in another way */
export async function* readParquet(list: ListFile, needed: readonly string[], listing: Listing): AsyncIterable<ListRecord[]> {
  const { name: path, sizeBytes } = list;
  const bytes: AsyncBuffer = { byteLength: sizeBytes, slice: async (start, end = sizeBytes) => exactBuffer(await list.read(start, end)) };
  const metadata = await attempt(path, () => parquetMetadataAsync(bytes));
  const columns = parquetSchema(metadata).children;
  requireColumns(needed, columns.map(nameOf), path);
  const names = columns.filter((column) => needed.includes(nameOf(column)) || !holdsBytes(column)).map(nameOf);
  listing.count('binary-column', columns.length - names.length);
  const scan = await attempt(path, () => parquetScan({ file: bytes, metadata, columns: names, compressors: COMPRESSORS }));
  for (const { rowStart, rowEnd } of scan.ranges) {
    const values = await attempt(path, () => allOf(names.map((column) => scan.readColumn({ column, rowStart, rowEnd }))));
    for (let from = 0; from < rowEnd - rowStart; from += RECORDS) {
      yield Array.from({ length: Math.min(RECORDS, rowEnd - rowStart - from) }, (_, i) => recordOf(names, (column) => values[column]![from + i]));
    }
  }
}

function nameOf({ element }: SchemaTree): string {
  return element.name;
}

/** Whether a column, or any field inside it, holds bytes that no annotation calls text, a decimal or the like. */
function holdsBytes(column: SchemaTree): boolean {
  const pending = [column];
  for (let field = pending.pop(); field !== undefined; field = pending.pop()) {
    const { type, converted_type, logical_type } = field.element;
    if ((type === 'BYTE_ARRAY' || type === 'FIXED_LEN_BYTE_ARRAY') && converted_type === undefined && logical_type === undefined) return true;
    pending.push(...field.children);
  }
  return false;
}

function exactBuffer(bytes: Uint8Array): ArrayBuffer {
  const isWhole = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
  return isWhole ? (bytes.buffer as ArrayBuffer) : (bytes.slice().buffer as ArrayBuffer);
}

/** Waits for all even when one fails, so that no rejection is left without anybody to hear it. */
async function allOf<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof WinnowError || /^E[A-Z]+$/.test(systemCode(error))) throw sourceError(`read the list ${path}`, error);
    throw new WinnowError('INPUT_MALFORMED', `Expected a Parquet file that can be read at ${path}, got: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

type Unpack = (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const ZSTANDARD = (zlib as unknown as { zstdDecompressSync?: Unpack }).zstdDecompressSync;
const COMPRESSORS: Compressors = {
  GZIP: (input, length) => zlib.gunzipSync(input, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (input, length) => zlib.brotliDecompressSync(input, { maxOutputLength: Math.max(1, length) }),
  ...(ZSTANDARD === undefined ? {} : { ZSTD: (input: Uint8Array, length: number) => ZSTANDARD(input, { maxOutputLength: Math.max(1, length) }) }),
};
