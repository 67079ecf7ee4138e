/** What is asked of the cost of a tree and of a level, and what one k-means costs. */
import { type Rates, rateAt, seedingRate } from '../bench/rates.ts';
import type { ResolvedConfig } from '../cluster/profile.ts';
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
  /** With the profile applied. */
  readonly config: ResolvedConfig;
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
 * Assignments that a k-means makes on average, one more than its iterations at most: the more points a cluster has, the
 * longer it takes until nothing moves, or, with a tolerance, until an update takes off too little, and that the sooner
 * the more points there are. Fits to 30 runs on photographs and mixtures, 3,000 to 200,000 points, 3 to 1,000 a cluster;
 * single runs make two thirds to one and a half times as many.
 *
 * @param tolerance 0: to the fixed point
 */
export function assignmentsOf(n: number, k: number, iterations: number, tolerance: number): number {
  const each = tolerance === 0 ? FIXED_POINT.each : Math.max(TOLERANCE.eachMin, TOLERANCE.each - TOLERANCE.fall * Math.log2(n / TOLERANCE.at));
  const first = tolerance === 0 ? FIXED_POINT.first : TOLERANCE.first;
  return Math.min(iterations + 1, Math.max(2, first + each * Math.log2(Math.max(1, n / k))));
}

const FIXED_POINT = { first: 1, each: 4.3 };
const TOLERANCE = { first: 4, each: 1.55, fall: 0.25, at: 16_384, eachMin: 0.5 };
/** Assignments before bounds hold (src/cluster/kmeans.ts). */
const UNBOUNDED = 2;

/** What decides how a k-means goes, beside its points. */
export type KmeansSettings = Pick<ResolvedConfig, 'iterations' | 'seedingRows' | 'tolerance'>;

interface Cost {
  readonly flop: number;
  readonly seconds: number;
}

/** FLOP and seconds of seeding and Lloyd iterations over points in memory. */
export function kmeansCost(n: number, k: number, d: number, { iterations, seedingRows, tolerance }: KmeansSettings, rates: Rates): Cost {
  const seeding = seedingCost(n, k, d, seedingRows, rates);
  const lloyd = lloydCost(n, k, d, assignmentsOf(n, k, iterations, tolerance), rates);
  return { flop: seeding.flop + lloyd.flop, seconds: seeding.seconds + lloyd.seconds };
}

function lloydCost(n: number, k: number, d: number, assignments: number, rates: Rates): Cost {
  const one = 2 * n * k * d;
  // Few clusters take as long as a few more: what is done for each point decides.
  const least = Math.max(1, rates.kmeans[0]!.k / k);
  const first = (least * one * UNBOUNDED) / rateAt(rates.kmeans.map((measured) => ({ k: measured.k, flops: measured.first })), k);
  const rest = (least * one * (assignments - UNBOUNDED)) / rateAt(rates.kmeans, k);
  // Centroids are summed, compared with those before, and handed to the engine anew.
  const centroids = (assignments * k * d) / rates.assemble;
  return { flop: one * assignments, seconds: first + rest + centroids };
}

/** Clusters above which seeding goes cell by cell, the iterations that make its cells, and the seeds of each beyond its shares (src/cluster/seeding.ts). */
const GREEDY_MAX = 1024;
const CELL_ITERATIONS = 10;
const SHARES = 2;
const SPARE_SEEDS = 32;

function seedingCost(n: number, k: number, d: number, seedingRows: number, rates: Rates): Cost {
  if (k <= GREEDY_MAX) return greedyCost(Math.min(n, Math.max(seedingRows, 2 * k)), k, d, trialsOf(Math.max(1, k)), rates);
  const m = Math.min(n, Math.max(seedingRows, 4 * k));
  const cells = Math.round(Math.sqrt(k));
  const own = Math.min(m, SHARES * k + cells * SPARE_SEEDS) / cells;
  const heads = greedyCost(m, cells, d, trialsOf(cells), rates);
  const lloyd = lloydCost(m, cells, d, CELL_ITERATIONS + 1, rates);
  const each = greedyCost(m / cells, own, d, trialsOf(k), rates);
  return { flop: heads.flop + lloyd.flop + cells * each.flop, seconds: heads.seconds + lloyd.seconds + cells * each.seconds };
}

/** When distances of all pairs are made at once (src/cluster/seed.ts). */
const TABLE_SHARE = 0.7;
const TABLE_BYTES_MAX = 2 ** 28;

/** Of what assembling does for a number, what a look into that table does. */
const LOOK_SHARE = 0.15;

/** Candidates go in sixteens; where they are more than the points, all pairs are compared instead, and each candidate is looked up. */
function greedyCost(m: number, k: number, d: number, trials: number, rates: Rates): Cost {
  const isTable = m <= TABLE_SHARE * k * trials && m * m * 4 <= TABLE_BYTES_MAX;
  const flop = 2 * m * d * (isTable ? m : k * CANDIDATES * Math.ceil(trials / CANDIDATES));
  return { flop, seconds: flop / seedingRate(rates.seeding, d) + (isTable ? (k * trials * m * LOOK_SHARE) / rates.assemble : 0) };
}
