/**
 * The hashes of a window of rows, asked by it and later rows: for each asking row its nearest row of the window, and as many more
 * pairs as it takes to connect what is within the radius.
 */
import { createHammingIndex } from './hamming-index.ts';
import type { HashBlock } from './perceptual-hash.ts';

/** Different hashes, each with the first row that has it. */
export interface HashWindow {
  /** Ascending within equal hashes only. */
  readonly row: Float64Array;
  /** entries × 2 words. */
  readonly words: Uint32Array;
}

/** @param blocks hashes of the window, in row order; the first variant of each row counts */
export function openHashWindow(blocks: readonly HashBlock[], variants: number): HashWindow {
  const n = blocks.reduce((sum, { valid }) => sum + valid.reduce((count, one) => count + one, 0), 0);
  const row = new Float64Array(n);
  const words = new Uint32Array(n * 2);
  let filled = 0;
  for (const block of blocks) {
    for (let i = 0; i < block.rowCount; i++) {
      if (block.valid[i] === 0) continue;
      row[filled] = block.firstRow + i;
      words.set(block.words.subarray(i * variants * 2, i * variants * 2 + 2), filled * 2);
      filled += 1;
    }
  }
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => words[a * 2 + 1]! - words[b * 2 + 1]! || words[a * 2]! - words[b * 2]! || a - b);
  const isFirst = (at: number): boolean => at === 0 || words[order[at]! * 2] !== words[order[at - 1]! * 2] || words[order[at]! * 2 + 1] !== words[order[at - 1]! * 2 + 1];
  const firsts = order.filter((_, at) => isFirst(at));
  const unique = new Uint32Array(firsts.length * 2);
  firsts.forEach((from, at) => unique.set(words.subarray(from * 2, from * 2 + 2), at * 2));
  return { row: Float64Array.from(firsts, (from) => row[from]!), words: unique };
}

export interface HashSearch {
  /**
   * Rows must ask in ascending order. Emits the pairs of the row with earlier rows of the window that are its nearest, or that
   * connect what was not connected.
   *
   * @param words the row's variants
   * @param emit earlier row, distance in bits
   */
  ask(row: number, words: Uint32Array, emit: (earlier: number, distance: number) => void): void;
  /** For each row of the window that was found, the nearest row that asked; ties to the first. */
  nearest(emit: (earlier: number, row: number, distance: number) => void): void;
}

/** About 50 bytes an entry and 4 × bands. */
export function createHashSearch({ row: rowOf, words: hashes }: HashWindow, radius: number): HashSearch {
  const index = createHammingIndex(hashes, radius);
  const n = rowOf.length;
  const parent = Uint32Array.from({ length: n }, (_, i) => i);
  const root = (entry: number): number => {
    let at = entry;
    while (parent[at] !== at) at = parent[at] = parent[parent[at]!]!;
    return at;
  };
  const nearestRow = new Float64Array(n).fill(-1);
  const nearestDistance = new Uint8Array(n).fill(255);
  // Hits of the row that asks: smallest distance of each entry over the variants.
  const hits: number[] = [];
  const distances = new Uint8Array(n).fill(255);
  const collect = (entry: number, distance: number): void => {
    if (distances[entry] === 255) hits.push(entry);
    if (distance < distances[entry]!) distances[entry] = distance;
  };
  return {
    ask: (row, words, emit) => {
      for (let v = 0; v < words.length; v += 2) index.within(words[v]!, words[v + 1]!, collect);
      let own = -1;
      let earlier = 0;
      for (const entry of hits) {
        if (rowOf[entry] === row) own = entry;
        if (rowOf[entry]! < row) hits[earlier++] = entry;
        else distances[entry] = 255;
      }
      hits.length = earlier;
      hits.sort((a, b) => distances[a]! - distances[b]! || rowOf[a]! - rowOf[b]!);
      // What the row is connected with so far: itself where it is an entry, then its nearest.
      let joined = own < 0 ? -1 : root(own);
      hits.forEach((entry, i) => {
        const distance = distances[entry]!;
        distances[entry] = 255;
        if (distance < nearestDistance[entry]!) {
          nearestDistance[entry] = distance;
          nearestRow[entry] = row;
        }
        const found = root(entry);
        if (i > 0 && found === joined) return;
        emit(rowOf[entry]!, distance);
        if (joined >= 0 && joined !== found) parent[Math.max(joined, found)] = Math.min(joined, found);
        joined = joined < 0 ? found : Math.min(joined, found);
      });
      hits.length = 0;
    },
    nearest: (emit) => {
      for (let entry = 0; entry < n; entry++) if (nearestRow[entry]! >= 0) emit(rowOf[entry]!, nearestRow[entry]!, nearestDistance[entry]!);
    },
  };
}
