/**
 * The k-means inside the coarse cells of a split level, resampling included: each round of a level is a task a group of
 * cells. The published code gives every cell the same number of children and cannot resample (reference section 1.8).
 */
import { randomStream } from '../random.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type CellGroup, type CellsReference, openCells } from './cells.ts';
import { assignAll } from './kmeans.ts';
import { searchEngine } from './level.ts';
import { type PartitionOptions, partition } from './partition.ts';
import { type Points, cached, subsetPoints } from './points.ts';
import { resample } from './resample.ts';
import { type Potential, measurePotential } from './share.ts';
import { bytesOf, readWords } from './words.ts';

/** What the rounds of a group of cells have in common. */
export interface CellRound {
  readonly cells: CellsReference;
  readonly group: CellGroup;
  readonly level: number;
  readonly seed: number;
  /** Points a cell gets a child for, on average. */
  readonly perChild: number;
  /** Members drawn from each cluster for the next round, and how; null when there is none. */
  readonly next: { readonly sampleSize: number; readonly strategy: 'closest' | 'random'; readonly out: string } | null;
}

export interface CellPayload extends CellRound {
  readonly round: number;
  /** Children of each cell of the group; 0 where it has no row. */
  readonly children: readonly number[];
  /** The sample to cluster: rows of each cell of the group, and the key prefix of their positions. Null: all rows. */
  readonly sample: { readonly rows: readonly number[]; readonly key: string } | null;
  readonly iterations: number;
  readonly tolerance: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly seeding: 'auto' | 'greedy' | 'cells';
  readonly seedingRows: number;
  readonly unit: number;
  readonly out: string;
}

export interface CellResult {
  /** Leaves of each cell of the group. */
  readonly k: readonly number[];
  /** Points that the k-means saw, and their inertia at the end, in scaled units. */
  readonly sampled: number;
  readonly inertia: number;
  /** Iterations of all k-means together. */
  readonly iterations: number;
  /** Of the next round's sample; null for a cell without rows. */
  readonly potentials: readonly (Potential | null)[];
}

/** Potentials of all rows of a group's cells, before the first round. */
export const measureCells: TaskKind<CellRound, (Potential | null)[]> = {
  name: 'cluster-potential',
  version: 1,
  run: async (payload, env) => {
    const cells = await openCells(env.store, payload.cells);
    const found: (Potential | null)[] = [];
    const pointsOf = await cells.pointsOf(payload.group, env.execution.memoryBytes / 4);
    for (let cell = payload.group.from; cell < payload.group.to; cell++) found.push(await potentialOf(pointsOf(cell), cell, 0, payload, env));
    return found;
  },
};

/** Writes the leaves of a group of cells, cell after cell, to `<out>/<group>`. Which cell comes first is nobody's business. */
export const clusterCells: TaskKind<CellPayload, CellResult> = {
  name: 'cluster-cell',
  version: 1,
  run: async (payload, env) => {
    const { group, unit, next } = payload;
    const cells = await openCells(env.store, payload.cells);
    const pointsOf = await cells.pointsOf(group, env.execution.memoryBytes / 4);
    const pieces: Float32Array[] = [];
    const samples: Uint32Array[] = [];
    const potentials: (Potential | null)[] = [];
    const k: number[] = [];
    let [sampled, inertia, iterations] = [0, 0, 0];
    for (let cell = group.from; cell < group.to; cell++) {
      if (payload.children[cell - group.from] === 0) {
        k.push(0);
        potentials.push(null);
        continue;
      }
      const found = await clusterCell(pointsOf(cell), cell, payload, env);
      pieces.push(found.centroids);
      k.push(found.centroids.length / payload.cells.d);
      samples.push(found.drawn);
      potentials.push(found.potential);
      sampled += found.sampled;
      inertia += found.inertia;
      iterations += found.iterations;
      env.advance((cells.rowOffset[cell + 1]! - cells.rowOffset[cell]!) * unit);
      env.note(`level ${payload.level}, round ${payload.round}, cell ${cell + 1} of ${payload.cells.m}: ${k.at(-1)} clusters`);
    }
    await env.store.write(`${payload.out}/${group.group}`, piecesOf(pieces));
    if (next !== null) await env.store.write(`${next.out}/${group.group}`, piecesOf(samples));
    return { k, sampled, inertia, iterations, potentials };
  },
};

async function* piecesOf(pieces: readonly (Float32Array | Uint32Array)[]): AsyncIterable<Uint8Array> {
  for (const piece of pieces) yield bytesOf(piece);
}

/** Seeding looks at so many points a cluster: Lloyd's iterations see them all. */
const SEEDING_POINTS = 6;
const SEEDING_ROWS_MIN = 1024;
/** Clusters up to which `auto` seeds a cell by exact greedy k-means++: beyond, its passes over the sample cost more than all iterations. */
const GREEDY_MAX = 48;

interface ClusteredCell {
  readonly centroids: Float32Array;
  readonly sampled: number;
  readonly inertia: number;
  readonly iterations: number;
  /** Positions in the cell of the next round's sample, ascending; none when there is no next round. */
  readonly drawn: Uint32Array;
  readonly potential: Potential | null;
}

async function clusterCell(stored: Points, cell: number, payload: CellPayload, env: TaskEnv): Promise<ClusteredCell> {
  const { level, round, next, seed, group, sample } = payload;
  const { memoryBytes, blockRows } = env.execution;
  const points = await cached(stored, memoryBytes / 2);
  const some = sample === null ? points : await cached(subsetPoints(points, await readSample(env, sample, cell - group.from, group)), memoryBytes / 2);
  const k = Math.min(payload.children[cell - group.from]!, some.n);
  const options: PartitionOptions = {
    k, iterations: payload.iterations, tolerance: payload.tolerance, empty: payload.empty, splits: 1, seeding: payload.seeding === 'auto' && k > GREEDY_MAX ? 'cells' : payload.seeding, seedingRows: Math.min(payload.seedingRows, Math.max(SEEDING_ROWS_MIN, SEEDING_POINTS * k)),
    seed, labels: [level, round, 'cell', cell], engine: await searchEngine(env), blockRows, cacheBytes: memoryBytes / 2, signal: env.signal,
  };
  const found = await partition(some, options);
  const result = { centroids: found.centroids, sampled: some.n, inertia: found.iterations.at(-1)!.inertia, iterations: found.iterations.length };
  if (next === null) return { ...result, drawn: new Uint32Array(0), potential: null };
  const { assignment, distance } = some === points ? found : await assignAll(points, found.centroids, options);
  // The draws of one cell say nothing of another's.
  const cellSeed = randomStream(seed, 'cluster', 'cell', level, cell).below(0, 2 ** 48);
  const drawn = resample(assignment, distance, found.k, { ...next, seed: cellSeed, level, round: round + 1 });
  return { ...result, drawn, potential: await potentialOf(subsetPoints(points, drawn), cell, round + 1, payload, env) };
}

async function readSample(env: TaskEnv, { rows, key }: NonNullable<CellPayload['sample']>, index: number, { group }: CellGroup): Promise<Uint32Array> {
  const first = rows.slice(0, index).reduce((sum, count) => sum + count, 0);
  return new Uint32Array(await readWords(env.store, `${key}/${group}`, rows[index]!, first));
}

/** Rows looked at and seeds drawn to learn how many children a cell should have. */
const POTENTIAL_ROWS = 4096;
const POTENTIAL_SEEDS = 2;

async function potentialOf(points: Points, cell: number, round: number, { level, seed, perChild }: CellRound, env: TaskEnv): Promise<Potential | null> {
  if (points.n === 0) return null;
  const seedsMax = Math.ceil((POTENTIAL_SEEDS * points.n) / perChild) + 64;
  return measurePotential(points, { engine: await searchEngine(env), seed, labels: [level, round, cell], rowsMax: POTENTIAL_ROWS, seedsMax });
}
