/**
 * What a search by cells misses: the pairs of a keyed sample of vectors are found by brute force, and how many cells have
 * to be looked at follows from where they lie. A pair counts as found when either of the two finds the other.
 */
import { throwIfAborted } from '../errors.ts';
import { randomStream } from '../random.ts';
import type { RunContext, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { openNearestCells } from '../vector/nearest-cells.ts';
import { bytesOf, float32Of, float64Of } from './arrays.ts';
import { createCandidates } from './candidates.ts';
import { type CellsReference, type OpenCells, openCells, searchEngine } from './cells.ts';
import { pairScores } from './near-pairs.ts';
import { similarityOf } from './scores.ts';

export interface TruthPayload {
  readonly cells: CellsReference;
  /** Key prefix of `vectors` and `rows` of the sample, q × d and q. */
  readonly sample: string;
  readonly q: number;
  /** Positions that the sample is compared with. */
  readonly start: number;
  readonly count: number;
  readonly k: number;
  readonly threshold: number;
  readonly out: string;
}

/** Numbers of a true pair: query, row, position of the row in cell order, similarity. */
const TRUTH_WORDS = 4;
const CHUNK_ROWS = 8192;

/** Brute force of the sample against a run of positions. Writes the k nearest of each query among them. */
export const findTruth: TaskKind<TruthPayload, { readonly pairs: string; readonly found: number }> = {
  name: 'dedup-truth',
  version: 1,
  run: async ({ cells: reference, sample, q, start, count, k, threshold, out }, env) => {
    const cells = await openCells(env.store, reference);
    const { d } = cells;
    const queries = float32Of(await env.store.read(`${sample}/vectors`));
    const rows = float64Of(await env.store.read(`${sample}/rows`));
    const candidates = createCandidates(q, k, threshold);
    const positions = new Map<number, number>();
    const scores = await pairScores(env);
    for (let at = start; at < start + count; at += CHUNK_ROWS) {
      throwIfAborted(env.signal);
      const chunk = await cells.load(at, Math.min(CHUNK_ROWS, start + count - at));
      await scores.above(queries, q, chunk.vectors, chunk.rows.length, d, candidates.limits, (query, row) => {
        if (rows[query] === chunk.rows[row]) return;
        candidates.add(query, chunk.rows[row]!, similarityOf(queries, query * d, chunk.vectors, row * d, d));
        positions.set(chunk.rows[row]!, at + row);
      });
      env.advance(Math.min(CHUNK_ROWS, start + count - at));
    }
    const { query, row, similarity } = candidates.take();
    const truth = new Float64Array(query.length * TRUTH_WORDS);
    for (let i = 0; i < query.length; i++) truth.set([query[i]!, row[i]!, positions.get(row[i]!)!, similarity[i]!], i * TRUTH_WORDS);
    await env.store.write(out, bytesOf(truth));
    return { pairs: out, found: query.length };
  },
};

/** The pairs of the sample, by brute force. */
export interface Truth {
  readonly queries: number;
  /** Of each pair: row and position of the query and of its neighbour. */
  readonly row: Float64Array;
  readonly position: Float64Array;
  readonly otherRow: Float64Array;
  readonly otherPosition: Float64Array;
}

/** Positions of a keyed sample, one from each of `count` equal runs of n; their vectors and rows are written to `out`. */
export async function drawSample(store: Store, cells: OpenCells, n: number, count: number, seed: number, out: string): Promise<Float64Array> {
  const stream = randomStream(seed, 'dedup', 'recall');
  const positions = Float64Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * n) / count);
    return from + stream.below(i, Math.floor(((i + 1) * n) / count) - from);
  });
  const [vectors, rows] = [new Float32Array(count * cells.d), new Float64Array(count)];
  for (const [i, position] of positions.entries()) {
    const one = await cells.load(position, 1);
    vectors.set(one.vectors, i * cells.d);
    rows[i] = one.rows[0]!;
  }
  await store.write(`${out}/vectors`, bytesOf(vectors));
  await store.write(`${out}/rows`, bytesOf(rows));
  return positions;
}

/** Merges what the tasks found: the k nearest of each query overall. */
export async function readTruth(store: Store, keys: readonly string[], positions: Float64Array, sample: string, k: number, threshold: number): Promise<Truth> {
  const q = positions.length;
  const rows = float64Of(await store.read(`${sample}/rows`));
  const candidates = createCandidates(q, k, threshold);
  const places = new Map<number, number>();
  for (const key of keys) {
    const truth = float64Of(await store.read(key));
    for (let i = 0; i < truth.length; i += TRUTH_WORDS) {
      candidates.add(truth[i]!, truth[i + 1]!, truth[i + 3]!);
      places.set(truth[i + 1]!, truth[i + 2]!);
    }
  }
  const { query, row } = candidates.take();
  return {
    queries: q,
    row: Float64Array.from(query, (i) => rows[i]!),
    position: Float64Array.from(query, (i) => positions[i]!),
    otherRow: row,
    otherPosition: row.map((one) => places.get(one)!),
  };
}

/** Pairs that the number of probes is chosen by, at most, and the most probes short of all cells. */
const PAIRS_MAX = 20_000;
const PROBES_MIN = 4;
const PROBES_MAX = 512;
const BATCH = 512;

/** The fewest cells to look at so that either side finds the other in a `recall` share of the pairs, and a quarter of the rest to be safe. */
export async function chooseProbes(context: Pick<RunContext, 'resource' | 'execution'>, cells: OpenCells, truth: Truth, recall: number): Promise<number> {
  const m = cells.offsets.length - 1;
  const step = Math.max(1, Math.ceil(truth.row.length / PAIRS_MAX));
  const chosen = Array.from({ length: Math.floor(truth.row.length / step) }, (_, i) => i * step);
  if (chosen.length === 0) return Math.min(m, PROBES_MIN);
  const p = Math.min(m, PROBES_MAX);
  const nearest = openNearestCells(await searchEngine(context), cells.centroids, m, cells.d, p);
  const ranks = async (from: Float64Array, to: Float64Array): Promise<Float64Array> => {
    const found = new Float64Array(chosen.length).fill(Infinity);
    const ranked = new Uint32Array(BATCH * p);
    for (let at = 0; at < chosen.length; at += BATCH) {
      const batch = chosen.slice(at, at + BATCH);
      const vectors = new Float32Array(batch.length * cells.d);
      for (const [i, pair] of batch.entries()) vectors.set((await cells.load(from[pair]!, 1)).vectors, i * cells.d);
      await nearest.nearest(vectors, batch.length, ranked);
      for (const [i, pair] of batch.entries()) {
        const rank = ranked.subarray(i * p, (i + 1) * p).indexOf(cells.cellOf(to[pair]!));
        if (rank >= 0) found[at + i] = rank + 1;
      }
    }
    return found;
  };
  const [there, back] = [await ranks(truth.position, truth.otherPosition), await ranks(truth.otherPosition, truth.position)];
  const needed = there.map((rank, i) => Math.min(rank, back[i]!)).sort();
  const share = recall + (1 - recall) / 4;
  const rank = needed[Math.ceil(share * needed.length) - 1]!;
  return rank === Infinity ? m : Math.min(m, Math.max(PROBES_MIN, rank));
}

/** Which of the true pairs are among those found, whichever side found them. */
export function countFound(truth: Truth): { add(a: number, b: number): void; found(): number } {
  const wanted = new Map<string, number>();
  const keyOf = (a: number, b: number): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
  // Both ends may be queries, so that a pair can be wanted twice.
  for (let i = 0; i < truth.row.length; i++) wanted.set(keyOf(truth.row[i]!, truth.otherRow[i]!), (wanted.get(keyOf(truth.row[i]!, truth.otherRow[i]!)) ?? 0) + 1);
  const queries = new Set(truth.row);
  let found = 0;
  return {
    add: (a, b) => {
      if (!queries.has(a) && !queries.has(b)) return;
      const key = keyOf(a, b);
      found += wanted.get(key) ?? 0;
      wanted.delete(key);
    },
    found: () => found,
  };
}
