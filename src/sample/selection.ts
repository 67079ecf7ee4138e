/**
 * The noun that sampling and retrieval share: which rows of the pool, how many copies of each, and why. Rows ascend;
 * one entry a row for sampling, one entry a (query, row) pair for retrieval.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { type Manifest, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** Rows of one part of a selection table; a constant of the format. */
export const SELECTION_PART_ROWS = 65_536;

export interface SelectionManifest extends Manifest {
  readonly part: string;
  readonly kind: 'balanced' | 'retrieved';
  /** Images asked for. */
  readonly requested: number;
  /** Images given, copies counted. */
  readonly selected: number;
  /** Different rows among them. */
  readonly unique: number;
  /** requested − selected: what the pool could not give. */
  readonly shortfall: number;
}

export interface SelectionBlock {
  /** uint64 rows as float64. */
  readonly row: Float64Array;
  readonly copies: Uint16Array;
  /** Squared distance to the centroid (balanced) or cosine similarity (retrieved). */
  readonly score: Float32Array;
  /** Row of the seed image in its own `images/` table; retrieval only. */
  readonly query: Float64Array | null;
}

/** Streams a selection in the table's order, one part in memory at a time. */
export async function* readSelection(store: Store, manifest: SelectionManifest): AsyncIterable<SelectionBlock> {
  for (const part of manifest.parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    yield {
      row: view.numbers('row') as Float64Array,
      copies: view.numbers('copies') as Uint16Array,
      score: view.numbers('score') as Float32Array,
      query: view.has('query') ? (view.numbers('query') as Float64Array) : null,
    };
  }
}
