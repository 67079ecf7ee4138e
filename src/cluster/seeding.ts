/**
 * The first centroids of one k-means: greedy k-means++ on all points or on a keyed sample, or, for many clusters, greedy
 * k-means++ in coarse cells. The exact method makes k passes over the sample, one after the other. With √k cells a seed
 * lowers the potential of its own cell alone, so each cell has a sequence of seeds that does not depend on the others, and
 * these are merged as greedy k-means++ would draw: cells by potential, of several the one whose next seed lowers it most.
 */
import { type RandomStream, randomStream } from '../random.ts';
import type { SearchEngine } from '../vector/search.ts';
import { kmeans } from './kmeans.ts';
import { type Points, memoryPoints } from './points.ts';
import { seedCentroids, trialsOf } from './seed.ts';
import { groupByParent } from './tree.ts';

export interface SeedingOptions {
  readonly engine: SearchEngine;
  /** Points that seeding looks at, at most (at least 2 k, or 4 k inside cells, where there are as many). */
  readonly seedingRows: number;
  /** `greedy`: exact greedy k-means++; `cells`: inside coarse cells; `auto`, the default: cells above 1,024 clusters. */
  readonly seeding?: 'auto' | 'greedy' | 'cells';
  readonly seed: number;
  /** Labels of this k-means' random streams: level, round, cell. */
  readonly labels: readonly (string | number)[];
  readonly signal?: AbortSignal;
}

/** Clusters up to which `auto` is exact greedy k-means++. */
const GREEDY_MAX = 1024;
const CELL_ITERATIONS = 10;
const CELL_BLOCK_ROWS = 8192;
/** Seeds that a cell's sequence has beyond its shares of points and potential. */
const SPARE_SEEDS = 32;

/**
 * Seeds on all points, or on a keyed systematic sample: one draw from each of m equal runs of points.
 *
 * @returns k × d first centroids, each of them a point
 */
export async function firstCentroids(points: Points, k: number, options: SeedingOptions): Promise<Float32Array> {
  const { n, d } = points;
  const { seed, labels, seeding = 'auto' } = options;
  const inCells = k > 3 && (seeding === 'cells' || (seeding === 'auto' && k > GREEDY_MAX));
  const m = Math.min(n, Math.max(options.seedingRows, (inCells ? 4 : 2) * k));
  const sampling = randomStream(seed, 'cluster', 'seeding-sample', ...labels);
  const sample = Uint32Array.from({ length: m }, (_, i) => {
    const from = Math.floor((i * n) / m);
    return from + sampling.below(i, Math.floor(((i + 1) * n) / m) - from);
  });
  const values = m === n && points.values !== undefined ? points.values : new Float32Array(m * d);
  if (values !== points.values) await points.gather(sample, values);
  const chosen = inCells ? await seedInCells(values, m, d, k, options) : await greedy(values, m, d, k, options, []);
  const centroids = new Float32Array(k * d);
  chosen.forEach((position, c) => centroids.set(values.subarray(position * d, (position + 1) * d), c * d));
  return centroids;
}

async function greedy(values: Float32Array, n: number, d: number, k: number, options: SeedingOptions, cell: readonly (string | number)[], over: { trials?: number; potentials?: Float64Array } = {}): Promise<Uint32Array> {
  const { engine, seed, labels, signal } = options;
  const stream = randomStream(seed, 'cluster', 'seed', ...labels, ...cell);
  const distances = await engine.distances(values, n, d);
  try {
    return await seedCentroids(values, n, d, k, { distances, stream, ...over, ...(signal && { signal }) });
  } finally {
    await distances.close();
  }
}

/** Seeds of one cell in their order, and the cell's potential after each. */
export interface SeedSequence {
  readonly positions: Uint32Array;
  readonly potentials: Float64Array;
}

/** @returns k different positions */
async function seedInCells(values: Float32Array, n: number, d: number, k: number, options: SeedingOptions): Promise<Uint32Array> {
  const cells = Math.round(Math.sqrt(k));
  const heads = await greedy(values, n, d, cells, options, ['cells']);
  const centres = new Float32Array(cells * d);
  heads.forEach((position, c) => centres.set(values.subarray(position * d, (position + 1) * d), c * d));
  // Lloyd gathers what the heads alone would scatter: a group far from all of them has points in many cells.
  const shared = { engine: options.engine, iterations: CELL_ITERATIONS, empty: 'keep' as const, blockRows: CELL_BLOCK_ROWS };
  const { assignment: cell, distance } = await kmeans(memoryPoints(values, n, d), centres, { ...shared, ...(options.signal && { signal: options.signal }) });
  const potential = new Float64Array(cells);
  cell.forEach((c, i) => (potential[c]! += distance[i]!));
  const total = Math.max(Number.MIN_VALUE, potential.reduce((sum, one) => sum + one, 0));
  const { offset, child } = groupByParent(cell, cells);
  const sequences: SeedSequence[] = [];
  for (let c = 0; c < cells; c++) {
    const members = child.subarray(offset[c], offset[c + 1]);
    if (members.length === 0) continue;
    const count = Math.min(members.length, Math.ceil(k * (members.length / n + potential[c]! / total)) + SPARE_SEEDS);
    const own = new Float32Array(members.length * d);
    members.forEach((position, i) => own.set(values.subarray(position * d, (position + 1) * d), i * d));
    const potentials = new Float64Array(count);
    const found = await greedy(own, members.length, d, count, options, ['cell', c], { trials: trialsOf(k), potentials });
    sequences.push({ positions: found.map((i) => members[i]!), potentials });
  }
  return mergeSequences(sequences, k, trialsOf(k), randomStream(options.seed, 'cluster', 'seed', ...options.labels, 'merge'));
}

/**
 * The first seed of each cell, then, until there are k: of `trials` cells drawn by potential, the next seed of the one
 * whose potential it lowers most. Cells whose sequence has ended are not drawn. O(k · cells).
 *
 * @param sequences no more than k, with at least k seeds in all
 */
export function mergeSequences(sequences: readonly SeedSequence[], k: number, trials: number, stream: RandomStream): Uint32Array {
  const chosen = new Uint32Array(k);
  const taken = new Uint32Array(sequences.length).fill(1);
  const cumulative = new Float64Array(sequences.length);
  sequences.forEach(({ positions }, c) => (chosen[c] = positions[0]!));
  for (let filled = sequences.length; filled < k; filled++) {
    let sum = 0;
    let open = 0;
    sequences.forEach(({ positions, potentials }, c) => {
      if (taken[c]! < positions.length) {
        sum += potentials[taken[c]! - 1]!;
        open = c;
      }
      cumulative[c] = sum;
    });
    // With nothing left to lower, what is left of the last cell that has any.
    let best = open;
    let most = -1;
    for (let t = 0; t < trials && sum > 0; t++) {
      const at = stream.uniform(filled * 64 + t) * sum;
      const c = cumulative.findIndex((value) => value > at);
      const { potentials } = sequences[c]!;
      const lowered = potentials[taken[c]! - 1]! - potentials[taken[c]!]!;
      if (lowered > most) [most, best] = [lowered, c];
    }
    chosen[filled] = sequences[best]!.positions[taken[best]!++]!;
  }
  return chosen;
}
