/** What the searches on ONNX Runtime share: cutting rows into tiles, tensors in and out, and the bound for close rows. */
import assert from 'node:assert/strict';
import { Tensor } from '../onnx/session.ts';

/** Share of ‖x‖² + ‖c‖² below which float32 products say too little: the distance is then summed in float64. */
export const CLOSE = 2 ** -17;

/** Cuts n rows into equal tiles of about `rowsMax`, none under `rowsMin` where n allows it. */
export function tiles(n: number, rowsMax: number, rowsMin: number): { row: number; rows: number }[] {
  const count = Math.max(1, Math.min(Math.ceil(n / rowsMax), Math.floor(n / rowsMin)));
  const size = Math.ceil(n / count);
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => ({ row: i * size, rows: Math.min(size, n - i * size) }));
}

/** Rows of x as a tensor: in place, or, when they are fewer than `rowsMin`, a copy with rows of zeros after them. */
export function rowsTensor(x: Float32Array, row: number, rows: number, d: number, rowsMin: number): Tensor {
  const view = x.subarray(row * d, (row + rows) * d);
  if (rows >= rowsMin) return new Tensor('float32', view, [rows, d]);
  const padded = new Float32Array(rowsMin * d);
  padded.set(view);
  return new Tensor('float32', padded, [rowsMin, d]);
}

/** @throws {AssertionError} when an output is missing or of another type */
export function floats(tensor: Tensor | undefined): Float32Array {
  assert(tensor !== undefined && tensor.type === 'float32', `Expected a float32 tensor, got ${tensor?.type}`);
  return tensor.data as Float32Array;
}

/** @throws {AssertionError} when an output is missing or of another type */
export function integers(tensor: Tensor | undefined): Int32Array {
  assert(tensor !== undefined && tensor.type === 'int32', `Expected an int32 tensor, got ${tensor?.type}`);
  return tensor.data as Int32Array;
}
