/**
 * Sums behind the mean and standard deviation of a corpus' pixels, by channel. Integers throughout, so that neither order nor
 * grouping changes them: a part's sums stay below 2^53, sums over parts are kept as text.
 */
import assert from 'node:assert/strict';

/** Of red, green and blue. */
export interface ColourSums {
  readonly pixels: number;
  readonly sum: readonly number[];
  readonly squares: readonly number[];
}

/** Over a whole table; numbers as decimal text, of any length. */
export interface ColourStats {
  readonly pixels: string;
  readonly sum: readonly string[];
  readonly squares: readonly string[];
  /** In units of 255, as `embed.input.mean` and `std` take them with `rescale: 1/255`. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** @param rgb n × 3 bytes */
export function sumColours(rgb: Uint8Array): ColourSums {
  const sum = [0, 0, 0];
  const squares = [0, 0, 0];
  for (let c = 0; c < 3; c++) {
    let [total, square] = [0, 0];
    for (let i = c; i < rgb.length; i += 3) {
      const value = rgb[i]!;
      total += value;
      square += value * value;
    }
    sum[c] = total;
    squares[c] = square;
  }
  return { pixels: rgb.length / 3, sum, squares };
}

/** @throws {AssertionError} when a sum passes 2^53, as it does after some half a million tiles of 512 × 512 pixels */
export function addColours(a: ColourSums | undefined, b: ColourSums): ColourSums {
  if (a === undefined) return b;
  const added = { pixels: a.pixels + b.pixels, sum: a.sum.map((one, c) => one + b.sum[c]!), squares: a.squares.map((one, c) => one + b.squares[c]!) };
  assert(added.squares.every(Number.isSafeInteger), 'Expected the sums of a part to stay below 2^53');
  return added;
}

/** Undefined when no part has sums. */
export function totalColours(parts: readonly (ColourSums | Pick<ColourStats, 'pixels' | 'sum' | 'squares'> | undefined)[]): ColourStats | undefined {
  const known = parts.filter((part) => part !== undefined);
  if (known.length === 0) return undefined;
  const add = (values: readonly (number | string)[]): bigint => values.reduce<bigint>((total, value) => total + BigInt(value), 0n);
  const pixels = add(known.map((part) => part.pixels));
  const sum = [0, 1, 2].map((c) => add(known.map((part) => part.sum[c]!)));
  const squares = [0, 1, 2].map((c) => add(known.map((part) => part.squares[c]!)));
  const mean = sum.map((total) => ratio(total, pixels * 255n));
  const std = sum.map((total, c) => Math.sqrt(ratio(pixels * squares[c]! - total * total, pixels * pixels * 65025n)));
  return { pixels: String(pixels), sum: sum.map(String), squares: squares.map(String), mean, std };
}

/** a / b to twelve places, for b > 0. */
function ratio(a: bigint, b: bigint): number {
  return Number((a * 1_000_000_000_000n) / b) / 1e12;
}
