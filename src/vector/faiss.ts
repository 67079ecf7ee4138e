/**
 * The `Search` port on faiss: flat indexes of faiss-node, for those who want faiss's word for it, or its library's kernels.
 * Slower than ONNX Runtime's: the binding takes rows as plain arrays, at 0.1 to 0.3 µs a number.
 *
 * The port's law holds by more than a fixed shape. Nearest centroids and largest products are settled in float64
 * (faiss-settle.ts), so a result does not depend on the machine, its BLAS or its threads either. A row whose best candidates are
 * closer than float32 can tell asks for longer lists, and in the end measures every candidate itself.
 *
 * `distances` is computed here: faiss-node gives neighbours sorted and in float32, and reading all n of them takes as long as
 * the sums in float64.
 */
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { type FaissBinding, type FaissIndex, loadFaiss } from './faiss-binding.ts';
import { Ranking, faissError, innerProduct, rankAll, settle, squaredDistance } from './faiss-settle.ts';
import { squaredNorms } from './matrix.ts';
import type { NearestSearch, PointDistances, ProductSearch, SearchEngine } from './search.ts';

export interface FaissEngineOptions {
  /** Threads of faiss and its BLAS. Heard by the first engine of a process, where OMP_NUM_THREADS is not set. Default: one per core. */
  readonly threads?: number;
  /** Package name, or folder of a package built elsewhere. Default `faiss-node`. */
  readonly module?: string;
}

/** Numbers handed over in one call, which blocks for 10 to 20 ms and the product's time. */
const CALL_NUMBERS = 2 ** 16;
/** Multiplications of one call at most, unless a call of CALL_ROWS_MIN rows has more. */
const CALL_PRODUCTS = 2 ** 32;
/** faiss multiplies matrices from 20 rows on. */
const CALL_ROWS_MIN = 32;
/** Floats of a database block in one index: 32 MB. */
const INDEX_FLOATS = 2 ** 23;
/** Candidates asked for beyond the wanted ones, and how much longer the list gets where that does not settle it. */
const SPARE = 3;
const LONGER = 16;
const LIST_MAX = 1024;
/** Multiplications done here between two turns of the event loop. */
const OWN_PRODUCTS = 2 ** 24;

/**
 * Opens the engine. Distances are exact sums of squared differences in float64, rounded once; products likewise.
 *
 * @throws {WinnowError} PROVIDER_UNAVAILABLE when faiss-node is not there or does not load
 */
export async function createFaissEngine(options: FaissEngineOptions = {}): Promise<SearchEngine> {
  return new Engine(await loadFaiss(options));
}

class Engine implements SearchEngine {
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly #binding: FaissBinding;

  constructor(binding: FaissBinding) {
    this.#binding = binding;
    this.provenance = { engine: 'faiss', version: binding.version, provider: 'cpu' };
  }

  async nearest(centroids: Float32Array, k: number, d: number): Promise<NearestSearch> {
    assert(k >= 1 && d >= 1 && centroids.length >= k * d, `Expected k × d = ${k} × ${d} centroids, got ${centroids.length} floats`);
    const matrix = centroids.slice(0, k * d);
    const side = await this.#open(matrix, k, d, 'l2');
    return {
      nearest: async (x, n, index, distance, second) => {
        assert(x.length >= n * d && index.length >= n && (distance === null || distance.length >= n), `Expected n × d = ${n} × ${d} floats and room for n results`);
        assert(distance !== null || second === undefined, 'Expected room for distances beside those of the second nearest');
        assert(second === undefined || second.length >= n, `Expected room for ${n} second distances`);
        const ranking = new Ranking(second === undefined ? 1 : 2);
        await searchRows(side, rowsOf(x, n, d), ranking, (row) => {
          const best = ranking.index[0] as number;
          index[row] = best;
          if (distance === null) return;
          distance[row] = Number.isFinite(ranking.cost[0]) ? (ranking.cost[0] as number) : squaredDistance(x, row * d, matrix, best * d, d);
          if (second !== undefined) second[row] = ranking.count > 1 ? (ranking.cost[1] as number) : Infinity;
        });
      },
      close: () => this.#close(side),
    };
  }

  async distances(points: Float32Array, n: number, d: number): Promise<PointDistances> {
    assert(n >= 1 && d >= 1 && points.length >= n * d, `Expected n × d = ${n} × ${d} points, got ${points.length} floats`);
    return {
      to: async (candidates, t, distance) => {
        assert(candidates.length >= t * d && distance.length >= t * n, `Expected t × d = ${t} × ${d} floats and room for t × n = ${t} × ${n} results`);
        const rows = Math.max(1, Math.floor(OWN_PRODUCTS / (t * d)));
        for (let row = 0; row < n; row += rows) {
          for (let first = 0; first < t; first += 4) {
            const group = Array.from({ length: Math.min(4, t - first) }, (_, c) => candidates.subarray((first + c) * d, (first + c + 1) * d));
            measureGroup({ x: points, d, from: row, to: Math.min(n, row + rows) }, group, distance, first * n, n);
          }
          await setImmediate();
        }
      },
      close: async () => {},
    };
  }

  async products(queries: Float32Array, q: number, d: number, m: number): Promise<ProductSearch> {
    assert(q >= 1 && d >= 1 && m >= 1 && queries.length >= q * d, `Expected q × d = ${q} × ${d} queries and m ≥ 1, got ${queries.length} floats, m = ${m}`);
    const rows = rowsOf(queries.slice(0, q * d), q, d);
    const blockRows = Math.max(1, Math.floor(INDEX_FLOATS / d));
    return {
      largest: async (database, n, index, product) => {
        assert(database.length >= n * d && index.length >= q * m && product.length >= q * m, `Expected n × d = ${n} × ${d} floats and room for q × m = ${q} × ${m} results`);
        index.fill(0xffffffff, 0, q * m);
        product.fill(-Infinity, 0, q * m);
        const merged = new Ranking(m);
        for (let first = 0; first < n; first += blockRows) {
          const count = Math.min(blockRows, n - first);
          const side = await this.#open(database.subarray(first * d, (first + count) * d), count, d, 'inner-product');
          const ranking = new Ranking(Math.min(m, count));
          await searchRows(side, rows, ranking, (row) => mergeLargest(index, product, row * m, merged, ranking, first));
          await this.#close(side);
        }
      },
      close: async () => {},
    };
  }

  async close(): Promise<void> {
    await this.#binding.close();
  }

  async #open(matrix: Float32Array, n: number, d: number, metric: Side['metric']): Promise<Side> {
    const index = await this.#binding.open(matrix, { metric, n, d });
    return { index, metric, matrix, n, d, normMax: Math.sqrt(squaredNorms(matrix, n, d).reduce((most, square) => Math.max(most, square), 0)) };
  }

  async #close(side: Side): Promise<void> {
    if (side.index === null) return;
    side.index = null;
    await this.#binding.forget(side.n, side.d);
  }
}

/** Writes squared distances of points from … to − 1 to up to four candidates, n apart from `at` on. Every sum runs in the same order. */
function measureGroup({ x, d, from, to }: { x: Float32Array; d: number; from: number; to: number }, group: readonly Float32Array[], distance: Float32Array, at: number, n: number): void {
  const columns = new Float64Array(4 * d);
  for (let e = 0; e < 4 * d; e += 1) columns[e] = (group[Math.min(e % 4, group.length - 1)] as Float32Array)[e >> 2] as number;
  const out = group.map((_, c) => distance.subarray(at + c * n, at + (c + 1) * n));
  const sums = new Float64Array(4);
  for (let i = from; i < to; i += 1) {
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let e = 0, p = i * d; e < 4 * d; e += 4, p += 1) {
      const value = x[p] as number;
      const d0 = value - (columns[e] as number);
      const d1 = value - (columns[e + 1] as number);
      const d2 = value - (columns[e + 2] as number);
      const d3 = value - (columns[e + 3] as number);
      s0 += d0 * d0;
      s1 += d1 * d1;
      s2 += d2 * d2;
      s3 += d3 * d3;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    for (let c = 0; c < out.length; c += 1) (out[c] as Float32Array)[i] = sums[c] as number;
  }
}

/** A matrix that is searched: n × d, in an index of faiss too until it is closed. */
interface Side {
  index: FaissIndex | null;
  readonly metric: 'l2' | 'inner-product';
  readonly matrix: Float32Array;
  readonly n: number;
  readonly d: number;
  /** Largest norm of a row; NaN or infinite where one of them is. */
  readonly normMax: number;
}

interface Rows {
  readonly x: Float32Array;
  readonly n: number;
  readonly d: number;
  readonly norms: Float64Array;
}

function rowsOf(x: Float32Array, n: number, d: number): Rows {
  return { x, n, d, norms: squaredNorms(x, n, d).map(Math.sqrt) };
}

/** Fills `ranking` for each row in turn, not in order, and calls `found`. Costs are squared distances, or products with their sign turned. */
async function searchRows(side: Side, rows: Rows, ranking: Ranking, found: (row: number) => void): Promise<void> {
  let pending = Uint32Array.from({ length: rows.n }, (_, row) => row);
  let listed = Math.min(side.n, ranking.cost.length + SPARE);
  while (pending.length > 0) {
    pending = await searchListed(side, rows, pending, listed, ranking, found);
    if (listed === side.n || listed >= LIST_MAX) break;
    listed = Math.min(side.n, listed * LONGER);
  }
  const each = Math.max(1, Math.floor(OWN_PRODUCTS / (side.n * side.d)));
  for (const [place, row] of pending.entries()) {
    rankAll(ranking, side.n, costsOf(side, rows, row));
    found(row);
    if (place % each === each - 1) await setImmediate();
  }
}

/** Asks faiss for lists of `listed` candidates for the rows `pending`. @returns rows that they do not settle */
async function searchListed(side: Side, rows: Rows, pending: Uint32Array, listed: number, ranking: Ranking, found: (row: number) => void): Promise<Uint32Array<ArrayBuffer>> {
  const { metric, n, d, normMax } = side;
  const rowsPerCall = Math.max(CALL_ROWS_MIN, Math.min(Math.floor(CALL_NUMBERS / Math.max(d, listed)), Math.floor(CALL_PRODUCTS / (n * d))));
  const unsettled: number[] = [];
  for (let first = 0; first < pending.length; first += rowsPerCall) {
    const call = pending.subarray(first, first + rowsPerCall);
    assert(side.index !== null, 'Expected a search that is open');
    const { distances, labels } = side.index.search(plainArray(rows, call), listed);
    const cost = metric === 'l2' ? (place: number): number => distances[place] as number : (place: number): number => -(distances[place] as number);
    for (const [i, row] of call.entries()) {
      const proposal = { cost, labels, from: i * listed, listed, error: faissError(d, rows.norms[row] as number, normMax) };
      if (settle(ranking, proposal, n, costsOf(side, rows, row))) found(row);
      else unsettled.push(row);
    }
    await setImmediate();
  }
  return Uint32Array.from(unsettled);
}

/** Exact cost of each candidate for one row; a product counts as float32 holds it, so that what is equal there is a tie. */
function costsOf({ metric, matrix, d }: Side, { x }: Rows, row: number): (index: number) => number {
  if (metric === 'l2') return (index) => squaredDistance(x, row * d, matrix, index * d, d);
  return (index) => -Math.fround(innerProduct(x, row * d, matrix, index * d, d));
}

function plainArray({ x, d }: Rows, rows: Uint32Array): number[] {
  const numbers = new Array<number>(rows.length * d);
  let at = 0;
  for (const row of rows) for (let from = row * d; from < (row + 1) * d; from += 1) numbers[at++] = x[from] as number;
  return numbers;
}

/** Merges the best of a later block into those of the query whose places begin at `at`. */
function mergeLargest(index: Uint32Array, product: Float32Array, at: number, merged: Ranking, fresh: Ranking, first: number): void {
  const m = merged.cost.length;
  merged.clear();
  for (let i = at; i < at + m && index[i] !== 0xffffffff; i += 1) merged.show(index[i] as number, -(product[i] as number));
  for (let i = 0; i < fresh.count; i += 1) merged.show(first + (fresh.index[i] as number), fresh.cost[i] as number);
  for (let i = 0; i < merged.count; i += 1) {
    index[at + i] = merged.index[i] as number;
    product[at + i] = -(merged.cost[i] as number);
  }
}
