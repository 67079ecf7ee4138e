/**
 * The noun of the dedup stage: which images show the same picture as another, and which one of each group stays.
 *
 * `duplicates/` is a table by row whose parts have the rows of those of `embeddings/`. A group is named by the row of its
 * keeper, so that `group` points from every copy to the image that stays for it. `duplicates/members/` lists the groups with
 * the uri, label, caption and meta of every member, group by group: what was said of a picture is kept together.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** Why an image is dropped: another one has the same bytes; another one is near in an embedding. */
export const DUPLICATE_REASONS = ['exact-duplicate', 'near-duplicate'] as const;
export type DuplicateReason = (typeof DUPLICATE_REASONS)[number];

export interface DuplicatesManifest extends Manifest {
  /** Tables of members, by group, then row; `firstRow` counts members. */
  readonly members: readonly Part[];
  readonly stats: DuplicatesStats;
}

export type DuplicatesStats = Readonly<Record<string, unknown>> & {
  /** Rows of the pool, and those that could be compared: of status `ok`. */
  readonly rows: number;
  readonly compared: number;
  /** Dropped rows by reason; a reason that was not asked for is left out. */
  readonly dropped: Readonly<Partial<Record<DuplicateReason, number>>>;
  /** Groups that have lost members, and the rows of the largest. */
  readonly groups: number;
  readonly largestGroup: number;
  /** Components above the guard, largest first: kept whole but for exact copies. At most 100 are listed. */
  readonly guarded: readonly { readonly keeper: number; readonly size: number }[];
  /** How near-duplicates were searched; absent where they were not. */
  readonly near?: NearStats;
};

/** What the search for near-duplicates compared, found, and is measured to have missed. */
export interface NearStats {
  readonly threshold: number;
  readonly k: number;
  /** Vectors searched: `ok` rows without exact copies of another. */
  readonly points: number;
  readonly dimensions: number;
  readonly cells: number;
  readonly probes: number;
  /** Pairs found, each direction counted. */
  readonly pairs: number;
  /** Comparisons made, as a share of those of brute force. */
  readonly comparisons: number;
  /** Share of the brute-force pairs of a keyed sample that were found, null where it has none; null where all cells are looked at. */
  readonly recall: { readonly queries: number; readonly pairs: number; readonly recall: number | null } | null;
}

/** Rows firstRow … of one part. */
export interface DuplicateBlock {
  readonly firstRow: number;
  readonly rowCount: number;
  /** Null: the row stays, as far as this stage is concerned. */
  readonly reason: readonly (DuplicateReason | null)[];
  /** Row of the keeper of the row's group; −1 where it is in none. Members of a guarded component have one, and stay. */
  readonly group: Float64Array;
  /** 1 on the row that stays for its group. */
  readonly keeper: Uint8Array;
  /**
   * The row's strongest link, which may not be the keeper: the other row, and the similarity to it; −1 and 0 without one. Of an exact
   * copy it is the row that stays for its bytes; of another row an exact copy is named only where nothing else is near.
   */
  readonly nearest: Float64Array;
  readonly similarity: Float32Array;
}

/** Pairs of rows that show the same picture, as columns `a`, `b`, `similarity` of a table: each is an edge of the graph. */
export interface PairColumns {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly similarity: Float32Array;
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readDuplicates(store: Store, part: Part): Promise<DuplicateBlock> {
  const view = decodeTable(await readPart(store, part), part.path);
  return {
    firstRow: part.firstRow,
    rowCount: part.rowCount,
    reason: view.strings('reason') as (DuplicateReason | null)[],
    group: orMissing(view.numbers('group') as Float64Array, view.validity('group')),
    keeper: view.numbers('keeper') as Uint8Array,
    nearest: orMissing(view.numbers('nearest') as Float64Array, view.validity('nearest')),
    similarity: (view.numbers('similarity') as Float32Array).slice(),
  };
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readPairs(store: Store, part: Part): Promise<PairColumns> {
  const view = decodeTable(await readPart(store, part), part.path);
  return { a: view.numbers('a') as Float64Array, b: view.numbers('b') as Float64Array, similarity: view.numbers('similarity') as Float32Array };
}

function orMissing(values: Float64Array, valid: Uint8Array | undefined): Float64Array {
  return valid === undefined ? values : values.map((value, i) => (valid[i] === 0 ? -1 : value));
}
