/**
 * Exact k nearest neighbours by inner product of a few queries in a database that streams by, block by block: the
 * search of sample-based retrieval (DINOv2, arXiv 2304.07193, section 3 and appendix A). Departure: exact, where the
 * published search used an inverted file with product quantisation.
 */
import assert from 'node:assert/strict';
import type { SearchEngine } from '../vector/search.ts';

/** Vectors and the row number of each; rows ascend, within a block and from block to block. */
export interface VectorBlock {
  readonly row: Float64Array;
  /** n × d, row-major; of unit length for cosine similarity. */
  readonly vectors: Float32Array;
}

export interface NearestRows {
  /** Neighbours of each query: min(k, rows of the database). */
  readonly found: number;
  /** q × k, best first: similarity descending, ties by row ascending. Places past `found` hold nothing. */
  readonly row: Float64Array;
  readonly similarity: Float32Array;
}

export interface NearestOptions {
  /** Neighbours wanted of each query. */
  readonly k: number;
  readonly d: number;
  /** Rows of the largest block. */
  readonly blockRowsMax: number;
}

/**
 * Finds each query's k nearest rows. The result does not depend on how the database is cut into blocks nor on which
 * queries share a call: the engine's products do not, and the order is total.
 *
 * O(q · n · d) time; memory q · (d · 4 + k · 12 + min(k, blockRowsMax) · 8) bytes beside one block.
 *
 * @param queries q × d, row-major
 */
export async function nearestRows(engine: SearchEngine, queries: Float32Array, blocks: AsyncIterable<VectorBlock>, { k, d, blockRowsMax }: NearestOptions): Promise<NearestRows> {
  const q = queries.length / d;
  const m = Math.min(k, blockRowsMax);
  const best = { row: new Float64Array(q * k), similarity: new Float32Array(q * k) };
  const spare = { row: new Float64Array(k), similarity: new Float32Array(k) };
  const index = new Uint32Array(q * m);
  const product = new Float32Array(q * m);
  const search = await engine.products(queries, q, d, m);
  let found = 0;
  try {
    for await (const { row, vectors } of blocks) {
      const n = row.length;
      assert(n <= blockRowsMax, `Expected blocks of at most ${blockRowsMax} rows, got ${n}`);
      if (n === 0) continue;
      await search.largest(vectors, n, index, product);
      const given = Math.min(n, m);
      const kept = Math.min(k, found + given);
      for (let i = 0; i < q; i++) {
        const from = { row, index: index.subarray(i * m, i * m + given), product: product.subarray(i * m, i * m + given) };
        mergeQuery(best, i * k, found, kept, from, spare);
      }
      found = kept;
    }
  } finally {
    await search.close();
  }
  return { found, ...best };
}

type Ranked = Pick<NearestRows, 'row' | 'similarity'>;

/** Merges a block's best rows of one query into its list of `found` at `at`. Equal similarity: the listed row is the lower one. */
function mergeQuery(best: Ranked, at: number, found: number, kept: number, block: { row: Float64Array; index: Uint32Array; product: Float32Array }, spare: Ranked): void {
  if (kept === found && block.product[0]! <= best.similarity[at + found - 1]!) return;
  let old = 0;
  let fresh = 0;
  for (let place = 0; place < kept; place++) {
    const takeOld = fresh === block.index.length || (old < found && best.similarity[at + old]! >= block.product[fresh]!);
    spare.row[place] = takeOld ? best.row[at + old]! : block.row[block.index[fresh]!]!;
    spare.similarity[place] = takeOld ? best.similarity[at + old++]! : block.product[fresh++]!;
  }
  for (let place = 0; place < kept; place++) {
    best.row[at + place] = spare.row[place]!;
    best.similarity[at + place] = spare.similarity[place]!;
  }
}
