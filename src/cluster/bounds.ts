/**
 * Which centroids can be nearest to a point is mostly known from the iteration before: Yinyang k-means (Ding et al. 2015).
 * Centroids are put in groups once. A point keeps, for each group, a lower bound on the distance to the group's centroids
 * other than its own; when centroids move, the bound falls by the farthest move in the group. A group whose bound lies
 * above the distance to the own centroid is not searched. Departures: bounds are 16-bit fractions, and every comparison
 * leaves room for the error of float32 products on both sides. A point whose two nearest are closer than that is handed
 * back, to be searched among all centroids by the engine, so an assignment is the engine's, bit for bit.
 */
import { BlockRows } from './block-rows.ts';
import type { CentroidGroups } from './centroid-groups.ts';
import { exactDistance } from './exact-distance.ts';
import { type Columns, type GroupedColumns, type ScoreProducts, groupedColumns } from './products.ts';

const BOUND_MAX = 65_535;
/** Accumulated drift in quanta above which bounds are written anew. */
const DRIFT_MAX = 16_384;
/** Share of all comparisons of a block from which on its bounds are set anew by making all of them. */
const REFRESH_SHARE = 0.4;
const TILE_ROWS = 4096;
const TILE_SCORES = 2 ** 20;

export interface BoundsOptions {
  readonly products: ScoreProducts;
  readonly groups: CentroidGroups;
  /** Length n: squared norm of each point. */
  readonly squares: Float64Array;
}

export interface BoundedBlock {
  /** Ascending rows of the block whose nearest centroids are too close to tell apart. */
  readonly unclear: Uint32Array;
  /** Products of a row with a centroid that were made. */
  readonly compared: number;
}

/** Rows of a block by the group they must be compared with: of group g, `rows[offset[g] … offset[g + 1])`, ascending. */
interface Pairs {
  readonly rows: Int32Array;
  readonly offset: Uint32Array;
}

/** State of one k-means: 2 bytes for each point and group. */
export class Bounds {
  readonly #products: ScoreProducts;
  readonly #groups: CentroidGroups;
  readonly #groupOf: Uint32Array;
  /** Place of each centroid in its group. */
  readonly #columnOf: Uint32Array;
  readonly #squares: Float64Array;
  readonly #lower: Uint16Array;
  /** Sum of the farthest moves of each group, in quanta, rounded up; bounds are stored with it added. */
  readonly #drift: Float64Array;
  /** Quanta in a unit of distance: twice the largest norm is half of the range. */
  readonly #quanta: number;
  readonly #rows = new BlockRows();
  #centroids: Float32Array = new Float32Array(0);
  #columns: readonly Columns[] = [];
  #grouped: GroupedColumns | null = null;
  #moved = new Float64Array(0);
  /** Upper bound on the distance of each point to its own centroid as it was at the last assignment. */
  readonly #upper: Float64Array;
  #largestNorm = 0;
  /** Error of a squared distance for vectors of length one: six deviations of a walk of d roundings, or all at their worst. */
  readonly #unit: number;
  readonly #d: number;

  constructor(d: number, { products, groups, squares }: BoundsOptions) {
    const { member, offset } = groups;
    const t = offset.length - 1;
    this.#d = d;
    this.#unit = Math.min(2 ** -23 * (d + 4), 2 ** -22 * Math.sqrt(d));
    this.#products = products;
    this.#groups = groups;
    this.#squares = squares;
    this.#groupOf = new Uint32Array(member.length);
    this.#columnOf = new Uint32Array(member.length);
    for (let g = 0; g < t; g++) {
      for (let at = offset[g]!; at < offset[g + 1]!; at++) {
        this.#groupOf[member[at]!] = g;
        this.#columnOf[member[at]!] = at - offset[g]!;
      }
    }
    this.#lower = new Uint16Array(squares.length * t);
    this.#drift = new Float64Array(t);
    this.#upper = new Float64Array(squares.length).fill(Infinity);
    const largest = Math.sqrt(squares.reduce((max, square) => Math.max(max, square), 0));
    this.#quanta = largest === 0 ? 1 : BOUND_MAX / (4 * largest);
  }

  get groupCount(): number {
    return this.#drift.length;
  }

  /**
   * Takes the centroids of the next assignment.
   *
   * @param moved length k: distance of each centroid to where it was at the assignment before; null for the first
   */
  moveTo(centroids: Float32Array, moved: Float64Array | null): void {
    const { member, offset } = this.#groups;
    const d = this.#d;
    this.#centroids = centroids as Float32Array<ArrayBuffer>;
    this.#moved = (moved as Float64Array<ArrayBuffer> | null) ?? new Float64Array(centroids.length / d);
    this.#largestNorm = 0;
    this.#grouped = null;
    this.#columns = Array.from(this.#drift, (_, g) => {
      const k = offset[g + 1]! - offset[g]!;
      const matrix = new Float32Array(k * d);
      let farthest = 0;
      for (let j = 0; j < k; j++) {
        const c = member[offset[g]! + j]!;
        matrix.set(centroids.subarray(c * d, (c + 1) * d), j * d);
        farthest = Math.max(farthest, moved?.[c] ?? 0);
      }
      this.#drift[g] = this.#drift[g]! + Math.ceil(farthest * this.#quanta);
      const columns = this.#products.columns(matrix, k, d);
      for (const half of columns.bias.data as Float32Array) this.#largestNorm = Math.max(this.#largestNorm, -2 * half);
      return columns;
    });
    this.#largestNorm = Math.sqrt(this.#largestNorm) * (1 + 2 ** -20);
    if (this.#drift.some((quanta) => quanta > DRIFT_MAX)) this.#rewrite();
  }

  /**
   * Finds the nearest centroids of a block.
   *
   * @param x count × d: points start … start + count − 1
   * @param own length count: centroid of each at the assignment before
   * @param index out, length count: nearest centroid; the own one for rows that are unclear
   */
  async search(x: Float32Array, start: number, count: number, own: Uint32Array, index: Uint32Array): Promise<BoundedBlock> {
    this.#rows.begin(count);
    index.set(own.subarray(0, count));
    const k = this.#groupOf.length;
    let compared = 0;
    let pairs = this.#pairs(x, start, count, own);
    if (pairs === null) {
      await this.#refresh(x, start, count, own);
      compared += count * k;
      pairs = this.#pairs(x, start, count, own);
    }
    if (pairs === null) return { unclear: this.#leave(start, count), compared };
    compared += this.#work(pairs.offset);
    for (let g = 0; g < this.groupCount; g++) {
      await this.#searchGroup(g, x, start, count, own, pairs.rows.subarray(pairs.offset[g], pairs.offset[g + 1]));
    }
    return { unclear: this.#settle(start, count, own, index), compared };
  }

  /** The groups each row must be compared with, as ascending rows by group; null when they are too many. */
  #pairs(x: Float32Array, start: number, count: number, own: Uint32Array): Pairs | null {
    const d = this.#d;
    const rows = this.#rows;
    const [lower, drift, centroids, moved] = [this.#lower, this.#drift, this.#centroids, this.#moved];
    const t = drift.length;
    const place = new Uint32Array(t + 1);
    const pairsMax = REFRESH_SHARE * count * t;
    rows.clearPairs();
    for (let i = 0; i < count; i++) {
      const from = (start + i) * t;
      const centroid = own[i]!;
      const noise = 2 * this.#noise(start + i);
      let upper = this.#upper[start + i]! + moved[centroid]!;
      let need = Math.ceil(Math.sqrt(upper * upper + noise) * this.#quanta) + 1;
      let g = 0;
      while (g < t && lower[from + g]! >= need + drift[g]!) g++;
      if (g < t) {
        const square = exactDistance(x, i * d, centroids, centroid * d, d);
        rows.open(i, square, centroid);
        upper = Math.sqrt(square) * (1 + 2 ** -40);
        need = Math.ceil(Math.sqrt(square + noise) * this.#quanta) + 1;
      } else rows.open(i, 0, centroid);
      this.#upper[start + i] = upper;
      for (; g < t; g++) {
        if (lower[from + g]! >= need + drift[g]!) continue;
        rows.pair(g, i);
        place[g + 1]!++;
      }
      if (rows.pairCount > pairsMax) return null;
    }
    for (let g = 0; g < t; g++) place[g + 1]! += place[g]!;
    return { rows: rows.sortPairs(place.slice()), offset: place };
  }

  #work(offset: Uint32Array): number {
    return this.#columns.reduce((sum, { k }, g) => sum + k * (offset[g + 1]! - offset[g]!), 0);
  }

  /** Sets all bounds of a block from products with all centroids; the own group's, which holds the own one, to nothing. */
  async #refresh(x: Float32Array, start: number, count: number, own: Uint32Array): Promise<void> {
    const t = this.groupCount;
    const [lower, drift, quanta] = [this.#lower, this.#drift, this.#quanta];
    this.#grouped ??= groupedColumns(this.#columns, this.#d);
    for (let from = 0; from < count; from += TILE_ROWS) {
      const rows = Math.min(TILE_ROWS, count - from);
      const best = this.#rows.scores(rows * t);
      await this.#products.groupBest(x.subarray(from * this.#d, (from + rows) * this.#d), rows, this.#d, this.#grouped, best);
      for (let r = 0; r < rows; r++) {
        const point = start + from + r;
        const known = this.#squares[point]! - this.#noise(point);
        for (let g = 0, at = point * t; g < t; g++, at++) {
          const square = known - 2 * best[r * t + g]!;
          lower[at] = square > 0 ? Math.min(BOUND_MAX, Math.floor(Math.sqrt(square) * quanta) + drift[g]!) : 0;
        }
        lower[point * t + this.#groupOf[own[from + r]!]!] = 0;
      }
    }
  }

  /** Gives up on a block: nothing is known of its rows afterwards. */
  #leave(start: number, count: number): Uint32Array {
    this.#lower.fill(0, start * this.groupCount, (start + count) * this.groupCount);
    this.#upper.fill(Infinity, start, start + count);
    return Uint32Array.from({ length: count }, (_, i) => i);
  }

  async #searchGroup(g: number, x: Float32Array, start: number, count: number, own: Uint32Array, list: Int32Array): Promise<void> {
    const columns = this.#columns[g]!;
    const tileRows = Math.max(1, Math.min(TILE_ROWS, Math.floor(TILE_SCORES / columns.k)));
    const scores = this.#rows.scores(Math.min(tileRows, list.length) * columns.k);
    for (let from = 0; from < list.length; from += tileRows) {
      const tile = list.subarray(from, from + tileRows);
      await this.#products.scores(x, count, this.#d, tile, columns, scores);
      this.#reduce(g, start, own, tile, scores);
    }
  }

  /** Takes the two best of each row's scores in one group, the own centroid left out. */
  #reduce(g: number, start: number, own: Uint32Array, tile: Int32Array, scores: Float32Array): void {
    const { k } = this.#columns[g]!;
    const first = this.#groups.offset[g]!;
    const t = this.groupCount;
    for (let r = 0; r < tile.length; r++) {
      const i = tile[r]!;
      const from = r * k;
      if (this.#groupOf[own[i]!] === g) scores[from + this.#columnOf[own[i]!]!] = -Infinity;
      let best = -Infinity;
      let next = -Infinity;
      let place = 0;
      for (let j = 0; j < k; j++) {
        const score = scores[from + j]!;
        if (score <= next) continue;
        if (score > best) {
          next = best;
          best = score;
          place = j;
        } else next = score;
      }
      const square = this.#squares[start + i]!;
      this.#lower[(start + i) * t + g] = this.#quantised(g, square - 2 * best - this.#noise(start + i));
      this.#rows.take(i, square - 2 * best, square - 2 * next, this.#groups.member[first + place]!);
    }
  }

  /** Decides every row of a block that was compared with anything. */
  #settle(start: number, count: number, own: Uint32Array, index: Uint32Array): Uint32Array {
    const t = this.groupCount;
    const rows = this.#rows;
    const unclear: number[] = [];
    for (let i = 0; i < count; i++) {
      const noise = this.#noise(start + i);
      const clear = rows.next[i]! - rows.best[i]! > 4 * noise;
      if (!clear) {
        unclear.push(i);
        this.#upper[start + i] = Infinity;
      }
      if (clear && rows.centroid[i] === own[i]) continue;
      const from = (start + i) * t;
      const left = this.#groupOf[own[i]!]!;
      if (clear) {
        index[i] = rows.centroid[i]!;
        this.#upper[start + i] = Math.sqrt(Math.max(0, rows.best[i]! + noise));
        const joined = this.#groupOf[index[i]!]!;
        this.#lower[from + joined] = this.#quantised(joined, rows.beside[i]! - noise);
      }
      const bound = this.#quantised(left, rows.own[i]! - noise);
      if (bound < this.#lower[from + left]!) this.#lower[from + left] = bound;
    }
    return Uint32Array.from(unclear);
  }

  /** Bound on the error of a squared distance from float32 products, with centroids as they are now. */
  #noise(point: number): number {
    const c = this.#largestNorm;
    return this.#unit * (Math.sqrt(this.#squares[point]!) * c + 0.5 * c * c);
  }

  #quantised(g: number, square: number): number {
    const bound = square > 0 ? Math.floor(Math.sqrt(square) * this.#quanta) : 0;
    return Math.min(BOUND_MAX, bound + this.#drift[g]!);
  }

  /** Takes the drift off the bounds, so that it starts from nothing. */
  #rewrite(): void {
    const t = this.groupCount;
    for (let at = 0; at < this.#lower.length; at++) this.#lower[at] = Math.max(0, this.#lower[at]! - this.#drift[at % t]!);
    this.#drift.fill(0);
  }
}
