/**
 * Lloyd's k-means over streamed points (reference section 1.3): assign, then up to `iterations` times update and assign.
 * Departures: it stops when no assignment changes, which is a fixed point and leaves the result as it is, or earlier with
 * a tolerance; sums are exact (see points.ts), so an update moves only the points that changed cluster, and the inertia
 * of every assignment follows from them; comparisons whose outcome is known by a margin wider than float32's noise are
 * left out (see bounds.ts); empty clusters have a policy; distances are those to the final centroids, summed in float64.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import type { NearestSearch, SearchEngine } from '../vector/search.ts';
import { squaredNorms } from '../vector/matrix.ts';
import { Bounds } from './bounds.ts';
import { groupCentroids, groupCount } from './centroid-groups.ts';
import { centroidMoves, inertiaOf, updateCentroids } from './centroid-update.ts';
import { exactDistance } from './exact-distance.ts';
import type { Points } from './points.ts';
import type { ScoreProducts } from './products.ts';

export interface IterationStats {
  /** Σ squared distance of each point to its centroid, in the points' scaled units. */
  readonly inertia: number;
  readonly changed: number;
  readonly empty: number;
  /** k · Σ size² / n²; 1 is perfectly balanced. */
  readonly imbalance: number;
}

export interface Clustering {
  readonly k: number;
  /** k × d, on the grid of points.ts. */
  readonly centroids: Float32Array;
  /** Length n: cluster of each point. */
  readonly assignment: Uint32Array;
  /** Length n: squared distance to its centroid, summed in float64. */
  readonly distance: Float32Array;
  readonly size: Float64Array;
  /** One an assignment: one more than there were updates. */
  readonly iterations: readonly IterationStats[];
  /** Why it ended: no assignment changed, the inertia fell by less than the tolerance, or all iterations were made. */
  readonly ended?: 'fixed-point' | 'tolerance' | 'iterations';
  /** Comparisons made, n · k each counting one. It depends on how points are read, so it is for people, not for outputs. */
  readonly compared?: number;
}

export interface KmeansOptions {
  readonly engine: SearchEngine;
  readonly iterations: number;
  /** Share of the inertia that an update must take off for another to follow; 0, the default: to the fixed point. */
  readonly tolerance?: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly blockRows: number;
  /** Leaves out comparisons whose outcome is known. The result is the same without. */
  readonly bounds?: { readonly products: ScoreProducts; readonly bytes: number };
  readonly signal?: AbortSignal;
  /** @param compared share of the n · k comparisons that were made */
  readonly onIteration?: (stats: IterationStats, iteration: number, compared: number) => void;
}

/**
 * @param initial k × d first centroids, on the grid
 * @returns the clustering of the last assignment; with `keep` its k is that of `initial`, otherwise empty clusters that
 *   are left at the end are dropped and the others keep their order. Independent of `blockRows` and of `bounds`.
 */
export async function kmeans(points: Points, initial: Float32Array, options: KmeansOptions): Promise<Clustering> {
  const { n, d } = points;
  const k = initial.length / d;
  assert(n >= 1 && Number.isInteger(k) && k >= 1, `Expected points and k × ${d} centroids, got n = ${n}, k = ${k}`);
  const state: State = {
    centroids: initial.slice(),
    assignment: new Uint32Array(n).fill(UNASSIGNED),
    distance: new Float32Array(n),
    squares: new Float64Array(n),
    sums: new Float64Array(k * d),
    size: new Float64Array(k),
    bounds: null,
  };
  // Not a part of this function: `initial`, which may be large, would then stay in memory to the end.
  return iterate(points, state, options);
}

/** One assignment of all points to given centroids: nothing is updated. */
export async function assignAll(points: Points, centroids: Float32Array, options: KmeansOptions): Promise<Clustering> {
  return kmeans(points, centroids, { ...options, iterations: 0, empty: 'keep' });
}

/** Leaves out clusters without members and renumbers the others in order. */
export function dropEmpty(clustering: Clustering, d: number): Clustering {
  const { size, centroids, assignment } = clustering;
  const renumbered = new Uint32Array(clustering.k);
  let k = 0;
  for (let c = 0; c < clustering.k; c++) if (size[c]! > 0) renumbered[c] = k++;
  if (k === clustering.k) return clustering;
  const kept = new Float32Array(k * d);
  for (let c = 0; c < clustering.k; c++) if (size[c]! > 0) kept.set(centroids.subarray(c * d, (c + 1) * d), renumbered[c]! * d);
  return { ...clustering, k, centroids: kept, size: size.filter((count) => count > 0), assignment: assignment.map((c) => renumbered[c]!) };
}

interface State {
  readonly centroids: Float32Array;
  readonly assignment: Uint32Array;
  readonly distance: Float32Array;
  /** Squared norm of each point; known after the first assignment. */
  readonly squares: Float64Array;
  /** Exact sums of the members of each cluster under `assignment`. */
  readonly sums: Float64Array;
  readonly size: Float64Array;
  bounds: Bounds | null;
}

const UNASSIGNED = 0xffffffff;
/** The first update moves centroids from points to means, too far for bounds to hold: they begin after it. */
const FIRST_BOUNDED = 2;
/** Share of comparisons above which bounds cost more than they save, and are given up. */
const WORTH = 1.5;

async function iterate(points: Points, state: State, options: KmeansOptions): Promise<Clustering> {
  const { d } = points;
  const iterations: IterationStats[] = [];
  let ended: Clustering['ended'] = 'iterations';
  let split = 0;
  let total = 0;
  for (let iteration = 0; ; iteration++) {
    const last = iteration === options.iterations;
    if (iteration === FIRST_BOUNDED) state.bounds = await openBounds(points, state, options);
    const { stats, compared } = await assign(points, state, last, options);
    const before = iterations.at(-1);
    iterations.push(stats);
    total += compared;
    options.onIteration?.(stats, iteration, compared);
    if (last) break;
    if (compared > WORTH) state.bounds = null;
    if (before !== undefined && split === 0 && stats.changed > 0 && before.inertia - stats.inertia < (options.tolerance ?? 0) * before.inertia) {
      ended = 'tolerance';
      break;
    }
    const old = state.bounds === null ? null : state.centroids.slice();
    split = updateCentroids(state, d, options.empty);
    if (before !== undefined && stats.changed === 0 && split === 0) {
      ended = 'fixed-point';
      break;
    }
    if (old !== null) state.bounds?.moveTo(state.centroids, centroidMoves(old, state.centroids, d));
  }
  state.bounds = null;
  if (ended !== 'iterations') await measure(points, state, options);
  const found = { k: state.size.length, centroids: state.centroids, assignment: state.assignment, distance: state.distance, size: state.size, iterations, ended, compared: total };
  return options.empty === 'keep' ? found : dropEmpty(found, d);
}

async function openBounds({ n, d }: Points, { centroids, size, squares }: State, { bounds, engine }: KmeansOptions): Promise<Bounds | null> {
  const count = bounds === undefined ? 0 : groupCount(n, size.length, bounds.bytes);
  if (bounds === undefined || count === 0) return null;
  const groups = await groupCentroids(engine, centroids, size.length, d, count);
  const opened = new Bounds(d, { products: bounds.products, groups, squares });
  opened.moveTo(centroids, null);
  return opened;
}

/** Assigns every point, keeps the exact sums in step, and reads the next block while the engine searches this one. */
async function assign(points: Points, state: State, last: boolean, options: KmeansOptions): Promise<{ stats: IterationStats; compared: number }> {
  const { n, d } = points;
  const { assignment, bounds } = state;
  const k = state.size.length;
  const index = new Uint32Array(Math.min(n, Math.max(options.blockRows, MEMORY_ROWS)));
  const all = searchAll(points, state, last, options);
  let changed = 0;
  let compared = 0;
  try {
    await eachBlock(points, options, async (block, start, count) => {
      let unclear: Uint32Array | null = null;
      if (bounds === null) {
        await all.nearest(block, count, index);
        if (assignment[start] === UNASSIGNED) squaredNorms(block, count, d, state.squares.subarray(start, start + count));
      } else {
        const found = await bounds.search(block, start, count, assignment.subarray(start, start + count), index);
        compared += found.compared;
        unclear = found.unclear;
      }
      for (let i = 0; i < count; i++) changed += move(block, i * d, d, start + i, index[i]!, state);
      if (last) measureBlock(block, d, start, count, state);
      // After the others: what is unclear has its own centroid in `index`, and must not be moved back to it.
      for (const i of unclear ?? []) await all.add(block.subarray(i * d, (i + 1) * d), start + i);
    });
    changed += await all.end();
  } finally {
    await all.close();
  }
  let empty = 0;
  let squares = 0;
  for (const size of state.size) {
    if (size === 0) empty++;
    squares += size * size;
  }
  const stats = { inertia: inertiaOf(state.squares, state, d), changed, empty, imbalance: (k * squares) / (n * n) };
  return { stats, compared: compared / (n * k) + all.searched / n };
}

/** Rows that bounds leave open, searched together: a small search costs as much as one of a thousand rows. */
const OPEN_ROWS = 4096;

/** Searches among all centroids: whole blocks, or single points that are collected and moved when they are many. */
function searchAll({ n, d }: Points, state: State, last: boolean, { engine }: KmeansOptions) {
  let opened: NearestSearch | null = null;
  const open = { count: 0, changed: 0, rows: new Float32Array(0), point: new Uint32Array(0) };
  const index = new Uint32Array(OPEN_ROWS);
  const search = {
    searched: 0,
    nearest: async (x: Float32Array, count: number, out: Uint32Array): Promise<void> => {
      opened ??= await engine.nearest(state.centroids, state.size.length, d);
      await opened.nearest(x, count, out, null);
      search.searched += count;
    },
    add: async (row: Float32Array, point: number): Promise<void> => {
      if (open.rows.length === 0) open.rows = new Float32Array(Math.min(n, OPEN_ROWS) * d);
      if (open.point.length === 0) open.point = new Uint32Array(OPEN_ROWS);
      open.rows.set(row, open.count * d);
      open.point[open.count++] = point;
      if (open.count * d === open.rows.length) await search.end();
    },
    /** @returns points of `add` that changed cluster since the search began */
    end: async (): Promise<number> => {
      if (open.count > 0) await search.nearest(open.rows, open.count, index);
      for (let i = 0; i < open.count; i++) {
        const point = open.point[i]!;
        open.changed += move(open.rows, i * d, d, point, index[i]!, state);
        if (last) state.distance[point] = exactDistance(open.rows, i * d, state.centroids, index[i]! * d, d);
      }
      open.count = 0;
      return open.changed;
    },
    close: async (): Promise<void> => opened?.close(),
  };
  return search;
}

/** Rows of a block of points in memory, which takes no buffer. */
const MEMORY_ROWS = 32_768;

/** Hands out the points block by block: in place where they are in memory, otherwise the next is read meanwhile. */
async function eachBlock(points: Points, { blockRows, signal }: KmeansOptions, use: (block: Float32Array, start: number, count: number) => Promise<void>): Promise<void> {
  const { n, d, values } = points;
  const rows = Math.min(n, values === undefined ? blockRows : Math.max(blockRows, MEMORY_ROWS));
  const buffers = values !== undefined ? [] : [new Float32Array(rows * d), new Float32Array(n > rows ? rows * d : 0)];
  const read = async (start: number, turn: number): Promise<Float32Array> => {
    const count = Math.max(0, Math.min(rows, n - start));
    if (values !== undefined) return values.subarray(start * d, (start + count) * d);
    if (count > 0) await points.read(start, count, buffers[turn]!);
    return buffers[turn]!;
  };
  let pending = read(0, 0);
  for (let start = 0, turn = 0; start < n; start += rows, turn ^= 1) {
    throwIfAborted(signal);
    const block = await pending;
    const count = Math.min(rows, n - start);
    const used = use(block, start, count);
    pending = read(start + count, turn ^ 1);
    await Promise.all([used, pending]);
  }
}

/** Moves a point to another cluster: exact, because every value is a multiple of 2^-24. @returns 1 if it was another */
function move(x: Float32Array, row: number, d: number, point: number, to: number, { assignment, sums, size }: State): 0 | 1 {
  const from = assignment[point]!;
  if (from === to) return 0;
  assignment[point] = to;
  size[to]!++;
  const target = to * d;
  for (let j = 0; j < d; j++) sums[target + j]! += x[row + j]!;
  if (from === UNASSIGNED) return 1;
  size[from]!--;
  const source = from * d;
  for (let j = 0; j < d; j++) sums[source + j]! -= x[row + j]!;
  return 1;
}

/** Distances of all points to their centroids. */
function measure(points: Points, state: State, options: KmeansOptions): Promise<void> {
  return eachBlock(points, options, async (block, start, count) => measureBlock(block, points.d, start, count, state));
}

function measureBlock(block: Float32Array, d: number, start: number, count: number, { assignment, centroids, distance }: State): void {
  for (let i = 0; i < count; i++) distance[start + i] = exactDistance(block, i * d, centroids, assignment[start + i]! * d, d);
}
