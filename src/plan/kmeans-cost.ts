/** What is asked of the cost of a tree and of a level, and what one k-means costs. */
import { type Rates, rateAt, seedingRate } from '../bench/rates.ts';
import type { ClusterConfig } from '../cluster/config.ts';
import { trialsOf } from '../cluster/seed.ts';
import { CANDIDATES } from '../vector/onnx-graphs.ts';
import type { Execution } from '../run/stage.ts';
import type { LevelSplit } from '../cluster/split-level.ts';

export interface ClusterRequest {
  /** Usable images. */
  readonly n: number;
  readonly d: number;
  /** Bytes of a row of the embeddings table, vector and all. */
  readonly rowBytes: number;
  /** Bytes of an element of a stored vector. */
  readonly elementBytes: number;
  readonly config: ClusterConfig;
  readonly execution: Execution;
  readonly rates: Rates;
}

/** One level as it will be built. */
export interface LevelRequest extends ClusterRequest {
  readonly level: number;
  readonly k: number;
  /** Points of the level: images, or clusters of the level below. */
  readonly points: number;
  readonly rounds: number;
  readonly sampleSize: number;
  readonly split: LevelSplit | null;
}

/**
 * Assignments that a k-means makes at most and on average: it stops when nothing moves, which takes the longer the more
 * points a cluster has. The average is a fit to runs on photographs, drawn pictures and mixtures.
 */
export function assignmentsOf(n: number, k: number, iterations: number): number {
  return Math.min(iterations + 1, Math.max(2, Math.ceil(CONVERGED_FIRST + CONVERGED_EACH * Math.log2(Math.max(1, n / k)))));
}

const CONVERGED_FIRST = 1;
const CONVERGED_EACH = 4.3;

/** FLOP and seconds of seeding and Lloyd iterations over points in memory. */
export function kmeansCost(n: number, k: number, d: number, iterations: number, seedingRows: number, rates: Rates): { flop: number; seconds: number } {
  const seeding = seedingFlop(n, k, d, seedingRows);
  const lloyd = 2 * n * k * d * assignmentsOf(n, k, iterations);
  return { flop: seeding + lloyd, seconds: seeding / seedingRate(rates.seeding, d) + lloyd / rateAt(rates.kmeans, k) };
}

/** Clusters above which seeding goes cell by cell (src/cluster/seeding.ts), the cells it makes, and the seeds it spares in each. */
const GREEDY_MAX = 1024;
const CELL_ITERATIONS = 6;
const SPARE = 1.3;

function seedingFlop(n: number, k: number, d: number, seedingRows: number): number {
  if (k <= GREEDY_MAX) return greedyFlop(Math.min(n, Math.max(seedingRows, 2 * k)), k, d);
  const m = Math.min(n, Math.max(seedingRows, 4 * k));
  const cells = Math.round(Math.sqrt(k));
  return cells * greedyFlop(m / cells, (SPARE * k) / cells, d) + 2 * m * cells * d * CELL_ITERATIONS;
}

/** When distances of all pairs are made at once (src/cluster/seed.ts). */
const TABLE_SHARE = 0.7;
const TABLE_BYTES_MAX = 2 ** 28;

/** Candidates go in sixteens; where they are more than the points, all pairs are compared instead. */
function greedyFlop(m: number, k: number, d: number): number {
  const trials = trialsOf(Math.max(1, k));
  const isTable = m <= TABLE_SHARE * k * trials && m * m * 4 <= TABLE_BYTES_MAX;
  return 2 * m * d * (isTable ? m : k * CANDIDATES * Math.ceil(trials / CANDIDATES));
}
