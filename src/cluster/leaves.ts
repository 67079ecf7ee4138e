/**
 * The leaves of a split level while it is built: the centroids of all cells, cell after cell, one object a group of
 * cells. They are read cell by cell, with a bounded number of bytes kept, so that k × d need not fit in memory.
 */
import type { Store } from '../store/store.ts';
import type { Cells } from './cells.ts';
import { readJson, readWords } from './words.ts';

/** Where one version of the leaves lies. A global update leaves a new version; the number of leaves a cell stays. */
export interface LeavesReference {
  /** Key of the JSON list of leaves before each cell, length m + 1. */
  readonly offsets: string;
  /** Key prefix of the centroids: `<centroids>/<group>`. */
  readonly centroids: string;
}

export interface CellLeaves {
  /** Leaves × d. */
  readonly centroids: Float32Array;
  /** Number of each of them among all leaves, ascending. */
  readonly leaf: Uint32Array;
}

export interface Leaves {
  readonly k: number;
  /** Leaves before each cell, length m + 1. */
  readonly offset: readonly number[];
  /** Cells that have leaves, ascending. */
  readonly cells: Uint32Array;
  load(cell: number): Promise<CellLeaves>;
}

/** @param cacheBytes of centroids that stay in memory for the next `load` */
export async function openLeaves(store: Store, { offsets, centroids: prefix }: LeavesReference, cells: Cells, d: number, cacheBytes: number): Promise<Leaves> {
  const offset = await readJson<number[]>(store, offsets);
  const m = offset.length - 1;
  const kept = new Map<number, CellLeaves>();
  let keptBytes = 0;
  const load = async (cell: number): Promise<CellLeaves> => {
    const known = kept.get(cell);
    if (known !== undefined) {
      // Last used goes last.
      kept.delete(cell);
      kept.set(cell, known);
      return known;
    }
    const group = cells.groups[cells.groupOf[cell]!]!;
    const [first, end] = [offset[cell]!, offset[cell + 1]!];
    const centroids = new Float32Array(await readWords(store, `${prefix}/${group.group}`, (end - first) * d, (first - offset[group.from]!) * d));
    const loaded = { centroids, leaf: Uint32Array.from({ length: end - first }, (_, i) => first + i) };
    kept.set(cell, loaded);
    keptBytes += centroids.byteLength;
    for (const [oldest, { centroids: values }] of kept) {
      if (keptBytes <= cacheBytes || oldest === cell) break;
      kept.delete(oldest);
      keptBytes -= values.byteLength;
    }
    return loaded;
  };
  return { k: offset[m]!, offset, cells: Uint32Array.from({ length: m }, (_, c) => c).filter((c) => offset[c + 1]! > offset[c]!), load };
}

/** Only the leaves with a nonzero mark; they keep their numbers. */
export function someLeaves(leaves: Leaves, marks: Uint8Array, d: number): Leaves {
  const { offset } = leaves;
  const has = (cell: number): boolean => marks.subarray(offset[cell], offset[cell + 1]).includes(1);
  return {
    ...leaves,
    cells: leaves.cells.filter(has),
    load: async (cell) => {
      const { centroids, leaf } = await leaves.load(cell);
      const kept = leaf.filter((one) => marks[one] === 1);
      const values = new Float32Array(kept.length * d);
      kept.forEach((one, i) => values.set(centroids.subarray((one - leaf[0]!) * d, (one - leaf[0]! + 1) * d), i * d));
      return { centroids: values, leaf: kept };
    },
  };
}
