/**
 * Assigns the rows of a group of cells to leaves of all cells by two-level search: once an update of a global Lloyd
 * iteration, leaving exact sums a leaf, and once at the end, leaving each row's leaf and exact distance.
 *
 * Sums are of multiples of 2^-24 (points.ts), so they add up to the same bits in whatever order groups and blocks come.
 */
import { throwIfAborted } from '../errors.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type CellGroup, type Cells, type CellsReference, openCells } from './cells.ts';
import { searchEngine } from './level.ts';
import { type Leaves, type LeavesReference, openLeaves } from './leaves.ts';
import { bestOf, probeLeaves } from './probe.ts';
import { LeafSums } from './sums.ts';
import { bytesOf } from './words.ts';

export interface ReassignPayload {
  readonly cells: CellsReference;
  readonly leaves: LeavesReference;
  readonly group: CellGroup;
  readonly probes: number;
  /** `sums`: what an update needs. `rows`: leaf and distance of each row of the group, in cell order. */
  readonly leave: 'sums' | 'rows';
  readonly unit: number;
  readonly out: string;
}

export interface ReassignResult {
  readonly rows: number;
  /** Σ squared distance in scaled units. */
  readonly inertia: number;
}

/** Writes `<out>/<group>`: sums (sums.ts), or `rows` words of leaves and as many float32 distances. */
export const reassignRows: TaskKind<ReassignPayload, ReassignResult> = {
  name: 'cluster-reassign',
  version: 1,
  run: async (payload, env) => {
    const { group, out, unit } = payload;
    const { d } = payload.cells;
    const cells = await openCells(env.store, payload.cells);
    const leaves = await openLeaves(env.store, payload.leaves, cells, d, env.execution.memoryBytes / 4);
    const options = { engine: await searchEngine(env), coarse: cells.centroids, leaves, probes: payload.probes, signal: env.signal };
    const rows = cells.rowOffset[group.to]! - cells.rowOffset[group.from]!;
    const sums = payload.leave === 'sums' ? new LeafSums(d) : null;
    const all = { leaf: new Uint32Array(sums === null ? rows : 0), distance: new Float32Array(sums === null ? rows : 0) };
    let inertia = 0;
    for await (const { first, count, values } of readBlocks(cells, group, d, env)) {
      const { leaf, distance } = bestOf(await probeLeaves(values, count, d, options), count);
      if (sums === null) await exactDistances(values, leaf, distance, d, leaves);
      for (let i = 0; i < count; i++) inertia += distance[i]!;
      if (sums === null) {
        all.leaf.set(leaf, first);
        all.distance.set(distance, first);
      } else {
        for (let i = 0; i < count; i++) sums.add(leaf[i]!, values, i * d);
      }
      env.advance(count * unit);
    }
    await env.store.write(`${out}/${group.group}`, sums === null ? concatenated(bytesOf(all.leaf), bytesOf(all.distance)) : sums.encode(leaves.offset));
    return { rows, inertia };
  },
};

interface RowBlock {
  /** Position among the rows of the group. */
  readonly first: number;
  readonly count: number;
  readonly values: Float32Array;
}

/** The rows of a group in cell order, many cells at a time, since the products of a search are the better the more rows there are. */
async function* readBlocks(cells: Cells, group: CellGroup, d: number, env: TaskEnv): AsyncIterable<RowBlock> {
  const { from, to } = group;
  const base = cells.rowOffset[from]!;
  const bytes = env.execution.memoryBytes / 4;
  const pointsOf = await cells.pointsOf(group, bytes);
  const rowsMax = Math.max(256, Math.floor(bytes / (d * 4)));
  const end = cells.rowOffset[to]! - base;
  for (let first = 0; first < end; first += rowsMax) {
    throwIfAborted(env.signal);
    const count = Math.min(rowsMax, end - first);
    const values = new Float32Array(count * d);
    for (let cell = from; cell < to; cell++) {
      const start = Math.max(first, cells.rowOffset[cell]! - base);
      const stop = Math.min(first + count, cells.rowOffset[cell + 1]! - base);
      if (start < stop) await pointsOf(cell).read(start - (cells.rowOffset[cell]! - base), stop - start, values.subarray((start - first) * d, (stop - first) * d));
    }
    yield { first, count, values };
  }
}

/** Squared distances by differences in float64: no cancellation, whatever the engine's products were. */
export async function exactDistances(values: Float32Array, leaf: Uint32Array, distance: Float32Array, d: number, leaves: Leaves): Promise<void> {
  const order = Uint32Array.from(leaf.keys()).sort((a, b) => leaf[a]! - leaf[b]! || a - b);
  let cell = 0;
  for (let at = 0; at < order.length; ) {
    while (leaves.offset[cell + 1]! <= leaf[order[at]!]!) cell++;
    const { centroids } = await leaves.load(cell);
    for (; at < order.length && leaf[order[at]!]! < leaves.offset[cell + 1]!; at++) {
      const row = order[at]! * d;
      const own = (leaf[order[at]!]! - leaves.offset[cell]!) * d;
      let sum = 0;
      for (let j = 0; j < d; j++) {
        const difference = values[row + j]! - centroids[own + j]!;
        sum += difference * difference;
      }
      distance[order[at]!] = sum;
    }
  }
}

function concatenated(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.byteLength + second.byteLength);
  bytes.set(first);
  bytes.set(second, first.byteLength);
  return bytes;
}
