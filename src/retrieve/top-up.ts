/**
 * Sample-based retrieval of different images. The published method takes k neighbours of each query and counts an image
 * for every query that finds it (reference section 3.3); here each image is given once, and a query that loses one to
 * another goes on to its next neighbour. Rule: rank by rank, and within a rank by query, a query with fewer than k images takes its
 * neighbour of that rank unless somebody has it. So after rank k exactly the different images of the published selection
 * are taken, and what follows fills up. The result does not depend on how deep a search looked before it was enough.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import type { Store } from '../store/store.ts';
import { type Pairs, type SearchResult, encodePairs, readPairs } from './pairs.ts';

export interface TopUpOptions {
  /** Images each query is to have. */
  readonly k: number;
  /** Neighbours of a query that are looked at, at most. */
  readonly ranks: number;
  /** Rows of the pool and of the seeds, rejected ones too. */
  readonly poolRows: number;
  readonly seedRows: number;
  /** Key prefix of what is handed to the merge, below `work/`. */
  readonly out: string;
  readonly signal: AbortSignal;
}

export interface ToppedUp {
  /** As search tasks give them: each row once. */
  readonly results: readonly SearchResult[];
  readonly stats: {
    /** Pairs of the published selection that name an image another query has too. */
    readonly collisions: number;
    /** Images beyond rank k that fill up, and the deepest rank that was needed (1 is the nearest). */
    readonly filled: number;
    readonly rank: number;
    /** Queries that stay short of k. */
    readonly short: number;
  };
}

/**
 * Holds a bit a pool row, two bytes a seed row and 2^20 pairs of 20 bytes, and the tables of the search where they are
 * small; larger ones are read once a rank.
 *
 * @param search the `depth` nearest rows of the queries for which `wanted` says so, and perhaps of others, in order of query
 */
export async function topUp(store: Store, search: (depth: number, wanted: (query: number) => boolean) => Promise<readonly SearchResult[]>, options: TopUpOptions): Promise<ToppedUp> {
  const { k, ranks, seedRows, signal } = options;
  const state = openState(store, options);
  let depth = Math.min(ranks, FIRST_DEPTH * k);
  let queries = 0;
  let candidates = 0;
  for (let from = 0, first = true; ; first = false) {
    const found = await search(depth, (query) => first || state.isShort(query));
    if (first) {
      queries = found.reduce((total, result) => total + result.queries, 0);
      candidates = found.find((result) => result.candidates !== null)?.candidates ?? 0;
    }
    const tables = await openTables(store, found);
    for (let rank = from; rank < Math.min(depth, candidates) && state.taken < Math.min(k * queries, candidates); rank++) {
      throwIfAborted(signal);
      for (const table of tables) await state.takeRank(await table.read(), table.queries, rank);
    }
    if (depth >= Math.min(ranks, candidates) || state.taken >= Math.min(k * queries, candidates)) break;
    from = depth;
    depth = Math.min(ranks, FIRST_DEPTH * depth);
  }
  const results = [{ queries, candidates, pairs: null }, ...(await state.end())];
  const short = Array.from({ length: seedRows }, (_, query) => query).filter((query) => state.isShort(query)).length;
  return { results, stats: { collisions: k * queries - state.nominal, filled: state.taken - state.nominal, rank: state.rank, short } };
}

/** How much deeper than k the first search looks, and each after it: products cost most of a search, whatever its depth. */
const FIRST_DEPTH = 4;
/** Pairs kept in memory between ranks, and handed on at a time. */
const PAIRS_HELD = 2 ** 22;
const PAIRS_A_TABLE = 2 ** 20;

interface Table {
  readonly queries: number;
  read(): Promise<Pairs>;
}

async function openTables(store: Store, found: readonly SearchResult[]): Promise<Table[]> {
  const total = found.reduce((sum, { pairs }) => sum + (pairs?.rowCount ?? 0), 0);
  const tables: Table[] = [];
  for (const { queries, pairs } of found) {
    if (pairs === null) continue;
    const held = total <= PAIRS_HELD ? await readPairs(store, pairs) : null;
    tables.push({ queries, read: async () => held ?? readPairs(store, pairs) });
  }
  return tables;
}

function openState(store: Store, { k, poolRows, seedRows, out }: TopUpOptions) {
  const has = new Uint8Array(Math.ceil(poolRows / 8));
  const given = new Uint16Array(seedRows);
  const asked = new Uint8Array(Math.ceil(seedRows / 8));
  const pairs = { row: new Float64Array(PAIRS_A_TABLE), score: new Float32Array(PAIRS_A_TABLE), query: new Float64Array(PAIRS_A_TABLE) };
  const results: SearchResult[] = [];
  let count = 0;
  const flush = async (): Promise<void> => {
    if (count === 0) return;
    const path = `${out}/taken-${String(results.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, encodePairs({ row: pairs.row.slice(0, count), score: pairs.score.slice(0, count), query: pairs.query.slice(0, count) }));
    results.push({ queries: 0, candidates: null, pairs: { path, firstRow: 0, rowCount: count, bytes: sizeBytes, sha256 } });
    count = 0;
  };
  const state = {
    taken: 0,
    /** Taken at the first k ranks: the different images of the published selection. */
    nominal: 0,
    rank: 0,
    isShort: (query: number): boolean => isSet(asked, query) && given[query]! < k,
    /** @param queries of the table, which has the same number of neighbours for each */
    takeRank: async ({ row, score, query }: Pairs, queries: number, rank: number): Promise<void> => {
      const found = row.length / queries;
      assert(Number.isInteger(found), `Expected as many neighbours for each of ${queries} queries, got ${row.length} pairs`);
      if (rank >= found) return;
      for (let i = rank; i < row.length; i += found) {
        const q = query[i]!;
        asked[q >> 3]! |= 1 << (q & 7);
        if (given[q]! >= k || isSet(has, row[i]!)) continue;
        has[Math.floor(row[i]! / 8)]! |= 1 << (row[i]! % 8);
        given[q]!++;
        state.taken++;
        if (rank < k) state.nominal++;
        state.rank = rank + 1;
        pairs.row[count] = row[i]!;
        pairs.score[count] = score[i]!;
        pairs.query[count++] = q;
        if (count === PAIRS_A_TABLE) await flush();
      }
    },
    end: async (): Promise<SearchResult[]> => {
      await flush();
      return results;
    },
  };
  return state;
}

function isSet(bits: Uint8Array, at: number): boolean {
  return (bits[Math.floor(at / 8)]! & (1 << (at % 8))) !== 0;
}
