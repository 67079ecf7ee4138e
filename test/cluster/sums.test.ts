import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LeafSums, addSums } from '../../src/cluster/sums.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('LeafSums', () => {
  it('gives each range of cells the exact sums and counts of its leaves, whatever the order of rows', async () => {
    const store = await openFsStore(await temporaryFolder('sums'));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 7 }).filter((cells) => cells.some((k) => k > 0)),
        fc.array(fc.tuple(fc.nat(), fc.array(fc.integer({ min: -(2 ** 24), max: 2 ** 24 }), { minLength: 3, maxLength: 3 })), { maxLength: 40 }),
        fc.nat(),
        async (cells, drawn, cut) => {
          const offset = [0];
          for (const k of cells) offset.push(offset.at(-1)! + k);
          const k = offset.at(-1)!;
          const rows = drawn.map(([leaf, values]) => ({ leaf: leaf % k, values: Float32Array.from(values, (value) => value / 2 ** 24) }));
          const expected = { sums: new Float64Array(k * 3), size: new Float64Array(k) };
          for (const { leaf, values } of rows) {
            expected.size[leaf]!++;
            values.forEach((value, j) => (expected.sums[leaf * 3 + j]! += value));
          }
          // Two groups, the second with its rows backwards.
          const groups = [rows.slice(0, cut % (rows.length + 1)), rows.slice(cut % (rows.length + 1)).reverse()];
          for (const [g, some] of groups.entries()) {
            const sums = new LeafSums(3);
            for (const { leaf, values } of some) sums.add(leaf, Float32Array.of(0, ...values), 1);
            await store.write(`sums/${g}`, sums.encode(offset));
          }
          const middle = cut % (cells.length + 1);
          const found = { sums: new Float64Array(k * 3), size: new Float64Array(k) };
          for (const [from, to] of [[0, middle], [middle, cells.length]] as const) {
            const [first, end] = [offset[from]!, offset[to]!];
            for (const g of [0, 1]) await addSums(store, `sums/${g}`, offset, from, to, 3, found.sums.subarray(first * 3, end * 3), found.size.subarray(first, end));
          }
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('holds more leaves than it began with room for', () => {
    const sums = new LeafSums(1);
    for (let leaf = 2999; leaf >= 0; leaf--) sums.add(leaf, Float32Array.of(leaf / 4096), 0);
    const words = new Uint32Array(sums.encode([0, 3000]).buffer);
    expect([...words.subarray(0, 6)]).toEqual([0, 3000, 0, 1, 1, 1]);
  });
});
