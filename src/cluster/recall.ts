/**
 * How many cells a two-level search has to look at: measured against exact search on a keyed sample, as faiss's
 * autotuning does, and recorded with the tree.
 */
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type CellsReference, openCells } from './cells.ts';
import { keyedSample } from './coarse.ts';
import { type PointsReference, openPoints, searchEngine } from './level.ts';
import { type Leaves, type LeavesReference, openLeaves } from './leaves.ts';
import { type Probed, bestOf, probeLeaves } from './probe.ts';

export interface RecallPayload {
  readonly points: PointsReference;
  readonly cells: CellsReference;
  readonly leaves: LeavesReference;
  readonly level: number;
  readonly seed: number;
  readonly sampleRows: number;
  /** Share of rows that must find their exact nearest leaf. */
  readonly recall: number;
  /** Share by which the inertia may be above that of exact search. */
  readonly excess: number;
}

export interface RecallResult {
  /** Cells to look at. */
  readonly probes: number;
  readonly rows: number;
  /** Measured with that many. */
  readonly recall: number;
  readonly excess: number;
}

/** The fewest probes that keep both promises on the sample. */
export const measureRecall: TaskKind<RecallPayload, RecallResult> = {
  name: 'cluster-recall',
  version: 1,
  run: async (payload, env) => {
    const { n, d } = payload.cells;
    const cells = await openCells(env.store, payload.cells);
    const leaves = await openLeaves(env.store, payload.leaves, cells, d, env.execution.memoryBytes / 4);
    const rows = keyedSample(n, Math.min(n, payload.sampleRows), payload.seed, ['recall-sample', payload.level]);
    const values = new Float32Array(rows.length * d);
    await (await openPoints(env, payload.points, 0)).gather(rows, values);
    const exact = await searchAll(values, rows.length, d, leaves, env);
    const options = { engine: await searchEngine(env), coarse: cells.centroids, leaves, signal: env.signal };
    for (let most = PROBES_FIRST; ; most *= 2) {
      const probed = await probeLeaves(values, rows.length, d, { ...options, probes: most });
      const enough = fewestProbes(probed, exact, payload);
      if (enough !== null) return enough;
    }
  },
};

/** Probes tried first; twice as many when they are too few. */
const PROBES_FIRST = 32;

function fewestProbes(probed: Probed, exact: Exact, { recall, excess }: Pick<RecallPayload, 'recall' | 'excess'>): RecallResult | null {
  const rows = exact.distance.length;
  for (let probes = 1; probes <= probed.p; probes++) {
    const found = measure(bestOf(probed, rows, probes), exact);
    if (found.recall >= recall && found.excess <= excess) return { probes, rows, ...found };
  }
  // All cells were looked at: there is no more to find, whatever float32 products say of ties.
  return probed.p < exact.cells ? null : { probes: probed.p, rows, ...measure(bestOf(probed, rows), exact) };
}

interface Exact {
  readonly cells: number;
  readonly distance: Float32Array;
}

/** Products of differently packed matrices differ in the last bits: a leaf this near to the nearest counts as found. */
const NOISE = 2 ** -16;

function measure({ distance }: { distance: Float32Array }, exact: Exact): { recall: number; excess: number } {
  let [found, own, least] = [0, 0, 0];
  for (let i = 0; i < distance.length; i++) {
    if (distance[i]! <= exact.distance[i]! * (1 + NOISE)) found++;
    own += distance[i]!;
    least += exact.distance[i]!;
  }
  return { recall: found / distance.length, excess: least === 0 ? 0 : own / least - 1 };
}

/** Leaves packed for one exact search. */
const LEAVES_AT_ONCE = 8192;

async function searchAll(values: Float32Array, n: number, d: number, leaves: Leaves, env: TaskEnv): Promise<Exact> {
  const engine = await searchEngine(env);
  const distance = new Float32Array(n).fill(Infinity);
  const [index, one] = [new Uint32Array(n), new Float32Array(n)];
  const packed = new Float32Array(Math.min(LEAVES_AT_ONCE, leaves.k) * d);
  let filled = 0;
  const flush = async (): Promise<void> => {
    const search = await engine.nearest(packed, filled, d);
    try {
      await search.nearest(values, n, index, one);
    } finally {
      await search.close();
    }
    for (let i = 0; i < n; i++) if (one[i]! < distance[i]!) distance[i] = one[i]!;
    filled = 0;
  };
  for (const cell of leaves.cells) {
    const { centroids, leaf } = await leaves.load(cell);
    for (let first = 0; first < leaf.length; ) {
      const count = Math.min(leaf.length - first, packed.length / d - filled);
      packed.set(centroids.subarray(first * d, (first + count) * d), filled * d);
      [filled, first] = [filled + count, first + count];
      if (filled === packed.length / d) await flush();
    }
  }
  if (filled > 0) await flush();
  return { cells: leaves.cells.length, distance };
}
