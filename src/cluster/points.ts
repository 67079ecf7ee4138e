/**
 * Points of one level, read in blocks: embeddings streamed from the store, or centroids of the level below in memory.
 *
 * Every value handed out is a multiple of 2^-24 with |value| ≤ 1: vectors are scaled by one power of two for the whole
 * set and rounded to that grid. Sums of up to 2^29 such values are exact in float64, so they do not depend on order or
 * grouping, and a Lloyd update may move only the points that changed cluster (design, law 1).
 */
import assert from 'node:assert/strict';
import { type EmbeddingBlock, type EmbeddingsManifest, readEmbeddingPart } from '../embed/embedding.ts';
import type { Store } from '../store/store.ts';

export interface Points {
  readonly n: number;
  readonly d: number;
  /** Power of two that values were multiplied with; divide by it to get the original units. */
  readonly scale: number;
  /** Fills `out` with points start … start + count − 1, row-major. */
  read(start: number, count: number, out: Float32Array): Promise<void>;
  /** Fills `out` with the points at ascending `indices`. */
  gather(indices: Uint32Array, out: Float32Array): Promise<void>;
}

const GRID = 2 ** 24;

/** Rounds a value to the grid. */
export function toGrid(value: number): number {
  return Math.round(value * GRID) / GRID;
}

/** The power of two that brings `maxAbs` into (1/2, 1]; 1 when all is zero. */
export function gridScale(maxAbs: number): number {
  assert(Number.isFinite(maxAbs) && maxAbs >= 0, `Expected a finite largest component, got ${maxAbs}`);
  return maxAbs === 0 ? 1 : 2 ** -Math.ceil(Math.log2(maxAbs));
}

/** Points already on the grid, in memory. */
export function memoryPoints(values: Float32Array, n: number, d: number, scale = 1): Points {
  assert(values.length >= n * d, `Expected ${n} × ${d} values, got ${values.length}`);
  return {
    n,
    d,
    scale,
    read: async (start, count, out) => out.set(values.subarray(start * d, (start + count) * d)),
    gather: async (indices, out) => {
      for (let i = 0; i < indices.length; i++) out.set(values.subarray(indices[i]! * d, (indices[i]! + 1) * d), i * d);
    },
  };
}

/**
 * The ok rows of an embeddings table as points 0 … n−1, in row order. Holds one decoded part and 8 bytes a part; with
 * `cacheBytes` enough for all of them, the points are kept after the first read.
 */
export async function openEmbeddingPoints(store: Store, manifest: EmbeddingsManifest, cacheBytes: number): Promise<Points> {
  const { d, parts, okRows } = manifest;
  const first = new Float64Array(parts.length + 1);
  for (let p = 0; p < parts.length; p++) first[p + 1] = first[p]! + okRows[p]!;
  const n = first[parts.length]!;
  const scale = gridScale(manifest.maxAbs);
  let held: { part: number; values: Float32Array } | null = null;

  const load = async (part: number): Promise<Float32Array> => {
    if (held?.part === part) return held.values;
    const block = await readEmbeddingPart(store, parts[part]!, d);
    const values = compact(block, d, scale);
    assert(values.length === okRows[part]! * d, `Expected ${okRows[part]} ok rows in ${parts[part]!.path}, got ${values.length / d}`);
    held = { part, values };
    return values;
  };
  const partOf = (index: number): number => {
    let low = 0;
    let high = parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (first[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const read: Points['read'] = async (start, count, out) => {
    let at = start;
    for (let part = partOf(start); at < start + count; part++) {
      const end = Math.min(start + count, first[part + 1]!);
      if (end <= at) continue;
      const values = await load(part);
      out.set(values.subarray((at - first[part]!) * d, (end - first[part]!) * d), (at - start) * d);
      at = end;
    }
  };
  const gather: Points['gather'] = async (indices, out) => {
    let part = indices.length === 0 ? 0 : partOf(indices[0]!);
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      while (index >= first[part + 1]!) part++;
      const values = await load(part);
      const local = index - first[part]!;
      out.set(values.subarray(local * d, (local + 1) * d), i * d);
    }
  };
  if (n * d * 4 > cacheBytes) return { n, d, scale, read, gather };
  const all = new Float32Array(n * d);
  await read(0, n, all);
  held = null;
  return memoryPoints(all, n, d, scale);
}

/** A view of some points of a larger set; `indices` ascend. */
export function subsetPoints(base: Points, indices: Uint32Array): Points {
  return {
    n: indices.length,
    d: base.d,
    scale: base.scale,
    read: (start, count, out) => base.gather(indices.subarray(start, start + count), out),
    gather: (positions, out) => base.gather(Uint32Array.from(positions, (position) => indices[position]!), out),
  };
}

/** Holds the points in memory when they fit in `cacheBytes`. */
export async function cached(points: Points, cacheBytes: number): Promise<Points> {
  if (points.n * points.d * 4 > cacheBytes) return points;
  const values = new Float32Array(points.n * points.d);
  await points.read(0, points.n, values);
  return memoryPoints(values, points.n, points.d, points.scale);
}

function compact(block: EmbeddingBlock, d: number, scale: number): Float32Array {
  const { ok, vectors } = block;
  let rows = 0;
  for (let i = 0; i < ok.length; i++) {
    if (ok[i] === 0) continue;
    for (let j = 0; j < d; j++) vectors[rows * d + j] = Math.round(vectors[i * d + j]! * scale * GRID) / GRID;
    rows++;
  }
  return vectors.subarray(0, rows * d);
}
