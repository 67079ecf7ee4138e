/**
 * The `Search` port on ONNX Runtime: every product is one Gemm, and the reduction that follows runs in the graph, so
 * that n × k scores never leave the runtime.
 *
 * Why a row's result is the same bits wherever it falls (the port's law). MLAS, the runtime's CPU library, sums a dot
 * product in blocks along d, whose length follows from the number of columns one thread gets (up to 64: longer blocks), and
 * a single row has a kernel of its own.
 * Threads split the longer of rows and columns, columns by sixteens. So each product here has no fewer rows than columns,
 * or gives every one of at most 64 threads 80 columns or more; and few rows are padded, so that no thread has one alone.
 * On GPUs, shapes are fixed by padding.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { encodeModel, type GraphSpec } from '../onnx/graph.ts';
import { type Provider, type Session, Tensor, instructionSet, openSession, runtimeVersion } from '../onnx/session.ts';
import { exactDistance, squaredNorms } from './matrix.ts';
import { CANDIDATES, DATABASE_ROWS, dotGraph, groupedGraph, productsGraph, wholeGraph } from './onnx-graphs.ts';
import { openFedNearest, openResidentNearest } from './onnx-nearest.ts';
import { CLOSE, floats, integers, rowsTensor, tiles } from './onnx-tiles.ts';
import type { NearestSearch, PointDistances, ProductSearch, SearchEngine } from './search.ts';

export interface OnnxEngineOptions {
  /** Tried in this order. Default `['cpu']`. */
  readonly providers?: readonly Provider[];
  /** Threads of one product, at most 64. 0, the default: one per core. Results do not depend on it. */
  readonly threads?: number;
}

/** Rows of queries in one product of `products`. */
const TILE_ROWS = 1024;
const POINT_ROWS = 16_384;
const THREADS_MAX = 64;

/**
 * Opens the engine on the first provider that runs. Distances are ‖x‖² − 2(x·c − ½‖c‖²) with float32 products and
 * float64 norms, absolute error about 2⁻²⁰ (‖x‖² + ‖c‖²); those under 2⁻¹⁷ (‖x‖² + ‖c‖²) are summed again from the
 * differences, so near rows are told apart and equal rows are at distance 0.
 *
 * @throws {WinnowError} PROVIDER_UNAVAILABLE when none of the providers runs here
 */
export async function createOnnxEngine(options: OnnxEngineOptions = {}): Promise<SearchEngine> {
  const threads = Math.min(options.threads || availableParallelism(), THREADS_MAX);
  const first = await openSession(encodeModel(wholeGraph()), { ...options, threads });
  const engine = new Engine(first, threads);
  return engine;
}

class Engine implements SearchEngine {
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly #provider: Provider;
  readonly #threads: number;
  /** Sessions whose matrices are all fed, by graph: shared by every search, closed with the engine. */
  readonly #shared = new Map<string, Promise<Session>>();

  constructor(nearest: Session, threads: number) {
    this.#provider = nearest.provider;
    this.#threads = threads;
    this.#shared.set('whole', Promise.resolve(nearest));
    this.provenance = { engine: 'onnxruntime', version: runtimeVersion, provider: nearest.provider, instructionSet };
  }

  async nearest(centroids: Float32Array, k: number, d: number): Promise<NearestSearch> {
    assert(k >= 1 && d >= 1 && centroids.length >= k * d, `Expected k × d = ${k} × ${d} centroids, got ${centroids.length} floats`);
    if (this.#provider !== 'cpu') return openResidentNearest((graph) => this.#openOwn(graph), centroids, k, d);
    return openFedNearest((name) => this.#open(name, name === 'whole' ? wholeGraph() : groupedGraph()), this.#threads, centroids, k, d);
  }

  async distances(points: Float32Array, n: number, d: number): Promise<PointDistances> {
    assert(n >= 1 && d >= 1 && points.length >= n * d, `Expected n × d = ${n} × ${d} points, got ${points.length} floats`);
    const norms = squaredNorms(points, n, d);
    const parts: { row: number; rows: number; session: Session; feeds: Record<string, Tensor>; products: Float32Array }[] = [];
    const resident = this.#provider !== 'cpu';
    for (const { row, rows } of tiles(n, POINT_ROWS, 1)) {
      const x = rowsTensor(points, row, rows, d, 2);
      const session = await (resident ? this.#openOwn(dotGraph({ x: floats(x), n: x.dims[0] as number, d })) : this.#open('dot', dotGraph()));
      parts.push({ row, rows, session, feeds: resident ? {} : { x }, products: new Float32Array((x.dims[0] as number) * CANDIDATES) });
    }
    return {
      to: async (candidates, t, distance) => {
        assert(candidates.length >= t * d && distance.length >= t * n, `Expected t × d = ${t} × ${d} floats and room for t × n = ${t} × ${n} results`);
        const squares = squaredNorms(candidates, t, d);
        for (const { row: first, rows: count } of tiles(t, CANDIDATES, 1)) {
          const c = rowsTensor(candidates, first, count, d, CANDIDATES);
          for (const { row, rows, session, feeds, products } of parts) {
            await session.run({ c, ...feeds }, { s: new Tensor('float32', products, [products.length / CANDIDATES, CANDIDATES]) });
            const tile = { x: points.subarray(row * d, (row + rows) * d), norms: norms.subarray(row), n: rows, d };
            for (let j = 0; j < count; j += 1) {
              const candidate = { x: candidates.subarray((first + j) * d), norm: squares[first + j] as number };
              readDistances(distance.subarray((first + j) * n + row), tile, candidate, products, j);
            }
          }
        }
      },
      close: async () => {
        if (resident) await Promise.all(parts.map(({ session }) => session.close()));
        parts.length = 0;
      },
    };
  }

  async products(queries: Float32Array, q: number, d: number, m: number): Promise<ProductSearch> {
    assert(q >= 1 && d >= 1 && m >= 1 && queries.length >= q * d, `Expected q × d = ${q} × ${d} queries and m ≥ 1, got ${queries.length} floats, m = ${m}`);
    const session = await this.#open('products', productsGraph());
    const matrix = queries.slice(0, q * d);
    const rowsMin = this.#provider === 'cpu' ? 2 : TILE_ROWS;
    const parts = tiles(q, TILE_ROWS, 1).map(({ row, rows }) => ({ row, rows, x: rowsTensor(matrix, row, rows, d, rowsMin) }));
    // Columns enough for the law on the processor (see above); elsewhere one shape for all.
    const columnsMin = this.#provider === 'cpu' ? Math.min(80 * this.#threads, DATABASE_ROWS) : DATABASE_ROWS;
    return {
      largest: async (database, n, index, product) => {
        assert(database.length >= n * d && index.length >= q * m && product.length >= q * m, `Expected n × d = ${n} × ${d} floats and room for q × m = ${q} × ${m} results`);
        index.fill(0xffffffff, 0, q * m);
        product.fill(-Infinity, 0, q * m);
        for (let row = 0; row < n; row += DATABASE_ROWS) {
          const rows = Math.min(DATABASE_ROWS, n - row);
          const columns = Math.max(columnsMin, Math.ceil(rows / 16) * 16);
          const count = Math.min(m, columns);
          const c = rowsTensor(database, row, rows, d, columns);
          const b = new Tensor('float32', new Float32Array(columns).fill(-Infinity, rows), [1, columns]);
          const K = new Tensor('int64', BigInt64Array.of(BigInt(count)), [1]);
          for (const part of parts) {
            const { product: values, index: places } = await session.run({ x: part.x, c, b, K });
            for (let i = 0; i < part.rows; i += 1) {
              mergeLargest(index, product, { at: (part.row + i) * m, m }, integers(places), floats(values), { from: i * count, count, row });
            }
          }
        }
      },
      close: async () => {
        parts.length = 0;
      },
    };
  }

  async close(): Promise<void> {
    const sessions = [...this.#shared.values()];
    this.#shared.clear();
    for (const session of sessions) await (await session).close();
  }

  #open(name: string, graph: GraphSpec): Promise<Session> {
    let session = this.#shared.get(name);
    if (session === undefined) {
      session = this.#openOwn(graph);
      this.#shared.set(name, session);
    }
    return session;
  }

  #openOwn(graph: GraphSpec): Promise<Session> {
    return openSession(encodeModel(graph), { providers: [this.#provider], threads: this.#threads });
  }
}

interface Rows {
  readonly x: Float32Array;
  readonly n: number;
  readonly d: number;
}

/** Writes the squared distances of one tile of points to one candidate, whose products are a column of `products`. */
function readDistances(
  distance: Float32Array,
  { x, norms, n, d }: Rows & { readonly norms: Float64Array },
  candidate: { readonly x: Float32Array; readonly norm: number },
  products: Float32Array,
  column: number,
): void {
  for (let i = 0; i < n; i += 1) {
    const sum = (norms[i] as number) + candidate.norm;
    const value = sum - 2 * (products[i * CANDIDATES + column] as number);
    distance[i] = value <= CLOSE * sum ? exactDistance(x, i * d, candidate.x, 0, d) : value;
  }
}

/** Merges a sorted list of a later block into a query's m best: on equal products the earlier row, already there, goes first. */
function mergeLargest(
  index: Uint32Array,
  product: Float32Array,
  { at, m }: { at: number; m: number },
  places: Int32Array,
  values: Float32Array,
  { from, count, row }: { from: number; count: number; row: number },
): void {
  if (!((values[from] as number) > (product[at + m - 1] as number))) return;
  if (row === 0) {
    for (let i = 0; i < count && (values[from + i] as number) > -Infinity; i += 1) {
      product[at + i] = values[from + i] as number;
      index[at + i] = places[from + i] as number;
    }
    return;
  }
  const oldProduct = product.slice(at, at + m);
  const oldIndex = index.slice(at, at + m);
  let [old, fresh] = [0, 0];
  for (let i = at; i < at + m; i += 1) {
    if (fresh < count && (values[from + fresh] as number) > (oldProduct[old] as number)) {
      product[i] = values[from + fresh] as number;
      index[i] = row + (places[from + fresh] as number);
      fresh += 1;
    } else {
      product[i] = oldProduct[old] as number;
      index[i] = oldIndex[old] as number;
      old += 1;
    }
  }
}
