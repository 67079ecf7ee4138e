/**
 * Merges the pairs of all search tasks into one selection, ordered by row, then query. The pairs may be more than
 * memory holds, so they are sorted in runs of neighbouring pool rows, each small enough.
 */
import { encodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, rowCountOf, writePart } from '../run/manifest.ts';
import { SELECTION_PART_ROWS, type SelectionManifest } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import { type Pairs, type SearchResult, readPairs } from './pairs.ts';

export type MergeResult = Pick<SelectionManifest, 'requested' | 'selected' | 'unique' | 'shortfall'> & { readonly parts: Part[]; readonly stats: Record<string, unknown> };

export interface MergeOptions {
  /** Key prefix of the selection. */
  readonly path: string;
  /** Neighbours that each query asked for. */
  readonly k: number;
  readonly signal: AbortSignal;
  /** Pairs sorted at a time, 24 bytes each; changes no byte of output. */
  readonly pairsMax?: number;
}

/**
 * Writes the selection. Holds `pairsMax` pairs (default 2^22, 100 MB) and one task's, or those of 65,536 neighbouring
 * pool rows where they are more; reads the pairs once to count and once for each run of rows.
 *
 * @param results in any order of tasks that holds each query once
 * @throws {WinnowError} TOO_FEW_ROWS without a query or without a candidate
 */
export async function mergePairs(store: Store, results: readonly SearchResult[], { path, k, signal, pairsMax = 2 ** 22 }: MergeOptions): Promise<MergeResult> {
  const queries = results.reduce((total, result) => total + result.queries, 0);
  const candidates = results.find((result) => result.candidates !== null)?.candidates ?? 0;
  if (queries === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected seed images with a vector to retrieve ${path} around, got none`);
  if (candidates === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected pool images with a vector to retrieve ${path} from, got none`);
  const chunks = results.flatMap(({ pairs }) => (pairs === null ? [] : [pairs]));
  const writer = createWriter(store, path);
  for (const range of await planRanges(store, chunks, pairsMax)) {
    throwIfAborted(signal);
    await writeRange(store, chunks, range, writer);
  }
  const { parts, unique, queriesMax, similarity } = await writer.finish();
  const selected = rowCountOf(parts);
  const requested = k * queries;
  const stats = {
    queries,
    candidates,
    collisions: selected - unique,
    queriesMax,
    similarity: { mean: similarity.sum / selected, min: similarity.min, max: similarity.max },
  };
  return { parts, stats, requested, selected, unique, shortfall: requested - selected };
}

interface RowRange {
  /** Pool rows from … to − 1. */
  readonly from: number;
  readonly to: number;
  /** Pairs of those rows. */
  readonly count: number;
}

/** Consecutive ranges of rows with at most `pairsMax` pairs each, except where one bin of rows has more. */
async function planRanges(store: Store, chunks: readonly Part[], pairsMax: number): Promise<RowRange[]> {
  const bins: number[] = [];
  for (const chunk of chunks) {
    const { row } = await readPairs(store, chunk);
    for (const r of row) {
      const bin = Math.floor(r / BIN_ROWS);
      while (bins.length <= bin) bins.push(0);
      bins[bin]!++;
    }
  }
  const ranges: RowRange[] = [];
  bins.forEach((count, bin) => {
    const last = ranges.at(-1);
    const to = (bin + 1) * BIN_ROWS;
    if (last !== undefined && last.count + count <= pairsMax) ranges[ranges.length - 1] = { from: last.from, to, count: last.count + count };
    else ranges.push({ from: bin * BIN_ROWS, to, count });
  });
  return ranges;
}

async function writeRange(store: Store, chunks: readonly Part[], { from, to, count }: RowRange, writer: Writer): Promise<void> {
  const pairs = { row: new Float64Array(count), score: new Float32Array(count), query: new Float64Array(count) };
  let filled = 0;
  for (const chunk of chunks) {
    const { row, score, query } = await readPairs(store, chunk);
    for (let i = 0; i < row.length; i++) {
      if (row[i]! < from || row[i]! >= to) continue;
      pairs.row[filled] = row[i]!;
      pairs.score[filled] = score[i]!;
      pairs.query[filled++] = query[i]!;
    }
  }
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  order.sort((a, b) => pairs.row[a]! - pairs.row[b]! || pairs.query[a]! - pairs.query[b]!);
  for (const i of order) {
    writer.add(pairs.row[i]!, pairs.score[i]!, pairs.query[i]!);
    if (writer.isFull()) await writer.flush();
  }
}

interface Writer {
  /** Pairs come by row, then query. */
  add(row: number, score: number, query: number): void;
  isFull(): boolean;
  flush(): Promise<void>;
  finish(): Promise<Tally>;
}

interface Tally {
  readonly parts: Part[];
  /** Different rows. */
  unique: number;
  /** Queries that the most wanted row answered. */
  queriesMax: number;
  readonly similarity: { sum: number; min: number; max: number };
}

function createWriter(store: Store, path: string): Writer {
  const entry = { row: new Float64Array(SELECTION_PART_ROWS), score: new Float32Array(SELECTION_PART_ROWS), query: new Float64Array(SELECTION_PART_ROWS) };
  const tally: Tally = { parts: [], unique: 0, queriesMax: 0, similarity: { sum: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY } };
  let filled = 0;
  let lastRow = -1;
  let sharing = 0;
  const flush = async (): Promise<void> => {
    if (filled === 0) return;
    tally.parts.push(await writePart(store, path, tally.parts, filled, encodeEntries(entry, filled)));
    filled = 0;
  };
  return {
    add: (row, score, query) => {
      entry.row[filled] = row;
      entry.score[filled] = score;
      entry.query[filled++] = query;
      sharing = row === lastRow ? sharing + 1 : 1;
      if (sharing === 1) tally.unique++;
      lastRow = row;
      tally.queriesMax = Math.max(tally.queriesMax, sharing);
      tally.similarity.sum += score;
      tally.similarity.min = Math.min(tally.similarity.min, score);
      tally.similarity.max = Math.max(tally.similarity.max, score);
    },
    isFull: () => filled === SELECTION_PART_ROWS,
    flush,
    finish: async () => {
      await flush();
      return tally;
    },
  };
}

function encodeEntries(entry: Pairs, rowCount: number): Uint8Array {
  return encodeTable({
    row: { type: 'uint64', values: entry.row.slice(0, rowCount) },
    copies: { type: 'uint16', values: new Uint16Array(rowCount).fill(1) },
    score: { type: 'float32', values: entry.score.slice(0, rowCount) },
    query: { type: 'uint64', values: entry.query.slice(0, rowCount) },
  });
}

const BIN_ROWS = 65_536;
