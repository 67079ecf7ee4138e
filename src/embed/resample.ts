/**
 * Antialiased separable resampling of RGB bytes, bit for bit as Pillow's `Image.resize` does it for 8-bit images
 * (libImaging/Resample.c): 22-bit fixed-point weights, horizontal pass first, rounding to bytes between the passes.
 * Hugging Face processors call that function, so an image resampled here reaches a model with the very bytes it was
 * validated on. Departure: a window of the result can be computed alone (the centre crop).
 */
import assert from 'node:assert/strict';
import { loadResampleLoops, type ResampleLoops, SLACK } from './resample-simd.ts';

export type Filter = 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Part of the resized image that is wanted, in its pixels. */
export interface Window extends Size {
  readonly left: number;
  readonly top: number;
}

/**
 * Scales an image to `to` and returns `window` of the result.
 *
 * Deterministic on every machine: integer arithmetic over weights computed in float64. Cost: `resampleCost`. Its
 * scratch memory is kept for the next call: it is as large as the largest source, result and pass between them were.
 *
 * @param pixels source, RGB bytes, rows top-down, length from.width · from.height · 3
 * @param window inside `to`
 * @returns RGB bytes, length window.width · window.height · 3; a part of `pixels` itself when nothing is scaled
 * @throws {AssertionError} when lengths or window do not fit
 */
export function resample(pixels: Uint8Array, from: Size, to: Size, window: Window, filter: Filter): Uint8Array {
  assert.equal(pixels.length, from.width * from.height * 3, 'Expected width · height · 3 bytes of pixels');
  assert.ok(window.left >= 0 && window.left + window.width <= to.width, 'Expected a window inside the resized image');
  assert.ok(window.top >= 0 && window.top + window.height <= to.height, 'Expected a window inside the resized image');
  const columns = weightsOf(from.width, to.width, window.left, window.width, filter);
  const rows = weightsOf(from.height, to.height, window.top, window.height, filter);
  // Only source rows that some output row looks at take part.
  const firstRow = rows.first[0] as number;
  const endRow = (rows.first[window.height - 1] as number) + (rows.count[window.height - 1] as number);
  const source = pixels.subarray(firstRow * from.width * 3, endRow * from.width * 3);
  for (let i = 0; i < window.height; i++) rows.first[i] = (rows.first[i] as number) - firstRow;
  const isNarrowed = from.width !== to.width || to.width !== window.width;
  if (!isNarrowed && from.height === to.height) return source;
  return twoPasses(source, { width: from.width, height: endRow - firstRow }, isNarrowed ? columns : null, from.height === to.height ? null : rows, window);
}

/** Multiply-adds that `resample` takes: about 5 billion a second on one 2024 server core, plus 0.05 ms a call. */
export function resampleCost(from: Size, to: Size, window: Window, filter: Filter): number {
  const rowShare = Math.min(1, window.height / to.height);
  const columnTaps = Math.min(tapsOf(from.width, to.width, filter), from.width);
  const rowTaps = Math.min(tapsOf(from.height, to.height, filter), from.height);
  return 3 * window.width * (from.height * rowShare * columnTaps + window.height * rowTaps);
}

/** Which source samples make up each output sample, and how much. */
interface Weights {
  /** First source sample of each output sample. */
  readonly first: Int32Array;
  /** Number of source samples of each output sample, at most `taps`. */
  readonly count: Int32Array;
  /** Weights in units of 2⁻²², `taps` for each output sample, zeros at the end. */
  readonly weight: Int32Array;
  readonly taps: number;
}

const PRECISION = 2 ** 22;
const SUPPORT: Record<Exclude<Filter, 'nearest'>, number> = { bilinear: 1, bicubic: 2, lanczos: 3 };

function tapsOf(from: number, to: number, filter: Filter): number {
  if (filter === 'nearest' || from === to) return 1;
  return Math.ceil(SUPPORT[filter] * Math.max(from / to, 1)) * 2 + 1;
}

/** Weights of output samples start … start + n − 1 along one axis scaled from `from` to `to` samples. */
function weightsOf(from: number, to: number, start: number, n: number, filter: Filter): Weights {
  const taps = tapsOf(from, to, filter);
  const first = new Int32Array(n);
  const count = new Int32Array(n).fill(1);
  const weight = new Int32Array(n * taps);
  const scale = from / to;
  if (filter === 'nearest' || from === to) {
    weight.fill(PRECISION);
    // Pillow adds the step up, so its rounding errors decide which of two equally near samples is taken.
    for (let i = -start, at = scale * 0.5; i < n; i++, at += scale) if (i >= 0) first[i] = Math.min(from - 1, Math.floor(at));
    return { first, count, weight, taps };
  }
  const filterScale = Math.max(scale, 1);
  const support = SUPPORT[filter] * filterScale;
  const exact = new Float64Array(taps);
  for (let i = 0; i < n; i++) {
    const centre = (start + i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(from, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let x = low; x < high; x++) {
      const w = kernel(filter, (x - centre + 0.5) / filterScale);
      exact[x - low] = w;
      sum += w;
    }
    first[i] = low;
    count[i] = high - low;
    for (let x = 0; x < high - low; x++) {
      const w = ((exact[x] as number) / sum) * PRECISION;
      weight[i * taps + x] = Math.trunc(w < 0 ? w - 0.5 : w + 0.5);
    }
  }
  return { first, count, weight, taps };
}

function kernel(filter: Exclude<Filter, 'nearest'>, at: number): number {
  const x = Math.abs(at);
  if (filter === 'bilinear') return x < 1 ? 1 - x : 0;
  if (filter === 'lanczos') return x < 3 ? sinc(x) * sinc(x / 3) : 0;
  // Keys' cubic with a = −0.5, which Pillow and libvips use (OpenCV and PyTorch without antialias take −0.75).
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

let loops: ResampleLoops | null = null;

/** Runs the passes that are not null in scratch memory: source | columns | rows | between | result. */
function twoPasses(source: Uint8Array, size: Size, columns: Weights | null, rows: Weights | null, window: Window): Uint8Array {
  loops ??= loadResampleLoops();
  const stride = window.width * 3;
  const columnsAt = aligned(source.length);
  const rowsAt = columnsAt + (columns === null ? 0 : weightBytes(columns));
  const betweenAt = rowsAt + (rows === null ? 0 : weightBytes(rows));
  const resultAt = columns === null ? betweenAt : betweenAt + aligned(size.height * stride);
  const end = rows === null ? resultAt : resultAt + aligned(window.height * stride);
  const missing = end - loops.memory.buffer.byteLength;
  if (missing > 0) loops.memory.grow(Math.ceil(missing / 65536));

  const scratch = loops.memory.buffer;
  new Uint8Array(scratch).set(source);
  let at = 0;
  if (columns !== null) {
    const { first, count, weight } = putWeights(scratch, columnsAt, columns);
    loops.resampleRows(0, betweenAt, size.height, size.width * 3, window.width, first, count, weight, columns.taps);
    at = betweenAt;
  }
  if (rows !== null) {
    const { first, count, weight } = putWeights(scratch, rowsAt, rows);
    loops.resampleColumns(at, resultAt, stride, window.height, first, count, weight, rows.taps);
    at = resultAt;
  }
  return new Uint8Array(scratch, at, window.height * stride).slice();
}

function weightBytes({ first, weight }: Weights): number {
  return aligned(first.byteLength * 2 + weight.byteLength);
}

/** Copies weights to `at` and tells where their three arrays lie. */
function putWeights(scratch: ArrayBuffer, at: number, weights: Weights): { first: number; count: number; weight: number } {
  const { first, count, weight } = weights;
  const ints = new Int32Array(scratch, at, first.length * 2 + weight.length);
  ints.set(first);
  ints.set(count, first.length);
  ints.set(weight, first.length * 2);
  return { first: at, count: at + first.byteLength, weight: at + first.byteLength * 2 };
}

function aligned(sizeBytes: number): number {
  return Math.ceil((sizeBytes + SLACK) / 16) * 16;
}
