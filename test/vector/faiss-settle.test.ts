import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ranking, faissError, innerProduct, rankAll, settle, squaredDistance } from '../../src/vector/faiss-settle.ts';
import { matrix } from './search-cases.ts';

/** Exact costs with many ties and near ties, a float32-like error on each, and a list of the first so many by what is then seen. */
const scene = fc
  .record({
    exact: fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 30 }),
    wanted: fc.integer({ min: 1, max: 5 }),
    listed: fc.integer({ min: 1, max: 30 }),
    error: fc.constantFrom(0, 0.4, 1, 3),
  })
  .chain((base) => fc.record({ base: fc.constant(base), off: fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: base.exact.length, maxLength: base.exact.length }) }));

const byCost = (exact: readonly number[]) => (a: number, b: number): number => exact[a]! - exact[b]! || a - b;

describe('settle', () => {
  it('gives the exact best in order, or says that the list is too short', () => {
    let [settled, unsettled] = [0, 0];
    fc.assert(
      fc.property(scene, ({ base: { exact, wanted, listed, error }, off }) => {
        const total = exact.length;
        const seen = exact.map((cost, i) => cost + error * off[i]!);
        const labels = [...seen.keys()].sort((a, b) => seen[a]! - seen[b]! || b - a).slice(0, listed);
        const ranking = new Ranking(wanted);
        const cost = (place: number): number => seen[labels[place]!]!;
        // The sum of an error and its bound must not round below it.
        const proposal = { cost, labels, from: 0, listed: labels.length, error: error * (1 + 1e-12) };
        if (!settle(ranking, proposal, total, (index) => exact[index]!)) {
          unsettled += 1;
          expect(labels.length).toBeLessThan(total);
          return;
        }
        settled += 1;
        const best = [...exact.keys()].sort(byCost(exact)).slice(0, wanted);
        expect([...ranking.index.subarray(0, ranking.count)]).toEqual(best);
        expect([...ranking.cost.subarray(0, ranking.count)]).toEqual(best.map((index) => exact[index]));
      }),
      { numRuns: 1000 },
    );
    expect(settled).toBeGreaterThan(100);
    expect(unsettled).toBeGreaterThan(100);
  });

  it('does not settle on what is not finite, or on places without a candidate', () => {
    for (const [costs, labels] of [[[NaN, 1], [0, 1]], [[1, NaN], [0, 1]], [[Infinity, Infinity], [0, 1]], [[1, 1], [0, -1]]] as const) {
      expect(settle(new Ranking(1), { cost: (place) => costs[place]!, labels, from: 0, listed: 2, error: 1 }, 2, () => 0)).toBe(false);
    }
  });
});

describe('Ranking', () => {
  it('keeps the least costs, lowest index first among equals, and what is no number last', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 1, 2, 3, NaN, Infinity), { maxLength: 40 }), fc.integer({ min: 1, max: 8 }), (costs, wanted) => {
        const ranking = new Ranking(wanted);
        rankAll(ranking, costs.length, (index) => costs[index]!);
        const finite = costs.map((cost) => (Number.isNaN(cost) ? Infinity : cost));
        const best = [...finite.keys()].sort((a, b) => (finite[a] === finite[b] ? a - b : finite[a]! - finite[b]!)).slice(0, wanted);
        expect([...ranking.index.subarray(0, ranking.count)]).toEqual(best);
      }),
    );
  });
});

describe('faissError', () => {
  it('bounds float32 sums in the worst of orders, one after the other', () => {
    for (const d of [3, 64, 1280]) {
      const [a, b] = [matrix(50, 20, d), matrix(51, 20, d)];
      for (let i = 0; i < 20; i += 1) {
        const [x, y] = [a.subarray(i * d, (i + 1) * d), b.subarray(i * d, (i + 1) * d)];
        let [dot, xx, yy] = [0, 0, 0];
        for (let e = 0; e < d; e += 1) {
          dot = Math.fround(dot + Math.fround(x[e]! * y[e]!));
          xx = Math.fround(xx + Math.fround(x[e]! * x[e]!));
          yy = Math.fround(yy + Math.fround(y[e]! * y[e]!));
        }
        const error = faissError(d, Math.sqrt(innerProduct(x, 0, x, 0, d)), Math.sqrt(innerProduct(y, 0, y, 0, d)));
        expect(Math.abs(dot - innerProduct(x, 0, y, 0, d))).toBeLessThan(error);
        expect(Math.abs(Math.fround(Math.fround(xx + yy) - 2 * dot) - squaredDistance(x, 0, y, 0, d))).toBeLessThan(error);
      }
    }
  });
});
