/**
 * The k nearest rows of each query that are nearer than a threshold, out of candidates that come in any order. Similarity
 * is decided in float64 and ties by row, so that neither the engine's last bits nor the order of candidates matter.
 */

export interface Candidates {
  /** Float32 products at or below it need not be added: the threshold, and, once a query has k, its kth. */
  readonly limits: Float32Array;
  add(query: number, row: number, similarity: number): void;
  /** The nearest of each query, by query, then similarity descending, then row. The log is empty afterwards. */
  take(): { readonly query: Uint32Array; readonly row: Float64Array; readonly similarity: Float32Array };
}

/** Products in float32 are this near to those in float64, for unit vectors of up to 4,096 dimensions. */
export const PRODUCT_ERROR = 2 ** -12;

/**
 * @param capacity candidates held, 16 bytes each; at least 2 × queries × k, so that dropping the farthest makes room
 */
export function createCandidates(queries: number, k: number, threshold: number, capacity = Math.max(2 * queries * k, 2 ** 16)): Candidates {
  const limits = new Float32Array(queries).fill(threshold - PRODUCT_ERROR);
  let log = openLog(Math.min(capacity, 2 ** 16));
  let filled = 0;
  const keepNearest = (): void => {
    const nearest = nearestOf(log, filled, queries, k, (query, kth) => {
      // A candidate as near as the kth can still win by its row, and products err by so much.
      limits[query] = Math.max(limits[query]!, kth - PRODUCT_ERROR);
    });
    log.query.set(nearest.query);
    log.row.set(nearest.row);
    log.similarity.set(nearest.similarity);
    filled = nearest.query.length;
  };
  return {
    limits,
    add: (query, row, similarity) => {
      if (!(similarity > threshold)) return;
      if (filled === log.query.length) {
        if (filled < capacity) log = grown(log, Math.min(capacity, filled * 2));
        else keepNearest();
      }
      log.query[filled] = query;
      log.row[filled] = row;
      log.similarity[filled++] = similarity;
    },
    take: () => {
      keepNearest();
      const taken = { query: log.query.slice(0, filled), row: log.row.slice(0, filled), similarity: log.similarity.slice(0, filled) };
      filled = 0;
      return taken;
    },
  };
}

interface Found {
  readonly query: Uint32Array;
  readonly row: Float64Array;
  readonly similarity: Float32Array;
}

function openLog(length: number): Found {
  return { query: new Uint32Array(length), row: new Float64Array(length), similarity: new Float32Array(length) };
}

function grown(log: Found, length: number): Found {
  const larger = openLog(length);
  larger.query.set(log.query);
  larger.row.set(log.row);
  larger.similarity.set(log.similarity);
  return larger;
}

function nearestOf(log: Found, filled: number, queries: number, k: number, onFull: (query: number, kth: number) => void): Found {
  const offset = new Uint32Array(queries + 1);
  for (let i = 0; i < filled; i++) offset[log.query[i]! + 1]!++;
  for (let q = 0; q < queries; q++) offset[q + 1]! += offset[q]!;
  const order = new Uint32Array(filled);
  const next = offset.slice(0, queries);
  for (let i = 0; i < filled; i++) order[next[log.query[i]!]!++] = i;
  const kept = new Uint32Array(filled);
  let count = 0;
  for (let q = 0; q < queries; q++) {
    const own = order.subarray(offset[q], offset[q + 1]).sort((a, b) => log.similarity[b]! - log.similarity[a]! || log.row[a]! - log.row[b]!);
    for (let i = 0; i < Math.min(k, own.length); i++) kept[count++] = own[i]!;
    if (own.length >= k) onFull(q, log.similarity[own[k - 1]!]!);
  }
  const places = kept.subarray(0, count);
  return { query: Uint32Array.from(places, (i) => log.query[i]!), row: Float64Array.from(places, (i) => log.row[i]!), similarity: Float32Array.from(places, (i) => log.similarity[i]!) };
}
