import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PERMUTATION_POSITIONS_MAX, createPermutation } from '../../src/batch/permutation.ts';
import { randomStream } from '../../src/random.ts';

const stream = randomStream(7, 'permutation test');
const orderOf = (n: number, pass: number, rounds?: number): number[] => {
  const permutation = createPermutation(n, stream, pass, rounds);
  return Array.from({ length: n }, (_, position) => permutation.at(position));
};

/** χ² against equal chances as a standard normal: (χ² − df) / √(2 df). */
function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  return (statistic - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1));
}

/** How often each of the n! orders comes up, by Lehmer code. */
function countOrders(n: number, passes: number, rounds?: number): number[] {
  const counts = new Array<number>(Array.from({ length: n }, (_, i) => i + 1).reduce((product, i) => product * i, 1)).fill(0);
  for (let pass = 0; pass < passes; pass++) {
    const order = orderOf(n, pass, rounds);
    counts[order.reduce((code, value, i) => code * (n - i) + order.slice(i + 1).filter((later) => later < value).length, 0)]!++;
  }
  return counts;
}

/** How often each row comes at each position, and each ordered pair of rows side by side. */
function countPlaces(n: number, passes: number, rounds?: number): { positions: number[]; neighbours: number[]; steps: number[] } {
  const positions = new Array<number>(n * n).fill(0);
  const pairs = new Array<number>(n * n).fill(0);
  const steps = new Array<number>(n - 1).fill(0);
  for (let pass = 0; pass < passes; pass++) {
    orderOf(n, pass, rounds).forEach((row, i, order) => {
      positions[i * n + row]!++;
      if (i === 0) return;
      pairs[order[i - 1]! * n + row]!++;
      steps[((row - order[i - 1]! + n) % n) - 1]!++;
    });
  }
  return { positions, neighbours: pairs.filter((_, pair) => Math.floor(pair / n) !== pair % n), steps };
}

describe('createPermutation', () => {
  it('is a bijection at every small size', () => {
    for (let n = 1; n <= 300; n++) expect(orderOf(n, n).toSorted((a, b) => a - b), `n = ${n}`).toEqual(Array.from({ length: n }, (_, i) => i));
  });

  it('is a bijection of any size as far as one can look', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: PERMUTATION_POSITIONS_MAX }), fc.nat(), (n, pass) => {
        const permutation = createPermutation(n, stream, pass);
        const positions = new Set<number>();
        for (let i = 0; i < 500; i++) positions.add(i < 250 ? Math.min(i, n - 1) : Math.max(0, n - 1 - (i - 250)));
        const images = new Set([...positions].map((position) => permutation.at(position)));
        expect(images.size).toBe(positions.size);
        expect([...images].every((image) => Number.isSafeInteger(image) && image >= 0 && image < n)).toBe(true);
      }),
      { numRuns: 200, examples: [[PERMUTATION_POSITIONS_MAX, 0], [2 ** 52 + 1, 1], [(2 ** 26) ** 2, 0], [(2 ** 26) ** 2 + 1, 0], [1, 0], [2, 0]] },
    );
  });

  it('reaches the last position of the largest size, where quotients are rounded', () => {
    const n = PERMUTATION_POSITIONS_MAX;
    const permutation = createPermutation(n, stream, 0);
    const images = Array.from({ length: 2000 }, (_, i) => permutation.at(n - 1 - i * 94_906_267)); // around multiples of the halves' size
    expect(new Set(images).size).toBe(2000);
    expect(images.every((image) => Number.isSafeInteger(image) && image >= 0 && image < n)).toBe(true);
  });

  it('depends on the stream, the pass and nothing else', () => {
    expect(orderOf(50, 3)).toEqual(orderOf(50, 3));
    expect(orderOf(50, 3)).not.toEqual(orderOf(50, 4));
    const other = createPermutation(50, randomStream(8, 'permutation test'), 3);
    expect(Array.from({ length: 50 }, (_, i) => other.at(i))).not.toEqual(orderOf(50, 3));
  });

  it.each([2, 3, 4, 5, 6])('gives all orders of %i rows equally often', (n) => {
    expect(Math.abs(chiSquare(countOrders(n, 15_000)))).toBeLessThan(4);
  });

  it.each([
    [7, 8000],
    [16, 5000],
    [33, 2000],
    [100, 1000],
  ])('puts each of %i rows everywhere and beside every other equally often', (n, passes) => {
    const { positions, neighbours, steps } = countPlaces(n, passes);
    expect(Math.abs(chiSquare(positions))).toBeLessThan(4);
    expect(Math.abs(chiSquare(neighbours))).toBeLessThan(4);
    expect(Math.abs(chiSquare(steps))).toBeLessThan(4);
  });

  it('gives odd and even orders equally often, where both halves would be odd', () => {
    const isOdd = (order: readonly number[]): boolean => order.flatMap((row, i) => order.slice(i + 1).filter((later) => later < row)).length % 2 === 1;
    for (const n of [9, 25]) {
      const odd = Array.from({ length: 1000 }, (_, pass) => isOdd(orderOf(n, pass))).filter(Boolean).length;
      expect(Math.abs(odd - 500), `n = ${n}`).toBeLessThan(64); // four standard deviations
    }
  });

  it('spreads neighbours over a large part', () => {
    const n = 1_689_000_000;
    const permutation = createPermutation(n, stream, 0);
    const steps = new Array<number>(64).fill(0);
    for (let i = 1; i < 50_000; i++) steps[Math.floor((((permutation.at(i) - permutation.at(i - 1) + n) % n) / n) * 64)]!++;
    expect(Math.abs(chiSquare(steps))).toBeLessThan(4);
  });

  it('needs its rounds: with 2, and at small sizes with 6, the same tests fail', () => {
    expect(chiSquare(countOrders(5, 15_000, 2))).toBeGreaterThan(100);
    expect(chiSquare(countOrders(5, 15_000, 6))).toBeGreaterThan(20);
    expect(chiSquare(countPlaces(33, 2000, 2).neighbours)).toBeGreaterThan(100);
    expect(chiSquare(countPlaces(100, 1000, 2).steps)).toBeGreaterThan(100);
  });
});
