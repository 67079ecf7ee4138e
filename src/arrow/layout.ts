/**
 * Where the buffers of a table lie in its Arrow IPC file, so that single rows can be read by range: the footer, the schema
 * and the record batch's header are read, no column is. Follows the format's own tables (File.fbs, Schema.fbs,
 * Message.fbs, version 5); files as `encodeTable` writes them: one record batch, uncompressed.
 */
import { WinnowError } from '../errors.ts';
import { type FlatTable, int64, rootOf, structs, table, tables, text, view } from './flatbuffer.ts';

/** A run of bytes of the file. */
export interface Span {
  readonly offset: number;
  readonly length: number;
}

export interface ColumnLayout {
  /** Bits, least significant first; null: no value is null. */
  readonly validity: Span | null;
  /** rowCount + 1 int32; columns of text or bytes only. */
  readonly offsets: Span | null;
  readonly values: Span;
  /** Entries of a dictionary column of text, whose values are int32 codes. */
  readonly dictionary: readonly string[] | null;
  /** Values a row of a fixed-size list; 1 for other columns. */
  readonly width: number;
}

export interface TableLayout {
  readonly rowCount: number;
  /** By name. */
  readonly columns: ReadonlyMap<string, ColumnLayout>;
}

/** Reads of the file: its end and the headers, a few KiB. */
export type ReadSpan = (span: Span) => Promise<Uint8Array>;

/**
 * @param sizeBytes of the file
 * @throws {WinnowError} INPUT_MALFORMED when it is no such file
 */
export async function readTableLayout(read: ReadSpan, sizeBytes: number, where: string): Promise<TableLayout> {
  const malformed = (what: string): WinnowError => new WinnowError('INPUT_MALFORMED', `Expected an Arrow IPC file of one uncompressed record batch at ${where}, got ${what}`);
  if (sizeBytes < 20) throw malformed(`${sizeBytes} bytes`);
  const tail = await read({ offset: sizeBytes - 10, length: 10 });
  if (String.fromCharCode(...tail.subarray(4)) !== 'ARROW1') throw malformed('something else');
  const footerBytes = view(tail).getInt32(0, true);
  if (footerBytes <= 0 || footerBytes > sizeBytes - 18) throw malformed(`a footer of ${footerBytes} bytes`);
  try {
    const footer = rootOf(await read({ offset: sizeBytes - 10 - footerBytes, length: footerBytes }));
    const batches = structs(footer, 3, 24);
    if (batches.length !== 1) throw malformed(`${batches.length} record batches`);
    const dictionaries = new Map<number, readonly string[]>();
    for (const at of structs(footer, 2, 24)) {
      const { id, entries } = await readDictionary(read, footer.bytes, at);
      dictionaries.set(id, entries);
    }
    const { header, bodyStart } = await readMessage(read, footer.bytes, batches[0]!);
    if (table(header, 3) !== null) throw malformed('a compressed one');
    return { rowCount: int64(header, 0), columns: placeColumns(fieldsOf(footer), buffersOf(header, bodyStart), dictionaries) };
  } catch (cause) {
    if (cause instanceof WinnowError) throw cause;
    throw new WinnowError('INPUT_MALFORMED', `Expected an Arrow IPC file at ${where}, its headers cannot be read`, { cause });
  }
}

/** Kinds of type in Schema.fbs that are met here. */
const BINARY = 4;
const UTF8 = 5;
const FIXED_SIZE_LIST = 16;

interface FieldFacts {
  readonly name: string;
  readonly type: number;
  readonly dictionary: number | null;
  readonly listSize: number;
  readonly children: readonly FieldFacts[];
}

function placeColumns(fields: readonly FieldFacts[], buffers: readonly Span[], dictionaries: ReadonlyMap<number, readonly string[]>): Map<string, ColumnLayout> {
  const columns = new Map<string, ColumnLayout>();
  let next = 0;
  const take = (): Span => {
    const span = buffers[next++];
    if (span === undefined) throw new Error('fewer buffers than the schema has');
    return span;
  };
  const place = (field: FieldFacts, isTop: boolean): void => {
    const bits = take();
    const validity = bits.length === 0 ? null : bits;
    if (field.type === FIXED_SIZE_LIST) {
      const first = next;
      for (const child of field.children) place(child, false);
      if (isTop) columns.set(field.name, { validity, offsets: null, values: buffers[first + 1]!, dictionary: null, width: field.listSize }); // after the child's validity
      return;
    }
    const isText = (field.type === UTF8 || field.type === BINARY) && field.dictionary === null;
    const offsets = isText ? take() : null;
    const values = take();
    const dictionary = field.dictionary === null ? null : (dictionaries.get(field.dictionary) ?? []);
    if (isTop) columns.set(field.name, { validity, offsets, values, dictionary, width: 1 });
  };
  for (const field of fields) place(field, true);
  return columns;
}

async function readMessage(read: ReadSpan, footer: Uint8Array, block: number): Promise<{ header: FlatTable; bodyStart: number }> {
  const offset = Number(view(footer).getBigInt64(block, true));
  const length = view(footer).getInt32(block + 8, true);
  const bytes = await read({ offset, length });
  const prefix = view(bytes).getInt32(0, true) === -1 ? 8 : 4; // continuation mark and size, or the size alone
  const header = table(rootOf(bytes.subarray(prefix)), 2);
  if (header === null) throw new Error('a message without a header');
  return { header, bodyStart: offset + length };
}

async function readDictionary(read: ReadSpan, footer: Uint8Array, block: number): Promise<{ id: number; entries: string[] }> {
  const { header, bodyStart } = await readMessage(read, footer, block);
  const batch = table(header, 1)!;
  const [, offsets, values] = buffersOf(batch, bodyStart);
  const n = int64(batch, 0);
  if (n !== 0 && !(n > 0 && 4 * (n + 1) <= offsets!.length)) throw new RangeError(`a dictionary of ${n} entries`);
  const [ends, text] = [view(await read(offsets!)), await read(values!)];
  return { id: int64(header, 0), entries: Array.from({ length: n }, (_, i) => TEXT.decode(text.subarray(ends.getInt32(4 * i, true), ends.getInt32(4 * i + 4, true)))) };
}

function buffersOf(batch: FlatTable, bodyStart: number): Span[] {
  const data = view(batch.bytes);
  return structs(batch, 2, 16).map((at) => ({ offset: bodyStart + Number(data.getBigInt64(at, true)), length: Number(data.getBigInt64(at + 8, true)) }));
}

function fieldsOf(footer: FlatTable): FieldFacts[] {
  const readField = (field: FlatTable): FieldFacts => {
    const encoding = table(field, 4);
    const name = field.slot(0);
    const type = field.slot(2) === null ? 0 : field.bytes[field.slot(2)!]!;
    const listSize = type === FIXED_SIZE_LIST ? table(field, 3)!.slot(0) : null;
    return {
      name: name === null ? '' : text(field.bytes, name),
      type,
      dictionary: encoding === null ? null : int64(encoding, 0),
      listSize: listSize === null ? 0 : view(field.bytes).getInt32(listSize, true),
      children: tables(field, 5).map(readField),
    };
  };
  return tables(table(footer, 1)!, 1).map(readField);
}

const TEXT = new TextDecoder();
