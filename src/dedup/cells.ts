/**
 * Cells that vectors are sorted into so that near ones are looked for nearby: an inverted file, as faiss IndexIVFFlat of the
 * published pipeline (reference section 3.5), on full vectors without quantisation. Cell centroids come from a few rounds
 * of k-means on a keyed sample; with one cell the search is brute force.
 */
import assert from 'node:assert/strict';
import { type EmbeddingsManifest, readEmbeddingPart } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import { requireManifest, rowCountOf } from '../run/manifest.ts';
import { keyedOrder, randomStream } from '../random.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { openSearchEngine } from '../vector/engine.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import { normaliseRows } from '../vector/matrix.ts';
import type { SearchEngine } from '../vector/search.ts';
import { bytesOf, float32Of, float64Of, ownBuffer } from './arrays.ts';

/** What tasks are told of the cells; their rows lie in groups, each an object of vectors and one of row numbers. */
export interface CellsReference {
  /** Key of m × d centroids. */
  readonly centroids: string;
  readonly m: number;
  readonly d: number;
  /** Key of m + 1 numbers: positions before each cell, in cell order. */
  readonly offsets: string;
  readonly groups: readonly CellGroup[];
}

/** Cells from … to − 1, side by side in cell order. */
export interface CellGroup {
  readonly out: string;
  readonly from: number;
  readonly to: number;
  readonly element: 'float16' | 'float32';
}

/** A table of vectors: key prefix, and the hash of its manifest. */
export interface TableReference {
  readonly path: string;
  readonly sha256: string;
}

export interface TrainPayload {
  readonly vectors: TableReference;
  /** Rows drawn for training, one from each of as many equal runs of rows. */
  readonly sampleRows: number;
  readonly m: number;
  readonly d: number;
  readonly seed: number;
  readonly out: string;
}

/** Rounds of k-means: cells only have to be of like size and round. */
const ROUNDS = 6;
/** Cells with more than so many times their share of the sample are split, again and again up to a depth. */
const LARGE = 2;
const DEPTH_MAX = 4;

/** Writes the centroids of at most m cells. @returns how many they are */
export const trainDedupCells: TaskKind<TrainPayload, { readonly m: number }> = {
  name: 'dedup-train',
  version: 1,
  run: async (payload, env) => {
    const { m: wanted, d, seed, out } = payload;
    const { values, n } = await readSample(env, payload);
    const m = Math.max(1, Math.min(wanted, n));
    const centroids = m === 1 ? new Float32Array(d) : await train(values, n, m, { d, seed, label: 'all', depth: 0, size: n / m }, env);
    await env.store.write(out, bytesOf(centroids));
    return { m: centroids.length / d };
  },
};

interface Training {
  readonly d: number;
  readonly seed: number;
  /** Names the rows, for the draw of the first centroids. */
  readonly label: string;
  readonly depth: number;
  /** Sampled rows that a cell should have. */
  readonly size: number;
}

/** k-means of n rows, and again of the rows of every cell that is much too large: dense regions draw rows to few centroids. */
async function train(values: Float32Array, n: number, m: number, { d, seed, label, depth, size }: Training, env: TaskEnv): Promise<Float32Array> {
  let centroids: Float32Array = new Float32Array(m * d);
  keyedOrder(randomStream(seed, 'dedup', 'cells', label), n).subarray(0, m).forEach((row, c) => centroids.set(values.subarray(row * d, (row + 1) * d), c * d));
  const engine = await searchEngine(env);
  const [nearest, distance] = [new Uint32Array(n), new Float32Array(n)];
  for (let round = 0; ; round++) {
    throwIfAborted(env.signal);
    const search = await engine.nearest(centroids, m, d);
    await search.nearest(values, n, nearest, distance).finally(() => search.close());
    if (round === ROUNDS) break;
    centroids = meansOf(values, n, d, nearest, centroids);
  }
  const members = Array.from({ length: m }, (): number[] => []);
  nearest.forEach((c, i) => members[c]!.push(i));
  const pieces: Float32Array[] = [];
  for (const [c, rows] of members.entries()) {
    const own = centroids.subarray(c * d, (c + 1) * d);
    if (rows.length <= LARGE * size || depth === DEPTH_MAX) {
      pieces.push(own);
      continue;
    }
    const some = new Float32Array(rows.length * d);
    rows.forEach((row, i) => some.set(values.subarray(row * d, (row + 1) * d), i * d));
    pieces.push(await train(some, rows.length, Math.round(rows.length / size), { d, seed, label: `${label} ${c}`, depth: depth + 1, size }, env));
  }
  const all = new Float32Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** The process's one search engine. */
export function searchEngine(env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<SearchEngine> {
  return env.resource('search-onnxruntime', () => openSearchEngine('onnxruntime', { threads: env.execution.threads }));
}

export interface OpenCells {
  readonly d: number;
  /** m × d. */
  readonly centroids: Float32Array;
  /** Positions before each cell, length m + 1. */
  readonly offsets: Float64Array;
  /** Group of each cell. */
  readonly groupOf: Uint32Array;
  /** Cell of a position. */
  cellOf(position: number): number;
  /**
   * Unit vectors and rows of `count` positions from `start` on, all in one group.
   *
   * @param into where the vectors go, count × d or longer; default: an array of their own
   */
  load(start: number, count: number, into?: Float32Array): Promise<LoadedRows>;
}

export interface LoadedRows {
  readonly vectors: Float32Array;
  readonly rows: Float64Array;
}

/** Memory: m × d centroids and m numbers. */
export async function openCells(store: Store, { centroids, m, d, offsets: key, groups }: CellsReference): Promise<OpenCells> {
  const offsets = float64Of(await store.read(key));
  const groupOf = new Uint32Array(m);
  groups.forEach(({ from, to }, g) => groupOf.fill(g, from, to));
  const cellOf = (position: number): number => {
    let [low, high] = [0, m - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (offsets[middle]! <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const load: OpenCells['load'] = async (start, count, into = new Float32Array(count * d)) => {
    const { out, from, element } = groups[groupOf[cellOf(start)]!]!;
    const first = start - offsets[from]!;
    const width = d * (element === 'float16' ? 2 : 4);
    const bytes = await store.read(`${out}/vectors`, { offset: first * width, length: count * width });
    const vectors = into.subarray(0, count * d);
    if (element === 'float16') decodeFloat16(bytes.byteOffset % 2 === 0 ? new Uint16Array(bytes.buffer, bytes.byteOffset, count * d) : new Uint16Array(ownBuffer(bytes)), vectors);
    else vectors.set(float32Of(bytes));
    normaliseRows(vectors, count, d);
    return { vectors, rows: float64Of(await store.read(`${out}/rows`, { offset: first * 8, length: count * 8 })) };
  };
  return { d, centroids: float32Of(await store.read(centroids)), offsets, groupOf, cellOf, load };
}

async function readSample({ store, signal }: TaskEnv, { vectors: reference, sampleRows, d, seed }: TrainPayload): Promise<{ values: Float32Array; n: number }> {
  const stored = await requireManifest<EmbeddingsManifest>(store, reference.path, 'embed');
  assert(stored.sha256 === reference.sha256, `Expected the vectors at ${reference.path} that the task was planned with`);
  const { parts } = stored.manifest;
  const rows = rowCountOf(parts);
  const wanted = Math.min(rows, sampleRows);
  const stream = randomStream(seed, 'dedup', 'sample');
  const drawn = (i: number): number => Math.floor((i * rows) / wanted) + stream.below(i, Math.floor(((i + 1) * rows) / wanted) - Math.floor((i * rows) / wanted));
  const values = new Float32Array(wanted * d);
  let [n, next] = [0, 0];
  for (const part of parts) {
    throwIfAborted(signal);
    if (next === wanted || drawn(next) >= part.firstRow + part.rowCount) continue;
    const { ok, vectors, firstRow } = await readEmbeddingPart(store, part, d);
    for (; next < wanted && drawn(next) < firstRow + part.rowCount; next++) {
      const at = drawn(next) - firstRow;
      if (ok[at] === 0) continue;
      values.set(vectors.subarray(at * d, (at + 1) * d), n * d);
      n += 1;
    }
  }
  normaliseRows(values, n, d);
  return { values: values.subarray(0, n * d), n };
}

/** Means in float64, summed in row order; an empty cell stays where it is. */
function meansOf(values: Float32Array, n: number, d: number, nearest: Uint32Array, before: Float32Array): Float32Array<ArrayBuffer> {
  const sums = new Float64Array(before.length);
  const counts = new Uint32Array(before.length / d);
  for (let i = 0; i < n; i++) {
    const to = nearest[i]! * d;
    counts[nearest[i]!]! += 1;
    for (let j = 0; j < d; j++) sums[to + j]! += values[i * d + j]!;
  }
  return Float32Array.from(before, (value, at) => (counts[Math.floor(at / d)] === 0 ? value : sums[at]! / counts[Math.floor(at / d)]!));
}
