/**
 * Cluster-based retrieval, second half: the selection's table. Each chosen row gets the seed image of its cluster that is
 * most like it, and their cosine similarity, so that `query` and `score` mean what they mean in sample-based retrieval.
 */
import { encodeTable } from '../arrow/ipc.ts';
import { type EmbeddingBlock, type EmbeddingPart, type EmbeddingsManifest, readEmbeddingPart } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import type { Part } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { readDrawn } from './cluster-draw.ts';
import type { VectorBlock } from './nearest.ts';
import { type TableReference, putUnit, requireVectors } from './unit-rows.ts';

export interface ScorePayload {
  readonly pool: TableReference;
  readonly seeds: TableReference;
  /** Rows of one part of the selection, and all queries of kept clusters, as the draw left them. */
  readonly rows: Part;
  readonly queries: readonly Part[];
  /** Key of the part to write. */
  readonly out: string;
}

export interface ScoreResult {
  readonly part: Part;
  /** Of the part's rows; the sum in row order. */
  readonly similarity: { readonly sum: number; readonly min: number; readonly max: number };
}

/**
 * One part of the selection. Holds vectors of as many rows as fit a quarter of the memory, and one part of each table;
 * reads the seeds' vectors once for each such run of rows. Products are summed in float64 in a fixed order, so neither
 * the memory nor an engine changes a bit. Ties go to the lower seed row; a vector without a direction is like nothing (0).
 */
export const scoreRows: TaskKind<ScorePayload, ScoreResult> = { name: 'retrieve-score', version: 1, run };

async function run({ pool: poolAt, seeds: seedsAt, rows: part, queries, out }: ScorePayload, env: TaskEnv): Promise<ScoreResult> {
  const pool = (await requireVectors(env.store, poolAt)).manifest;
  const seeds = (await requireVectors(env.store, seedsAt)).manifest;
  const { numbers: row, cluster } = await readDrawn(env.store, part, 'row');
  const best = { query: new Float64Array(row.length), similarity: new Float64Array(row.length).fill(Number.NEGATIVE_INFINITY) };
  const held = Math.max(1024, Math.floor(env.execution.memoryBytes / 4 / (4 * pool.d)));
  for (let first = 0; first < row.length; first += held) {
    const end = Math.min(row.length, first + held);
    const vectors = await readUnitRows(env.store, pool, row.subarray(first, end), env.signal);
    await compare({ vectors, cluster: cluster.subarray(first, end), query: best.query.subarray(first, end), similarity: best.similarity.subarray(first, end) }, seeds, queries, env);
  }
  const score = Float32Array.from(best.similarity);
  const bytes = encodeTable({
    row: { type: 'uint64', values: row },
    copies: { type: 'uint16', values: new Uint16Array(row.length).fill(1) },
    score: { type: 'float32', values: score },
    query: { type: 'uint64', values: best.query },
  });
  const { sizeBytes, sha256 } = await env.store.write(out, bytes);
  const similarity = score.reduce((total, value) => ({ sum: total.sum + value, min: Math.min(total.min, value), max: Math.max(total.max, value) }), { sum: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY });
  env.advance(row.length);
  return { part: { path: out, firstRow: part.firstRow, rowCount: row.length, bytes: sizeBytes, sha256 }, similarity };
}

/** Vectors of ascending rows, of unit length; zeros where there is no direction. */
async function readUnitRows(store: Store, { parts, d }: EmbeddingsManifest, row: Float64Array, signal: AbortSignal): Promise<Float32Array> {
  const into: VectorBlock = { row: new Float64Array(row.length), vectors: new Float32Array(row.length * d) };
  let next = 0;
  for (const part of parts) {
    if (next === row.length) break;
    if (row[next]! >= part.firstRow + part.rowCount) continue;
    throwIfAborted(signal);
    const block = await readEmbeddingPart(store, part, d);
    for (; next < row.length && row[next]! < part.firstRow + part.rowCount; next++) putUnit(block, row[next]!, d, into, next, part.path);
  }
  return into.vectors;
}

interface Run {
  /** m × d, of unit length. */
  readonly vectors: Float32Array;
  readonly cluster: Uint32Array;
  /** Out: the best query so far and its similarity. */
  readonly query: Float64Array;
  readonly similarity: Float64Array;
}

async function compare(rows: Run, seeds: EmbeddingsManifest, queries: readonly Part[], { store, signal }: TaskEnv): Promise<void> {
  const members = new Map<number, number[]>();
  rows.cluster.forEach((cluster, i) => {
    const group = members.get(cluster);
    if (group === undefined) members.set(cluster, [i]);
    else group.push(i);
  });
  const { d } = seeds;
  const one: VectorBlock = { row: new Float64Array(1), vectors: new Float32Array(d) };
  let held: EmbeddingPart | null = null;
  let block: EmbeddingBlock | null = null;
  let index = 0;
  for (const table of queries) {
    const { numbers: query, cluster } = await readDrawn(store, table, 'query');
    for (let i = 0; i < query.length; i++) {
      const group = members.get(cluster[i]!);
      if (group === undefined) continue;
      while (query[i]! >= seeds.parts[index]!.firstRow + seeds.parts[index]!.rowCount) index++;
      const part = seeds.parts[index]!;
      if (block === null || held !== part) {
        throwIfAborted(signal);
        block = await readEmbeddingPart(store, part, d);
        held = part;
      }
      one.vectors.fill(0);
      putUnit(block, query[i]!, d, one, 0, part.path);
      for (const row of group) {
        const similarity = product(rows.vectors, row * d, one.vectors, d);
        if (similarity <= rows.similarity[row]!) continue;
        rows.similarity[row] = similarity;
        rows.query[row] = query[i]!;
      }
    }
  }
}

/** Four sums at a time, always the same four. */
function product(a: Float32Array, from: number, b: Float32Array, d: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let j = 0;
  for (; j + 3 < d; j += 4) {
    s0 += a[from + j]! * b[j]!;
    s1 += a[from + j + 1]! * b[j + 1]!;
    s2 += a[from + j + 2]! * b[j + 2]!;
    s3 += a[from + j + 3]! * b[j + 3]!;
  }
  for (; j < d; j++) s0 += a[from + j]! * b[j]!;
  return s0 + s1 + (s2 + s3);
}
