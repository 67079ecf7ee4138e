import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClusterTree, NO_CLUSTER } from '../../src/cluster/tree.ts';
import { lorenzCurve, measureLevels, rankCurve } from '../../src/report/level-balance.ts';
import { buildTreeMap, nameClusters } from '../../src/report/tree-map.ts';
import type { PoolRows } from '../../src/report/pool-rows.ts';

const sizes = fc.array(fc.nat(1000), { minLength: 1, maxLength: 300 }).map((some) => Float64Array.from(some));

/** A tree of three levels over the rows, and which of them are drawn. */
const rows = fc
  .array(fc.record({ leaf: fc.option(fc.nat(11), { nil: NO_CLUSTER, freq: 8 }), copies: fc.nat(2) }), { minLength: 1, maxLength: 200 })
  .map((some) => {
    const leaf = Uint32Array.from(some, (row) => row.leaf);
    const size = (of: (c: number) => number, k: number): Float64Array => {
      const counts = new Float64Array(k);
      for (const c of leaf) if (c !== NO_CLUSTER) counts[of(c)]!++;
      return counts;
    };
    const top = new Uint32Array(2).fill(NO_CLUSTER);
    const tree: ClusterTree = { d: 1, levels: [{ k: 12, parent: Uint32Array.from({ length: 12 }, (_, c) => c % 5), size: size((c) => c, 12) }, { k: 5, parent: Uint32Array.from({ length: 5 }, (_, c) => c % 2), size: size((c) => c % 5, 5) }, { k: 2, parent: top, size: size((c) => (c % 5) % 2, 2) }] };
    const closest = Uint32Array.from({ length: 12 }, (_, c) => (leaf.includes(c) ? leaf.indexOf(c) : NO_CLUSTER));
    const pool: PoolRows = { n: leaf.length, leaf, copies: Uint16Array.from(some, (row) => (row.leaf === NO_CLUSTER ? 0 : row.copies)), reason: new Uint8Array(leaf.length), reasons: [''], closest };
    return { tree, pool };
  });

describe('measureLevels', () => {
  it('counts each level as a look at every row does, and measures Gini as the mean difference of pairs', () => {
    fc.assert(
      fc.property(rows, ({ tree, pool }) => {
        const up = [(c: number) => c, (c: number) => c % 5, (c: number) => (c % 5) % 2];
        measureLevels(tree, pool).forEach(({ k, selection, before, after }, l) => {
          const counted = new Float64Array(k);
          pool.leaf.forEach((c, row) => c !== NO_CLUSTER && (counted[up[l]!(c)]! += pool.copies[row]!));
          expect(selection).toEqual(counted);
          for (const [counts, { gini, images, used }] of [[tree.levels[l]!.size, before], [counted, after]] as const) {
            const total = counts.reduce((sum, count) => sum + count, 0);
            let differences = 0;
            for (const a of counts) for (const b of counts) differences += Math.abs(a - b);
            expect([images, used]).toEqual([total, counts.filter((count) => count > 0).length]);
            expect(gini).toBeCloseTo(total === 0 ? 0 : differences / (2 * k * total), 9);
          }
        });
      }),
    );
  });
});

describe('curves', () => {
  it('keep the ends, and go the way they have to', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 2, max: 50 }), (some, pointsMax) => {
        const ranks = rankCurve(some, pointsMax);
        const used = some.filter((size) => size > 0).length;
        expect(ranks.length).toBeLessThanOrEqual(pointsMax);
        if (used > 0) expect([ranks[0], ranks.at(-1)![0]]).toEqual([[1, Math.max(...some)], used]);
        for (let i = 1; i < ranks.length; i++) expect(ranks[i]![0] > ranks[i - 1]![0] && ranks[i]![1] <= ranks[i - 1]![1]).toBe(true);
        const lorenz = lorenzCurve(some, pointsMax);
        expect(lorenz[0]).toEqual([0, 0]);
        if (used > 0) expect(lorenz.at(-1)).toEqual([1, 1]);
        for (const [x, y] of lorenz) expect(y).toBeLessThanOrEqual(x + 1e-9);
      }),
    );
  });
});

describe('buildTreeMap', () => {
  it('holds the whole of a small tree: children add up to their parent, each with an image of its own', () => {
    fc.assert(
      fc.property(rows, ({ tree, pool }) => {
        const nodes = buildTreeMap(tree, measureLevels(tree, pool), pool);
        nodes.forEach(({ n, d, l, c, r, p }, i) => {
          const children = nodes.filter((node) => node.p === i);
          if (l > 1) expect([n, d]).toEqual([children.reduce((sum, child) => sum + child.n, 0), children.reduce((sum, child) => sum + child.d, 0)]);
          if (p < 0) return;
          const up = [(leaf: number) => leaf, (leaf: number) => leaf % 5, (leaf: number) => (leaf % 5) % 2][l - 1]!;
          expect(up(pool.leaf[r]!)).toBe(c);
        });
      }),
    );
  });

  it('stays bounded, and counts what it leaves out', () => {
    const k = 5000;
    const leaf = Uint32Array.from({ length: 2 * k }, (_, row) => row % k);
    const tree: ClusterTree = { d: 1, levels: [{ k, parent: new Uint32Array(k), size: new Float64Array(k).fill(2) }, { k: 1, parent: Uint32Array.of(NO_CLUSTER), size: Float64Array.of(2 * k) }] };
    const pool: PoolRows = { n: 2 * k, leaf, copies: new Uint16Array(2 * k).fill(1), reason: new Uint8Array(2 * k), reasons: [''], closest: Uint32Array.from({ length: k }, (_, c) => c) };
    const nodes = buildTreeMap(tree, measureLevels(tree, pool), pool);
    expect(nodes.length).toBeLessThan(100);
    expect(nodes[1]!.rest).toEqual([k - (nodes.length - 2), 2 * (k - (nodes.length - 2)), 2 * (k - (nodes.length - 2))]);
  });
});

describe('nameClusters', () => {
  it('gives the most frequent label, the first of equals', () => {
    const tree: ClusterTree = { d: 1, levels: [{ k: 2, parent: Uint32Array.of(0, 0), size: Float64Array.of(3, 2) }, { k: 1, parent: Uint32Array.of(NO_CLUSTER), size: Float64Array.of(5) }] };
    const pool = { leaf: Uint32Array.of(0, 0, 0, 1, 1) } as PoolRows;
    const names = nameClusters(tree, pool, Uint32Array.of(0, 1, 1, 2, 0), ['cat', 'dog', 'fish'], [new Set([0, 1]), new Set([0])]);
    expect(Object.fromEntries(names)).toEqual({ '1:0': 'dog', '1:1': 'cat', '2:0': 'cat' });
  });
});
