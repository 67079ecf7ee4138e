/**
 * Single rows of the tables of a store, as plain objects for people. Two kinds: tables by row, one entry a row of the pool, and
 * lists of rows, ascending, with any number of entries a row. The parts read last are kept, so rows asked for in order are
 * read once.
 */
import { type TableView, decodeTable } from '../arrow/ipc.ts';
import { type Part, readPart, rowCountOf } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

const PARTS_KEPT = 8;

export interface Tables {
  /** One row of a table by row; null beyond its end. */
  row(parts: readonly Part[], row: number): Promise<Record<string, unknown> | null>;
  /**
   * Entries of a row in a list of rows: their number in the list, and what they say. O(log parts + log entries) reads.
   *
   * @param parts sorted by their column `row`, over all parts
   */
  entries(parts: readonly Part[], row: number): Promise<{ readonly part: Part; readonly index: number; readonly entry: Record<string, unknown> }[]>;
  view(part: Part): Promise<TableView>;
}

/** Holds eight decoded parts at most. */
export function openTables(store: Store): Tables {
  const kept = new Map<string, { view: TableView; rows: Float64Array | null }>();
  const open = async (part: Part): Promise<{ view: TableView; rows: Float64Array | null }> => {
    const known = kept.get(part.path) ?? { view: decodeTable(await readPart(store, part), part.path), rows: null };
    kept.delete(part.path);
    kept.set(part.path, known);
    if (kept.size > PARTS_KEPT) kept.delete(kept.keys().next().value!);
    return known;
  };
  const rowsOf = async (part: Part): Promise<Float64Array> => {
    const held = await open(part);
    return (held.rows ??= held.view.numbers('row') as Float64Array);
  };
  return {
    row: async (parts, row) => {
      if (row >= rowCountOf(parts)) return null;
      const part = parts[lastAtOrBefore(parts.length, (i) => parts[i]!.firstRow <= row)]!;
      return (await open(part)).view.row(row - part.firstRow);
    },
    entries: async (parts, row) => {
      const found = [];
      for (let p = await firstPartWith(parts, row, rowsOf); p < parts.length; p++) {
        const part = parts[p]!;
        const rows = await rowsOf(part);
        let i = firstAtLeast(rows, row);
        for (; i < rows.length && rows[i] === row; i++) found.push({ part, index: part.firstRow + i, entry: (await open(part)).view.row(i) });
        if (i < rows.length) break;
      }
      return found;
    },
    view: async (part) => (await open(part)).view,
  };
}

/** The last part whose first entry is of an earlier row than this one: the row's entries begin there or after. */
async function firstPartWith(parts: readonly Part[], row: number, rowsOf: (part: Part) => Promise<Float64Array>): Promise<number> {
  let [low, high] = [0, parts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((await rowsOf(parts[middle]!))[0]! < row) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

function firstAtLeast(rows: Float64Array, row: number): number {
  return lastAtOrBefore(rows.length, (i) => rows[i]! < row) + 1;
}

/** The last i for which a condition that is true first and false after holds; −1: none. */
function lastAtOrBefore(n: number, holds: (i: number) => boolean): number {
  let [low, high] = [-1, n - 1];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
