/**
 * The split build of a level with very many points and clusters: coarse cells on a sample, an external shuffle of the
 * rows to their cells, k-means inside each cell with children in proportion to its size, a few global Lloyd updates and
 * the final assignment by two-level search with measured recall, and the level's arrays written as streams.
 *
 * Every step is a list of tasks whose results and products have deterministic keys; this driver holds nothing of size n
 * but what it streams, and k numbers. Departures from the published split (reference section 1.8): children follow the
 * size of the cell, cells are resampled, and rows end in the nearest leaf of all cells, not of their own.
 */
import type { RunContext } from '../run/stage.ts';
import { type CellsReference, type Cells, openCells, writeCellIndex } from './cells.ts';
import { type CellResult, type CellRound, clusterCells, measureCells } from './cell.ts';
import { trainCells } from './coarse.ts';
import type { FinishResult } from './finish.ts';
import type { PointsReference } from './level.ts';
import type { LeavesReference } from './leaves.ts';
import { shareChildren } from './partition.ts';
import { type Potential, shareByPotential } from './share.ts';
import { measureRecall } from './recall.ts';
import { type ReassignPayload, reassignRows } from './reassign.ts';
import { routeRows, routedRows } from './route.ts';
import { type SplitOutliers, finishSplit } from './split-finish.ts';
import { UPDATE_BYTES, updateLeaves } from './update.ts';
import { readJson, writeJson } from './words.ts';

/** How a level is split; every number of it decides the tree. */
export interface LevelSplit {
  /** Coarse cells wanted. */
  readonly cells: number;
  /** Points that coarse cells are trained on, at most. */
  readonly sampleRows: number;
  readonly coarseIterations: number;
  /** What a cell's number of children follows. */
  readonly share: 'potential' | 'size';
  /** Global Lloyd updates after the cells. */
  readonly updates: number;
  /** Promises of the final assignment, against exact search. */
  readonly recall: number;
  readonly excess: number;
  /** Points on which they are measured, at most. */
  readonly recallRows: number;
}

export interface SplitRequest {
  /** Key prefix of the tree, such as `clusters`. */
  readonly path: string;
  readonly points: PointsReference;
  readonly n: number;
  readonly level: number;
  readonly k: number;
  readonly split: LevelSplit;
  readonly iterations: number;
  readonly tolerance: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly seeding: 'auto' | 'greedy' | 'cells';
  readonly seedingRows: number;
  readonly resampling: { readonly rounds: number; readonly sampleSize: number; readonly strategy: 'closest' | 'random' };
  /** What becomes of small leaves; `keep` above level 1. */
  readonly outliers: SplitOutliers;
}

/** What the manifest says of a split level. */
export interface SplitStats {
  readonly cells: number;
  readonly largestCell: number;
  readonly coarseInertia: number;
  readonly cellInertia: number;
  readonly cellIterations: number;
  /** Inertia of the assignment before each global update, and leaves that had no row then. */
  readonly updates: readonly { readonly inertia: number; readonly empty: number }[];
  readonly recall: { readonly probes: number; readonly rows: number; readonly recall: number; readonly excess: number };
}

export interface SplitResult extends FinishResult {
  readonly split: SplitStats;
}

/** Cells a row looks at in updates, and on average in the final assignment, for progress alone. */
const PROBES_GUESSED = 8;

/** Comparisons of points with centroids a split level is expected to make; for progress. */
export function comparisonsOfSplit(n: number, k: number, { cells, updates }: LevelSplit, iterations: number): number {
  const { cell, reassign } = unitsOf(k, cells, iterations);
  return n * (cells + cell + reassign * (updates + 1));
}

function unitsOf(k: number, cells: number, iterations: number): { cell: number; reassign: number } {
  const each = Math.ceil(k / cells);
  return { cell: each * (iterations + 1), reassign: each * PROBES_GUESSED };
}

/** Builds one level. A level that was finished before is kept; otherwise each task that was is. */
export async function buildSplitLevel(context: RunContext, request: SplitRequest): Promise<SplitResult> {
  const { store } = context;
  const out = `work/${request.path}/level-${request.level}/final`;
  if ((await store.head(`${out}/result`)) === null) {
    const base = `work/${request.path}/level-${request.level}/split`;
    await writeJson(store, `${out}/result`, await buildLevel(context, request, base, out));
    await store.remove(`${base}/`);
  }
  return readJson<SplitResult>(store, `${out}/result`);
}

async function buildLevel(context: RunContext, request: SplitRequest, base: string, out: string): Promise<SplitResult> {
  const { executor, store, seed } = context;
  const { path, points, n, level, split, iterations, seedingRows } = request;
  const [coarse] = await executor.map(trainCells, [{ points, level, m: split.cells, sampleRows: split.sampleRows, iterations: split.coarseIterations, seedingRows, seed, out: `${base}/coarse` }], path);
  const { m, d, scale } = coarse!;
  const reference: CellsReference = { base, n, d, m, scale };
  const size = await routeAll(context, request, reference);
  const cells = await openCells(store, reference);
  const units = unitsOf(request.k, split.cells, iterations);
  const found = await clusterRounds(context, request, { reference, cells, unit: units.cell });
  const offsets = [0];
  for (const { k } of found) for (const one of k) offsets.push(offsets.at(-1)! + one);
  await writeJson(store, `${base}/offsets`, offsets);
  const started: LeavesReference = { offsets: `${base}/offsets`, centroids: `${base}/leaves-0` };
  const { leaves, updates } = await updateAll(context, request, { reference, cells, offsets, unit: units.reassign }, started);
  const recall = await recallOf(context, request, reference, leaves, split);
  const rows = await reassignAll(context, request.path, cells, { cells: reference, leaves, probes: recall.probes, leave: 'rows', unit: units.reassign, out: `${base}/rows` });
  const finished = await finishSplit(context, { path, reference, cells, leaves, offsets, rows: `${base}/rows`, inertia: rows, probes: recall.probes, empty: request.empty, outliers: request.outliers, out });
  const sum = (of: (one: (typeof found)[number]) => number): number => found.reduce((total, one) => total + of(one), 0);
  const stats: SplitStats = {
    cells: m, largestCell: Math.max(...size), coarseInertia: coarse!.inertia, cellInertia: sum((one) => one.inertia), cellIterations: sum((one) => one.iterations), updates, recall,
  };
  return { ...finished, n, d, scale, sampled: sum((one) => one.sampled), iterations: [], split: stats };
}

/** The external shuffle. @returns rows of each cell */
async function routeAll({ executor, store, execution }: RunContext, { path, points, n, split }: SplitRequest, reference: CellsReference): Promise<Float64Array> {
  const { base, m, d } = reference;
  const rows = routedRows(m, d, execution.memoryBytes);
  const payloads = [];
  for (let start = 0; start < n; start += rows) {
    const count = Math.min(rows, n - start);
    payloads.push({ points, coarse: `${base}/coarse/centroids`, m, start, count, unit: split.cells, out: `${base}/routed/${start}-${count}` });
  }
  return writeCellIndex(store, reference, await executor.map(routeRows, payloads, path));
}

/** All rounds inside the cells; before each, children are shared anew. @returns the last round, group by group */
async function clusterRounds({ executor, seed }: RunContext, request: SplitRequest, { reference, cells, unit }: { reference: CellsReference; cells: Cells; unit: number }): Promise<CellResult[]> {
  const { path, level, k, n, iterations, tolerance, empty, seeding, seedingRows, split } = request;
  const { rounds, sampleSize, strategy } = request.resampling;
  const { base } = reference;
  const next = (round: number): CellRound['next'] => (round === rounds ? null : { sampleSize, strategy, out: `${base}/sample-${round + 1}` });
  const all = (round: number): Omit<CellRound, 'group'> => ({ cells: reference, level, seed, perChild: round === 0 ? n / k : sampleSize, next: next(round) });
  const perGroup = <T>(make: (group: Cells['groups'][number]) => T): T[] => cells.groups.map(make);
  let potentials = (await executor.map(measureCells, perGroup((group) => ({ ...all(0), next: null, group })), path)).flat();
  let sample: (number[] | null)[] = perGroup(() => null);
  for (let round = 0; ; round++) {
    const children = shareOut(potentials, k, split.share);
    const payloads = perGroup((group) => ({
      ...all(round), perChild: sampleSize, group, round, children: [...children.subarray(group.from, group.to)],
      sample: sample[group.group] === null ? null : { rows: sample[group.group]!, key: `${base}/sample-${round}` },
      iterations, tolerance, empty, seeding, seedingRows, unit, out: round === rounds ? `${base}/leaves-0` : `${base}/round-${round}`,
    }));
    const found = await executor.map(clusterCells, payloads, path);
    if (round === rounds) return found;
    potentials = found.flatMap((one) => one.potentials);
    sample = found.map((one) => one.potentials.map((potential) => potential?.n ?? 0));
  }
}

/** Children of each cell, Σ = k where there are as many points; a cell without points has none. */
function shareOut(potentials: readonly (Potential | null)[], k: number, by: LevelSplit['share']): Uint32Array {
  const children = new Uint32Array(potentials.length);
  const some = [...children.keys()].filter((c) => potentials[c] !== null);
  const known = some.map((c) => potentials[c]!);
  const size = Float64Array.from(known, ({ n }) => n);
  const total = Math.max(some.length, Math.min(k, size.reduce((sum, count) => sum + count, 0)));
  const shared = shareChildren(size, total, by === 'size' ? size : shareByPotential(known, total));
  some.forEach((c, i) => (children[c] = shared[i]!));
  return children;
}

interface Work {
  readonly reference: CellsReference;
  readonly cells: Cells;
  readonly offsets: readonly number[];
  readonly unit: number;
}

/** What an update's search must promise: what it misses, the next one or the last search finds. */
const UPDATE_SEARCH = { recall: 0.9, excess: 0.005, recallRows: 4096 } as const;

/** Global Lloyd updates. After resampling there are none: leaves are means of the sample, and would drift back to the density of all rows. */
async function updateAll(context: RunContext, request: SplitRequest, { reference, cells, offsets, unit }: Work, started: LeavesReference): Promise<{ leaves: LeavesReference; updates: { inertia: number; empty: number }[] }> {
  const { executor, store } = context;
  const updates: { inertia: number; empty: number }[] = [];
  let leaves = started;
  if (request.split.updates === 0 || request.resampling.rounds > 0) return { leaves, updates };
  const { probes } = await recallOf(context, request, reference, leaves, UPDATE_SEARCH);
  for (let update = 1; update <= request.split.updates; update++) {
    const sums = `${reference.base}/sums-${update}`;
    const inertia = await reassignAll(context, request.path, cells, { cells: reference, leaves, probes, leave: 'sums', unit, out: sums });
    const out = `${reference.base}/leaves-${update}`;
    const moved = await executor.map(updateLeaves, updateRanges(cells, offsets, reference.d).map(({ first, end }) => ({ cells: reference, leaves, first, end, empty: request.empty, sums, out })), request.path);
    updates.push({ inertia, empty: moved.reduce((total, { empty }) => total + empty, 0) });
    await store.remove(`${sums}/`);
    leaves = { ...leaves, centroids: out };
    context.progress.note(`level ${request.level}, update ${update} of ${request.split.updates}: inertia ${inertia.toPrecision(6)}`);
  }
  return { leaves, updates };
}

/** @returns Σ squared distance */
async function reassignAll({ executor }: RunContext, path: string, { groups }: Cells, payload: Omit<ReassignPayload, 'group'>): Promise<number> {
  const results = await executor.map(reassignRows, groups.map((group) => ({ ...payload, group })), path);
  return results.reduce((total, { inertia }) => total + inertia, 0);
}

async function recallOf({ executor, seed }: RunContext, { path, points, level }: SplitRequest, cells: CellsReference, leaves: LeavesReference, { recall, excess, recallRows }: Pick<LevelSplit, 'recall' | 'excess' | 'recallRows'>) {
  const [measured] = await executor.map(measureRecall, [{ points, cells, leaves, level, seed, sampleRows: recallRows, recall, excess }], path);
  return measured!;
}

/** Runs of groups whose sums an update can hold. */
function updateRanges({ groups }: Cells, offsets: readonly number[], d: number): { first: number; end: number }[] {
  const ranges: { first: number; end: number }[] = [];
  for (let first = 0, end = 0; first < groups.length; first = end) {
    for (end = first + 1; end < groups.length && (offsets[groups[end]!.to]! - offsets[groups[first]!.from]!) * d * 8 <= UPDATE_BYTES; ) end++;
    ranges.push({ first, end });
  }
  return ranges;
}
