/**
 * Exact sums of the rows of some leaves, as one group of cells leaves them for a global Lloyd update: only the leaves
 * that got a row, sorted, so that the task that updates a range of leaves reads its part of each group by ranges.
 *
 * Layout, in words of 32 bits: leaves before each cell among those present (m + 1), then leaf and count of each leaf
 * present, then d float64 sums of each, from the next multiple of two words on.
 */
import type { Store } from '../store/store.ts';
import { readWords } from './words.ts';

/** Sums of the rows of one task, leaf by leaf. Memory: the leaves met, × d float64. */
export class LeafSums {
  readonly #d: number;
  readonly #slot = new Map<number, number>();
  #count: Float64Array = new Float64Array(1024);
  #sums: Float64Array;

  constructor(d: number) {
    this.#d = d;
    this.#sums = new Float64Array(1024 * d);
  }

  /** Adds d values from `at` on to the sum of a leaf. */
  add(leaf: number, values: Float32Array, at: number): void {
    const d = this.#d;
    let slot = this.#slot.get(leaf);
    if (slot === undefined) {
      slot = this.#slot.size;
      this.#slot.set(leaf, slot);
      if (slot === this.#count.length) {
        this.#count = grown(this.#count);
        this.#sums = grown(this.#sums);
      }
    }
    this.#count[slot]!++;
    const sums = this.#sums;
    for (let j = 0, to = slot * d; j < d; j++, to++) sums[to]! += values[at + j]!;
  }

  /** @param offset leaves before each cell, length m + 1 */
  encode(offset: readonly number[]): Uint8Array {
    const d = this.#d;
    const leaves = Float64Array.from(this.#slot.keys()).sort();
    const words = headWords(offset.length, leaves.length);
    const bytes = new Uint8Array(words * 4 + leaves.length * d * 8);
    const head = new Uint32Array(bytes.buffer, 0, words);
    const sums = new Float64Array(bytes.buffer, words * 4);
    let cell = 0;
    leaves.forEach((leaf, i) => {
      while (offset[cell + 1]! <= leaf) head[++cell] = i;
      const slot = this.#slot.get(leaf)!;
      head[offset.length + 2 * i] = leaf;
      head[offset.length + 2 * i + 1] = this.#count[slot]!;
      sums.set(this.#sums.subarray(slot * d, (slot + 1) * d), i * d);
    });
    while (cell < offset.length - 1) head[++cell] = leaves.length;
    return bytes;
  }
}

/** Adds what an object of `LeafSums` says of the leaves of cells from … to − 1. `sums` and `size` begin at the first of them. */
export async function addSums(store: Store, key: string, offset: readonly number[], from: number, to: number, d: number, sums: Float64Array, size: Float64Array): Promise<void> {
  const [starts, total] = [new Uint32Array(await readWords(store, key, to - from + 1, from)), new Uint32Array(await readWords(store, key, 1, offset.length - 1))[0]!];
  const [first, end] = [starts[0]!, starts[to - from]!];
  if (first === end) return;
  const present = new Uint32Array(await readWords(store, key, (end - first) * 2, offset.length + first * 2));
  const some = new Float64Array(await readWords(store, key, (end - first) * d * 2, headWords(offset.length, total) + first * d * 2));
  for (let i = 0; i < end - first; i++) {
    const own = present[2 * i]! - offset[from]!;
    size[own]! += present[2 * i + 1]!;
    for (let j = 0; j < d; j++) sums[own * d + j]! += some[i * d + j]!;
  }
}

function headWords(offsets: number, leaves: number): number {
  const words = offsets + 2 * leaves;
  return words + (words % 2);
}

function grown(values: Float64Array): Float64Array {
  const larger = new Float64Array(values.length * 2);
  larger.set(values);
  return larger;
}
