/**
 * How many of k children each coarse cell gets: as many as k-means++ over the rows of all cells would put into it. A
 * seed falls into a cell with probability φ_c / Σ φ, where φ_c is the squared distance of its rows to their nearest
 * seeds; in the limit dk_c/dt = φ_c(k_c), so that T_c(k) = ∫ dk / φ_c is the same for all cells. Cells of one dense
 * concept then get fewer children than their size says, and cells of many small ones more, as unsplit k-means does.
 */
import assert from 'node:assert/strict';
import { randomStream } from '../random.ts';
import type { SearchEngine } from '../vector/search.ts';
import type { Points } from './points.ts';

/** Potential of a cell's rows after some numbers of seeds. */
export interface Potential {
  /** Rows of the cell. */
  readonly n: number;
  /** Ascending, from 1. */
  readonly seeds: readonly number[];
  /** Σ squared distance of all rows to the nearest seed. */
  readonly potential: readonly number[];
}

export interface PotentialOptions {
  readonly engine: SearchEngine;
  readonly seed: number;
  readonly labels: readonly (string | number)[];
  /** Rows looked at, at most. */
  readonly rowsMax: number;
  /** Seeds drawn, at most. */
  readonly seedsMax: number;
}

/** Seeds drawn at once: a quarter of those there are (k-means‖, Bahmani et al. 2012), at least 16, at most a call of the port. */
const BATCH_SHARE = 1 / 4;
const BATCH_MIN = 16;
const BATCH_MAX = 32;

/** Draws seeds by squared distance, batch by batch, on a keyed sample of the points. */
export async function measurePotential(points: Points, { engine, seed, labels, rowsMax, seedsMax }: PotentialOptions): Promise<Potential> {
  const { n, d } = points;
  const m = Math.min(n, rowsMax);
  const stream = randomStream(seed, 'cluster', 'potential', ...labels);
  const rows = Uint32Array.from({ length: m }, (_, i) => {
    const from = Math.floor((i * n) / m);
    return from + stream.below(i, Math.floor(((i + 1) * n) / m) - from);
  });
  const values = new Float32Array(m * d);
  await points.gather(rows, values);
  const closest = new Float64Array(m).fill(Infinity);
  const candidates = new Float32Array(BATCH_MAX * d);
  const distance = new Float32Array(BATCH_MAX * m);
  const distances = await engine.distances(values, m, d);
  const found = { n, seeds: [] as number[], potential: [] as number[] };
  try {
    for (let drawn = 0, batch = 1; drawn < Math.min(seedsMax, m); ) {
      for (let left = batch; left > 0; ) {
        const count = Math.min(left, BATCH_MAX);
        for (let t = 0; t < count; t++) {
          const row = drawn === 0 ? stream.below(m, m) : draw(closest, stream.uniform(m + drawn + (batch - left) + t));
          candidates.set(values.subarray(row * d, (row + 1) * d), t * d);
        }
        await distances.to(candidates, count, distance);
        for (let t = 0; t < count; t++) for (let i = 0; i < m; i++) if (distance[t * m + i]! < closest[i]!) closest[i] = distance[t * m + i]!;
        left -= count;
      }
      drawn += batch;
      const sum = closest.reduce((total, value) => total + value, 0);
      found.seeds.push(drawn);
      // Seeds are rows at distance zero: only the others stand for rows that were not looked at.
      found.potential.push(m === n ? sum : (sum * Math.max(0, n - drawn)) / Math.max(1, m - drawn));
      if (sum === 0) break;
      batch = Math.max(BATCH_MIN, Math.ceil(drawn * BATCH_SHARE));
    }
  } finally {
    await distances.close();
  }
  return found;
}

/** A row with probability ∝ its squared distance. Draws of a batch do not see each other. */
function draw(closest: Float64Array, uniform: number): number {
  let total = 0;
  for (let i = 0; i < closest.length; i++) total += closest[i]!;
  let rest = uniform * total;
  for (let i = 0; i < closest.length; i++) {
    rest -= closest[i]!;
    if (rest < 0) return i;
  }
  return closest.length - 1;
}

/** @returns the children of each cell before rounding, Σ = k, each from 1 to the cell's rows */
export function shareByPotential(cells: readonly Potential[], k: number): Float64Array {
  const n = cells.reduce((sum, cell) => sum + cell.n, 0);
  assert(k >= cells.length && k <= n, `Expected ${cells.length} ≤ k ≤ ${n}, got ${k}`);
  const at = (t: number): Float64Array => Float64Array.from(cells, (cell) => seedsAt(cell, t));
  const total = (t: number): number => at(t).reduce((sum, share) => sum + share, 0);
  let high = 1 / cells.reduce((least, { potential }) => Math.max(least, potential[0]!), Number.MIN_VALUE);
  while (total(high) < k && high < Number.MAX_VALUE / 4) high *= 2;
  let low = 0;
  for (let step = 0; step < 100; step++) {
    const middle = (low + high) / 2;
    if (total(middle) < k) low = middle;
    else high = middle;
  }
  return at(high);
}

/** Seeds of a cell at time t: 1 at 0, and 1 / φ apart. Between measured numbers φ is the mean of its ends; beyond, the last. */
function seedsAt({ n, seeds, potential }: Potential, t: number): number {
  let left = t;
  for (let i = 0; i < seeds.length; i++) {
    const last = i === seeds.length - 1;
    const rate = last ? potential[i]! : (potential[i]! + potential[i + 1]!) / 2;
    const reach = Math.min(n, last ? n : seeds[i + 1]!) - seeds[i]!;
    if (left * rate <= reach) return Math.min(n, seeds[i]! + left * rate);
    left -= reach / rate;
  }
  return n;
}
