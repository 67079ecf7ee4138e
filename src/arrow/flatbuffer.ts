/** Reads flatbuffers, the encoding of Arrow's headers: tables, vectors and scalars by position, nothing copied. */

/** A table: `slot` gives the position of a field, or null where it is left out. */
export interface FlatTable {
  readonly bytes: Uint8Array;
  slot(field: number): number | null;
}

/** The table that a buffer begins with. */
export function rootOf(bytes: Uint8Array): FlatTable {
  return tableAt(bytes, view(bytes).getUint32(0, true));
}

function tableAt(bytes: Uint8Array, at: number): FlatTable {
  const data = view(bytes);
  const fields = at - data.getInt32(at, true);
  const count = (data.getUint16(fields, true) - 4) / 2;
  return {
    bytes,
    slot: (field) => {
      const offset = field < count ? data.getUint16(fields + 4 + 2 * field, true) : 0;
      return offset === 0 ? null : at + offset;
    },
  };
}

function follow(bytes: Uint8Array, at: number): number {
  return at + view(bytes).getUint32(at, true);
}

/** A field that is a table, or null where it is left out. */
export function table(from: FlatTable, field: number): FlatTable | null {
  const at = from.slot(field);
  return at === null ? null : tableAt(from.bytes, follow(from.bytes, at));
}

/** Positions of a vector's structs of `size` bytes each. */
export function structs(from: FlatTable, field: number, size: number): number[] {
  const at = from.slot(field);
  if (at === null) return [];
  const start = follow(from.bytes, at);
  const count = view(from.bytes).getUint32(start, true);
  if (start + 4 + count * size > from.bytes.byteLength) throw new RangeError(`a vector of ${count} entries past the end of its buffer`);
  return Array.from({ length: count }, (_, i) => start + 4 + i * size);
}

/** A field that is a vector of tables. */
export function tables(from: FlatTable, field: number): FlatTable[] {
  return structs(from, field, 4).map((at) => tableAt(from.bytes, follow(from.bytes, at)));
}

/** A field of 64 bits, 0 where it is left out. */
export function int64(from: FlatTable, field: number): number {
  const at = from.slot(field);
  return at === null ? 0 : Number(view(from.bytes).getBigInt64(at, true));
}

/** Text that lies at a position of a table's field. */
export function text(bytes: Uint8Array, at: number): string {
  const start = follow(bytes, at);
  return TEXT.decode(bytes.subarray(start + 4, start + 4 + view(bytes).getUint32(start, true)));
}

/** The bytes as numbers. */
export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const TEXT = new TextDecoder();
