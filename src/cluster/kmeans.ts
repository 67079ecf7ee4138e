/**
 * Lloyd's k-means over streamed points (reference section 1.3): assign, then up to `iterations` times update and assign.
 * Departures: it stops when no assignment changes, which is a fixed point and leaves the result as it is; sums are exact
 * (see points.ts), so an update moves only the points that changed cluster; empty clusters have a policy; the inertia
 * of every assignment is reported.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import type { NearestSearch, SearchEngine } from '../vector/search.ts';
import { type Points, toGrid } from './points.ts';

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
  /** Length n: squared distance to its centroid, float32 products. */
  readonly distance: Float32Array;
  readonly size: Float64Array;
  readonly iterations: readonly IterationStats[];
}

export interface KmeansOptions {
  readonly engine: SearchEngine;
  readonly iterations: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly blockRows: number;
  readonly signal?: AbortSignal;
  readonly onIteration?: (stats: IterationStats, iteration: number) => void;
}

/**
 * @param initial k × d first centroids, on the grid
 * @returns the clustering of the last assignment; with `keep` its k is that of `initial`, otherwise empty clusters that
 *   are left at the end are dropped and the others keep their order. Independent of `blockRows`.
 */
export async function kmeans(points: Points, initial: Float32Array, options: KmeansOptions): Promise<Clustering> {
  const { n, d } = points;
  const k = initial.length / d;
  assert(n >= 1 && Number.isInteger(k) && k >= 1, `Expected points and k × ${d} centroids, got n = ${n}, k = ${k}`);
  const state: State = {
    centroids: initial.slice(),
    assignment: new Uint32Array(n).fill(UNASSIGNED),
    distance: new Float32Array(n),
    sums: new Float64Array(k * d),
    size: new Float64Array(k),
  };
  // Not a part of this function: `initial`, which may be large, would then stay in memory to the end.
  return iterate(points, state, options);
}

async function iterate(points: Points, state: State, options: KmeansOptions): Promise<Clustering> {
  const { d } = points;
  const iterations: IterationStats[] = [];
  for (let iteration = 0; ; iteration++) {
    const stats = await assign(points, state, options);
    iterations.push(stats);
    options.onIteration?.(stats, iteration);
    if (iteration === options.iterations) break;
    const split = update(state, d, options.empty);
    if (stats.changed === 0 && iteration > 0 && split === 0) break;
  }
  const found = { k: state.size.length, centroids: state.centroids, assignment: state.assignment, distance: state.distance, size: state.size, iterations };
  return options.empty === 'keep' ? found : dropEmpty(found, d);
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
  /** Exact sums of the members of each cluster under `assignment`. */
  readonly sums: Float64Array;
  readonly size: Float64Array;
}

const UNASSIGNED = 0xffffffff;

/** Assigns every point, keeps the exact sums in step, and reads the next block while the engine searches this one. */
async function assign(points: Points, state: State, options: KmeansOptions): Promise<IterationStats> {
  const { n, d } = points;
  const { engine, blockRows, signal } = options;
  const rows = Math.min(n, blockRows);
  const index = new Uint32Array(rows);
  const search: NearestSearch = await engine.nearest(state.centroids, state.size.length, d);
  const buffers: [Float32Array, Float32Array] = [new Float32Array(rows * d), new Float32Array(n > rows ? rows * d : 0)];
  let inertia = 0;
  let changed = 0;
  try {
    let pending = points.read(0, rows, buffers[0]);
    for (let start = 0, turn = 0; start < n; start += rows, turn ^= 1) {
      throwIfAborted(signal);
      await pending;
      const count = Math.min(rows, n - start);
      const block = buffers[turn as 0 | 1];
      const following = Math.min(rows, n - start - count);
      const searched = search.nearest(block, count, index, state.distance.subarray(start, start + count));
      pending = following > 0 ? points.read(start + count, following, buffers[(turn ^ 1) as 0 | 1]) : Promise.resolve();
      await searched;
      changed += move(block, d, start, count, index, state);
      for (let i = start; i < start + count; i++) inertia += state.distance[i]!;
    }
    await pending;
  } finally {
    await search.close();
  }
  let empty = 0;
  let squares = 0;
  for (const size of state.size) {
    if (size === 0) empty++;
    squares += size * size;
  }
  return { inertia, changed, empty, imbalance: (state.size.length * squares) / (n * n) };
}

/** Moves the points of a block whose cluster changed: exact, because every value is a multiple of 2^-24. */
function move(block: Float32Array, d: number, start: number, count: number, index: Uint32Array, state: State): number {
  const { assignment, sums, size } = state;
  let changed = 0;
  for (let i = 0; i < count; i++) {
    const to = index[i]!;
    const from = assignment[start + i]!;
    if (from === to) continue;
    changed++;
    assignment[start + i] = to;
    size[to]!++;
    const row = i * d;
    const target = to * d;
    for (let j = 0; j < d; j++) sums[target + j]! += block[row + j]!;
    if (from === UNASSIGNED) continue;
    size[from]!--;
    const source = from * d;
    for (let j = 0; j < d; j++) sums[source + j]! -= block[row + j]!;
  }
  return changed;
}

/** Means of the members; an empty cluster keeps its centroid or, with `split`, moves beside that of a large one. */
function update(state: State, d: number, empty: KmeansOptions['empty']): number {
  const { centroids, sums, size } = state;
  for (let c = 0; c < size.length; c++) {
    if (size[c] === 0) continue;
    for (let j = c * d; j < (c + 1) * d; j++) centroids[j] = toGrid(sums[j]! / size[c]!);
  }
  return empty === 'split' ? splitLargest(centroids, size, d) : 0;
}

/** Share by which the two copies of a split centroid move apart, up in even and down in odd dimensions (faiss: 1/1024). */
const SPLIT_STEP = 1 / 1024;

/**
 * Each empty cluster takes a copy of the largest cluster's centroid, moved a little, and half of its count: faiss's rule
 * with the donor chosen by size, so that no random number is needed. Ties go to the lowest cluster.
 */
function splitLargest(centroids: Float32Array, size: Float64Array, d: number): number {
  let splits = 0;
  const counts = size.slice();
  for (let c = 0; c < size.length; c++) {
    if (size[c] !== 0) continue;
    let donor = 0;
    for (let other = 1; other < counts.length; other++) if (counts[other]! > counts[donor]!) donor = other;
    if (counts[donor]! < 2) break;
    counts[c] = counts[donor]! / 2;
    counts[donor]! /= 2;
    for (let j = 0; j < d; j++) {
      const value = centroids[donor * d + j]!;
      const step = j % 2 === 0 ? SPLIT_STEP : -SPLIT_STEP;
      centroids[c * d + j] = toGrid(value * (1 + step));
      centroids[donor * d + j] = toGrid(value * (1 - step));
    }
    splits++;
  }
  return splits;
}
