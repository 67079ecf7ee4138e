/**
 * Connected components of a graph whose rows and edges may both be more than memory holds: the "scalable disjoint-set" of
 * DINOv2's self-deduplication (arXiv 2304.07193, appendix A; reference section 3.1), which was not published.
 *
 * Rows are cut into windows. Downwards, a window takes every edge whose larger end it holds, joins its own rows by
 * union-find, and keeps for each of its sets at most one neighbour below; when two sets with a neighbour each become one,
 * those neighbours are joined by an edge of a lower window. So edges never become more, and every component stays
 * connected among the rows that are left. Upwards, a set learns its smallest row from its neighbour below, whose window
 * was settled before (time-forward processing: Chiang et al. 1995, "External-memory graph algorithms").
 *
 * The answer is a property of the graph alone: neither the order of edges, nor their direction or number, nor the size of
 * windows and blocks can change it.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import { bytesOf, uint32Of } from './arrays.ts';
import { type Spill, type SpillPlace, createSpill } from './spill.ts';

/** Undirected edges a[i] – b[i], rows 0 … n−1; repeated edges and loops are allowed. */
export interface EdgeBlock {
  readonly a: ArrayLike<number>;
  readonly b: ArrayLike<number>;
}

/** Rows firstRow … firstRow + smallest.length − 1. */
export interface ComponentBlock {
  readonly firstRow: number;
  /** The smallest row of each row's component: the row itself where it has no smaller one. */
  readonly smallest: Float64Array;
}

export interface ComponentsOptions {
  /** Where edges go that concern other windows than the one at work. Needed when n > `windowRows`. */
  readonly spill?: SpillPlace;
  /** Rows at work at once, 24 bytes each. Default 2^23 (200 MB). Changes no answer. */
  readonly windowRows?: number;
  /** Edges in memory between windows, at most 96 bytes each. Default 2^19 (50 MB). Changes no answer. */
  readonly edgesMax?: number;
  readonly signal?: AbortSignal;
}

/**
 * Finds the component of every row. Takes the edges once, then yields blocks that ascend and cover 0 … n−1.
 *
 * Memory: `windowRows` × 24 + `edgesMax` × 96 bytes beside one block of edges, whatever n and the number of edges are.
 * Time: near-linear where n ≤ `windowRows`; otherwise each edge is written and read once, and again for each window it
 * falls through, a logarithmic number of them for random edges.
 *
 * @throws {AssertionError} when an edge names a row outside 0 … n−1
 */
export async function* components(edges: AsyncIterable<EdgeBlock>, n: number, options: ComponentsOptions = {}): AsyncIterable<ComponentBlock> {
  const { spill: place = null, windowRows = 2 ** 23, edgesMax = 2 ** 19, signal } = options;
  assert(Number.isSafeInteger(n) && n >= 0 && windowRows >= 1, `Expected n ≥ 0 rows in windows of at least one, got ${n} in windows of ${windowRows}`);
  const windows = Math.max(1, Math.ceil(n / windowRows));
  assert(windows === 1 || place !== null, `Expected a store to spill to for ${n} rows in windows of ${windowRows}`);
  const spillTo = (name: string): Spill => createSpill(windows, windows === 1 ? null : { store: place!.store, prefix: `${place!.prefix}/${name}` }, edgesMax);
  const state: State = { n, windowRows, windows, place, down: spillTo('edges'), asked: spillTo('asked'), told: spillTo('told'), signal };
  if (windows === 1) {
    const window = openWindow(0, n);
    for await (const { a, b } of edges) {
      throwIfAborted(signal);
      for (let i = 0; i < a.length; i++) link(window, ...ordered(a[i]!, b[i]!, n));
    }
    yield { firstRow: 0, smallest: Float64Array.from(rootsOf(window)) };
    return;
  }
  await sortEdges(edges, state);
  for (let w = windows - 1; w >= 0; w--) await settleWindow(w, state);
  for (let w = 0; w < windows; w++) yield await readBack(w, state);
  await place!.store.remove(`${place!.prefix}/`);
}

interface State {
  readonly n: number;
  readonly windowRows: number;
  readonly windows: number;
  readonly place: SpillPlace | null;
  /** Edges by the window of their larger end; (root, neighbour below) by the neighbour's window; (root, smallest) by the root's. */
  readonly down: Spill;
  readonly asked: Spill;
  readonly told: Spill;
  readonly signal: AbortSignal | undefined;
}

/** Union-find over neighbouring rows, by position in the window. */
interface Window {
  readonly firstRow: number;
  /** A parent is never larger than its child, so a root is the smallest row of its set. */
  readonly parent: Uint32Array;
  /** Of a root: one row below the window that its set is connected with, or −1. */
  readonly below: Float64Array;
}

function openWindow(firstRow: number, rows: number): Window {
  const parent = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) parent[i] = i;
  return { firstRow, parent, below: new Float64Array(firstRow === 0 ? 0 : rows).fill(-1) };
}

function ordered(a: number, b: number, n: number): [high: number, low: number] {
  assert(a >= 0 && a < n && b >= 0 && b < n && Number.isInteger(a) && Number.isInteger(b), `Expected edges between rows 0 … ${n - 1}, got ${a} – ${b}`);
  return a > b ? [a, b] : [b, a];
}

async function sortEdges(edges: AsyncIterable<EdgeBlock>, { n, windowRows, down, signal }: State): Promise<void> {
  for await (const { a, b } of edges) {
    throwIfAborted(signal);
    for (let i = 0; i < a.length; i++) {
      const [high, low] = ordered(a[i]!, b[i]!, n);
      if (high !== low && down.add(Math.floor(high / windowRows), high, low)) await down.settle();
    }
  }
}

/** Joins the rows of a window, hands edges among lower rows down, and leaves the roots in the store. */
async function settleWindow(w: number, { n, windowRows, place, down, asked, signal }: State): Promise<void> {
  throwIfAborted(signal);
  const firstRow = w * windowRows;
  const window = openWindow(firstRow, Math.min(windowRows, n - firstRow));
  for await (const pairs of down.take(w)) {
    for (let i = 0; i < pairs.length; i += 2) {
      const passed = link(window, pairs[i]!, pairs[i + 1]!);
      if (passed === null) continue;
      const [high, low] = ordered(passed, window.below[find(window, pairs[i]! - firstRow)]!, n);
      if (high !== low && down.add(Math.floor(high / windowRows), high, low)) await down.settle();
    }
  }
  const roots = rootsOf(window);
  for (let i = 0; i < window.below.length; i++) {
    const below = window.below[i]!;
    if (roots[i] === i && below >= 0 && asked.add(Math.floor(below / windowRows), firstRow + i, below)) await asked.settle();
  }
  await place!.store.write(`${place!.prefix}/roots-${w}`, bytesOf(roots));
}

/** @returns the second neighbour below of the set that the edge made, to be joined with the one that is kept, or null */
function link(window: Window, high: number, low: number): number | null {
  const { firstRow, parent, below } = window;
  const x = find(window, high - firstRow);
  if (low < firstRow) {
    const kept = below[x]!;
    below[x] = kept < 0 ? low : Math.min(kept, low);
    return kept < 0 || kept === low ? null : Math.max(kept, low);
  }
  const y = find(window, low - firstRow);
  if (x === y) return null;
  const [root, child] = x < y ? [x, y] : [y, x];
  parent[child] = root;
  if (firstRow === 0 || below[child]! < 0) return null;
  return link(window, firstRow + root, below[child]!);
}

function find({ parent }: Window, at: number): number {
  while (parent[at] !== at) {
    parent[at] = parent[parent[at]!]!;
    at = parent[at]!;
  }
  return at;
}

/** Parents are smaller than children, so that one ascending pass leads every row to its root. */
function rootsOf({ parent }: Window): Uint32Array {
  for (let i = 0; i < parent.length; i++) parent[i] = parent[parent[i]!]!;
  return parent;
}

/** The smallest rows of a window whose lower windows were read back, and answers for the windows above that asked. */
async function readBack(w: number, { n, windowRows, place, asked, told, signal }: State): Promise<ComponentBlock> {
  throwIfAborted(signal);
  const firstRow = w * windowRows;
  const roots = uint32Of(await place!.store.read(`${place!.prefix}/roots-${w}`));
  const smallest = new Float64Array(Math.min(windowRows, n - firstRow));
  for (let i = 0; i < smallest.length; i++) smallest[i] = firstRow + roots[i]!;
  for await (const pairs of told.take(w)) for (let i = 0; i < pairs.length; i += 2) smallest[pairs[i]! - firstRow] = pairs[i + 1]!;
  // A root is smaller than its set, so that it has its answer before a row asks it.
  for (let i = 0; i < smallest.length; i++) smallest[i] = smallest[roots[i]!]!;
  for await (const pairs of asked.take(w)) {
    for (let i = 0; i < pairs.length; i += 2) {
      const root = pairs[i]!;
      if (told.add(Math.floor(root / windowRows), root, smallest[pairs[i + 1]! - firstRow]!)) await told.settle();
    }
  }
  return { firstRow, smallest };
}
