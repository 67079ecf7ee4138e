import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseProbes } from '../../src/vector/choose-probes.ts';
import { openNearestCells } from '../../src/vector/nearest-cells.ts';
import { type Cells, openTwoLevelSearch } from '../../src/vector/two-level.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { matrix } from './search-conformance.ts';

const engine = sharedEngine();
const TOLERANCE = 1e-4;

/** Centroids around m − 1 coarse ones, one cell empty, in an order that mixes the cells. */
function cellsOf(seed: number, k: number, m: number, d: number, spread = 0.4): Cells {
  const coarse = matrix(seed, m, d);
  const noise = matrix(seed + 1, k, d);
  const cellOf = Uint32Array.from({ length: k }, (_, c) => (c * 7) % Math.max(1, m - 1));
  const centroids = noise.map((value, at) => (coarse[(cellOf[Math.floor(at / d)] as number) * d + (at % d)] as number) + spread * value);
  return { centroids, k, d, coarse, m, cellOf };
}

/** Brute force: the p nearest filled cells of a row, and its nearest two distances among their children. */
function oracle({ centroids, k, d, coarse, m, cellOf }: Cells, x: Float32Array, row: number, p: number): number[] {
  const filled = Array.from({ length: m }, (_, cell) => cell).filter((cell) => cellOf.includes(cell));
  const ranked = filled.map((cell) => ({ cell, distance: squaredDistance(x, row, coarse, cell, d) })).sort((a, b) => a.distance - b.distance);
  const chosen = new Set(ranked.slice(0, p).map(({ cell }) => cell));
  const distances = Array.from({ length: k }, (_, c) => (chosen.has(cellOf[c] as number) ? squaredDistance(x, row, centroids, c, d) : Infinity));
  return distances.sort((a, b) => a - b).slice(0, 2);
}

async function search(cells: Cells, x: Float32Array, n: number, probes: number): Promise<{ index: Uint32Array; distance: Float32Array; second: Float32Array }> {
  const twoLevel = await openTwoLevelSearch(await engine(), cells, probes);
  const out = { index: new Uint32Array(n), distance: new Float32Array(n), second: new Float32Array(n) };
  await twoLevel.nearest(x, n, out.index, out.distance, out.second);
  await twoLevel.close();
  return out;
}

function squaredDistance(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += ((a[i * d + e] as number) - (b[j * d + e] as number)) ** 2;
  return sum;
}

describe('openNearestCells', () => {
  it.each([
    { m: 1, d: 3, p: 1 },
    { m: 40, d: 17, p: 40 },
    { m: 700, d: 384, p: 9 },
    { m: 9000, d: 8, p: 5 },
  ])('ranks the $p nearest of $m cells of $d dimensions', async ({ m, d, p }) => {
    const n = 60;
    const [x, coarse] = [matrix(1, n, d), matrix(2, m, d)];
    const cells = new Uint32Array(n * p);
    await openNearestCells(await engine(), coarse, m, d, p).nearest(x, n, cells);
    for (let i = 0; i < n; i += 1) {
      const exact = Array.from({ length: m }, (_, cell) => squaredDistance(x, i, coarse, cell, d));
      const sorted = [...exact].sort((a, b) => a - b);
      const own = [...cells.subarray(i * p, (i + 1) * p)];
      expect(new Set(own).size).toBe(p);
      own.forEach((cell, place) => expect(Math.abs((exact[cell] as number) - (sorted[place] as number))).toBeLessThan(TOLERANCE));
    }
  });
});

describe('openTwoLevelSearch', () => {
  it('finds what brute force finds inside the nearest cells', async () => {
    const shape = fc.record({ k: fc.integer({ min: 1, max: 400 }), m: fc.integer({ min: 1, max: 12 }), d: fc.integer({ min: 1, max: 40 }), p: fc.integer({ min: 1, max: 14 }) });
    await fc.assert(
      fc.asyncProperty(shape, fc.integer({ min: 1, max: 99 }), async ({ k, m, d, p }, seed) => {
        const cells = cellsOf(seed, k, m, d);
        const n = 30;
        const x = matrix(seed + 7, n, d);
        const { index, distance, second } = await search(cells, x, n, p);
        for (let i = 0; i < n; i += 1) {
          const [best, next] = oracle(cells, x, i, p);
          expect(Math.abs((distance[i] as number) - (best as number))).toBeLessThan(TOLERANCE);
          expect(Math.abs(squaredDistance(x, i, cells.centroids, index[i] as number, d) - (best as number))).toBeLessThan(TOLERANCE);
          if (Number.isFinite(next ?? Infinity)) expect(Math.abs((second[i] as number) - (next as number))).toBeLessThan(TOLERANCE);
          else expect(second[i]).toBe(Infinity);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('looks everywhere with as many probes as cells', async () => {
    const [n, k, d] = [500, 900, 32];
    const cells = cellsOf(3, k, 20, d);
    const x = matrix(4, n, d);
    const exact = { index: new Uint32Array(n), distance: new Float32Array(n) };
    const brute = await (await engine()).nearest(cells.centroids, k, d);
    await brute.nearest(x, n, exact.index, exact.distance);
    await brute.close();
    const found = await search(cells, x, n, 99);
    expect(found.index).toEqual(exact.index);
    found.distance.forEach((value, i) => expect(value).toBeCloseTo(exact.distance[i] as number, 4));
  });

  it('gives a row the same bits however rows are cut', async () => {
    const [n, k, d, p] = [9000, 1500, 48, 5];
    const cells = cellsOf(5, k, 25, d, 2);
    const x = matrix(6, n, d);
    const whole = await search(cells, x, n, p);
    const twoLevel = await openTwoLevelSearch(await engine(), cells, p);
    for (const [from, rows] of [[0, 1], [n - 1, 1], [17, 40], [100, 8700]] as const) {
      const out = { index: new Uint32Array(rows), distance: new Float32Array(rows), second: new Float32Array(rows) };
      await twoLevel.nearest(x.subarray(from * d, (from + rows) * d), rows, out.index, out.distance, out.second);
      expect(out.index).toEqual(whole.index.slice(from, from + rows));
      expect(out.distance).toEqual(whole.distance.slice(from, from + rows));
      expect(out.second).toEqual(whole.second.slice(from, from + rows));
    }
    await twoLevel.close();
  });

  it('breaks ties between cells to the lowest index, and keeps what is not finite visible', async () => {
    const coarse = Float32Array.of(-1, 0, 1, 0);
    const centroids = Float32Array.of(1, 0, 0, 1, -1, 0, 0, 1);
    const cells: Cells = { centroids, k: 4, d: 2, coarse, m: 2, cellOf: Uint32Array.of(1, 1, 0, 0) };
    const { index, distance, second } = await search(cells, Float32Array.of(0, 1, NaN, 0, -0.1, 2), 3, 2);
    expect([index[0], index[2]]).toEqual([1, 1]);
    expect([distance[0], second[0]]).toEqual([0, 0]);
    expect(distance[1]).toBeNaN();
    expect(second[1]).toBeNaN();
    expect(index[1]).toBeLessThan(4);
  });

  it('refuses a cell that is not there', async () => {
    const cells = { ...cellsOf(1, 3, 2, 2), cellOf: Uint32Array.of(0, 2, 1) };
    await expect(openTwoLevelSearch(await engine(), cells, 1)).rejects.toThrow('Expected cells 0 … 1, got 2');
  });
});

describe('chooseProbes', () => {
  const [n, k, m, d] = [3000, 2000, 60, 24];
  const cells = cellsOf(8, k, m, d, 1.5);
  const x = matrix(9, n, d);

  it('takes the smallest number that reaches both targets, and reports what a search then does', async () => {
    const chosen = await chooseProbes(await engine(), cells, x, n, { seed: 1 });
    expect(chosen.recall).toBeGreaterThanOrEqual(0.99);
    expect(chosen.inertiaRatio).toBeLessThanOrEqual(1.002);
    const at = async (probes: number): Promise<{ recall: number; ratio: number }> => {
      const found = await search(cells, x, n, probes);
      const exact = await search(cells, x, n, m);
      const hits = found.index.filter((c, i) => c === exact.index[i]).length;
      const sum = (values: Float32Array): number => values.reduce((total, value) => total + value, 0);
      return { recall: hits / n, ratio: sum(found.distance) / sum(exact.distance) };
    };
    const own = await at(chosen.probes);
    expect(chosen.recall).toBeCloseTo(own.recall, 3);
    expect(chosen.inertiaRatio).toBeCloseTo(own.ratio, 4);
    expect(chosen.probes).toBeGreaterThan(1);
    const fewer = await at(chosen.probes - 1);
    expect(fewer.recall < 0.99 || fewer.ratio > 1.002).toBe(true);
  });

  it('draws its sample by the seed, and ends at all cells', async () => {
    const draw = (seed: number): Promise<unknown> => chooseProbes(engineNow, cells, x, n, { seed, sample: 200, recall: 0.9 });
    const engineNow = await engine();
    expect(await draw(1)).toEqual(await draw(1));
    const all = await chooseProbes(engineNow, cells, x, n, { seed: 1, sample: 100, recall: 2 });
    expect(all).toMatchObject({ probes: m - 1, recall: 1 });
    expect(all.inertiaRatio).toBeCloseTo(1, 5);
  });
});
