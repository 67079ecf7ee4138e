/**
 * Sample-based retrieval (DINOv2, arXiv 2304.07193, appendix A; reference section 3.3): for each image of a seed
 * dataset its k nearest images of the pool by cosine similarity. Each (query, row) pair is an entry of its own, so the
 * nominal count is k × queries and collisions are counted, as in the paper's Table 15: the dataset takes the pairs.
 * Departures: the search is exact, and the number of different images stands beside the nominal one.
 *
 * Plan: one task a chunk of queries. Each streams the pool once and leaves its pairs in the store; `merge.ts` sorts them.
 */
import { type EmbeddingsManifest, readEmbeddingPart } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, type StoredManifest, hashOf, rowCountOf } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { type SearchEngineName, openSearchEngine } from '../vector/engine.ts';
import type { SearchEngine } from '../vector/search.ts';
import { type NearestRows, type VectorBlock, nearestRows } from './nearest.ts';
import { type SearchResult, encodePairs } from './pairs.ts';
import { type TableReference, putUnit, requireVectors } from './unit-rows.ts';

/** One chunk of queries: rows firstRow … firstRow + rowCount − 1 of the seed images, all in one part of their table. */
export interface SearchPayload {
  /** Key prefixes and manifest hashes of the two tables of vectors. */
  readonly pool: TableReference;
  readonly seeds: TableReference;
  /** Key prefix of the selection, such as `selections/places`. */
  readonly path: string;
  readonly k: number;
  /** What computes the products, so that a record made by another engine is not taken for this one's. */
  readonly engine: Readonly<Record<string, unknown>>;
  /** Index of the seeds' part that holds the rows. */
  readonly part: number;
  readonly firstRow: number;
  readonly rowCount: number;
}

export interface SearchPlan {
  readonly path: string;
  readonly k: number;
  readonly engine: Readonly<Record<string, unknown>>;
}

/**
 * Cuts the seed images into chunks of at most 1,024 rows, fewer when k is above 1,024: at most 2^20 pairs a task.
 *
 * @throws {WinnowError} DIMENSION_MISMATCH when the two tables of vectors differ in dimensions; TOO_FEW_ROWS when
 * either has no `ok` row
 */
export function planSearches(pool: StoredManifest<EmbeddingsManifest>, seeds: StoredManifest<EmbeddingsManifest>, options: SearchPlan): SearchPayload[] {
  const d = pool.manifest.d;
  if (d === 0 || seeds.manifest.d !== d) {
    throw new WinnowError('DIMENSION_MISMATCH', `Expected seed vectors in ${seeds.path} of the ${d} dimensions of the pool's in ${pool.path}, got ${seeds.manifest.d}: embed both with the same model`, {
      details: { pool: d, seeds: seeds.manifest.d },
    });
  }
  for (const { path, manifest } of [seeds, pool]) {
    if (manifest.okRows.some((count) => count > 0)) continue;
    throw new WinnowError('TOO_FEW_ROWS', `Expected images with a vector in ${path}, got none among ${rowCountOf(manifest.parts)}`);
  }
  const chunkRows = Math.max(1, Math.min(1024, Math.floor(PAIRS_A_TASK / options.k)));
  const tables = { pool: { path: pool.path, sha256: pool.sha256 }, seeds: { path: seeds.path, sha256: seeds.sha256 } };
  return seeds.manifest.parts.flatMap(({ firstRow, rowCount }, part) =>
    Array.from({ length: Math.ceil(rowCount / chunkRows) }, (_, i) => ({
      ...tables,
      ...options,
      part,
      firstRow: firstRow + i * chunkRows,
      rowCount: Math.min(chunkRows, rowCount - i * chunkRows),
    })),
  );
}

/**
 * Finds one chunk's pairs. Holds the chunk's vectors and pairs, one block of `execution.blockRows` vectors and one part
 * of the pool. Advances by comparisons: rows of the chunk × rows of the pool.
 *
 * @throws {WinnowError} CHECKSUM_MISMATCH when a table is not the one the payload names; NOT_FINITE
 */
export const searchTask: TaskKind<SearchPayload, SearchResult> = { name: 'retrieve', version: 1, run };

/** The process's one search engine of that name. */
export function searchEngine(env: Pick<TaskEnv, 'resource' | 'execution'>, name: SearchEngineName): Promise<SearchEngine> {
  return env.resource(`search-${name}`, () => openSearchEngine(name, { threads: env.execution.threads }));
}

async function run(payload: SearchPayload, env: TaskEnv): Promise<SearchResult> {
  const { k } = payload;
  const pool = await requireVectors(env.store, payload.pool);
  const seeds = await requireVectors(env.store, payload.seeds);
  const queries = await readQueries(env.store, seeds.manifest, payload);
  if (queries.row.length === 0) {
    env.advance(payload.rowCount * rowCountOf(pool.manifest.parts));
    return { queries: 0, candidates: null, pairs: null };
  }
  const engine = await searchEngine(env, payload.engine.engine as SearchEngineName);
  const counts = { candidates: 0 };
  const blocks = readPool(env, pool.manifest, payload.rowCount, counts);
  const nearest = await nearestRows(engine, queries.vectors, blocks, { k, d: pool.manifest.d, blockRowsMax: env.execution.blockRows });
  const pairs = nearest.found === 0 ? null : await writePairs(env.store, payload, queries.row, nearest);
  return { queries: queries.row.length, candidates: counts.candidates, pairs };
}

async function readQueries(store: Store, { parts, d }: EmbeddingsManifest, { part, firstRow, rowCount }: SearchPayload): Promise<VectorBlock> {
  const { path } = parts[part]!;
  const block = await readEmbeddingPart(store, parts[part]!, d);
  const rows = { row: new Float64Array(rowCount), vectors: new Float32Array(rowCount * d) };
  let n = 0;
  for (let r = firstRow; r < firstRow + rowCount; r++) n += putUnit(block, r, d, rows, n, path);
  return { row: rows.row.subarray(0, n), vectors: rows.vectors.subarray(0, n * d) };
}

/** Blocks of `blockRows` vectors, filled across parts since search costs as much for a block half full. A block is overwritten by the next. */
async function* readPool(env: TaskEnv, { parts, d }: EmbeddingsManifest, queryRows: number, counts: { candidates: number }): AsyncIterable<VectorBlock> {
  const blockRows = env.execution.blockRows;
  const rows = { row: new Float64Array(blockRows), vectors: new Float32Array(blockRows * d) };
  let n = 0;
  for (const part of parts) {
    throwIfAborted(env.signal);
    const block = await readEmbeddingPart(env.store, part, d);
    for (let r = part.firstRow; r < part.firstRow + part.rowCount; r++) {
      const put = putUnit(block, r, d, rows, n, part.path);
      n += put;
      counts.candidates += put;
      if (n < blockRows) continue;
      yield rows;
      n = 0;
    }
    env.advance(queryRows * part.rowCount);
  }
  if (n > 0) yield { row: rows.row.subarray(0, n), vectors: rows.vectors.subarray(0, n * d) };
}

/** The key has the payload's hash in it, so that a record of another attempt never names these bytes. */
async function writePairs(store: Store, payload: SearchPayload, query: Float64Array, nearest: NearestRows): Promise<Part> {
  const { k } = payload;
  const rowCount = query.length * nearest.found;
  const columns = { row: new Float64Array(rowCount), score: new Float32Array(rowCount), query: new Float64Array(rowCount) };
  query.forEach((seed, i) => {
    const at = i * nearest.found;
    columns.row.set(nearest.row.subarray(i * k, i * k + nearest.found), at);
    columns.score.set(nearest.similarity.subarray(i * k, i * k + nearest.found), at);
    columns.query.fill(seed, at, at + nearest.found);
  });
  const path = `work/${payload.path}/pairs-${hashOf(payload).slice(0, 24)}.arrow`;
  const { sha256, sizeBytes } = await store.write(path, encodePairs(columns));
  return { path, firstRow: 0, rowCount, bytes: sizeBytes, sha256 };
}

const PAIRS_A_TASK = 2 ** 20;
