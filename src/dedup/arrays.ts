/** Arrays as store objects: the working state between tasks of this stage, little-endian, without a header. */

/** The bytes of an array, not copied. */
export function bytesOf(values: Float64Array | Float32Array | Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Bytes read from a store as numbers; copied where they lie in a larger buffer. */
export function float64Of(bytes: Uint8Array): Float64Array {
  return new Float64Array(ownBuffer(bytes));
}

/** @see float64Of */
export function float32Of(bytes: Uint8Array): Float32Array {
  return new Float32Array(ownBuffer(bytes));
}

/** @see float64Of */
export function uint32Of(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(ownBuffer(bytes));
}

/** A view of a larger buffer would keep all of it, and need not lie on a multiple of eight. */
export function ownBuffer(bytes: Uint8Array): ArrayBuffer {
  return (bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) as ArrayBuffer;
}

/** Runs of numbers end to end. */
export function joined(runs: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(runs.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const run of runs) {
    all.set(run, at);
    at += run.length;
  }
  return all;
}
