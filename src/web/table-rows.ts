/**
 * Single rows of a table, read by range through a bounded cache of pages: a page of the atlas shows a few dozen rows of
 * tables that may hold millions. The layouts of the parts read last are kept, about 2 KB each.
 */
import assert from 'node:assert/strict';
import { type ColumnLayout, type TableLayout, readTableLayout } from '../arrow/layout.ts';
import type { FileSpan, Pages } from '../batch/pages.ts';
import { WinnowError } from '../errors.ts';
import { type Part, rowCountOf } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';

export interface TableRows {
  readonly rowCount: number;
  /** A utf8 or dictionary column; null where the value is, or where the table has no such column. */
  text(name: string, row: number): Promise<string | null>;
  /** A uint16, uint32, uint64 or float32 column, by the type's own name; null where the value is. */
  number(name: string, type: 'uint16' | 'uint32' | 'uint64' | 'float32', row: number): Promise<number | null>;
  /** A fixed-size list of float16 or float32, in an array of its own. */
  vector(name: string, row: number): Promise<Float32Array>;
}

const LAYOUTS_KEPT = 4096;
const BYTES = { uint16: 2, uint32: 4, float32: 4, uint64: 8 } as const;

/** @param parts of a stored table, rows ascending. Reads nothing before the first row is asked for. */
export function openTable(store: Store, parts: readonly Part[], pages: Pages): TableRows {
  const layouts = new Map<string, Promise<TableLayout>>();
  const layoutOf = (part: Part): Promise<TableLayout> => {
    const known = layouts.get(part.path);
    if (known !== undefined) return known;
    const opening = readTableLayout((span) => store.read(part.path, span), part.bytes, part.path);
    layouts.set(part.path, opening);
    opening.catch(() => layouts.delete(part.path));
    if (layouts.size > LAYOUTS_KEPT) layouts.delete(layouts.keys().next().value!);
    return opening;
  };
  const cell = async (name: string, row: number): Promise<Cell | null> => {
    const part = partOf(parts, row);
    const layout = await layoutOf(part);
    const column = layout.columns.get(name);
    if (column === undefined) return null;
    const at = row - part.firstRow;
    const read = async (offset: number, length: number): Promise<Uint8Array> => (await pages.fetch([span(part, offset, length)]))[0]!;
    if (column.validity !== null && (((await read(column.validity.offset + (at >> 3), 1))[0]! >> (at & 7)) & 1) === 0) return null;
    return { column, at, rowCount: layout.rowCount, read };
  };
  return {
    rowCount: rowCountOf(parts),
    text: async (name, row) => {
      const found = await cell(name, row);
      return found === null ? null : readText(found);
    },
    number: async (name, type, row) => {
      const found = await cell(name, row);
      if (found === null) return null;
      const bytes = viewOf(await found.read(found.column.values.offset + found.at * BYTES[type], BYTES[type]));
      if (type === 'uint64') return bytes.getUint32(0, true) + bytes.getUint32(4, true) * 4_294_967_296;
      return type === 'float32' ? bytes.getFloat32(0, true) : type === 'uint32' ? bytes.getUint32(0, true) : bytes.getUint16(0, true);
    },
    vector: async (name, row) => {
      const found = await cell(name, row);
      if (found === null) throw new WinnowError('INPUT_MALFORMED', `Expected a vector in column ${name} of row ${row}, got none`);
      return readVector(found);
    },
  };
}

/** One value of a column: where it lies, and how to read its part of the file. */
interface Cell {
  readonly column: ColumnLayout;
  /** Row in the part. */
  readonly at: number;
  readonly rowCount: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

async function readText({ column, at, read }: Cell): Promise<string> {
  if (column.dictionary !== null) return column.dictionary[viewOf(await read(column.values.offset + 4 * at, 4)).getInt32(0, true)] ?? '';
  assert(column.offsets !== null, 'Expected a column of text');
  const ends = viewOf(await read(column.offsets.offset + 4 * at, 8));
  const [start, end] = [ends.getInt32(0, true), ends.getInt32(4, true)];
  if (start < 0 || end < start || end > column.values.length) throw new WinnowError('CHECKSUM_MISMATCH', `Expected text within its column, got bytes ${start} to ${end} of ${column.values.length}`);
  return TEXT.decode(await read(column.values.offset + start, end - start));
}

async function readVector({ column, at, rowCount, read }: Cell): Promise<Float32Array> {
  const d = column.width;
  const isHalf = column.values.length < rowCount * d * 4;
  const bytes = await read(column.values.offset + at * d * (isHalf ? 2 : 4), d * (isHalf ? 2 : 4));
  // Pages are cut anywhere; typed arrays want even starts.
  const own = new Uint8Array(bytes).buffer;
  return isHalf ? decodeFloat16(new Uint16Array(own)) : new Float32Array(own);
}

function partOf(parts: readonly Part[], row: number): Part {
  let low = 0;
  let high = parts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (parts[middle]!.firstRow <= row) low = middle;
    else high = middle - 1;
  }
  const part = parts[low];
  if (part === undefined || row < part.firstRow || row >= part.firstRow + part.rowCount) throw new WinnowError('INPUT_MISSING', `Expected a row from 0 to ${rowCountOf(parts) - 1}, got ${row}`);
  return part;
}

function span(part: Part, offset: number, length: number): FileSpan {
  return { key: part.path, sizeBytes: part.bytes, offset, length };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const TEXT = new TextDecoder();
