/**
 * Depth is a dial from density to volume: each further level of the tree moves weight from dense regions to sparse ones.
 * This draws, on a sample, what every depth would select, and measures it without labels: health of the level, and how
 * evenly the selection spreads over flat clusterings that had no part in the tree.
 */
import { kmeans } from '../cluster/kmeans.ts';
import { type LevelHealth, measureHealth } from '../cluster/health.ts';
import type { Pilot } from '../cluster/pilot.ts';
import { memoryPoints } from '../cluster/points.ts';
import { drawDistinct, randomStream } from '../random.ts';
import { allocateTree } from '../sample/allocate.ts';
import { drawCopies } from '../sample/sample.ts';
import type { SearchEngine } from '../vector/search.ts';
import { balanceOf } from './balance.ts';

export interface DepthRow {
  readonly depth: number;
  readonly health: LevelHealth;
  /** Points of the sample that this depth selects, ascending. */
  readonly selected: Uint32Array;
  /** Normalised entropy over the flat clusterings, mean: 1 is perfectly even. */
  readonly entropy: number;
  /** Effective number of labels over that of a random subset; null without labels. */
  readonly labelGain: number | null;
  /** Flat clusters, named by their most frequent label where there is one, by selected over expected share. */
  readonly gains: readonly FlatChange[];
  readonly losses: readonly FlatChange[];
}

export interface FlatChange {
  readonly name: string;
  readonly pool: number;
  readonly selected: number;
  /** Some points of the flat cluster. */
  readonly members: readonly number[];
}

export interface DepthReport {
  readonly points: number;
  readonly target: number;
  /** The same figure for random subsets of the size, mean of five. */
  readonly randomEntropy: number;
  readonly random: Uint32Array;
  readonly rows: readonly DepthRow[];
}

export interface DepthRequest {
  readonly values: Float32Array;
  readonly n: number;
  readonly d: number;
  readonly pilot: Pilot;
  readonly target: number;
  readonly floor: number;
  readonly strategy: 'random' | 'closest' | 'furthest';
  readonly seed: number;
  readonly minSize: number;
  readonly engine: SearchEngine;
  /** Label of each point, where known. */
  readonly labels: readonly (string | null)[];
}

const FLAT_CLUSTERS = [20, 50, 100, 200];
const FLAT_ITERATIONS = 10;
const RANDOM_SEEDS = 5;

/** O(depths · draws) beside four flat k-means of the sample; nothing is written. */
export async function compareDepths(request: DepthRequest): Promise<DepthReport> {
  const { n, pilot, target, seed } = request;
  const flats = await flatClusterings(request);
  const random = Array.from({ length: RANDOM_SEEDS }, (_, i) => drawDistinct(randomStream(seed, 'levels', 'random', i), n, target));
  const randomEntropy = mean(random.map((rows) => flatEntropy(rows, flats)));
  const randomLabels = mean(random.map((rows) => effectiveLabels(rows, request.labels)));
  const health = measureHealth(pilot.tree.levels.map(({ size }) => size), request.minSize);
  const rows = pilot.tree.levels.map((_, l): DepthRow => {
    const selected = drawAtDepth(request, l + 1);
    const changes = flatChanges(selected, flats[Math.min(1, flats.length - 1)]!, request);
    return {
      depth: l + 1,
      health: health.levels[l]!,
      selected,
      entropy: flatEntropy(selected, flats),
      labelGain: randomLabels === 0 ? null : effectiveLabels(selected, request.labels) / randomLabels,
      gains: changes.slice(0, 3),
      losses: changes.slice(-3).reverse(),
    };
  });
  return { points: n, target, randomEntropy, random: random[0]!, rows };
}

function drawAtDepth({ pilot, target, floor, strategy, seed }: DepthRequest, depth: number): Uint32Array {
  const quotas = allocateTree(pilot.tree, target, 1, seed, { depth, floor });
  const copies = drawCopies(pilot, quotas[0]!.quota, { strategy, multiplier: 1 }, seed);
  return Uint32Array.from(copies.keys()).filter((point) => copies[point]! > 0);
}

interface Flat {
  readonly k: number;
  readonly assignment: Uint32Array;
}

/** Independent of the tree: random first centroids, so that no outlier is sought. */
async function flatClusterings({ values, n, d, seed, engine }: DepthRequest): Promise<Flat[]> {
  const flats: Flat[] = [];
  for (const wanted of FLAT_CLUSTERS) {
    const k = Math.min(wanted, Math.max(1, Math.floor(n / 4)));
    if (flats.some((flat) => flat.k === k)) continue;
    const first = drawDistinct(randomStream(seed, 'levels', 'flat', wanted), n, k);
    const centroids = new Float32Array(k * d);
    first.forEach((point, c) => centroids.set(values.subarray(point * d, (point + 1) * d), c * d));
    const { assignment } = await kmeans(memoryPoints(values, n, d), centroids, { engine, iterations: FLAT_ITERATIONS, empty: 'keep', blockRows: 8192 });
    flats.push({ k, assignment });
  }
  return flats;
}

function flatEntropy(rows: Uint32Array, flats: readonly Flat[]): number {
  return mean(flats.map(({ k, assignment }) => {
    const counts = new Float64Array(k);
    for (const row of rows) counts[assignment[row]!]!++;
    return balanceOf(counts, k).entropy;
  }));
}

function flatChanges(selected: Uint32Array, { k, assignment }: Flat, { labels }: DepthRequest): FlatChange[] {
  const pool = new Float64Array(k);
  const taken = new Float64Array(k);
  const members: number[][] = Array.from({ length: k }, () => []);
  assignment.forEach((c, point) => {
    pool[c]!++;
    if (members[c]!.length < 10) members[c]!.push(point);
  });
  for (const point of selected) taken[assignment[point]!]!++;
  return Array.from(pool.keys())
    .filter((c) => pool[c]! > 0)
    .map((c) => ({ name: commonLabel(assignment, c, labels), pool: pool[c]!, selected: taken[c]!, members: members[c]! }))
    .sort((a, b) => b.selected / b.pool - a.selected / a.pool || b.pool - a.pool);
}

function commonLabel(assignment: Uint32Array, c: number, labels: readonly (string | null)[]): string {
  const counts = new Map<string, number>();
  assignment.forEach((own, point) => {
    const label = labels[point];
    if (own === c && label != null) counts.set(label, (counts.get(label) ?? 0) + 1);
  });
  const [best] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return best === undefined ? `group ${c}` : best[0];
}

/** exp(entropy) of the labels of some points; 0 when none has one. */
function effectiveLabels(rows: Uint32Array, labels: readonly (string | null)[]): number {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const label = labels[row];
    if (label != null) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return counts.size === 0 ? 0 : balanceOf(Float64Array.from(counts.values()), counts.size).effective;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
