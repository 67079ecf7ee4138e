/**
 * The rows of a part in the order they are drawn, pass after pass without end: position i is row i − n·pass of keyed
 * permutation number `pass`, so each row comes once a pass and nothing is stored but a few keys.
 */
import type { RandomStream } from '../random.ts';
import { type Permutation, createPermutation } from './permutation.ts';

/** Rows of a part by position, 0, 1, 2 … over all passes. */
export interface PartOrder {
  /** @returns rows at positions first … first + count − 1 */
  range(first: number, count: number): Float64Array;
}

/** Row by position, for parts whose rows are drawn without regard to what they show. */
export interface PlainOrder extends PartOrder {
  at(position: number): number;
}

/** Permutations kept a part; a batch that is larger than the part spans several passes. */
const PASSES_KEPT = 64;

/** @param n rows of the part */
export function createPlainOrder(n: number, stream: RandomStream): PlainOrder {
  const passes = new Map<number, Permutation>();
  let from = 0;
  let current = createPermutation(n, stream, 0);
  const turnTo = (pass: number): void => {
    from = pass * n;
    const known = passes.get(pass);
    if (known !== undefined) current = known;
    else {
      if (passes.size >= PASSES_KEPT) passes.clear();
      passes.set(pass, (current = createPermutation(n, stream, pass)));
    }
  };
  const at = (position: number): number => {
    if (position < from || position >= from + n) turnTo(Math.floor(position / n));
    return current.at(position - from);
  };
  return { at, range: (first, count) => Float64Array.from({ length: count }, (_, i) => at(first + i)) };
}
