/**
 * The last steps of a split level, group by group: rows of outlier leaves move to the nearest large leaf (the `merge`
 * policy of outliers.ts, by two-level search), and leaves and distances go back from cell order to the order of points.
 */
import type { TaskKind } from '../run/stage.ts';
import { type CellGroup, type Cells, type CellsReference, type RoutedBlock, openCells } from './cells.ts';
import { searchEngine } from './level.ts';
import { type LeavesReference, openLeaves, someLeaves } from './leaves.ts';
import type { Points } from './points.ts';
import { bestOf, probeLeaves } from './probe.ts';
import { exactDistances } from './reassign.ts';
import { NO_CLUSTER } from './tree.ts';
import { bytesOf, readWords } from './words.ts';

export interface MergePayload {
  readonly cells: CellsReference;
  readonly leaves: LeavesReference;
  readonly group: CellGroup;
  readonly probes: number;
  /** Key of one byte a leaf: 1 where it has enough rows. */
  readonly large: string;
  /** Key prefix of the rows before (reassign.ts). */
  readonly rows: string;
  readonly out: string;
}

export interface MergeResult {
  readonly merged: number;
  readonly inertia: number;
}

/** Writes `<out>/<group>` like `<rows>/<group>`, with the rows of small leaves moved. */
export const mergeSmall: TaskKind<MergePayload, MergeResult> = {
  name: 'cluster-merge-small',
  version: 1,
  run: async ({ cells: reference, leaves: from, group, probes, large, rows: prefix, out }, env) => {
    const { d } = reference;
    const cells = await openCells(env.store, reference);
    const all = await openLeaves(env.store, from, cells, d, env.execution.memoryBytes / 4);
    const marks = await env.store.read(large);
    const leaves = someLeaves(all, marks, d);
    const n = cells.rowOffset[group.to]! - cells.rowOffset[group.from]!;
    const words = await readWords(env.store, `${prefix}/${group.group}`, n * 2);
    const [leaf, distance] = [new Uint32Array(words, 0, n), new Float32Array(words, n * 4, n)];
    const small = Uint32Array.from(leaf.keys()).filter((row) => marks[leaf[row]!] !== 1);
    const options = { engine: await searchEngine(env), coarse: cells.centroids, leaves, probes, signal: env.signal };
    const pointsOf = await cells.pointsOf(group, env.execution.memoryBytes / 4);
    const rowsMax = Math.max(256, Math.floor(env.execution.memoryBytes / 4 / (d * 4)));
    for (let first = 0; first < small.length; first += rowsMax) {
      const some = small.subarray(first, first + rowsMax);
      const values = await gatherRows(some, group, cells, pointsOf, d);
      const found = bestOf(await probeLeaves(values, some.length, d, options), some.length);
      await exactDistances(values, found.leaf, found.distance, d, all);
      some.forEach((row, i) => {
        leaf[row] = found.leaf[i]!;
        distance[row] = found.distance[i]!;
      });
    }
    await env.store.write(`${out}/${group.group}`, new Uint8Array(words));
    return { merged: small.length, inertia: distance.reduce((sum, value) => sum + value, 0) };
  },
};

/** Vectors of ascending rows of a group, counted in cell order. */
async function gatherRows(rows: Uint32Array, { from, to }: CellGroup, { rowOffset }: Cells, pointsOf: (cell: number) => Points, d: number): Promise<Float32Array> {
  const values = new Float32Array(rows.length * d);
  for (let cell = from, at = 0; cell < to && at < rows.length; cell++) {
    const first = rowOffset[cell]! - rowOffset[from]!;
    const end = rowOffset[cell + 1]! - rowOffset[from]!;
    const start = at;
    while (at < rows.length && rows[at]! < end) at++;
    if (at > start) await pointsOf(cell).gather(rows.subarray(start, at).map((row) => row - first), values.subarray(start * d, at * d));
  }
  return values;
}

export interface ScatterPayload {
  readonly cells: CellsReference;
  readonly block: RoutedBlock;
  /** Key prefix of the rows of each group. */
  readonly rows: string;
  /** Key of the final number of each leaf, NO_CLUSTER where its rows are set aside. */
  readonly numbers: string;
  readonly k: number;
  readonly out: string;
}

/** Writes the final leaf and the distance of the points of one routed block, in their order, to `<out>`. */
export const scatterRows: TaskKind<ScatterPayload, null> = {
  name: 'cluster-scatter',
  version: 1,
  run: async ({ cells: reference, block, rows: prefix, numbers: key, k, out }, env) => {
    const { m, d } = reference;
    const { blocks, counts, rowOffset, groups, groupOf } = await openCells(env.store, { ...reference, d });
    const b = blocks.findIndex(({ start }) => start === block.start);
    const numbers = new Uint32Array(await readWords(env.store, key, k));
    const rows = new Uint32Array(await readWords(env.store, `${block.out}/rows`, block.count));
    const leaf = new Uint32Array(block.count);
    const distance = new Float32Array(block.count);
    for (let cell = 0, at = 0; cell < m; cell++) {
      const count = counts[cell * blocks.length + b]!;
      if (count === 0) continue;
      const { group, from, to } = groups[groupOf[cell]!]!;
      let first = rowOffset[cell]! - rowOffset[from]!;
      for (let other = 0; other < b; other++) first += counts[cell * blocks.length + other]!;
      const found = new Uint32Array(await readWords(env.store, `${prefix}/${group}`, count, first));
      const far = new Float32Array(await readWords(env.store, `${prefix}/${group}`, count, rowOffset[to]! - rowOffset[from]! + first));
      for (let i = 0; i < count; i++, at++) {
        const number = numbers[found[i]!]!;
        leaf[rows[at]!] = number;
        distance[rows[at]!] = number === NO_CLUSTER ? 0 : far[i]!;
      }
    }
    await env.store.write(`${out}/leaf-${block.start}-${block.count}`, bytesOf(leaf));
    await env.store.write(`${out}/distance-${block.start}-${block.count}`, bytesOf(distance));
    return null;
  },
};
