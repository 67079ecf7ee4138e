/**
 * The `Search` port: the three products that clustering and retrieval are made of. k-means, seeding and retrieval get
 * an engine as a parameter and do not know what runs it (faiss `Clustering` takes its index the same way).
 *
 * Law for every engine: a row's result depends on that row and the matrix alone, bit for bit: not on the other rows
 * of the call, on how rows are cut into calls, nor on the number of threads.
 */

/** Nearest centroids by squared L2, clamped at zero. Ties go to the lowest index. */
export interface NearestSearch {
  /**
   * @param x n × d, row-major
   * @param index out, length ≥ n: nearest centroid 0 … k−1
   * @param distance out, length ≥ n: squared L2 distance ≥ 0, float32 products or better; null where the index is all that
   *   is wanted, which spares the norms of the rows
   * @param second out, length ≥ n: squared L2 distance to the second nearest centroid, of another index: equal to
   *   `distance` on a tie, Infinity when k = 1. It is under `distance` only where the two are closer than float32
   *   products can say, by as little as that. Not without `distance`. Asking for either changes no bit of the others.
   */
  nearest(x: Float32Array, n: number, index: Uint32Array, distance: Float32Array | null, second?: Float32Array): Promise<void>;
  close(): Promise<void>;
}

/** Squared L2 distances from a resident set of points to a few candidates at a time: the inner loop of k-means++. */
export interface PointDistances {
  /**
   * @param candidates t × d, row-major, t ≤ 32
   * @param distance out, length ≥ t · n: row c holds the n squared distances to candidate c, ≥ 0
   */
  to(candidates: Float32Array, t: number, distance: Float32Array): Promise<void>;
  close(): Promise<void>;
}

/** The `m` database rows with the largest inner product for each of q queries. Ties go to the lowest database row. */
export interface ProductSearch {
  /**
   * @param database n × d, row-major: one block of the database
   * @param index out, length ≥ q · m: rows of this block, best first; unused places hold 0xffffffff when n < m
   * @param product out, length ≥ q · m: inner products, descending; unused places hold −Infinity
   */
  largest(database: Float32Array, n: number, index: Uint32Array, product: Float32Array): Promise<void>;
  close(): Promise<void>;
}

export interface SearchEngine {
  /** What the manifest records: engine, runtime version, provider. */
  readonly provenance: Readonly<Record<string, unknown>>;
  /** @param centroids k × d, row-major; copied */
  nearest(centroids: Float32Array, k: number, d: number): Promise<NearestSearch>;
  /** @param points n × d, row-major; kept by reference until close */
  distances(points: Float32Array, n: number, d: number): Promise<PointDistances>;
  /** @param queries q × d, row-major; copied */
  products(queries: Float32Array, q: number, d: number, m: number): Promise<ProductSearch>;
  close(): Promise<void>;
}
