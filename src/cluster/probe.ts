/**
 * Two-level search over the leaves of a split level: the p cells with the nearest coarse centroids, exact among their
 * leaves (an inverted file, as in faiss IndexIVFFlat). Rows are searched cell by cell, so that products stay dense.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';
import { openNearestCells } from '../vector/nearest-cells.ts';
import type { NearestSearch, SearchEngine } from '../vector/search.ts';
import type { Leaves } from './leaves.ts';
import { NO_CLUSTER } from './tree.ts';

export interface ProbeOptions {
  readonly engine: SearchEngine;
  /** m × d coarse centroids. */
  readonly coarse: Float32Array;
  readonly leaves: Leaves;
  /** Cells looked at for each row, at most those that have leaves. */
  readonly probes: number;
  readonly signal?: AbortSignal;
}

/** The nearest leaf of each row in each of its p nearest cells, nearest cell first: n × p. */
export interface Probed {
  readonly p: number;
  readonly leaf: Uint32Array;
  /** Squared, float32 products. */
  readonly distance: Float32Array;
}

/** Leaves searched at once: so few that the engine takes them with every call and needs no session of its own. */
const LEAVES_AT_ONCE = 512;
/** Rows gathered at once. */
const ROWS_AT_ONCE = 4096;

/** @param rows n × d. A row's result depends on that row alone. */
export async function probeLeaves(rows: Float32Array, n: number, d: number, options: ProbeOptions): Promise<Probed> {
  const { leaves, engine, signal } = options;
  const p = Math.min(options.probes, leaves.cells.length);
  assert(p >= 1, 'Expected a leaf to search');
  const ranked = new Uint32Array(n * p);
  await openNearestCells(engine, rowsAt(options.coarse, leaves.cells, d), leaves.cells.length, d, p).nearest(rows, n, ranked);
  const { offset, place } = groupPlaces(ranked, leaves.cells.length);
  const found: Probed = { p, leaf: new Uint32Array(n * p).fill(NO_CLUSTER), distance: new Float32Array(n * p).fill(Infinity) };
  const some = new Float32Array(Math.min(n, ROWS_AT_ONCE) * d);
  for (let c = 0; c < leaves.cells.length; c++) {
    if (offset[c] === offset[c + 1]) continue;
    throwIfAborted(signal);
    const { centroids, leaf } = await leaves.load(leaves.cells[c]!);
    for (let first = 0; first < leaf.length; first += LEAVES_AT_ONCE) {
      const count = Math.min(LEAVES_AT_ONCE, leaf.length - first);
      const search = await engine.nearest(centroids.subarray(first * d, (first + count) * d), count, d);
      try {
        for (let at = offset[c]!; at < offset[c + 1]!; at += ROWS_AT_ONCE) {
          const places = place.subarray(at, Math.min(at + ROWS_AT_ONCE, offset[c + 1]!));
          for (let i = 0; i < places.length; i++) {
            const row = Math.floor(places[i]! / p) * d;
            some.set(rows.subarray(row, row + d), i * d);
          }
          await searchSome(search, some, places, leaf.subarray(first, first + count), found);
        }
      } finally {
        await search.close();
      }
    }
  }
  return found;
}

/** The best of each row's first `probes` places. Ties go to the lowest leaf. */
export function bestOf({ p, leaf, distance }: Probed, n: number, probes = p): { leaf: Uint32Array; distance: Float32Array } {
  const best = { leaf: new Uint32Array(n).fill(NO_CLUSTER), distance: new Float32Array(n).fill(Infinity) };
  for (let i = 0; i < n; i++) {
    for (let at = i * p; at < i * p + Math.min(p, probes); at++) {
      if (distance[at]! > best.distance[i]! || (distance[at] === best.distance[i] && leaf[at]! >= best.leaf[i]!)) continue;
      best.distance[i] = distance[at]!;
      best.leaf[i] = leaf[at]!;
    }
  }
  return best;
}

function rowsAt(matrix: Float32Array, rows: Uint32Array, d: number): Float32Array {
  const some = new Float32Array(rows.length * d);
  rows.forEach((row, i) => some.set(matrix.subarray(row * d, (row + 1) * d), i * d));
  return some;
}

/** Counting sort of the places of `ranked` by the cell they name. */
function groupPlaces(ranked: Uint32Array, cells: number): { offset: Uint32Array; place: Uint32Array } {
  const offset = new Uint32Array(cells + 1);
  for (const cell of ranked) offset[cell + 1]!++;
  for (let c = 0; c < cells; c++) offset[c + 1]! += offset[c]!;
  const next = offset.slice(0, cells);
  const place = new Uint32Array(ranked.length);
  for (let at = 0; at < ranked.length; at++) place[next[ranked[at]!]!++] = at;
  return { offset, place };
}

async function searchSome(search: NearestSearch, rows: Float32Array, places: Uint32Array, leaf: Uint32Array, found: Probed): Promise<void> {
  const index = new Uint32Array(places.length);
  const distance = new Float32Array(places.length);
  await search.nearest(rows, places.length, index, distance);
  for (let i = 0; i < places.length; i++) {
    const at = places[i]!;
    if (distance[i]! >= found.distance[at]!) continue;
    found.distance[at] = distance[i]!;
    found.leaf[at] = leaf[index[i]!]!;
  }
}
