import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PartOrder } from '../../src/batch/order.ts';
import { createSampler } from '../../src/batch/sampler.ts';
import { type Strata, createClusterOrder, createStratifiedOrder } from '../../src/batch/strata.ts';
import { randomStream } from '../../src/random.ts';

/** Strata of the given sizes over rows 0 … n − 1, dealt round by round so that no stratum is a run of rows. */
function strataOf(sizes: readonly number[]): { strata: Strata; stratum: number[] } {
  const stratum: number[] = [];
  for (let round = 0; round < Math.max(...sizes); round++) sizes.forEach((size, k) => round < size && stratum.push(k));
  const rows = sizes.flatMap((_, k) => stratum.flatMap((own, row) => (own === k ? [row] : [])));
  let end = 0;
  return { strata: { rows: Uint32Array.from(rows), ends: Float64Array.from(sizes, (size) => (end += size)) }, stratum };
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 9 });
const orders: Record<string, (strata: Strata, slot: number, seed: number) => PartOrder> = {
  stratified: (strata, _, seed) => createStratifiedOrder(strata, randomStream(seed, 'a'), randomStream(seed, 'b')),
  cluster: (strata, slot, seed) => createClusterOrder(strata, slot, randomStream(seed, 'a'), randomStream(seed, 'b')),
};
const countsOf = (rows: ArrayLike<number>, stratum: readonly number[], K: number): number[] => {
  const counts = new Array<number>(K).fill(0);
  for (const row of Array.from(rows)) counts[stratum[row]!]!++;
  return counts;
};

describe.each(Object.keys(orders))('%s order', (name) => {
  it('has each row once a pass, in any ranges, and another order each pass', () => {
    fc.assert(
      fc.property(sizes, fc.double({ min: 1, max: 30, noNaN: true }), fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 }), fc.nat(), (list, slot, cuts, seed) => {
        const { strata } = strataOf(list);
        const n = strata.rows.length;
        const whole = orders[name]!(strata, slot, seed).range(0, 3 * n);
        for (let pass = 0; pass < 3; pass++) expect([...whole.slice(pass * n, (pass + 1) * n)].toSorted((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
        const order = orders[name]!(strata, slot, seed);
        let at = Math.floor(n / 3);
        for (const cut of cuts) {
          const count = Math.min(cut, 3 * n - at);
          expect([...order.range(at, count)]).toEqual([...whole.slice(at, at + count)]);
          at += count;
        }
        if (n > 12) expect([...whole.slice(0, n)]).not.toEqual([...whole.slice(n, 2 * n)]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('stratified order', () => {
  it('has each stratum within an image of its share in any run of a pass', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), fc.nat(), (list, seed, from, count) => {
        const { strata, stratum } = strataOf(list);
        const n = strata.rows.length;
        const first = from % n;
        const taken = 1 + (count % (n - first));
        countsOf(orders['stratified']!(strata, 1, seed).range(first, taken), stratum, list.length).forEach((found, k) => expect(Math.abs(found - (taken * list[k]!) / n)).toBeLessThan(list.length === 1 ? 1e-9 : 2));
      }),
      { numRuns: 200 },
    );
  });

  it('spreads every batch over the strata, where plain batches leave it to chance', () => {
    const list = [30, 30, 30, 30, 30, 30];
    const { strata, stratum } = strataOf(list);
    const worst = (compose: 'plain' | 'stratified'): number => {
      const sampler = createSampler({ parts: [{ name: 'a', rows: 180, strata }], mixture: { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 1 }] }, seed: 1, compose }, 12);
      return Math.max(...Array.from({ length: 60 }, (_, step) => Math.max(...countsOf(sampler.batch(step, 0, 1).index, stratum, 6).map((found) => Math.abs(found - 2)))));
    };
    expect(worst('stratified')).toBeLessThanOrEqual(1);
    expect(worst('plain')).toBeGreaterThan(2);
  });
});

describe('cluster order', () => {
  it('takes a homogeneous batch from one stratum, as far as strata have whole batches', () => {
    const list = [64, 40, 31, 24, 8, 5];
    const { strata, stratum } = strataOf(list);
    const sampler = createSampler({ parts: [{ name: 'a', rows: 172, strata }], mixture: { homogeneous: { part: 'a', probability: 1 }, heterogeneous: [] }, seed: 3, compose: 'cluster' }, 8);
    const steps = 430; // twenty passes
    const pure = Array.from({ length: steps }, (_, step) => countsOf(sampler.batch(step, 0, 1).index, stratum, list.length).filter((count) => count > 0).length).filter((strataInBatch) => strataInBatch === 1).length;
    // ⌊size / 8⌋ runs in all: 8 + 5 + 3 + 3 + 1 of 21.5 batches a pass, one less where a pass begins within a batch.
    expect(pure).toBeGreaterThanOrEqual(19 * 20);
  });

  it('keeps the share of a heterogeneous batch in one stratum but for an image at each end', () => {
    const list = [300, 300, 300];
    const { strata, stratum } = strataOf(list);
    const source = { parts: [{ name: 'a', rows: 900, strata }, { name: 'b', rows: 77 }], mixture: { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 0.73 }, { part: 'b', ratio: 0.27 }] }, seed: 0, compose: 'cluster' } as const;
    const sampler = createSampler(source, 25);
    let impure = 0;
    for (let step = 0; step < 300; step++) {
      const { part, index } = sampler.batch(step, 0, 1);
      const counts = countsOf(index.filter((_, i) => part[i] === 0), stratum, 3);
      if (counts.reduce((sum, count) => sum + count) - Math.max(...counts) > 2) impure++;
    }
    expect(impure).toBeLessThan(300 * 0.12); // the ends of passes and what fills no run
  });
});
