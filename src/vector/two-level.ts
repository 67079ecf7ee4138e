/**
 * Nearest centroids of many (k past some ten thousand) by an inverted file, as faiss `IndexIVFFlat`: the centroids are
 * grouped in cells, a row looks at the p cells with the nearest coarse centroids and is searched exactly inside them.
 * Rows of a call are searched cell by cell, so that every product is one of many rows by all children of a cell. Work of
 * a row: m + p · k / m products instead of k. How often the exact nearest is missed is measured in choose-probes.ts.
 */
import assert from 'node:assert/strict';
import { NO_CELL, openNearestCells } from './nearest-cells.ts';
import type { NearestSearch, SearchEngine } from './search.ts';

/** k centroids grouped in m cells by whoever clustered them. A cell may be empty. */
export interface Cells {
  /** k × d, row-major. */
  readonly centroids: Float32Array;
  readonly k: number;
  readonly d: number;
  /** m × d: the centroids of the cells. */
  readonly coarse: Float32Array;
  readonly m: number;
  /** Length k: cell 0 … m−1 of each centroid. */
  readonly cellOf: Uint32Array;
}

/** What each row found in each of its cells: n × p, nearest cell first. */
export interface Probed {
  readonly p: number;
  /** Centroid; undefined where `distance` is NaN. */
  readonly index: Uint32Array;
  /** NaN where there was no cell, or the row is not finite. */
  readonly distance: Float32Array;
  /** Distance to the next centroid of the same cell, Infinity where there is none; absent when not asked for. */
  readonly second?: Float32Array;
}

export interface TwoLevelSearch extends NearestSearch {
  /** Cells that a row looks at: as asked for, at most those that have centroids. */
  readonly probes: number;
  /** The results of `nearest` before they are merged. */
  probe(x: Float32Array, n: number, second: boolean): Promise<Probed>;
}

/** Rows searched at once, so that memory beside the centroids is bounded: 16 p bytes a row, and one cell's rows. */
const BLOCK_ROWS = 65_536;
/** Rows of one cell copied together and searched. */
const CELL_ROWS = 4096;

/**
 * A search that obeys the port's law. `nearest` is exact among the children of a row's cells; `second` is among them too.
 * Ties go to the lowest index. Centroids are copied once. Calls of many rows (tens of thousands) are the fast ones.
 *
 * @param probes p ≥ 1
 */
export async function openTwoLevelSearch(engine: SearchEngine, cells: Cells, probes: number): Promise<TwoLevelSearch> {
  const { k, d, m } = cells;
  assert(k >= 1 && cells.centroids.length >= k * d && cells.cellOf.length >= k && probes >= 1, `Expected k × d = ${k} × ${d} centroids, a cell for each, and probes ≥ 1, got ${cells.centroids.length} floats, ${cells.cellOf.length} cells, probes = ${probes}`);
  const { offset, child } = childrenOf(cells);
  const filled = Uint32Array.from({ length: m }, (_, cell) => cell).filter((cell) => (offset[cell + 1] as number) > (offset[cell] as number));
  const children: CellSearch[] = [];
  for (const cell of filled) {
    const index = child.subarray(offset[cell], offset[cell + 1]);
    children.push({ index, search: await engine.nearest(rowsOf(cells.centroids, index, d), index.length, d) });
  }
  const p = Math.min(probes, filled.length);
  const coarse = openNearestCells(engine, rowsOf(cells.coarse, filled, d), filled.length, d, p);
  const probe = async (x: Float32Array, n: number, second: boolean): Promise<Probed> => {
    const ranked = new Uint32Array(n * p);
    await coarse.nearest(x, n, ranked);
    const found = { p, index: new Uint32Array(n * p), distance: new Float32Array(n * p).fill(NaN), ...(second ? { second: new Float32Array(n * p).fill(Infinity) } : {}) };
    await searchCells(x, n, d, ranked, children, found);
    return found;
  };
  return {
    probes: p,
    probe,
    nearest: async (x, n, index, distance, second) => {
      assert(x.length >= n * d && Math.min(index.length, distance.length, second?.length ?? n) >= n, `Expected n × d = ${n} × ${d} floats and room for n results`);
      for (let row = 0; row < n; row += BLOCK_ROWS) {
        const rows = Math.min(BLOCK_ROWS, n - row);
        const found = await probe(x.subarray(row * d, (row + rows) * d), rows, second !== undefined);
        mergeProbes(found, rows, index.subarray(row), distance.subarray(row), second?.subarray(row));
      }
    },
    close: async () => {
      for (const { search } of children) await search.close();
      children.length = 0;
    },
  };
}

interface CellSearch {
  /** The cell's centroids, ascending. */
  readonly index: Uint32Array;
  readonly search: NearestSearch;
}

/** Counting sort of the centroids by cell, ascending in each. */
function childrenOf({ k, m, cellOf }: Cells): { offset: Uint32Array; child: Uint32Array } {
  const own = cellOf.subarray(0, k);
  const beyond = own.find((cell) => cell >= m);
  assert(beyond === undefined, `Expected cells 0 … ${m - 1}, got ${beyond}`);
  const { offset, place } = byCell(own, m);
  return { offset, child: place };
}

/** Positions of `cells` grouped by the cell they name, ascending in each: cell c's are `place[offset[c] … offset[c + 1])`. NO_CELL is left out. */
function byCell(cells: Uint32Array, m: number): { offset: Uint32Array; place: Uint32Array } {
  const offset = new Uint32Array(m + 1);
  for (const cell of cells) if (cell !== NO_CELL) offset[cell + 1] = (offset[cell + 1] as number) + 1;
  for (let cell = 0; cell < m; cell += 1) offset[cell + 1] = (offset[cell + 1] as number) + (offset[cell] as number);
  const next = offset.slice(0, m);
  const place = new Uint32Array(offset[m] as number);
  for (let at = 0; at < cells.length; at += 1) {
    const cell = cells[at] as number;
    if (cell === NO_CELL) continue;
    place[next[cell] as number] = at;
    next[cell] = (next[cell] as number) + 1;
  }
  return { offset, place };
}

function rowsOf(matrix: Float32Array, rows: Uint32Array, d: number): Float32Array {
  const some = new Float32Array(rows.length * d);
  rows.forEach((row, i) => some.set(matrix.subarray(row * d, (row + 1) * d), i * d));
  return some;
}

/** Searches the rows that look at a cell together, cell after cell, and puts the results at their places. */
async function searchCells(x: Float32Array, n: number, d: number, ranked: Uint32Array, children: readonly CellSearch[], found: Probed): Promise<void> {
  const { offset, place } = byCell(ranked, children.length);
  const rowsMax = Math.min(n, CELL_ROWS);
  const some = new Float32Array(rowsMax * d);
  const index = new Uint32Array(rowsMax);
  const distance = new Float32Array(rowsMax);
  const second = found.second === undefined ? undefined : new Float32Array(rowsMax);
  for (const [cell, { index: child, search }] of children.entries()) {
    const end = offset[cell + 1] as number;
    for (let first = offset[cell] as number; first < end; first += rowsMax) {
      const places = place.subarray(first, Math.min(first + rowsMax, end));
      for (let i = 0; i < places.length; i += 1) {
        const row = Math.floor((places[i] as number) / found.p);
        some.set(x.subarray(row * d, (row + 1) * d), i * d);
      }
      await search.nearest(some, places.length, index, distance, second);
      for (let i = 0; i < places.length; i += 1) {
        const at = places[i] as number;
        found.index[at] = child[index[i] as number] as number;
        found.distance[at] = distance[i] as number;
        if (found.second !== undefined) found.second[at] = second?.[i] as number;
      }
    }
  }
}

/** The best of each row's places, and the best of the others; a row that is not finite gets NaN. */
function mergeProbes(found: Probed, n: number, index: Uint32Array, distance: Float32Array, second: Float32Array | undefined): void {
  for (let i = 0; i < n; i += 1) {
    let best = i * found.p;
    let next = Infinity;
    for (let at = best; at < (i + 1) * found.p; at += 1) {
      const own = found.distance[at] as number;
      const least = found.distance[best] as number;
      const wins = own < least || (own === least && (found.index[at] as number) < (found.index[best] as number));
      if (at > best) next = Math.min(next, wins ? least : own);
      if (wins) best = at;
      if (found.second !== undefined) next = Math.min(next, found.second[at] as number);
    }
    index[i] = found.index[best] as number;
    distance[i] = found.distance[best] as number;
    if (second !== undefined) second[i] = Number.isNaN(distance[i]) ? NaN : next;
  }
}
