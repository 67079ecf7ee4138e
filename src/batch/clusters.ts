/** Reads which cluster each row of a part lies in, for batches that look at clusters: the `cluster` column of its shards. */
import { readTableLayout } from '../arrow/layout.ts';
import { WinnowError } from '../errors.ts';
import type { DatasetPart } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import type { Strata } from './strata.ts';

/** Most rows of a part that is drawn by clusters: 4 bytes a row are kept, and 4 more while they are read. */
export const STRATA_ROWS_MAX = 2 ** 28;

/**
 * Rows without a cluster make a stratum of their own.
 *
 * @param level of the tree, 1 the finest; null: the top
 * @returns null when no row has a cluster, as in raw parts
 * @throws {WinnowError} CONFIG_INVALID when the tree has no such level or the part has more rows than STRATA_ROWS_MAX
 */
export async function readStrata(store: Store, part: DatasetPart, level: number | null): Promise<Strata | null> {
  if (part.kind === 'raw') return null;
  if (part.rows > STRATA_ROWS_MAX) {
    throw new WinnowError('CONFIG_INVALID', `Expected a part of at most ${STRATA_ROWS_MAX} rows for stratified or cluster batches, got ${part.rows} in "${part.name}": set batch.compose to plain`);
  }
  const cluster = new Uint32Array(part.rows).fill(NONE);
  for (const shard of part.shards) {
    const layout = await readTableLayout((span) => store.read(shard.path, span), shard.bytes, shard.path);
    const column = layout.columns.get('cluster');
    const width = column?.width ?? 0;
    const chosen = level ?? width;
    if (column === undefined || chosen > width) throw new WinnowError('CONFIG_INVALID', `Expected batch.level to be one of the ${width} levels of the tree, got ${level}`);
    const values = await store.read(shard.path, { offset: column.values.offset, length: 4 * width * shard.rowCount });
    const words = new DataView(values.buffer, values.byteOffset, values.byteLength);
    const bits = column.validity === null ? null : await store.read(shard.path, column.validity);
    for (let i = 0; i < shard.rowCount; i++) {
      if (bits !== null && ((bits[i >> 3]! >> (i & 7)) & 1) === 0) continue;
      cluster[shard.firstRow + i] = words.getUint32(4 * (i * width + chosen - 1), true);
    }
  }
  return groupRows(cluster);
}

const NONE = 0xffff_ffff;

/** Counting sort by cluster; clusters without rows are left out. */
function groupRows(cluster: Uint32Array): Strata | null {
  const sizes = new Map<number, number>();
  for (const c of cluster) sizes.set(c, (sizes.get(c) ?? 0) + 1);
  if (sizes.size === 1 && sizes.has(NONE)) return null;
  const names = [...sizes.keys()].sort((a, b) => a - b);
  const next = new Map<number, number>();
  const ends = new Float64Array(names.length);
  names.forEach((name, k) => {
    next.set(name, ends[k - 1] ?? 0);
    ends[k] = (ends[k - 1] ?? 0) + sizes.get(name)!;
  });
  const rows = new Uint32Array(cluster.length);
  for (let row = 0; row < cluster.length; row++) {
    const at = next.get(cluster[row]!)!;
    rows[at] = row;
    next.set(cluster[row]!, at + 1);
  }
  return { rows, ends };
}
