/**
 * Random access to a finished dataset by (part, index). Shards are checked against their hash whenever they are read, and
 * the facts of a bounded number of rows stay in memory, those of the shards used last.
 */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { WinnowError } from '../errors.ts';
import { type Manifest, type Part, readPart, requireManifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { DatasetManifest, DatasetPart } from './shard.ts';

/** Facts of some rows of a part, in the order asked for. */
export interface DatasetRows {
  readonly id: readonly string[];
  readonly uri: readonly string[];
  /** Source and path of the file with the bytes; `offset` and `length` in bytes, −1 when the image is the whole file. */
  readonly source: readonly string[];
  readonly path: readonly string[];
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** Of the image that the shard has in the place of the original; null where it has none. */
  readonly derivedId: readonly (string | null)[];
}

export interface Dataset {
  readonly manifest: DatasetManifest;
  /** SHA-256 of `dataset/manifest.json`. */
  readonly sha256: string;
  /**
   * Rows of a part at any indices, repeats allowed. Reads each shard they lie in once, one after another.
   *
   * @throws {WinnowError} CONFIG_INVALID when there is no such part; CHECKSUM_MISMATCH when a shard is not as written
   */
  rows(part: string, indices: ArrayLike<number>): Promise<DatasetRows>;
}

/** Rows whose facts are kept: about 300 bytes each, so some 150 MB. One shard is kept whatever its size. */
const ROWS_KEPT = 524_288;

/**
 * Reads the manifest only.
 *
 * @throws {WinnowError} INPUT_MISSING when the store has no finished dataset
 */
export async function openDataset(store: Store, options: { readonly rowsKept?: number } = {}): Promise<Dataset> {
  const { manifest: stored, sha256 } = await requireManifest<Manifest>(store, 'dataset', 'shard');
  const manifest = stored as unknown as DatasetManifest;
  const shards = createShardCache(store, options.rowsKept ?? ROWS_KEPT);
  return {
    manifest,
    sha256,
    rows: async (name, indices) => {
      const part = findPart(manifest, name);
      const order = ascending(indices);
      const rows: WritableRows = { id: new Array(order.length), uri: new Array(order.length), source: new Array(order.length), path: new Array(order.length), offset: new Float64Array(order.length), length: new Float64Array(order.length), derivedId: new Array(order.length) };
      for (let i = 0; i < order.length; ) {
        const shard = shardOf(part, indices[order[i]!]!);
        const facts = await shards.read(shard);
        for (const end = shard.firstRow + shard.rowCount; i < order.length && indices[order[i]!]! < end; i++) copyRow(facts, indices[order[i]!]! - shard.firstRow, rows, order[i]!);
      }
      return rows;
    },
  };
}

/** Facts of rows while they are filled in. */
export interface WritableRows {
  readonly id: string[];
  readonly uri: string[];
  readonly source: string[];
  readonly path: string[];
  readonly offset: Float64Array;
  readonly length: Float64Array;
  readonly derivedId: (string | null)[];
}

function findPart({ parts }: DatasetManifest, name: string): DatasetPart {
  const part = parts.find((one) => one.name === name);
  if (part === undefined) throw new WinnowError('CONFIG_INVALID', `Expected a part of the dataset (${parts.map((one) => one.name).join(', ')}), got "${name}"`);
  return part;
}

/** Positions of `indices`, by ascending index: shard after shard. */
function ascending(indices: ArrayLike<number>): Uint32Array {
  return Uint32Array.from({ length: indices.length }, (_, i) => i).sort((a, b) => indices[a]! - indices[b]!);
}

/** The shard that holds an index of the part: the last one that begins at or before it. O(log shards). */
export function shardOf({ name, rows, shards }: DatasetPart, index: number): Part {
  assert(Number.isSafeInteger(index) && index >= 0 && index < rows, `Expected an index of part ${name} from 0 to ${rows - 1}, got ${index}`);
  let low = 0;
  let high = shards.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (shards[middle]!.firstRow <= index) low = middle;
    else high = middle - 1;
  }
  return shards[low]!;
}

/** Copies the facts of row `at` to place i of another table. */
export function copyRow(from: DatasetRows, at: number, to: WritableRows, i: number): void {
  to.id[i] = from.id[at]!;
  to.uri[i] = from.uri[at]!;
  to.source[i] = from.source[at]!;
  to.path[i] = from.path[at]!;
  to.offset[i] = from.offset[at]!;
  to.length[i] = from.length[at]!;
  to.derivedId[i] = from.derivedId[at]!;
}

/** Shards in order of last use, the oldest dropped once more than `rowsKept` rows are held. */
function createShardCache(store: Store, rowsKept: number): { read(shard: Part): Promise<DatasetRows> } {
  const held = new Map<string, DatasetRows>();
  let rows = 0;
  return {
    read: async (shard) => {
      const known = held.get(shard.path);
      held.delete(shard.path);
      const facts = known ?? (await readShard(store, shard));
      if (known === undefined && !held.has(shard.path)) rows += shard.rowCount;
      held.set(shard.path, facts);
      for (const [path, { id }] of held) {
        if (rows <= rowsKept || held.size === 1) break;
        held.delete(path);
        rows -= id.length;
      }
      return facts;
    },
  };
}

async function readShard(store: Store, shard: Part): Promise<DatasetRows> {
  const view = decodeTable(await readPart(store, shard), shard.path);
  const text = (name: string): string[] => view.strings(name) as string[];
  const names = new Map<string, string>(); // one string a source, not one a row
  const source = text('source').map((name) => names.get(name) ?? names.set(name, name).get(name)!);
  const valid = view.validity('offset');
  const place = (name: string): Float64Array => (view.numbers(name) as Float64Array).map((value, i) => (valid === undefined || valid[i] === 1 ? value : -1));
  return { id: text('id'), uri: text('uri'), path: text('path'), source, offset: place('offset'), length: place('length'), derivedId: view.has('derivedId') ? view.strings('derivedId') : new Array<null>(view.rowCount).fill(null) };
}
