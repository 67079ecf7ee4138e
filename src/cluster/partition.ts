/**
 * One k-means of a level, from seeding to assignment: plain, or split in two steps (reference section 1.8). A split level
 * first finds coarse cells, then clusters each cell on its own. Departures: children are shared out in proportion to the
 * size of the cell (the published code gives every cell the same number), and their sum is exactly k.
 */
import assert from 'node:assert/strict';
import { randomStream } from '../random.ts';
import type { SearchEngine } from '../vector/search.ts';
import { type Clustering, type KmeansOptions, kmeans } from './kmeans.ts';
import { type Points, cached, subsetPoints } from './points.ts';
import { seedCentroids } from './seed.ts';
import { groupByParent } from './tree.ts';

export interface PartitionOptions extends KmeansOptions {
  readonly k: number;
  /** Children per coarse cell on average; 1: no split. */
  readonly splits: number;
  /** Points that seeding looks at, at most (at least 2 k where there are as many). */
  readonly seedingRows: number;
  readonly seed: number;
  /** Labels of this k-means' random streams: level, round, cell. */
  readonly labels: readonly (string | number)[];
  /** Memory for the points of the cells of a split level, which lie scattered over the store. */
  readonly cacheBytes: number;
}

/** @returns a clustering into at most `k` clusters; exactly k unless clusters stay empty and are dropped */
export async function partition(points: Points, options: PartitionOptions): Promise<Clustering> {
  const { k, splits } = options;
  const coarseK = Math.round(k / splits);
  if (splits === 1 || coarseK <= 1 || coarseK >= k) return cluster(points, options);
  const coarse = await cluster(points, { ...options, k: coarseK, empty: 'drop', labels: [...options.labels, 'coarse'] });
  return clusterCells(points, coarse, options);
}

/**
 * Children of each cell: proportional to its size by largest remainder, at least one and at most its size, Σ = k.
 * Ties go to the lowest cell.
 */
export function shareChildren(size: Float64Array, k: number): Uint32Array {
  const n = size.reduce((sum, count) => sum + count, 0);
  assert(k >= size.length && k <= n, `Expected ${size.length} ≤ k ≤ ${n}, got ${k}`);
  const exact = size.map((count) => (count * k) / n);
  const children = Uint32Array.from(size, (count, cell) => Math.max(1, Math.min(count, Math.floor(exact[cell]!))));
  let rest = k - children.reduce((sum, count) => sum + count, 0);
  while (rest !== 0) {
    const step = Math.sign(rest);
    const able = [...children.keys()].filter((cell) => (step > 0 ? children[cell]! < size[cell]! : children[cell]! > 1));
    able.sort((a, b) => step * (exact[b]! - children[b]! - (exact[a]! - children[a]!)) || a - b);
    for (const cell of able.slice(0, Math.abs(rest))) children[cell]! += step;
    rest = k - children.reduce((sum, count) => sum + count, 0);
  }
  return children;
}

async function cluster(points: Points, options: PartitionOptions): Promise<Clustering> {
  const k = Math.min(options.k, points.n);
  return kmeans(points, await firstCentroids(points, k, options), options);
}

/** Seeds on all points, or on a keyed systematic sample: one draw from each of m equal runs of points. */
async function firstCentroids(points: Points, k: number, options: PartitionOptions): Promise<Float32Array> {
  const { n, d } = points;
  const { seed, labels, engine } = options;
  const m = Math.min(n, Math.max(options.seedingRows, 2 * k));
  const sampling = randomStream(seed, 'cluster', 'seeding-sample', ...labels);
  const sample = Uint32Array.from({ length: m }, (_, i) => {
    const from = Math.floor((i * n) / m);
    return from + sampling.below(i, Math.floor(((i + 1) * n) / m) - from);
  });
  const values = m === n && points.values !== undefined ? points.values : new Float32Array(m * d);
  if (values !== points.values) await points.gather(sample, values);
  const chosen = await withDistances(engine, values, m, d, (distances) =>
    seedCentroids(values, m, d, k, { distances, stream: randomStream(seed, 'cluster', 'seed', ...labels), ...(options.signal && { signal: options.signal }) }),
  );
  const centroids = new Float32Array(k * d);
  chosen.forEach((position, c) => centroids.set(values.subarray(position * d, (position + 1) * d), c * d));
  return centroids;
}

async function withDistances<T>(engine: SearchEngine, values: Float32Array, n: number, d: number, use: (distances: Awaited<ReturnType<SearchEngine['distances']>>) => Promise<T>): Promise<T> {
  const distances = await engine.distances(values, n, d);
  try {
    return await use(distances);
  } finally {
    await distances.close();
  }
}

/** Clusters the members of each cell on their own and numbers the children cell by cell. */
async function clusterCells(points: Points, coarse: Clustering, options: PartitionOptions): Promise<Clustering> {
  const { n, d } = points;
  const children = shareChildren(coarse.size, Math.min(options.k, n));
  const pieces: Pick<Clustering, 'k' | 'centroids' | 'size'>[] = [];
  const assignment = new Uint32Array(n);
  const distance = new Float32Array(n);
  let k = 0;
  for await (const { cell, rows, members } of openCells(points, coarse, options.cacheBytes)) {
    const one = await cluster(members, { ...options, k: children[cell]!, labels: [...options.labels, 'cell', cell] });
    for (let i = 0; i < rows.length; i++) {
      assignment[rows[i]!] = k + one.assignment[i]!;
      distance[rows[i]!] = one.distance[i]!;
    }
    pieces.push({ k: one.k, centroids: one.centroids, size: one.size });
    k += one.k;
  }
  const centroids = new Float32Array(k * d);
  const size = new Float64Array(k);
  let first = 0;
  for (const one of pieces) {
    centroids.set(one.centroids, first * d);
    size.set(one.size, first);
    first += one.k;
  }
  return { k, centroids, assignment, distance, size, iterations: coarse.iterations };
}

interface Cell {
  readonly cell: number;
  /** Ascending. */
  readonly rows: Uint32Array;
  readonly members: Points;
}

/**
 * The members of each cell, cell by cell. Cells that fit in half of the memory together are read in one pass over the
 * points; the other half is for the cell under way.
 */
async function* openCells(points: Points, { k, assignment }: Clustering, cacheBytes: number): AsyncIterable<Cell> {
  const { offset, child } = groupByParent(assignment, k);
  const rowsMax = cacheBytes / 2 / (points.d * 4);
  for (let from = 0, to = 0; from < k; from = to) {
    for (to = from + 1; to < k && offset[to + 1]! - offset[from]! <= rowsMax; ) to++;
    const together = child.slice(offset[from], offset[to]).sort();
    const read = points.values === undefined ? await cached(subsetPoints(points, together), cacheBytes / 2) : null;
    const places = groupByParent(together.map((row) => assignment[row]! - from), to - from);
    for (let cell = from; cell < to; cell++) {
      const rows = child.subarray(offset[cell], offset[cell + 1]);
      const positions = places.child.subarray(places.offset[cell - from], places.offset[cell - from + 1]);
      const members = read === null ? subsetPoints(points, rows) : subsetPoints(read, positions);
      yield { cell, rows, members: await cached(members, cacheBytes / 2) };
    }
  }
}
