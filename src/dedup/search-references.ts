/**
 * Which rows of a pool are near an image of an evaluation set (DINOv2, arXiv 2304.07193, appendix A, "relative
 * deduplication"; reference section 3.1). Exact: every row is compared with every reference. Chunks of references stay in
 * memory while the pool streams by. Similarity is summed in float64 from unit vectors, so that neither the engine nor the cut
 * into chunks and tasks moves a pair over the threshold.
 */
import { type EmbeddingPart, readEmbeddingPart } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import type { Part } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { normaliseRows } from '../vector/matrix.ts';
import { bytesOf } from './arrays.ts';
import { PRODUCT_ERROR } from './candidates.ts';
import { pairScores } from './near-pairs.ts';
import { type PairScores, similarityOf } from './scores.ts';
import { readTaken } from './taken-rows.ts';

/** The images of one evaluation set. */
export interface ReferenceSet {
  readonly parts: readonly EmbeddingPart[];
  readonly threshold: number;
}

/** Consecutive parts of the pool. */
export interface PoolSpan {
  readonly parts: readonly EmbeddingPart[];
  /** For each part, the tables of steps that took rows out. */
  readonly verdicts: readonly (readonly Part[])[];
  /** 1 for each row of the pool that is to be compared, by row; absent: all. */
  readonly only?: Uint8Array;
}

export interface ReferenceSearch {
  readonly span: PoolSpan;
  readonly sets: readonly ReferenceSet[];
  readonly d: number;
  /** Bytes of references to hold at once; changes no answer. */
  readonly memoryBytes: number;
  /** Where the sets' tables lie, where that is another store than the pool's. */
  readonly references?: Store;
}

/** Numbers of a hit: index of the set, row of the pool, row in the set, similarity. */
export const HIT_WORDS = 4;

export interface ReferenceHits {
  /** Hits × HIT_WORDS, by row, then set: the nearest reference of each row and set. Ties go to the first reference. */
  readonly rows: Float64Array;
  /** Hits × HIT_WORDS, by set, then reference: the nearest row of each reference. Ties go to the first row. */
  readonly references: Float64Array;
}

/** O(rows × references × d). Holds a part of the pool and a chunk of references. */
export async function searchReferences(scores: PairScores, store: Store, { span, sets, d, memoryBytes, references: other = store }: ReferenceSearch, signal: AbortSignal): Promise<ReferenceHits> {
  const firstRow = span.parts[0]!.firstRow;
  const rowCount = span.parts.reduce((sum, part) => sum + part.rowCount, 0);
  const nearest = sets.map(() => ({ reference: new Float64Array(rowCount).fill(-1), similarity: new Float32Array(rowCount) }));
  const references: number[] = [];
  for await (const chunk of readReferences(other, sets, d, memoryBytes)) {
    const q = chunk.row.length;
    const best = { row: new Float64Array(q).fill(-1), similarity: new Float32Array(q) };
    for (const [p, part] of span.parts.entries()) {
      throwIfAborted(signal);
      const pool = await readPool(store, part, span.verdicts[p]!, d, span.only);
      await scores.above(chunk.vectors, q, pool.vectors, pool.row.length, d, chunk.limits, (query, place) => {
        const similarity = similarityOf(chunk.vectors, query * d, pool.vectors, place * d, d);
        const set = chunk.set[query]!;
        if (!(similarity > sets[set]!.threshold)) return;
        const row = pool.row[place]!;
        const own = nearest[set]!;
        const at = row - firstRow;
        // References of a set come in order, and within a query so do the rows: the first of equals is the one to keep.
        const before = own.reference[at]!;
        if (before < 0 || similarity > own.similarity[at]! || (similarity === own.similarity[at]! && chunk.row[query]! < before)) {
          own.reference[at] = chunk.row[query]!;
          own.similarity[at] = similarity;
        }
        if (best.row[query]! < 0 || similarity > best.similarity[query]!) {
          best.row[query] = row;
          best.similarity[query] = similarity;
        }
      });
    }
    for (let query = 0; query < q; query++) if (best.row[query]! >= 0) references.push(chunk.set[query]!, best.row[query]!, chunk.row[query]!, best.similarity[query]!);
  }
  const rows: number[] = [];
  for (let i = 0; i < rowCount; i++) nearest.forEach(({ reference, similarity }, set) => reference[i]! >= 0 && rows.push(set, firstRow + i, reference[i]!, similarity[i]!));
  return { rows: Float64Array.from(rows), references: Float64Array.from(references) };
}

export interface ReferencePayload {
  readonly span: PoolSpan;
  readonly sets: readonly ReferenceSet[];
  readonly d: number;
  /** Key prefix of what is written. */
  readonly out: string;
}

/** Keys of the two tables of hits, little-endian float64. */
export interface ReferenceResult {
  readonly rows: string;
  readonly references: string;
}

/** Advances by rows of the span. */
export const referenceTask: TaskKind<ReferencePayload, ReferenceResult> = {
  name: 'dedup-references',
  version: 1,
  run: async ({ span, sets, d, out }, env: TaskEnv) => {
    const hits = await searchReferences(await pairScores(env), env.store, { span, sets, d, memoryBytes: env.execution.memoryBytes / 4 }, env.signal);
    const result = { rows: `${out}/rows`, references: `${out}/references` };
    await env.store.write(result.rows, bytesOf(hits.rows));
    await env.store.write(result.references, bytesOf(hits.references));
    env.advance(span.parts.reduce((sum, part) => sum + part.rowCount, 0));
    return result;
  },
};

interface UnitRows {
  readonly row: Float64Array;
  /** Unit length. */
  readonly vectors: Float32Array;
}

interface Chunk extends UnitRows {
  /** Index of each reference's set. */
  readonly set: Uint16Array;
  /** Float32 products that are worth a look. */
  readonly limits: Float32Array;
}

/** References of all sets, in order, as many parts at once as memory allows; one at least. */
async function* readReferences(store: Store, sets: readonly ReferenceSet[], d: number, memoryBytes: number): AsyncIterable<Chunk> {
  let held: { set: number; rows: UnitRows }[] = [];
  let count = 0;
  const join = (): Chunk => {
    const chunk = { row: new Float64Array(count), vectors: new Float32Array(count * d), set: new Uint16Array(count), limits: new Float32Array(count) };
    let at = 0;
    for (const { set, rows } of held) {
      const end = at + rows.row.length;
      chunk.row.set(rows.row, at);
      chunk.vectors.set(rows.vectors, at * d);
      chunk.set.fill(set, at, end);
      chunk.limits.fill(Math.max(sets[set]!.threshold - PRODUCT_ERROR, 0), at, end);
      at = end;
    }
    held = [];
    count = 0;
    return chunk;
  };
  for (const [set, { parts }] of sets.entries()) {
    for (const part of parts) {
      if (count > 0 && (count + part.rowCount) * d * 4 * 2 > memoryBytes) yield join();
      const rows = await readPool(store, part, [], d);
      held.push({ set, rows });
      count += rows.row.length;
    }
  }
  if (count > 0) yield join();
}

/** The rows of a part that have a vector, that no step took out, and that are asked for. */
async function readPool(store: Store, part: EmbeddingPart, verdicts: readonly Part[], d: number, only?: Uint8Array): Promise<UnitRows> {
  const { ok, vectors, firstRow, rowCount } = await readEmbeddingPart(store, part, d);
  const taken = await readTaken(store, verdicts, rowCount);
  const row = new Float64Array(rowCount);
  let n = 0;
  for (let i = 0; i < rowCount; i++) {
    if (ok[i] === 0 || taken[i] === 1 || only?.[firstRow + i] === 0) continue;
    if (n < i) vectors.copyWithin(n * d, i * d, (i + 1) * d);
    row[n++] = firstRow + i;
  }
  normaliseRows(vectors, n, d);
  return { row: row.subarray(0, n), vectors: vectors.subarray(0, n * d) };
}
