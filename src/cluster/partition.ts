/**
 * One k-means of a level, from seeding to assignment: plain, or split in two steps (reference section 1.8). A split level
 * first finds coarse cells, then clusters each cell on its own. Departures: children are shared out in proportion to the
 * size of the cell (the published code gives every cell the same number), and their sum is exactly k.
 */
import assert from 'node:assert/strict';
import { type Clustering, type KmeansOptions, kmeans } from './kmeans.ts';
import { type Points, cached, subsetPoints } from './points.ts';
import { type SeedingOptions, firstCentroids } from './seeding.ts';
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
  /** How first centroids are found (seeding.ts). */
  readonly seeding?: SeedingOptions['seeding'];
  /** k × d first centroids, on the grid, of a k-means that starts warm; a split k-means takes none. */
  readonly initial?: Float32Array;
  /** Memory for the points of the cells of a split level, which lie scattered over the store. */
  readonly cacheBytes: number;
}

/** @returns a clustering into at most `k` clusters; exactly k unless clusters stay empty and are dropped */
export async function partition(points: Points, options: PartitionOptions): Promise<Clustering> {
  const { k, splits } = options;
  const coarseK = Math.round(k / splits);
  if (splits === 1 || coarseK <= 1 || coarseK >= k) return cluster(points, options);
  assert(options.initial === undefined, 'Expected no first centroids of a split k-means');
  const coarse = await cluster(points, { ...options, k: coarseK, empty: 'drop', labels: [...options.labels, 'coarse'] });
  return clusterCells(points, coarse, options);
}

/**
 * Children of each cell: proportional to its weight by largest remainder, at least one and at most its size, Σ = k.
 * Ties go to the lowest cell. O(m log m) for m cells whose shares are within their sizes.
 *
 * @param weight the size by default
 */
export function shareChildren(size: Float64Array, k: number, weight = size): Uint32Array {
  const n = size.reduce((sum, count) => sum + count, 0);
  assert(k >= size.length && k <= n, `Expected ${size.length} ≤ k ≤ ${n}, got ${k}`);
  const total = weight.reduce((sum, one) => sum + one, 0);
  const exact = weight.map((one) => (one * k) / total);
  const children = Uint32Array.from(size, (count, cell) => Math.max(1, Math.min(count, Math.floor(exact[cell]!))));
  const rest = k - children.reduce((sum, count) => sum + count, 0);
  const step = Math.sign(rest);
  const able = (cell: number): boolean => (step > 0 ? children[cell]! < size[cell]! : children[cell]! > 1);
  const owed = (cell: number): number => step * (exact[cell]! - children[cell]!);
  const queue = Array.from(children.keys()).filter(able);
  const before = (a: number, b: number): boolean => owed(a) > owed(b) || (owed(a) === owed(b) && a < b);
  for (let at = (queue.length >> 1) - 1; at >= 0; at--) sink(queue, at, before);
  // Each step goes to the cell that is farthest from its exact share.
  for (let left = Math.abs(rest); left > 0; left--) {
    const cell = queue[0]!;
    children[cell] = children[cell]! + step;
    if (!able(cell)) {
      const last = queue.pop()!;
      if (queue.length > 0 && last !== cell) queue[0] = last;
    }
    sink(queue, 0, before);
  }
  return children;
}

/** Restores a binary heap in which only the entry at `at` may come too early. */
function sink(heap: number[], at: number, before: (a: number, b: number) => boolean): void {
  for (;;) {
    let first = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && before(heap[child]!, heap[first]!)) first = child;
    if (first === at) return;
    [heap[at], heap[first]] = [heap[first]!, heap[at]!];
    at = first;
  }
}

async function cluster(points: Points, options: PartitionOptions): Promise<Clustering> {
  const k = Math.min(options.k, points.n);
  return kmeans(points, options.initial ?? (await firstCentroids(points, k, options)), options);
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
