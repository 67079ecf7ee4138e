/**
 * How a part is cut into tasks and shards. A shard holds `rows` rows of a part; a task writes a run of whole shards, of
 * about SELECTION_PART_ROWS rows, so that it reads each table it joins once. All of it follows from the config and the
 * parts' sizes: nothing of the machine or of what was written before moves a boundary.
 */
import assert from 'node:assert/strict';
import type { MixturePart } from '../mix/mixture.ts';
import { type StoredManifest, rowCountOf } from '../run/manifest.ts';
import { SELECTION_PART_ROWS, type SelectionManifest, readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import type { DeriveRule } from './derive.ts';
import type { ShardConfig } from './shard.ts';

/** A table of another stage, and the manifest it has to have. */
export interface TableReference {
  readonly path: string;
  readonly sha256: string;
}

/** Tables that the rows of a part come from; `clusters` is null for raw parts, and so is `selection` unless it leaves out some rows. */
export interface PartTables {
  readonly images: TableReference;
  readonly embeddings: TableReference;
  readonly selection: TableReference | null;
  readonly clusters: TableReference | null;
}

/** A run of shards of one part: rows firstRow … firstRow + rowCount − 1 of it. */
export interface ShardPayload {
  readonly part: string;
  readonly firstRow: number;
  readonly rowCount: number;
  readonly tables: PartTables;
  /** Parts of the selection, or of a raw part's embeddings, that name the rows: their ordinals, and the rows before them. */
  readonly named: { readonly first: number; readonly count: number; readonly rowsBefore: number };
  /** Levels of the tree: the length of `cluster`. */
  readonly levels: number;
  /** Whether shards have `caption` and `meta`. */
  readonly withText: boolean;
  readonly config: ShardConfig;
  /** With `config.derive`. */
  readonly derive?: DeriveRule;
}

/**
 * @param named rows of the part that each part of its selection (or of its embeddings) names, copies counted
 */
export function planShards(part: MixturePart, named: readonly number[], shared: Pick<ShardPayload, 'tables' | 'levels' | 'withText' | 'config' | 'derive'>): ShardPayload[] {
  const ends = named.map((sum => (rows: number) => (sum += rows))(0));
  assert((ends.at(-1) ?? 0) === part.rows, `Expected the tables of part ${part.name} to name ${part.rows} rows, got ${ends.at(-1) ?? 0}`);
  const { rows } = shared.config;
  const runRows = rows * Math.max(1, Math.floor(SELECTION_PART_ROWS / rows));
  const payloads: ShardPayload[] = [];
  let first = 0;
  for (let firstRow = 0; firstRow < part.rows; firstRow += runRows) {
    const rowCount = Math.min(runRows, part.rows - firstRow);
    while (ends[first]! <= firstRow) first++;
    let last = first;
    while (ends[last]! < firstRow + rowCount) last++;
    payloads.push({ part: part.name, firstRow, rowCount, ...shared, named: { first, count: last - first + 1, rowsBefore: ends[first]! - named[first]! } });
  }
  return payloads;
}

/** Rows that each part of a selection names. Reads the table only when some row has copies. */
export async function countSelected(store: Store, { manifest }: StoredManifest<SelectionManifest>): Promise<number[]> {
  if (manifest.selected === rowCountOf(manifest.parts)) return manifest.parts.map(({ rowCount }) => rowCount);
  const counts: number[] = [];
  for await (const { copies } of readSelection(store, manifest)) counts.push(copies.reduce((sum, count) => sum + count, 0));
  return counts;
}

/** `dataset/shards/<part>-00007.arrow`; what a limit of bytes or text cuts off it goes on in `<part>-00007_00001.arrow`. */
export function shardKey(part: string, shard: number, piece: number): string {
  const pad = (ordinal: number): string => String(ordinal).padStart(5, '0');
  return `dataset/shards/${part}-${pad(shard)}${piece === 0 ? '' : `_${pad(piece)}`}.arrow`;
}
