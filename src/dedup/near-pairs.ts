/**
 * The search for near-duplicates (DINOv2, arXiv 2304.07193, appendix A; reference section 3.1): for each vector its k nearest
 * neighbours with a cosine similarity strictly above a threshold. A vector is compared with those of its nearest cells,
 * row by row and cell by cell, so that products stay dense. Departure: no quantisation, and the misses are measured.
 *
 * A pair's similarity is summed in float64 from the two unit vectors, so that what is found depends on no engine, tile
 * or order of tasks; float32 products only say which pairs are worth it.
 */
import { throwIfAborted } from '../errors.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { openNearestCells } from '../vector/nearest-cells.ts';
import { bytesOf } from './arrays.ts';
import { type Candidates, createCandidates } from './candidates.ts';
import { type CellsReference, type LoadedRows, type OpenCells, openCells, searchEngine } from './cells.ts';
import { type PairScores, openPairScores, similarityOf } from './scores.ts';

export interface SearchPayload {
  readonly cells: CellsReference;
  /** Positions in cell order, all in one group. */
  readonly start: number;
  readonly count: number;
  readonly k: number;
  readonly threshold: number;
  readonly probes: number;
  readonly out: string;
}

export interface SearchResult {
  /** Key of pairs × 3 numbers: a row, a neighbour, their similarity. */
  readonly pairs: string;
  readonly found: number;
  readonly comparisons: number;
}

/** Numbers of a pair. */
export const PAIR_WORDS = 3;

/** Rows of cells held at once. */
const CELL_ROWS = 8192;

/** Finds the pairs of a run of vectors. Holds them, `CELL_ROWS` of the cells that they look at, and 2 × k candidates each. */
export const searchPairs: TaskKind<SearchPayload, SearchResult> = {
  name: 'dedup-search',
  version: 1,
  run: async ({ cells: reference, start, count, k, threshold, probes, out }, env) => {
    const cells = await openCells(env.store, reference);
    const { d } = cells;
    const { vectors, rows } = await cells.load(start, count);
    const candidates = createCandidates(count, k, threshold);
    const scores = await pairScores(env);
    let comparisons = 0;
    let some = new Float32Array(0);
    for await (const { chunk, places } of visits(await rankCells(vectors, count, cells, probes, env), cells, env)) {
      if (some.length < places.length * d) some = new Float32Array(places.length * d);
      places.forEach((place, i) => some.set(vectors.subarray(place * d, (place + 1) * d), i * d));
      await compare(scores, { some, places, rows }, chunk, d, candidates);
      comparisons += places.length * chunk.rows.length;
    }
    const { query, row, similarity } = candidates.take();
    const pairs = new Float64Array(query.length * PAIR_WORDS);
    for (let i = 0; i < query.length; i++) pairs.set([rows[query[i]!]!, row[i]!, similarity[i]!], i * PAIR_WORDS);
    await env.store.write(out, bytesOf(pairs));
    env.advance(count);
    return { pairs: out, found: query.length, comparisons };
  },
};

/** The process's one session for pairs. */
export function pairScores(env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<PairScores> {
  return env.resource('dedup-scores', () => openPairScores(env.execution.threads));
}

/** Adds the pairs of queries and a chunk whose product is above the limit of the query. */
async function compare(scores: PairScores, { some, places, rows }: { readonly some: Float32Array; readonly places: Uint32Array; readonly rows: Float64Array }, chunk: LoadedRows, d: number, candidates: Candidates): Promise<void> {
  const limits = Float32Array.from(places, (place) => candidates.limits[place]!);
  await scores.above(some, places.length, chunk.vectors, chunk.rows.length, d, limits, (query, row) => {
    const place = places[query]!;
    if (rows[place] === chunk.rows[row]) return;
    candidates.add(place, chunk.rows[row]!, similarityOf(some, query * d, chunk.vectors, row * d, d));
    limits[query] = candidates.limits[place]!;
  });
}

/** The vectors that look at each cell: those of cell c are place[offset[c]] … place[offset[c + 1] − 1]. */
interface Ranked {
  readonly offset: Uint32Array;
  readonly place: Uint32Array;
}

async function rankCells(vectors: Float32Array, n: number, { d, centroids, offsets }: OpenCells, probes: number, env: TaskEnv): Promise<Ranked> {
  const m = offsets.length - 1;
  const p = Math.min(probes, m);
  const ranked = new Uint32Array(n * p);
  if (m > 1) await openNearestCells(await searchEngine(env), centroids, m, d, p).nearest(vectors, n, ranked);
  const offset = new Uint32Array(m + 1);
  for (const cell of ranked) offset[cell + 1]!++;
  for (let c = 0; c < m; c++) offset[c + 1]! += offset[c]!;
  const next = offset.slice(0, m);
  const place = new Uint32Array(n * p);
  for (let at = 0; at < ranked.length; at++) place[next[ranked[at]!]!++] = Math.floor(at / p);
  return { offset, place };
}

/** The rows of every cell that a vector looks at, with the vectors that do. Neighbouring cells are read at once; the vectors of a chunk are overwritten by the next. */
async function* visits({ offset, place }: Ranked, cells: OpenCells, env: TaskEnv): AsyncIterable<{ chunk: LoadedRows; places: Uint32Array }> {
  const { d, offsets, groupOf } = cells;
  const m = offsets.length - 1;
  const buffer = new Float32Array(Math.min(CELL_ROWS, offsets[m]!) * d);
  const isVisited = (cell: number): boolean => offset[cell] !== offset[cell + 1];
  for (let cell = 0; cell < m; cell++) {
    if (!isVisited(cell) || offsets[cell] === offsets[cell + 1]) continue;
    let last = cell;
    while (last + 1 < m && groupOf[last + 1] === groupOf[cell] && isVisited(last + 1) && offsets[last + 2]! - offsets[cell]! <= CELL_ROWS) last++;
    for (let start = offsets[cell]!; start < offsets[last + 1]!; start += CELL_ROWS) {
      throwIfAborted(env.signal);
      const { vectors, rows } = await cells.load(start, Math.min(CELL_ROWS, offsets[last + 1]! - start), buffer);
      for (let c = cell; c <= last; c++) {
        const [from, to] = [Math.max(0, offsets[c]! - start), Math.min(rows.length, offsets[c + 1]! - start)];
        if (from < to) yield { chunk: { vectors: vectors.subarray(from * d, to * d), rows: rows.subarray(from, to) }, places: place.subarray(offset[c], offset[c + 1]) };
      }
    }
    cell = last;
  }
}
