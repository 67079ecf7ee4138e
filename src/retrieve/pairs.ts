/** The noun of the retrieve stage: pairs of a seed image and a pool image near it, as search tasks leave them for the merge. */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** What one search task found. */
export interface SearchResult {
  /** Seed rows of the chunk that have a vector with a direction. */
  readonly queries: number;
  /** Pool rows that have one; null where no query asked. */
  readonly candidates: number | null;
  /** The pairs, by query, best first; null where there are none. */
  readonly pairs: Part | null;
}

/** Columns of pairs, of one length. */
export interface Pairs {
  /** Row of the pool. */
  readonly row: Float64Array;
  /** Cosine similarity. */
  readonly score: Float32Array;
  /** Row of the seed image in its own `images/` table. */
  readonly query: Float64Array;
}

/** One table as Arrow bytes. Equal pairs give equal bytes. */
export function encodePairs({ row, score, query }: Pairs): Uint8Array {
  return encodeTable({ row: { type: 'uint64', values: row }, score: { type: 'float32', values: score }, query: { type: 'uint64', values: query } });
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readPairs(store: Store, part: Part): Promise<Pairs> {
  const view = decodeTable(await readPart(store, part), part.path);
  return { row: view.numbers('row') as Float64Array, score: view.numbers('score') as Float32Array, query: view.numbers('query') as Float64Array };
}
