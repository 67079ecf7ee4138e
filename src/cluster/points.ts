/**
 * Points of one level, read in blocks: embeddings streamed from the store, or centroids of the level below in memory.
 *
 * Every value handed out is a multiple of 2^-24 with |value| ≤ 1: vectors are scaled by one power of two for the whole
 * set and rounded to that grid. Sums of up to 2^29 such values are exact in float64, so they do not depend on order or
 * grouping, and a Lloyd update may move only the points that changed cluster (design, law 1).
 */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readStatuses } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import { readWords } from './words.ts';

export interface Points {
  readonly n: number;
  readonly d: number;
  /** Power of two that values were multiplied with; divide by it to get the original units. */
  readonly scale: number;
  /** All points, n × d, where they are in memory: not to be written to. */
  readonly values?: Float32Array;
  /** Fills `out` with points start … start + count − 1, row-major. */
  read(start: number, count: number, out: Float32Array): Promise<void>;
  /** Fills `out` with the points at ascending `indices`. */
  gather(indices: Uint32Array, out: Float32Array): Promise<void>;
}

const GRID = 2 ** 24;

/** Rounds a value to the grid, ties up. `Math.round` says the same, gives −0 too, and takes eight times as long. */
export function toGrid(value: number): number {
  return Math.floor(value * GRID + 0.5) / GRID;
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
    values,
    read: async (start, count, out) => out.set(values.subarray(start * d, (start + count) * d)),
    gather: async (indices, out) => {
      for (let i = 0; i < indices.length; i++) out.set(values.subarray(indices[i]! * d, (indices[i]! + 1) * d), i * d);
    },
  };
}

/** Rows that `storedPoints` reads at once where only some are wanted. */
const GATHER_ROWS = 4096;

/** Points already on the grid, n × d floats in one object, read by ranges: centroids of a level with very many. */
export function storedPoints(store: Store, key: string, n: number, d: number, scale = 1): Points {
  const load = async (start: number, count: number): Promise<Float32Array> => new Float32Array(await readWords(store, key, count * d, start * d));
  return {
    n,
    d,
    scale,
    read: async (start, count, out) => out.set(await load(start, count)),
    gather: (indices, out) => gatherRuns(indices, d, GATHER_ROWS, load, out),
  };
}

/** Fills `out` with the points at ascending `indices`, from runs of at most `runRows` points that `load` reads whole. */
export async function gatherRuns(indices: Uint32Array, d: number, runRows: number, load: (start: number, count: number) => Promise<Float32Array>, out: Float32Array): Promise<void> {
  for (let i = 0; i < indices.length; ) {
    const from = indices[i]!;
    let end = i + 1;
    while (end < indices.length && indices[end]! < from + runRows) end++;
    const run = await load(from, indices[end - 1]! + 1 - from);
    for (; i < end; i++) out.set(run.subarray((indices[i]! - from) * d, (indices[i]! - from + 1) * d), i * d);
  }
}

/**
 * Share of the budget under which a whole embeddings table is kept: streaming it costs little more, since its parts are
 * read in order and come from the file system's cache, so most of the budget is better left to sets that lie scattered.
 */
const RESIDENT_SHARE = 1 / 6;

/**
 * The ok rows of an embeddings table as points 0 … n−1, in row order. Holds one part as it is on disk, or all points,
 * decoded, where that takes at most a sixth of `memoryBytes`. A part's hash is checked the first time it is read.
 *
 * @throws {WinnowError} CHECKSUM_MISMATCH, DIMENSION_MISMATCH, INPUT_MALFORMED when reading
 */
export async function openEmbeddingPoints(store: Store, manifest: EmbeddingsManifest, memoryBytes: number): Promise<Points> {
  const { d, parts, okRows } = manifest;
  const first = new Float64Array(parts.length + 1);
  for (let p = 0; p < parts.length; p++) first[p + 1] = first[p]! + okRows[p]!;
  const n = first[parts.length]!;
  const scale = gridScale(manifest.maxAbs);
  const load = partLoader(store, manifest);
  const decode = gridDecoder(scale);

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
      const { values, rows } = await load(part);
      const local = at - first[part]!;
      const target = out.subarray((at - start) * d, (end - start) * d);
      if (rows === null) decode(values, local * d, target);
      else for (let i = 0; i < end - at; i++) decode(values, rows[local + i]! * d, target.subarray(i * d, (i + 1) * d));
      at = end;
    }
  };
  const gather: Points['gather'] = async (indices, out) => {
    let part = indices.length === 0 ? 0 : partOf(indices[0]!);
    for (let i = 0; i < indices.length; ) {
      while (indices[i]! >= first[part + 1]!) part++;
      const { values, rows } = await load(part);
      for (; i < indices.length && indices[i]! < first[part + 1]!; i++) {
        const local = indices[i]! - first[part]!;
        decode(values, (rows === null ? local : rows[local]!) * d, out.subarray(i * d, (i + 1) * d));
      }
    }
  };
  const points: Points = { n, d, scale, read, gather };
  return cached(points, memoryBytes * RESIDENT_SHARE);
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

/** The points in memory when they fit in `cacheBytes`, read once; otherwise, or when they are there already, as they are. */
export async function cached(points: Points, cacheBytes: number): Promise<Points> {
  if (points.values !== undefined || points.n * points.d * 4 > cacheBytes) return points;
  const values = new Float32Array(points.n * points.d);
  await points.read(0, points.n, values);
  return memoryPoints(values, points.n, points.d, points.scale);
}

interface LoadedPart {
  readonly values: Uint16Array | Float32Array;
  /** Row in the part of each ok row; null where all rows are ok. */
  readonly rows: Uint32Array | null;
}

function partLoader(store: Store, { d, parts, okRows }: EmbeddingsManifest): (part: number) => Promise<LoadedPart> {
  const checked = new Uint8Array(parts.length);
  let held: { readonly part: number; readonly loaded: LoadedPart } | null = null;
  return async (part) => {
    if (held?.part === part) return held.loaded;
    const entry = parts[part]!;
    const view = decodeTable(checked[part] === 1 ? await store.read(entry.path) : await readPart(store, entry), entry.path);
    checked[part] = 1;
    const { d: found, values } = view.vector('embedding');
    if (found !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected vectors of ${d} dimensions in ${entry.path}, got ${found}`);
    const ok = okRows[part]!;
    const rows = ok === entry.rowCount ? null : okPositions(await readStatuses(store, entry, view));
    assert(rows === null || rows.length === ok, `Expected ${ok} ok rows in ${entry.path}, got ${rows?.length}`);
    const loaded = { values: values as Uint16Array | Float32Array, rows };
    held = { part, loaded };
    return loaded;
  };
}

function okPositions(status: readonly (string | null)[]): Uint32Array {
  const positions = new Uint32Array(status.length);
  let count = 0;
  status.forEach((one, row) => {
    if (one === 'ok') positions[count++] = row;
  });
  return positions.slice(0, count);
}

/** Fills `out` with as many values from `from` on, scaled and rounded to the grid. */
type GridDecoder = (values: Uint16Array | Float32Array, from: number, out: Float32Array) => void;

/** 1 to 2 ns a value; every float16 is looked up. */
function gridDecoder(scale: number): GridDecoder {
  const halves = decodeFloat16(Uint16Array.from({ length: 65_536 }, (_, bits) => bits)).map((value) => toGrid(value * scale));
  const decodeHalves = (bits: Uint16Array, out: Float32Array): void => {
    for (let i = 0; i < bits.length; i++) out[i] = halves[bits[i]!]!;
  };
  const scaleFloats = (values: Float32Array, out: Float32Array): void => {
    for (let i = 0; i < values.length; i++) out[i] = toGrid(values[i]! * scale);
  };
  return (values, from, out) => {
    if (values instanceof Uint16Array) decodeHalves(values.subarray(from, from + out.length), out);
    else scaleFloats(values.subarray(from, from + out.length), out);
  };
}
