/**
 * Columns of Winnow's tables, as typed arrays. Every table in the design's contract is a `Columns` value; `ipc.ts`
 * turns one into Arrow IPC bytes and back. Row numbers are float64 in memory (exact to 2^53) and uint64 on disk.
 */
import assert from 'node:assert/strict';

/** `valid[i] = 0` marks a null. Absent: no nulls. */
export type Column =
  | { readonly type: 'utf8'; readonly values: readonly (string | null)[] }
  | { readonly type: 'dictionary'; readonly values: readonly (string | null)[]; /** All entries, in code order; default: the values in order of first appearance. */ readonly dictionary?: readonly string[] }
  | { readonly type: 'bool'; readonly values: Uint8Array }
  | { readonly type: 'uint16'; readonly values: Uint16Array }
  | { readonly type: 'uint32'; readonly values: Uint32Array; readonly valid?: Uint8Array }
  | { readonly type: 'uint64'; readonly values: Float64Array; readonly valid?: Uint8Array }
  | { readonly type: 'float32'; readonly values: Float32Array; readonly valid?: Uint8Array }
  | { readonly type: 'binary'; readonly values: readonly Uint8Array[] }
  | VectorColumn;

/** fixed_size_list<element>[d], row-major. float16 is held as its bits. */
export type VectorColumn = { readonly type: 'vector'; readonly d: number; readonly valid?: Uint8Array } & (
  | { readonly element: 'float16'; readonly values: Uint16Array }
  | { readonly element: 'float32'; readonly values: Float32Array }
  | { readonly element: 'uint32'; readonly values: Uint32Array }
);

export type Columns = Readonly<Record<string, Column>>;

/** Rows of a column. */
export function columnLength(column: Column): number {
  return column.type === 'vector' ? column.values.length / column.d : column.values.length;
}

/** Rows of a table. @throws {AssertionError} when columns differ in length */
export function rowCountOfColumns(columns: Columns): number {
  const lengths = Object.entries(columns).map(([name, column]) => [name, columnLength(column)] as const);
  const first = lengths[0];
  assert(first !== undefined, 'Expected a table to have at least one column');
  for (const [name, length] of lengths) {
    assert(length === first[1], `Expected column ${name} to have ${first[1]} rows like ${first[0]}, got ${length}`);
  }
  return first[1];
}
