/**
 * What a cluster tree costs: the arithmetic of the tasks in src/cluster, level by level, in their three regimes. (a) all
 * points of a level in memory and (b) streamed from the store are one task a round; (c) a split level is many.
 */
import { rateAt, seedingRate } from '../bench/rates.ts';
import { atLevel } from '../cluster/config.ts';
import { levelsFor } from '../cluster/levels.ts';
import { ASSIGNMENT_PART_ROWS } from '../cluster/tree.ts';
import { BASE_BYTES, type StageCost, type Step, step } from './cost.ts';
import { splitOf } from '../cluster/plan.ts';
import { splitSteps } from './cluster-split-cost.ts';
import { type ClusterRequest, type LevelRequest, assignmentsOf, kmeansCost } from './kmeans-cost.ts';

/** Levels of a tree, finest first, and how each is built. */
export function levelsOf(request: ClusterRequest): LevelRequest[] {
  const { config, n, d } = request;
  const wanted = config.levels === 'auto' ? levelsFor(n) : config.levels;
  const L = wanted.length;
  const levels: LevelRequest[] = [];
  wanted.forEach((one, l) => {
    const points = l === 0 ? n : l === 1 ? keptLeaves(config, levels[0]!.k) : levels[l - 1]!.k;
    const k = Math.min(one, points);
    const split = splitOf(config, { n: points, d, k, splits: atLevel(config.splits, l + 1, L, 'cluster.splits') });
    const { rounds, sampleSize } = config.resampling;
    levels.push({ ...request, level: l + 1, k, points, rounds: rounds === 'auto' ? 0 : rounds, sampleSize: atLevel(sampleSize, l + 1, L, 'cluster.resampling.sampleSize'), split });
  });
  return levels;
}

/** Share of the leaves chosen by `levels: auto` that are left where those of one or two images are merged: photographs measure 0.55 to 0.65. */
const KEPT_SHARE = 0.6;

/** Leaves after the outlier policy, as far as it is known beforehand. */
export function keptLeaves({ levels, outliers }: ClusterRequest['config'], k: number): number {
  const merges = levels === 'auto' && (outliers.policy === 'auto' || outliers.policy === 'merge');
  return merges ? Math.max(1, Math.round(k * KEPT_SHARE)) : k;
}

/** The stage: levels one after another, then its tables. */
export function clusterCost(request: ClusterRequest): StageCost {
  const levels = levelsOf(request);
  const warnings: string[] = [];
  const steps = levels.flatMap((level) => {
    if (level.split === null) return roundSteps(level);
    const split = splitSteps(level, level.split);
    warnings.push(...split.warnings);
    return split.steps;
  });
  if (request.config.levels === 'auto') steps.unshift(pilotStep(request));
  return { stage: 'cluster', steps: [...steps, tableStep(request, levels)], warnings };
}

/** Regimes (a) and (b): a task a round, one after another. */
function roundSteps(request: LevelRequest): Step[] {
  const { level, k, points: n, d, rounds, sampleSize, config, execution, rates } = request;
  const tableBytes = level === 1 ? n * request.rowBytes : n * d * 4;
  const isHeld = n * d * 4 <= execution.memoryBytes * (level === 1 ? RESIDENT_SHARE : 1);
  const arrays = (k * d + 2 * n) * 4;
  const steps: Step[] = [];
  for (let round = 0; round <= rounds; round++) {
    const some = round === 0 ? n : Math.min(n, k * sampleSize);
    const found = kmeansCost(some, k, d, config, rates);
    const flop = found.flop + (round === 0 ? 0 : 2 * n * k * d);
    const computing = found.seconds + (round === 0 ? 0 : (2 * n * k * d) / rateAt(rates.assign, k));
    // Streamed points are read in every assignment, for their distances in the end, and by seeding, which gathers from all parts.
    const passes = isHeld ? 1 : 1 + (round === 0 ? assignmentsOf(n, k, config.iterations, config.tolerance) + 1 : 2);
    const bytesRead = tableBytes * passes + (round === 0 ? 0 : arrays);
    // Hashes are checked the first time.
    const reading = tableBytes / rates.read + (bytesRead - tableBytes) / rates.readAgain;
    steps.push(step(`level ${level}, round ${round}, ${isHeld ? 'in memory' : 'streamed'}`, {
      flop, bytesRead, bytesWritten: arrays,
      peakBytes: BASE_BYTES + (isHeld ? n * d * 4 : Math.min(execution.memoryBytes, some * d * 4)) + n * 20 + k * d * 20,
      // Reading and products share the thread that decodes what was read.
      seconds: computing + reading + arrays / rates.write + ROUND_OBJECTS * rates.task
    }));
  }
  return steps;
}

/** Objects that a round leaves, each flushed to the disk. */
const ROUND_OBJECTS = 3;

/** Share of the memory up to which a table is held (src/cluster/points.ts). */
const RESIDENT_SHARE = 1 / 6;

/** As in src/cluster/levels.ts and spread.ts. */
const PILOT_ROWS = 4096;
const PILOT = { iterations: 10, tolerance: 0, seedingRows: PILOT_ROWS };
const FLAT_CLUSTERS = [5, 10, 20, 50];
const FLAT_DRAWS = 3;
const PROBES = 1024;
/** A probe's distances are sorted: for each of them about so much of what the draw of the sample stage does for a row. */
const SORT_SHARE = 0.25;

/** `levels: auto` builds a small tree and twelve flat clusterings of a sample, and looks at neighbours in it. */
function pilotStep({ n, d, rowBytes, rates }: ClusterRequest): Step {
  const m = Math.min(n, PILOT_ROWS);
  const k = Math.max(1, Math.round((m * 2) / 11));
  const trees = [kmeansCost(m, k, d, PILOT, rates), kmeansCost(k, Math.ceil(k / 2), d, PILOT, rates)];
  const flats = FLAT_CLUSTERS.filter((flat) => flat * 20 <= m).map((flat) => kmeansCost(m, flat, d, { ...PILOT, seedingRows: 1 }, rates));
  const probing = 2 * Math.min(m, PROBES) * m * d;
  const sum = (of: 'flop' | 'seconds'): number => trees.reduce((total, one) => total + one[of], 0) + FLAT_DRAWS * flats.reduce((total, one) => total + one[of], 0);
  const bytesRead = n * rowBytes;
  const looking = probing / seedingRate(rates.seeding, d) + (Math.min(m, PROBES) * m * SORT_SHARE) / rates.draw;
  return step('pilot', { flop: sum('flop') + probing, bytesRead, peakBytes: BASE_BYTES + 3 * m * d * 4, seconds: sum('seconds') + looking + bytesRead / rates.read });
}

/** Exact distances and the outlier policy, where level 1 is not split; then tables of centroids and of every row's cluster. */
function tableStep({ n, d, rowBytes, execution, rates }: ClusterRequest, levels: readonly LevelRequest[]): Step {
  const isSplit = levels[0]!.split !== null;
  const clusters = levels.reduce((sum, { k }, l) => sum + (l === 0 ? keptLeaves(levels[0]!.config, k) : k), 0);
  const arrays = (clusters * d + 2 * n) * 4;
  // Once for the status of each row, once for the distances, and once more by outliers that look for another cluster.
  const isGathered = levels[0]!.config.outliers.policy !== 'keep' && n * d * 4 > execution.memoryBytes * RESIDENT_SHARE;
  const bytesRead = n * rowBytes * (isSplit ? 1 : isGathered ? 3 : 2) + 2 * arrays;
  const bytesWritten = (isSplit ? 0 : (levels[0]!.k * d + 2 * n) * 4) + n * ASSIGNMENT_ROW_BYTES + clusters * (d * 4 + 12.125) + Math.ceil(n / ASSIGNMENT_PART_ROWS) * 600;
  return step('tables', {
    bytesRead, bytesWritten,
    peakBytes: BASE_BYTES + n * (isSplit ? 0 : 16) + clusters * 24 + ASSIGNMENT_PART_ROWS * d * 4,
    seconds: (n * d) / rates.assemble + bytesWritten / rates.write,
  });
}

/** cluster, distance, reason and their validity. */
const ASSIGNMENT_ROW_BYTES = 12.125;
