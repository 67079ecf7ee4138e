/**
 * The one door to Apache Arrow: tables as IPC files (Feather v2, uncompressed, one record batch a file) and batches as
 * an IPC stream. Values go in and out as typed arrays without a copy where Arrow's layout allows it.
 */
import assert from 'node:assert/strict';
import {
  Binary,
  Bool,
  type Data,
  DataType,
  Dictionary,
  Field,
  FixedSizeList,
  Float16,
  Float32,
  Int32,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Table,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
  makeData,
  makeVector,
  tableFromIPC,
} from 'apache-arrow';
import { WinnowError } from '../errors.ts';
import { type Column, type Columns, columnLength, rowCountOfColumns } from './tables.ts';

/** One table as the bytes of an Arrow IPC file. Equal columns give equal bytes. */
export function encodeTable(columns: Columns): Uint8Array {
  const batch = toRecordBatch(columns);
  return RecordBatchFileWriter.writeAll(new Table(batch)).toUint8Array(true);
}

/** A record batch on its way into a stream, with the metadata a consumer reads per batch. */
export interface StreamBatch {
  readonly columns: Columns;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Record batches as the chunks of one Arrow IPC stream, one chunk a batch; `metadata` becomes the batch's custom metadata.
 * The batches must agree in schema. A batch is asked for when its chunk is: a slow consumer holds nothing up but itself.
 */
export async function* encodeStream(batches: AsyncIterable<StreamBatch>): AsyncIterable<Uint8Array> {
  let schemaBytes = 0;
  for await (const { columns, metadata } of batches) {
    const plain = toRecordBatch(columns);
    const batch = new RecordBatch(plain.schema, plain.data, new Map(Object.entries(metadata)));
    // Every batch is written as a stream of its own; only the first keeps the schema message, and none the end mark.
    const whole = RecordBatchStreamWriter.writeAll([batch]).toUint8Array(true);
    yield whole.subarray(schemaBytes, whole.byteLength - END_OF_STREAM.byteLength);
    if (schemaBytes === 0) schemaBytes = RecordBatchStreamWriter.writeAll(new Table(batch.schema)).toUint8Array(true).byteLength - END_OF_STREAM.byteLength;
  }
  yield END_OF_STREAM;
}

/** Read access to a decoded table by column name. Arrays are views on the bytes where alignment allows. */
export interface TableView {
  readonly rowCount: number;
  readonly names: readonly string[];
  /** Arrow's own text for a column's type, such as `FixedSizeList[384]<Float16>`. */
  typeOf(name: string): string;
  has(name: string): boolean;
  strings(name: string): (string | null)[];
  /** Nulls read as 0. uint64 and int64 come as float64, exact to 2^53. */
  numbers(name: string): Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array;
  /** 1 where the value is not null, or undefined when no value is. */
  validity(name: string): Uint8Array | undefined;
  vector(name: string): { readonly d: number; readonly element: 'float16' | 'float32' | 'uint32'; readonly values: Uint16Array | Float32Array | Uint32Array };
  binaries(name: string): Uint8Array[];
  /** One row as a plain object, for people: inspection and messages only. */
  row(index: number): Record<string, unknown>;
}

/** @throws {WinnowError} INPUT_MALFORMED when the bytes are not an Arrow IPC file or stream */
export function decodeTable(bytes: Uint8Array, where: string): TableView {
  return viewOf(readArrow(bytes, where), where);
}

/** The record batches of a file or stream that another program wrote, one view each. @throws {WinnowError} INPUT_MALFORMED as `decodeTable` */
export function decodeBatches(bytes: Uint8Array, where: string): TableView[] {
  return readArrow(bytes, where).batches.map((batch) => viewOf(new Table([batch]), where));
}

function readArrow(bytes: Uint8Array, where: string): Table {
  try {
    return tableFromIPC(bytes);
  } catch (cause) {
    throw new WinnowError('INPUT_MALFORMED', `Expected an Arrow IPC file at ${where}, got ${bytes.byteLength} bytes of something else`, { cause });
  }
}

function viewOf(table: Table, where: string): TableView {
  const single = (name: string): Data => {
    const vector = table.getChild(name);
    if (vector === null) throw new WinnowError('INPUT_MALFORMED', `Expected a column ${name} at ${where}, got ${table.schema.names.join(', ')}`);
    assert(vector.data.length <= 1, `Expected one record batch at ${where}, got ${vector.data.length}`);
    return vector.data[0] ?? (makeData({ type: vector.type, length: 0 } as never) as Data);
  };
  return {
    rowCount: table.numRows,
    names: table.schema.names.map(String),
    has: (name) => table.schema.names.includes(name),
    typeOf: (name) => String(single(name).type),
    strings: (name) => {
      const vector = makeVector(single(name));
      return Array.from({ length: vector.length }, (_, i) => vector.get(i) as string | null);
    },
    numbers: (name) => readNumbers(single(name)),
    validity: (name) => readValidity(single(name)),
    vector: (name) => {
      const data = single(name);
      const type = data.type as FixedSizeList;
      const child = data.children[0]!;
      const d = type.listSize;
      const element = elementName(type.children[0]!.type);
      return { d, element, values: (child.values as Float32Array).subarray(0, data.length * d) };
    },
    binaries: (name) => {
      const data = single(name);
      const values = data.values as Uint8Array;
      const offsets = data.valueOffsets as Int32Array;
      return Array.from({ length: data.length }, (_, i) => values.subarray(offsets[i]!, offsets[i + 1]!));
    },
    row: (index) => Object.fromEntries(table.schema.names.map((name) => [String(name), plain(table.getChild(name)?.get(index))])),
  };
}

function toRecordBatch(columns: Columns): RecordBatch {
  const length = rowCountOfColumns(columns);
  const names = Object.keys(columns);
  const children = names.map((name, id) => toData(columns[name]!, id));
  const fields = names.map((name, i) => new Field(name, children[i]!.type, true));
  const struct = makeData({ type: new Struct(fields), length, nullCount: 0, children });
  return new RecordBatch(new Schema(fields), struct);
}

/** @param id of the column's dictionary, unique in the table */
function toData(column: Column, id: number): Data {
  const length = columnLength(column);
  switch (column.type) {
    case 'utf8':
      return utf8Data(column.values);
    case 'dictionary':
      return dictionaryData(column.values, id, column.dictionary);
    case 'bool':
      return makeData({ type: new Bool(), length, nullCount: 0, data: packBits(column.values) });
    case 'uint16':
      return makeData({ type: new Uint16(), length, nullCount: 0, data: column.values });
    case 'uint32':
      return makeData({ type: new Uint32(), length, ...nulls(column.valid), data: column.values });
    case 'uint64':
      return makeData({ type: new Uint64(), length, ...nulls(column.valid), data: toUint64(column.values) });
    case 'float32':
      return makeData({ type: new Float32(), length, ...nulls(column.valid), data: column.values });
    case 'binary':
      return binaryData(column.values);
    case 'vector': {
      const type = column.element === 'float16' ? new Float16() : column.element === 'float32' ? new Float32() : new Uint32();
      const child = makeData({ type: type as Float32, length: length * column.d, nullCount: 0, data: column.values as Float32Array });
      return makeData({ type: new FixedSizeList(column.d, new Field('item', type as DataType, false)), length, ...nulls(column.valid), child: child as never });
    }
  }
}

/** Written into one array: an array a string is what tables of a hundred thousand rows spend their memory on. */
function utf8Data(values: readonly (string | null)[]): Data {
  const valueOffsets = offsetsOf(values, (value) => (value === null ? 0 : Buffer.byteLength(value)));
  const data = Buffer.from(new Uint8Array(valueOffsets[values.length]!).buffer);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value !== null && value !== '') data.write(value, valueOffsets[i]!);
  }
  const valid = values.some((value) => value === null) ? Uint8Array.from(values, (value) => (value === null ? 0 : 1)) : undefined;
  return makeData({ type: new Utf8(), length: values.length, ...nulls(valid), valueOffsets, data: new Uint8Array(data.buffer) });
}

/** Dictionary entries as given, or in order of first appearance, so that equal columns give equal bytes. */
function dictionaryData(values: readonly (string | null)[], id: number, entries?: readonly string[]): Data {
  const codes = new Map<string, number>(entries?.map((entry, code) => [entry, code]));
  const indices = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value === null) continue;
    let code = codes.get(value);
    if (code === undefined) {
      assert(entries === undefined, `Expected one of the dictionary's entries (${entries?.join(', ')}), got ${value}`);
      codes.set(value, (code = codes.size));
    }
    indices[i] = code;
  }
  const valid = values.some((value) => value === null) ? Uint8Array.from(values, (value) => (value === null ? 0 : 1)) : undefined;
  const dictionary = makeVector(utf8Data([...codes.keys()]));
  return makeData({ type: new Dictionary(new Utf8(), new Int32(), id), length: values.length, ...nulls(valid), data: indices, dictionary: dictionary as never });
}

function binaryData(values: readonly Uint8Array[]): Data {
  const valueOffsets = offsetsOf(values, ({ byteLength }) => byteLength);
  const data = new Uint8Array(valueOffsets[values.length]!);
  for (let i = 0; i < values.length; i++) data.set(values[i]!, valueOffsets[i]!);
  return makeData({ type: new Binary(), length: values.length, nullCount: 0, valueOffsets, data });
}

/** Where each value begins, and where the last ends. */
function offsetsOf<T>(values: readonly T[], sizeBytes: (value: T) => number): Int32Array {
  const valueOffsets = new Int32Array(values.length + 1);
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    total += sizeBytes(values[i]!);
    assert(total < 2 ** 31, 'Expected a column of less than 2 GiB a part; make parts smaller');
    valueOffsets[i + 1] = total;
  }
  return valueOffsets;
}

/** Little-endian pairs of 32-bit words: no BigInt per value. */
function toUint64(values: Float64Array): BigUint64Array {
  const words = new Uint32Array(values.length * 2);
  for (let i = 0; i < values.length; i++) {
    words[2 * i] = values[i]! % 4294967296;
    words[2 * i + 1] = Math.floor(values[i]! / 4294967296);
  }
  return new BigUint64Array(words.buffer);
}

function nulls(valid: Uint8Array | undefined): { nullCount: number; nullBitmap?: Uint8Array } {
  if (valid === undefined) return { nullCount: 0 };
  let nullCount = 0;
  for (let i = 0; i < valid.length; i++) if (valid[i] === 0) nullCount++;
  return nullCount === 0 ? { nullCount } : { nullCount, nullBitmap: packBits(valid) };
}

function packBits(flags: Uint8Array): Uint8Array {
  const bits = new Uint8Array(Math.ceil(flags.length / 64) * 8);
  for (let i = 0; i < flags.length; i++) if (flags[i] !== 0) bits[i >> 3]! |= 1 << (i & 7);
  return bits;
}

function readNumbers(data: Data): Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array {
  const type = data.type as DataType;
  if (DataType.isBool(type)) {
    const bits = data.values as unknown as Uint8Array;
    return Uint8Array.from({ length: data.length }, (_, i) => (bits[(i + data.offset) >> 3]! >> ((i + data.offset) & 7)) & 1);
  }
  const values = data.values as Float32Array | BigUint64Array | BigInt64Array;
  if (!(values instanceof BigUint64Array || values instanceof BigInt64Array)) return values.subarray(0, data.length);
  const words = new Uint32Array(values.buffer, values.byteOffset, data.length * 2);
  const high = values instanceof BigUint64Array ? words : new Int32Array(words.buffer, words.byteOffset, words.length);
  const out = new Float64Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = words[2 * i]! + high[2 * i + 1]! * 4294967296;
  return out;
}

function readValidity(data: Data): Uint8Array | undefined {
  if (data.nullCount === 0) return undefined;
  return Uint8Array.from({ length: data.length }, (_, i) => (data.getValid(i) ? 1 : 0));
}

function elementName(type: DataType): 'float16' | 'float32' | 'uint32' {
  const name = String(type).toLowerCase();
  assert(name === 'float16' || name === 'float32' || name === 'uint32', `Expected a list of float16, float32 or uint32, got ${type}`);
  return name;
}

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Uint8Array) return `<${value.byteLength} bytes>`;
  if (value !== null && typeof value === 'object' && Symbol.iterator in value) return Array.from(value as Iterable<unknown>, plain);
  return value ?? null;
}

/** Continuation marker and a zero length. */
const END_OF_STREAM = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0);
