/** What a split level costs: the steps of src/cluster/split-level.ts, in their order. */
import { rateAt, seedingRate } from '../bench/rates.ts';
import { routedRows } from '../cluster/route.ts';
import type { LevelSplit } from '../cluster/split-level.ts';
import { BASE_BYTES, type Step, step } from './cost.ts';
import { type LevelRequest, kmeansCost } from './kmeans-cost.ts';

/** Cells that an update and the final assignment look at for each row: what recall measurements on mixtures ask for. */
const PROBES_UPDATE = 3;
const PROBES_FINAL = 5;
/** Σ size² of cells over that of equal ones: cells have long tails, though the largest are split again. */
const UNEVENNESS = 1.3;
/** Decoded vectors of a group of small cells (src/cluster/cells.ts). */
const GROUP_BYTES = 48 * 2 ** 20;
/** Points that seeding in a cell looks at: so many a child, at least (src/cluster/cell.ts). */
const SEEDING_POINTS = 6;
const SEEDING_ROWS_MIN = 1024;
const UPDATE_RECALL_ROWS = 4096;

interface Shape extends LevelRequest {
  readonly cells: number;
  /** Objects of the shuffle, and tasks over cells. */
  readonly blocks: number;
  readonly groups: number;
  readonly tableBytes: number;
  readonly routedBytes: number;
  /** What every task on cells reads before it begins: counts of each cell in each block, and coarse centroids. */
  readonly indexBytes: number;
  readonly leafBytes: number;
}

/** Steps of the level, and what will not fit. */
export function splitSteps(request: LevelRequest, split: LevelSplit): { steps: Step[]; warnings: string[] } {
  const shape = shapeOf(request, split);
  const { level, execution, indexBytes, cells, blocks } = shape;
  const steps = [coarseStep(shape, split), routeStep(shape), potentialStep(shape), cellStep(shape)];
  if (request.rounds === 0 && split.updates > 0) {
    steps.push(recallStep(shape, 'recall of updates', UPDATE_RECALL_ROWS));
    for (let update = 1; update <= split.updates; update++) steps.push(reassignStep(shape, `update ${update}`, PROBES_UPDATE, true), updateStep(shape, update));
  }
  steps.push(recallStep(shape, 'recall', Math.min(shape.points, split.recallRows)), reassignStep(shape, 'assignment', PROBES_FINAL, false), ...(level === 1 && request.config.outliers.policy !== 'keep' ? [mergeStep(shape)] : []), scatterStep(shape));
  const warnings: string[] = [];
  if (2 * indexBytes > 4 * execution.memoryBytes) {
    const most = Math.round(execution.memoryBytes / 2 ** 20);
    warnings.push(`level ${level}: each task on cells holds an index of ${cells.toLocaleString('en')} cells × ${blocks.toLocaleString('en')} blocks, ${size(2 * indexBytes)}, far above execution.memoryMb (${most}): raise it, which makes fewer and larger blocks`);
  }
  return { steps, warnings };
}

function shapeOf(request: LevelRequest, { cells }: LevelSplit): Shape {
  const { points: n, d, k, level, rowBytes, elementBytes, execution } = request;
  const blocks = Math.ceil(n / routedRows(cells, d, execution.memoryBytes));
  const groups = Math.min(cells, Math.ceil((n * d * 4) / GROUP_BYTES));
  const element = level === 1 ? elementBytes : 4;
  return { ...request, cells, blocks, groups, tableBytes: level === 1 ? n * rowBytes : n * d * 4, routedBytes: n * (d * element + 4), indexBytes: cells * blocks * 4 + cells * d * 4, leafBytes: k * d * 4 };
}

function coarseStep(shape: Shape, { sampleRows, coarseIterations }: LevelSplit): Step {
  const { level, points: n, d, cells, config, execution, tableBytes, rates } = shape;
  const sample = Math.min(n, sampleRows);
  const { flop, seconds } = kmeansCost(sample, cells, d, { ...config, iterations: coarseIterations }, rates);
  // A systematic sample touches every part; more than half of the memory of it is streamed anew each iteration.
  const isHeld = sample * d * 4 <= execution.memoryBytes / 2;
  const bytesRead = tableBytes * (isHeld ? 1 : coarseIterations + 2);
  return step(`level ${level}, coarse cells`, {
    flop, bytesRead, bytesWritten: cells * d * 4,
    peakBytes: BASE_BYTES + Math.min(sample * d * 4, execution.memoryBytes / 2) + cells * d * 20 + sample * 20,
    seconds: Math.max(seconds, bytesRead / rates.read)
  });
}

/** Rows are taken from where they lie and put beside others of their cell: so long, read and written apart. */
function gathering({ points: n, d, rates }: Shape): number {
  return (n * d) / rates.assemble;
}

function routeStep(shape: Shape): Step {
  const { level, points: n, d, cells, blocks, tableBytes, routedBytes, execution, rates } = shape;
  const flop = 2 * n * cells * d;
  const bytesRead = tableBytes + blocks * cells * d * 4;
  const bytesWritten = routedBytes + blocks * cells * 4;
  const seconds = flop / rateAt(rates.assign, cells);
  return step(`level ${level}, route`, {
    tasks: blocks, flop, bytesRead, bytesWritten, peakBytes: BASE_BYTES + 2 * routedRows(cells, d, execution.memoryBytes) * d * 4 + cells * d * 8,
    seconds: seconds + gathering(shape) + bytesRead / rates.read + bytesWritten / rates.write
  });
}

/** Seeds drawn in each cell to learn how many children it should have (src/cluster/cell.ts). */
function potentialStep(shape: Shape): Step {
  const { level, points: n, d, k, cells, groups, execution, routedBytes, indexBytes, rates } = shape;
  const flop = 2 * cells * Math.min(n / cells, POTENTIAL_ROWS) * d * ((POTENTIAL_SEEDS * k) / cells + POTENTIAL_SEEDS_MORE);
  const bytesRead = routedBytes + groups * indexBytes;
  return step(`level ${level}, potentials`, {
    tasks: groups, flop, bytesRead, peakBytes: BASE_BYTES + execution.memoryBytes / 4 + 2 * indexBytes,
    seconds: flop / seedingRate(rates.seeding, d) + gathering(shape) + bytesRead / rates.read,
  });
}

const POTENTIAL_ROWS = 4096;
const POTENTIAL_SEEDS = 2;
const POTENTIAL_SEEDS_MORE = 64;

function cellStep(shape: Shape): Step {
  const { level, points: n, d, k, cells, groups, rounds, sampleSize, config, execution, routedBytes, indexBytes, leafBytes, rates } = shape;
  const [rows, children] = [n / cells, k / cells];
  const seedingRows = Math.min(config.seedingRows, Math.max(SEEDING_ROWS_MIN, SEEDING_POINTS * children));
  const settings = { ...config, seedingRows };
  const first = kmeansCost(rows, children, d, settings, rates);
  let [flop, seconds] = [first.flop, first.seconds];
  for (let round = 1; round <= rounds; round++) {
    const found = kmeansCost(Math.min(rows, children * sampleSize), children, d, settings, rates);
    const assigned = round === 1 ? 0 : 2 * rows * children * d;
    flop += found.flop + assigned;
    seconds += found.seconds + assigned / rateAt(rates.assign, children);
  }
  const isHeld = rows * d * 4 * 2 <= execution.memoryBytes / 2;
  const bytesRead = routedBytes * (isHeld ? 1 : rounds + 3) + groups * indexBytes;
  const computing = cells * seconds * UNEVENNESS;
  return step(`level ${level}, cells`, {
    tasks: groups, flop: cells * flop * UNEVENNESS, bytesRead, bytesWritten: leafBytes,
    peakBytes: BASE_BYTES + execution.memoryBytes / 2 + 2 * indexBytes + rows * 2 * 20 + children * d * 20,
    seconds: computing + gathering(shape) + bytesRead / rates.read + leafBytes / rates.write
  });
}

/** Leaves of neighbouring cells, read by each group: those that its rows' probes lie in, at most all. */
function leavesRead({ cells, groups, leafBytes }: Shape, probes: number): number {
  return groups * leafBytes * Math.min(1, (Math.max(1, cells / groups) * probes * 2) / cells);
}

function reassignStep(shape: Shape, name: string, probes: number, leavesSums: boolean): Step {
  const { level, points: n, d, k, cells, groups, execution, routedBytes, indexBytes, rates } = shape;
  const among = Math.min(cells, probes) * (k / cells) * UNEVENNESS;
  const flop = 2 * n * d * (cells + among);
  const bytesRead = routedBytes + groups * indexBytes + leavesRead(shape, probes);
  // Sums of a leaf come from the groups its rows lie in: its own and a few beside it.
  const bytesWritten = leavesSums ? Math.min(n, 2 * k) * (d * 8 + 12) : n * 8;
  const computing = (2 * n * d * cells) / rateAt(rates.assign, cells) + (2 * n * d * among) / rateAt(rates.assign, Math.min(512, k / cells));
  // Sums of leaves, or exact distances to them.
  const exact = gathering(shape);
  return step(`level ${level}, ${name}`, {
    tasks: groups, flop, bytesRead, bytesWritten, peakBytes: BASE_BYTES + execution.memoryBytes / 2 + 2 * indexBytes + Math.max(n / groups, n / cells) * 16,
    seconds: computing + exact + bytesRead / rates.read + bytesWritten / rates.write
  });
}

/** The outlier policy: every group is read once more, and rows of small leaves look for another one. */
function mergeStep(shape: Shape): Step {
  const { level, points: n, groups, execution, routedBytes, indexBytes, rates } = shape;
  const bytesRead = routedBytes + groups * indexBytes + n * 8;
  return step(`level ${level}, outliers`, {
    tasks: groups, bytesRead, bytesWritten: n * 8, peakBytes: BASE_BYTES + execution.memoryBytes / 4 + 2 * indexBytes,
    seconds: gathering(shape) + bytesRead / rates.read + (n * 8) / rates.write,
  });
}

const UPDATE_BYTES = 128 * 2 ** 20;

function updateStep({ level, points: n, k, d, leafBytes, indexBytes, rates }: Shape, update: number): Step {
  const tasks = Math.ceil((k * d * 8) / UPDATE_BYTES);
  const sums = Math.min(n, 2 * k) * (d * 8 + 12);
  const bytesRead = sums + leafBytes + tasks * indexBytes;
  return step(`level ${level}, means ${update}`, {
    tasks, flop: k * d, bytesRead, bytesWritten: leafBytes, peakBytes: BASE_BYTES + 2 * UPDATE_BYTES + 2 * indexBytes,
    seconds: bytesRead / rates.read + leafBytes / rates.write,
  });
}

function recallStep({ level, points: n, d, k, cells, tableBytes, leafBytes, indexBytes, execution, rates }: Shape, name: string, rows: number): Step {
  const flop = 2 * rows * d * k;
  const bytesRead = Math.min(tableBytes, rows * 4096 * (tableBytes / n)) + 2 * leafBytes + indexBytes;
  const computing = flop / rateAt(rates.assign, 8192);
  return step(`level ${level}, ${name}`, {
    flop, bytesRead, peakBytes: BASE_BYTES + execution.memoryBytes / 4 + 2 * rows * d * 4 + 2 * indexBytes + cells * 8,
    seconds: computing + bytesRead / rates.read
  });
}

function scatterStep({ level, points: n, k, blocks, groups, leafBytes, indexBytes, rates }: Shape): Step {
  const bytesRead = 3 * n * 8 + n * 4 + blocks * (indexBytes + k * 4) + leafBytes;
  const bytesWritten = 2 * n * 8 + leafBytes;
  return step(`level ${level}, scatter`, {
    tasks: Math.max(1, Math.min(blocks, groups)), bytesRead, bytesWritten, peakBytes: BASE_BYTES + 2 * indexBytes + k * 24 + (n / blocks) * 16,
    seconds: bytesRead / rates.read + bytesWritten / rates.write,
  });
}

function size(bytes: number): string {
  return bytes >= 1e12 ? `${(bytes / 1e12).toPrecision(3)} TB` : `${(bytes / 1e9).toPrecision(3)} GB`;
}

