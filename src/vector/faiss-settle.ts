/**
 * Makes faiss's answers exact. Its float32 values depend on the kernel, the shape of the product and the threads, and its
 * heaps leave ties as they fall. So its list only proposes: candidates whose values are closer than its error are measured
 * again in float64, in a fixed order of operations, and a list that may lack a candidate is called unsettled.
 */

/** The `wanted` best of the candidates shown to it, by least cost, then lowest index. */
export class Ranking {
  readonly cost: Float64Array;
  readonly index: Uint32Array;
  #count = 0;

  constructor(wanted: number) {
    this.cost = new Float64Array(wanted);
    this.index = new Uint32Array(wanted);
  }

  /** Candidates held, at most `wanted`. */
  get count(): number {
    return this.#count;
  }

  clear(): void {
    this.#count = 0;
  }

  /** A cost that is no number comes last of all. */
  show(index: number, cost: number): void {
    const value = Number.isNaN(cost) ? Infinity : cost;
    let at = this.#count;
    while (at > 0 && (value < (this.cost[at - 1] as number) || (value === this.cost[at - 1] && index < (this.index[at - 1] as number)))) at -= 1;
    if (at === this.cost.length) return;
    this.cost.copyWithin(at + 1, at, this.#count);
    this.index.copyWithin(at + 1, at, this.#count);
    this.cost[at] = value;
    this.index[at] = index;
    this.#count = Math.min(this.#count + 1, this.cost.length);
  }
}

/** A list of `listed` candidates at `from`, best first: faiss's costs, each within `error` of exact, and indices, −1 for none. */
export interface Proposal {
  readonly cost: (place: number) => number;
  readonly labels: readonly number[];
  readonly from: number;
  readonly listed: number;
  readonly error: number;
}

/**
 * Fills `ranking` with the exact best among all `total` candidates. A candidate farther down the list than the last
 * wanted one by more than twice the error is worse than it, and so is everything after.
 *
 * @returns false when the list is too short to say, or holds what is not finite; `ranking` is then of no use
 */
export function settle(ranking: Ranking, { cost, labels, from, listed, error }: Proposal, total: number, exact: (index: number) => number): boolean {
  ranking.clear();
  const wanted = Math.min(ranking.cost.length, total);
  if (wanted > listed) return false;
  const last = cost(from + wanted - 1) + 2 * error;
  if (!Number.isFinite(last)) return false;
  for (let place = from; place < from + listed; place += 1) {
    const value = cost(place);
    if (value > last) return true;
    const index = labels[place] as number;
    if (index < 0 || Number.isNaN(value)) return false;
    ranking.show(index, exact(index));
  }
  return listed === total;
}

/** Fills `ranking` with the exact best among all `total` candidates, from their costs alone. */
export function rankAll(ranking: Ranking, total: number, exact: (index: number) => number): void {
  ranking.clear();
  for (let index = 0; index < total; index += 1) ranking.show(index, exact(index));
}

/**
 * Error of a squared distance or inner product that faiss computes in float32, in whatever order, from norms and a dot
 * product: (d + 8) · 2⁻²⁴ (‖a‖ + ‖b‖)² holds for both, with room for one rounding of the result; the rest is underflow.
 */
export function faissError(d: number, normA: number, normB: number): number {
  return (d + 8) * (2 ** -24 * (normA + normB) ** 2 + 2 ** -124);
}

/** Squared L2 distance in float64: four partial sums, so the order is fixed and rows that are equal are at 0. */
export function squaredDistance(a: Float32Array, fromA: number, b: Float32Array, fromB: number, d: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let e = 0;
  for (; e + 3 < d; e += 4) {
    const d0 = (a[fromA + e] as number) - (b[fromB + e] as number);
    const d1 = (a[fromA + e + 1] as number) - (b[fromB + e + 1] as number);
    const d2 = (a[fromA + e + 2] as number) - (b[fromB + e + 2] as number);
    const d3 = (a[fromA + e + 3] as number) - (b[fromB + e + 3] as number);
    s0 += d0 * d0;
    s1 += d1 * d1;
    s2 += d2 * d2;
    s3 += d3 * d3;
  }
  for (; e < d; e += 1) s0 += ((a[fromA + e] as number) - (b[fromB + e] as number)) ** 2;
  return s0 + s1 + (s2 + s3);
}

/** Inner product in float64, in a fixed order. */
export function innerProduct(a: Float32Array, fromA: number, b: Float32Array, fromB: number, d: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let e = 0;
  for (; e + 3 < d; e += 4) {
    s0 += (a[fromA + e] as number) * (b[fromB + e] as number);
    s1 += (a[fromA + e + 1] as number) * (b[fromB + e + 1] as number);
    s2 += (a[fromA + e + 2] as number) * (b[fromB + e + 2] as number);
    s3 += (a[fromA + e + 3] as number) * (b[fromB + e + 3] as number);
  }
  for (; e < d; e += 1) s0 += (a[fromA + e] as number) * (b[fromB + e] as number);
  return s0 + s1 + (s2 + s3);
}
