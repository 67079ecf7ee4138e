/**
 * How many cells a two-level search has to look at, measured against exact search on a keyed sample (as faiss's
 * autotuning does): the smallest number that reaches a stated recall and a stated inertia.
 */
import assert from 'node:assert/strict';
import { drawDistinct, randomStream } from '../random.ts';
import type { SearchEngine } from './search.ts';
import { type Cells, type Probed, openTwoLevelSearch } from './two-level.ts';

export interface ProbeTarget {
  /** Keys the draw of the sample. */
  readonly seed: number;
  /** Rows that are compared, at most. Default 20,000. */
  readonly sample?: number;
  /** Share of rows whose exact nearest centroid must be found. Default 0.99. */
  readonly recall?: number;
  /** Bound on inertia over exact inertia. Default 1.002. */
  readonly inertiaRatio?: number;
}

export interface ChosenProbes {
  readonly probes: number;
  /** Measured with that many, over finite rows: share of rows that found their exact nearest centroid, or one as near. */
  readonly recall: number;
  /** Measured with that many: Σ squared distances over that of exact search, ≥ 1 but for rounding. */
  readonly inertiaRatio: number;
}

/** Cells first looked at; four times as many again until the target is met. */
const FIRST_PROBES = 16;

/**
 * Cost: an exact search of the sample, and a two-level one with at most four times the probes chosen.
 *
 * @param x n × d rows as those that will be searched
 * @returns the smallest number of probes that meets both targets; all cells meet every target
 */
export async function chooseProbes(engine: SearchEngine, cells: Cells, x: Float32Array, n: number, target: ProbeTarget): Promise<ChosenProbes> {
  const { d } = cells;
  assert(n >= 1 && x.length >= n * d, `Expected n × d = ${n} × ${d} floats, got ${x.length}`);
  const drawn = drawDistinct(randomStream(target.seed, 'vector', 'probes'), n, target.sample ?? 20_000);
  const rows = drawn.length;
  const sample = new Float32Array(rows * d);
  drawn.forEach((row, i) => sample.set(x.subarray(row * d, (row + 1) * d), i * d));
  const exact = { index: new Uint32Array(rows), distance: new Float32Array(rows) };
  const search = await engine.nearest(cells.centroids, cells.k, d);
  await search.nearest(sample, rows, exact.index, exact.distance);
  await search.close();
  for (let asked = FIRST_PROBES; ; asked *= 4) {
    const twoLevel = await openTwoLevelSearch(engine, cells, asked);
    const found = await twoLevel.probe(sample, rows, false);
    await twoLevel.close();
    const steps = measure(found, exact, rows);
    const met = steps.find(({ recall, inertiaRatio }) => recall >= (target.recall ?? 0.99) && inertiaRatio <= (target.inertiaRatio ?? 1.002));
    if (met !== undefined) return met;
    if (found.p < asked) return steps[found.p - 1] as ChosenProbes;
  }
}

/** Recall and inertia with the first 1, 2, … p places of each row. */
function measure({ p, index, distance }: Probed, exact: { index: Uint32Array; distance: Float32Array }, n: number): ChosenProbes[] {
  const best = new Float64Array(n).fill(Infinity);
  const hit = new Uint8Array(n);
  return Array.from({ length: p }, (_, place) => {
    let [rows, hits, inertia, least] = [0, 0, 0, 0];
    for (let i = 0; i < n; i += 1) {
      const nearest = exact.distance[i] as number;
      if (!Number.isFinite(nearest)) continue;
      const at = i * p + place;
      const own = distance[at] as number;
      if (own < (best[i] as number)) best[i] = own;
      if (index[at] === exact.index[i] || own <= nearest) hit[i] = 1;
      rows += 1;
      hits += hit[i] as number;
      inertia += best[i] as number;
      least += nearest;
    }
    return { probes: place + 1, recall: rows === 0 ? 1 : hits / rows, inertiaRatio: inertia === least ? 1 : inertia / least };
  });
}
