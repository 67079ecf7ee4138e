/** Laws of the leaf draws: which rows a balanced selection takes, given quotas. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { allocateTree } from '../../src/sample/allocate.ts';
import { drawCopies } from '../../src/sample/sample.ts';
import { type Pool, pools } from '../sample/random-tree.ts';

type Strategy = 'random' | 'closest' | 'furthest';

const strategies = fc.constantFrom<Strategy>('random', 'closest', 'furthest');
const multipliers = fc.integer({ min: 1, max: 4 });

function select(pool: Pool, target: number, strategy: Strategy, multiplier: number, seed: number): { copies: Uint16Array; quota: Float64Array } {
  const { quota } = allocateTree(pool.tree, target, multiplier, seed)[0]!;
  return { copies: drawCopies(pool, quota, { strategy, multiplier }, seed), quota };
}

const rowsOf = ({ leaf }: Pool, c: number): number[] => [...leaf.keys()].filter((r) => leaf[r] === c);

describe('a selection', () => {
  it('gives each leaf its quota, from clustered rows alone, no row more than `multiplier` times, and copies differ by one at most', () => {
    fc.assert(
      fc.property(pools(), fc.nat(200), strategies, multipliers, fc.nat(20), (pool, target, strategy, multiplier, seed) => {
        const { copies, quota } = select(pool, target, strategy, multiplier, seed);
        quota.forEach((q, c) => {
          const taken = rowsOf(pool, c).map((r) => copies[r]!);
          expect(taken.reduce((total, count) => total + count, 0)).toBe(q);
          if (taken.length === 0) return;
          expect(Math.max(...taken)).toBeLessThanOrEqual(multiplier);
          expect(Math.max(...taken) - Math.min(...taken)).toBeLessThanOrEqual(1);
        });
        pool.leaf.forEach((c, r) => {
          if (c === NO_CLUSTER) expect(copies[r]).toBe(0);
        });
      }),
      { numRuns: 200 },
    );
  });

  it('takes no row twice when the multiplier is 1, and all of them when the target is the pool', () => {
    fc.assert(
      fc.property(pools(), fc.nat(80), strategies, (pool, target, strategy) => {
        expect(Math.max(...select(pool, target, strategy, 1, 0).copies)).toBeLessThanOrEqual(1);
        const everything = select(pool, pool.leaf.length, strategy, 1, 0).copies;
        expect([...everything]).toEqual(Array.from(pool.leaf, (c) => (c === NO_CLUSTER ? 0 : 1)));
      }),
    );
  });

  it('nests exactly: a smaller target takes no copy that a larger one does not', () => {
    fc.assert(
      fc.property(pools(), fc.nat(100), fc.nat(100), strategies, multipliers, fc.nat(20), (pool, target, more, strategy, multiplier, seed) => {
        const smaller = select(pool, target, strategy, multiplier, seed).copies;
        const larger = select(pool, target + more, strategy, multiplier, seed).copies;
        smaller.forEach((count, r) => expect(count).toBeLessThanOrEqual(larger[r]!));
      }),
      { numRuns: 300 },
    );
  });

  it('is the same for the same seed, and a random draw is another for another seed', () => {
    const leaf = new Uint32Array(200);
    const pool = { leaf, distance: new Float32Array(200) };
    const draw = (seed: number): number[] => [...drawCopies(pool, Float64Array.of(100), { strategy: 'random', multiplier: 1 }, seed)];
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  it.each(['closest', 'furthest'] as const)('takes a prefix of each leaf by distance, ties by row: %s', (strategy) => {
    fc.assert(
      fc.property(pools(), fc.nat(80), (pool, target) => {
        const { copies, quota } = select(pool, target, strategy, 1, 3);
        const sign = strategy === 'closest' ? 1 : -1;
        quota.forEach((q, c) => {
          const ordered = rowsOf(pool, c).sort((a, b) => sign * (pool.distance[a]! - pool.distance[b]!) || a - b);
          expect(ordered.map((r) => copies[r])).toEqual(ordered.map((_, place) => (place < q ? 1 : 0)));
        });
      }),
    );
  });

  it('draws every row of a leaf equally often over seeds', () => {
    const pool = { leaf: new Uint32Array(10), distance: new Float32Array(10) };
    const counts = new Float64Array(10);
    const seeds = 4000;
    for (let seed = 0; seed < seeds; seed++) drawCopies(pool, Float64Array.of(3), { strategy: 'random', multiplier: 1 }, seed).forEach((count, r) => (counts[r]! += count));
    // Binomial(4000, 0.3): σ = 29; five of them.
    for (const count of counts) expect(Math.abs(count - 0.3 * seeds)).toBeLessThan(145);
  });
});
