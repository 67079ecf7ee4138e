/** Arrays as store objects: the working state between tasks of this stage, little-endian, without a header. */
import assert from 'node:assert/strict';
import type { Store } from '../store/store.ts';

/** `length` 32-bit words of an object, from word `first` on; the whole object when `first` is absent, and checked to be that long. */
export async function readWords(store: Store, key: string, length: number, first?: number): Promise<ArrayBuffer> {
  const bytes = await (first === undefined ? store.read(key) : store.read(key, { offset: first * 4, length: length * 4 }));
  assert(bytes.byteLength === length * 4, `Expected ${length * 4} bytes in ${key}, got ${bytes.byteLength}`);
  // A view of a larger buffer would keep all of it, and need not lie on a multiple of four.
  return (bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) as ArrayBuffer;
}

/** The bytes of an array, not copied. */
export function bytesOf(values: Float64Array | Float32Array | Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** A small value that tasks share, as JSON. */
export async function readJson<T>(store: Store, key: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await store.read(key))) as T;
}

/** Writes what `readJson` reads. */
export async function writeJson(store: Store, key: string, value: unknown): Promise<void> {
  await store.write(key, new TextEncoder().encode(JSON.stringify(value)));
}
