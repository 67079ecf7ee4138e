/**
 * Images that several parts of a dataset hold. The published mix keeps them (reference section 3.6: the sum of its parts is the
 * size of the whole); `first` leaves each image to the first part that has it, in the order of the mixture: balanced,
 * retrieved as listed, raw as listed. Parts drawn from the pool are compared by row; a raw part has rows of its own, so it is
 * compared by content id. Copies inside one part are its own affair and stay.
 */
import assert from 'node:assert/strict';
import { encodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import { type Part, rowCountOf, writePart } from '../run/manifest.ts';
import { SELECTION_PART_ROWS, type SelectionManifest, readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import { createIdTable } from './id-table.ts';
import type { OverlapCount } from './mixture.ts';

/** A part of the mixture: rows of the pool that a selection names, or all `ok` rows of a raw part's own table. */
export interface OverlapPart {
  readonly name: string;
  readonly selection: SelectionManifest | null;
  readonly embeddings: EmbeddingsManifest;
}

export interface OverlapResult extends OverlapCount {
  /** The rest: a selection's table (row, copies, score, and query where there was one); empty when it was not to be written. */
  readonly parts: Part[];
  /** Rows of the rest, copies counted, and different images. */
  readonly selected: number;
  readonly unique: number;
}

/**
 * Compares a part with those before it and writes what is left of it. Streams all tables; a raw part takes 28 bytes for each of its
 * ok rows, at most 2^22 at a time, and 2 bytes a row; the tables of embeddings that hold ids of earlier parts are read once for
 * each 2^22.
 *
 * @param out key prefix of the table of the rest; null: only count
 */
export async function leaveToEarlier(store: Store, earlier: readonly OverlapPart[], part: OverlapPart, out: string | null, signal: AbortSignal): Promise<OverlapResult> {
  assert(earlier.every((other) => part.selection === null || other.selection !== null), 'Expected raw parts after all others');
  const blocks = part.selection === null ? markRaw(store, earlier, part, signal) : markSelected(store, earlier, part.selection);
  const writer = createWriter(store, out);
  const shared = new Map<string, number>();
  let images = 0;
  let rows = 0;
  let last = -1;
  for await (const { row, copies, score, query, owner } of blocks) {
    throwIfAborted(signal);
    for (let i = 0; i < row.length; i++) {
      if (owner[i] === NOBODY) await writer.add(row[i]!, copies[i]!, score[i]!, query === null ? null : query[i]!);
      else {
        rows += copies[i]!;
        if (row[i] === last) continue;
        images++;
        shared.set(earlier[owner[i]!]!.name, (shared.get(earlier[owner[i]!]!.name) ?? 0) + 1);
      }
      last = row[i]!;
    }
  }
  return { part: part.name, images, rows, with: Object.fromEntries(earlier.flatMap(({ name }) => (shared.has(name) ? [[name, shared.get(name)!]] : []))), ...(await writer.end()) };
}

const NOBODY = 0xffff;

interface MarkedBlock {
  readonly row: Float64Array;
  readonly copies: Uint16Array;
  readonly score: Float32Array;
  readonly query: Float64Array | null;
  /** Index of the first earlier part that has the row; NOBODY. */
  readonly owner: Uint16Array;
}

async function* markSelected(store: Store, earlier: readonly OverlapPart[], selection: SelectionManifest): AsyncIterable<MarkedBlock> {
  const cursors = earlier.map((other) => createRowCursor(store, other.selection!));
  for await (const block of readSelection(store, selection)) {
    const owner = new Uint16Array(block.row.length).fill(NOBODY);
    for (const [i, mark] of cursors.entries()) await mark(block.row, owner, i);
    yield { ...block, owner };
  }
}

/** Walks a selection beside ascending rows. @returns sets `owner` to `index` where the selection has the row and nobody before it does */
function createRowCursor(store: Store, selection: SelectionManifest): (row: Float64Array, owner: Uint16Array, index: number) => Promise<void> {
  const blocks = readSelection(store, selection)[Symbol.asyncIterator]();
  let held: Float64Array = new Float64Array(0);
  let at = 0;
  return async (row, owner, index) => {
    for (let i = 0; i < row.length; ) {
      while (at < held.length && held[at]! < row[i]!) at++;
      if (at === held.length) {
        const next = await blocks.next();
        if (next.done === true) return;
        held = next.value.row;
        at = 0;
        continue;
      }
      if (held[at] === row[i] && owner[i] === NOBODY) owner[i] = index;
      i++;
    }
  };
}

/** Ids looked up at a time. */
const IDS_HELD = 2 ** 22;

async function* markRaw(store: Store, earlier: readonly OverlapPart[], { embeddings }: OverlapPart, signal: AbortSignal): AsyncIterable<MarkedBlock> {
  const owner = new Uint16Array(rowCountOf(embeddings.parts)).fill(NOBODY);
  const ok = embeddings.okRows.reduce((sum, count) => sum + count, 0);
  const shares = Math.max(1, Math.ceil(ok / IDS_HELD));
  for (let share = 0; share < shares; share++) {
    const table = createIdTable(Math.ceil(ok / shares) + SPARE_IDS);
    const isOfShare = (id: string): boolean => parseInt(id.slice(24), 16) % shares === share;
    const first = new Uint16Array(table.capacity).fill(NOBODY);
    for await (const { id } of okIds(store, embeddings, null)) for (const one of id) if (isOfShare(one)) table.add(one);
    for (const [i, other] of earlier.entries()) {
      for await (const { id } of okIds(store, other.embeddings, other.selection)) {
        throwIfAborted(signal);
        for (const one of id) {
          const slot = isOfShare(one) ? table.find(one) : -1;
          if (slot !== -1 && first[slot] === NOBODY) first[slot] = i;
        }
      }
    }
    for await (const { row, id } of okIds(store, embeddings, null)) id.forEach((one, i) => isOfShare(one) && (owner[row[i]!] = first[table.find(one)]!));
  }
  for (const part of embeddings.parts) {
    const { status } = await readEmbeddingFacts(store, part);
    const row = Float64Array.from(status, (_, i) => part.firstRow + i).filter((_, i) => status[i] === 'ok');
    yield { row, copies: new Uint16Array(row.length).fill(1), score: new Float32Array(row.length), query: null, owner: Uint16Array.from(row, (r) => owner[r]!) };
  }
}

/** Shares are even but for chance: ids are hashes. */
const SPARE_IDS = 65_536;

/** Rows that a selection names (each once), or all ok rows, and their content ids, a part at a time. */
async function* okIds(store: Store, embeddings: EmbeddingsManifest, selection: SelectionManifest | null): AsyncIterable<{ row: Float64Array; id: string[] }> {
  const wanted = selection === null ? null : createRowCursor(store, selection);
  for (const part of embeddings.parts) {
    const rows = Float64Array.from({ length: part.rowCount }, (_, i) => part.firstRow + i);
    const named = new Uint16Array(part.rowCount).fill(wanted === null ? 0 : NOBODY);
    await wanted?.(rows, named, 0);
    if (named.every((one) => one === NOBODY)) continue;
    const { id, status } = await readEmbeddingFacts(store, part);
    const isWanted = (i: number): boolean => named[i] !== NOBODY && status[i] === 'ok';
    yield { row: rows.filter((_, i) => isWanted(i)), id: id.filter((_, i) => isWanted(i)) as string[] };
  }
}

/** @param folder null: counts without writing */
function createWriter(store: Store, folder: string | null) {
  const n = SELECTION_PART_ROWS;
  const entry = { row: new Float64Array(n), copies: new Uint16Array(n), score: new Float32Array(n), query: new Float64Array(n) };
  const parts: Part[] = [];
  let [filled, selected, unique, last] = [0, 0, 0, -1];
  let queried = false;
  const flush = async (): Promise<void> => {
    if (filled === 0 || folder === null) {
      filled = 0;
      return;
    }
    const bytes = encodeTable({
      row: { type: 'uint64', values: entry.row.slice(0, filled) },
      copies: { type: 'uint16', values: entry.copies.slice(0, filled) },
      score: { type: 'float32', values: entry.score.slice(0, filled) },
      ...(queried && { query: { type: 'uint64' as const, values: entry.query.slice(0, filled) } }),
    });
    parts.push(await writePart(store, folder, parts, filled, bytes));
    filled = 0;
  };
  return {
    add: async (row: number, copies: number, score: number, query: number | null): Promise<void> => {
      entry.row[filled] = row;
      entry.copies[filled] = copies;
      entry.score[filled] = score;
      entry.query[filled++] = query ?? 0;
      queried = query !== null;
      selected += copies;
      if (row !== last) unique++;
      last = row;
      if (filled === n) await flush();
    },
    end: async (): Promise<{ parts: Part[]; selected: number; unique: number }> => {
      await flush();
      return { parts, selected, unique };
    },
  };
}
