import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { type ChooseOptions, createChooser } from '../../src/retrieve/choose.ts';

interface Row {
  readonly row: number;
  readonly cluster: number;
  readonly distance: number;
}

const pools = fc
  .uniqueArray(fc.record({ row: fc.nat(10_000_000), cluster: fc.nat(6), distance: fc.nat(5).map((value) => value / 4) }), { selector: ({ row }) => row, maxLength: 120 })
  .map((rows) => rows.sort((a, b) => a.row - b.row));

function chosenOf(rows: readonly Row[], options: Partial<ChooseOptions>): number[] {
  const chooser = createChooser({ images: 5, cap: 12, draw: 'random', seed: 1, name: 'flowers', clusters: 7, rowsMax: 1000, ...options });
  for (const { row, cluster, distance } of rows) chooser.add(row, cluster, distance);
  const { row, cluster } = chooser.end();
  row.forEach((r, i) => expect(cluster[i]).toBe(rows.find((one) => one.row === r)!.cluster));
  return [...row];
}

/** What the rule says, written the slow way. */
function oracle(rows: readonly Row[], { images = 5, cap = 12, draw = 'random', seed = 1, name = 'flowers' }: Partial<ChooseOptions>): number[] {
  const uniform = (row: number): number => randomStream(seed, 'retrieve', name, 'row').uniform(row);
  const turn = (cluster: number): number => randomStream(seed, 'retrieve', name, 'cluster').uniform(cluster);
  const ranked = [0, 1, 2, 3, 4, 5, 6].flatMap((c) =>
    rows
      .filter(({ cluster }) => cluster === c)
      .map((one) => ({ ...one, key: draw === 'random' ? uniform(one.row) : one.distance }))
      .sort((a, b) => a.key - b.key || a.row - b.row)
      .slice(0, images)
      .map((one, rank) => ({ ...one, rank })),
  );
  ranked.sort((a, b) => (draw === 'random' ? a.key - b.key || a.row - b.row : a.rank - b.rank || turn(a.cluster) - turn(b.cluster)));
  return ranked.slice(0, cap).map(({ row }) => row).sort((a, b) => a - b);
}

const draws = fc.constantFrom('random' as const, 'closest' as const);
const figure = fc.integer({ min: 1, max: 20 });

describe('the choice inside clusters and under the cap', () => {
  it('is the rule written out, whatever the order rows come in', () => {
    fc.assert(
      fc.property(pools, draws, figure, figure, fc.infiniteStream(fc.nat(1000)), (rows, draw, images, cap, dice) => {
        const expected = oracle(rows, { draw, images, cap });
        expect(chosenOf(rows, { draw, images, cap })).toEqual(expected);
        const shuffled = rows.map((row) => ({ row, at: dice.next().value as number })).sort((a, b) => a.at - b.at).map(({ row }) => row);
        expect(chosenOf(shuffled, { draw, images, cap })).toEqual(expected);
      }),
    );
  });

  it('holds a bounded number of rows: with far more than fit it drops early and gives the same', () => {
    // 300,000 rows in five clusters against buffers of 65,536 + 2 · 40: pruned several times.
    const stream = randomStream(9, 'rows');
    const rows = Array.from({ length: 300_000 }, (_, row) => ({ row, cluster: stream.below(row, 5), distance: stream.below(1e6 + row, 1000) / 7 }));
    for (const draw of ['random', 'closest'] as const) {
      const options = { draw, images: 11, cap: 40 };
      const expected = oracle(rows, options);
      expect(expected).toHaveLength(40);
      const chooser = createChooser({ ...options, seed: 1, name: 'flowers', clusters: 5, rowsMax: 1e6 });
      for (const { row, cluster, distance } of rows.toReversed()) chooser.add(row, cluster, distance);
      expect([...chooser.end().row]).toEqual(expected);
    }
  });

  it('gives a smaller figure from within a larger one', () => {
    fc.assert(
      fc.property(pools, draws, figure, figure, fc.nat(10), (rows, draw, images, cap, more) => {
        const some = chosenOf(rows, { draw, images, cap });
        const ofMore = new Set(chosenOf(rows, { draw, images, cap: cap + more }));
        expect(some.every((row) => ofMore.has(row))).toBe(true);
        const uncapped = new Set(chosenOf(rows, { draw, images: images + more, cap: 1000 }));
        expect(chosenOf(rows, { draw, images, cap: 1000 }).every((row) => uncapped.has(row))).toBe(true);
      }),
    );
  });

  it('draws other rows for another seed or another set, and each row about equally often', () => {
    const rows = Array.from({ length: 40 }, (_, row) => ({ row, cluster: 0, distance: 0 }));
    expect(chosenOf(rows, { images: 10, cap: 10, name: 'flowers' })).not.toEqual(chosenOf(rows, { images: 10, cap: 10, name: 'food' }));
    const counts = new Array<number>(40).fill(0);
    for (let seed = 0; seed < 2000; seed++) for (const row of chosenOf(rows, { images: 10, cap: 10, seed })) counts[row]!++;
    // Binomial(2000, 1/4): five deviations are 97.
    for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(97);
  });
});
