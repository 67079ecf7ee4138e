/** Selection by key without a full order: the draw behind remainders and leaves. */

/**
 * Visits the `count` positions with the smallest keys, ties by position, in ascending order of position. A larger
 * count visits a superset. O(n log n) time.
 *
 * @param keys length ≥ n, no NaN
 * @param scratch length ≥ n, overwritten; not the keys themselves
 */
export function forSmallest(keys: Float64Array, n: number, count: number, scratch: Float64Array, visit: (position: number) => void): void {
  if (count <= 0) return;
  if (count >= n) {
    for (let i = 0; i < n; i++) visit(i);
    return;
  }
  for (let i = 0; i < n; i++) scratch[i] = keys[i]!;
  sortAscending(scratch, n);
  const last = scratch[count - 1]!;
  // Of the keys equal to the last one taken, those at the lowest positions fill what smaller keys leave.
  let ties = count;
  for (let i = 0; i < count && scratch[i]! < last; i++) ties--;
  for (let i = 0; i < n; i++) {
    if (keys[i]! < last || (keys[i] === last && ties-- > 0)) visit(i);
  }
}

/** Insertion for the short runs that a tree has millions of, where a call into the native sort would cost more. */
function sortAscending(values: Float64Array, n: number): void {
  if (n > 32) {
    values.subarray(0, n).sort();
    return;
  }
  for (let i = 1; i < n; i++) {
    const value = values[i]!;
    let j = i - 1;
    for (; j >= 0 && values[j]! > value; j--) values[j + 1] = values[j]!;
    values[j + 1] = value;
  }
}
