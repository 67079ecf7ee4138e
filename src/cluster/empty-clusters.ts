/** What becomes of empty clusters under the policy `split`: faiss's rule, with the donor chosen by size. */
import { toGrid } from './points.ts';

/** Share by which the two copies of a split centroid move apart, up in even and down in odd dimensions (faiss: 1/1024). */
const SPLIT_STEP = 1 / 1024;

/**
 * Each empty cluster takes a copy of the largest cluster's centroid, moved a little, and half of its count, so that no
 * random number is needed. Ties go to the lowest cluster. O(k + empty clusters · (log k + d)).
 *
 * @param size members of each cluster; not written to
 * @returns clusters that were filled; fewer than were empty where no cluster has two members left
 */
export function splitLargest(centroids: Float32Array, size: Float64Array, d: number): number {
  if (!size.includes(0)) return 0;
  const counts = size.slice();
  const heap = [...counts.keys()].filter((c) => counts[c]! > 0);
  const before = (a: number, b: number): boolean => counts[a]! > counts[b]! || (counts[a] === counts[b] && a < b);
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, at, before);
  let splits = 0;
  for (let c = 0; c < size.length; c++) {
    if (size[c] !== 0) continue;
    const donor = heap[0];
    if (donor === undefined || counts[donor]! < 2) break;
    counts[donor]! /= 2;
    sink(heap, 0, before);
    counts[c] = counts[donor]!;
    heap.push(c);
    rise(heap, heap.length - 1, before);
    for (let j = 0; j < d; j++) {
      const value = centroids[donor * d + j]!;
      const step = j % 2 === 0 ? SPLIT_STEP : -SPLIT_STEP;
      centroids[c * d + j] = toGrid(value * (1 + step));
      centroids[donor * d + j] = toGrid(value * (1 - step));
    }
    splits++;
  }
  return splits;
}

type Before = (a: number, b: number) => boolean;

function sink(heap: number[], at: number, before: Before): void {
  for (;;) {
    let first = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && before(heap[child]!, heap[first]!)) first = child;
    if (first === at) return;
    [heap[at], heap[first]] = [heap[first]!, heap[at]!];
    at = first;
  }
}

function rise(heap: number[], at: number, before: Before): void {
  while (at > 0 && before(heap[at]!, heap[(at - 1) >> 1]!)) {
    const parent = (at - 1) >> 1;
    [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
    at = parent;
  }
}
