/** The update of a global Lloyd iteration over a split level: each leaf moves to the exact mean of its rows. */
import type { TaskKind } from '../run/stage.ts';
import { type CellsReference, openCells } from './cells.ts';
import { type LeavesReference, openLeaves } from './leaves.ts';
import { toGrid } from './points.ts';
import { splitLargest } from './empty-clusters.ts';
import { addSums } from './sums.ts';
import { bytesOf } from './words.ts';

export interface UpdatePayload {
  readonly cells: CellsReference;
  readonly leaves: LeavesReference;
  /** Groups first … end − 1 are updated. */
  readonly first: number;
  readonly end: number;
  /** `split`: a leaf without a row takes half of the largest leaf of its cell; otherwise it keeps its centroid. */
  readonly empty: 'keep' | 'drop' | 'split';
  /** Key prefix of the sums, one object a group. */
  readonly sums: string;
  readonly out: string;
}

export interface UpdateResult {
  /** Leaves without a row. */
  readonly empty: number;
}

/** Bytes of sums that one update holds. */
export const UPDATE_BYTES = 128 * 2 ** 20;

/** Writes the moved leaves to `<out>/<group>`. */
export const updateLeaves: TaskKind<UpdatePayload, UpdateResult> = {
  name: 'cluster-update',
  version: 1,
  run: async ({ cells: reference, leaves: before, first, end, empty, sums: prefix, out }, env) => {
    const { d } = reference;
    const cells = await openCells(env.store, reference);
    const leaves = await openLeaves(env.store, before, cells, d, 0);
    const [from, to] = [cells.groups[first]!.from, cells.groups[end - 1]!.to];
    const base = leaves.offset[from]!;
    const sums = new Float64Array((leaves.offset[to]! - base) * d);
    const size = new Float64Array(leaves.offset[to]! - base);
    for (const { group } of cells.groups) await addSums(env.store, `${prefix}/${group}`, leaves.offset, from, to, d, sums, size);
    for (const group of cells.groups.slice(first, end)) {
      const [start, stop] = [leaves.offset[group.from]!, leaves.offset[group.to]!];
      const moved = new Float32Array((stop - start) * d);
      for (let cell = group.from; cell < group.to; cell++) if (leaves.offset[cell + 1]! > leaves.offset[cell]!) moved.set((await leaves.load(cell)).centroids, (leaves.offset[cell]! - start) * d);
      for (let leaf = start; leaf < stop; leaf++) {
        const count = size[leaf - base]!;
        if (count === 0) continue;
        for (let j = 0; j < d; j++) moved[(leaf - start) * d + j] = toGrid(sums[(leaf - base) * d + j]! / count);
      }
      if (empty === 'split') {
        for (let cell = group.from; cell < group.to; cell++) {
          const [own, next] = [leaves.offset[cell]!, leaves.offset[cell + 1]!];
          splitLargest(moved.subarray((own - start) * d, (next - start) * d), size.subarray(own - base, next - base), d);
        }
      }
      await env.store.write(`${out}/${group.group}`, bytesOf(moved));
    }
    return { empty: size.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0) };
  },
};
