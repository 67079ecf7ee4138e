import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { type ImagesManifest, imageColumns } from '../../src/ingest/image.ts';
import { NO_LABEL, scanImages } from '../../src/report/scan-images.ts';
import { type Part, writePart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const signal = new AbortController().signal;
const N = 400;
const meta = (row: number): string | null => {
  if (row % 10 === 9) return row % 20 === 9 ? 'no JSON' : null;
  return JSON.stringify({ region: `r${row % 3}`, free: row % 2 === 0, year: 2000 + (row % 4), id: row, tags: ['a'], 'very long': 'x'.repeat(5000) + (row % 2) });
};

describe('scanImages', () => {
  it('counts columns in the pool, a random subset and the selection, part by part, and leaves out what says nothing', async () => {
    const store = await openFsStore(join(await temporaryFolder(), 'store'));
    const parts: Part[] = [];
    for (let first = 0; first < N; first += 150) {
      const rows = Array.from({ length: Math.min(150, N - first) }, (_, i) => first + i);
      const none = new Float64Array(rows.length).fill(-1);
      const columns = imageColumns({ rowCount: rows.length, uri: rows.map((row) => `pool/${row}.jpg`), path: rows.map((row) => `${row}.jpg`), source: rows.map((row) => (row < 100 ? 'a' : 'b')), offset: none, length: none, size: none, label: rows.map((row) => (row % 7 === 0 ? null : `label ${row % 5}`)), caption: rows.map((row) => `caption ${row}`), meta: rows.map(meta) }, true);
      parts.push(await writePart(store, 'images', parts, rows.length, encodeTable(columns)));
    }
    const rows = Array.from({ length: N }, (_, row) => row);
    const weights = { pool: Uint8Array.from(rows, (row) => Number(row % 11 !== 0)), random: Uint8Array.from(rows, (row) => Number(row % 11 === 1)), selection: Uint16Array.from(rows, (row) => (row % 11 === 2 ? 3 : 0)) };
    const scan = await scanImages(store, { parts } as unknown as ImagesManifest, weights, [3, 149, 150, 399], signal);

    const count = (of: ArrayLike<number>, holds: (row: number) => boolean): number => rows.reduce((sum, row) => sum + (holds(row) ? of[row]! : 0), 0);
    const hasMeta = (row: number): boolean => row % 10 !== 9;
    const expected: Record<string, { values: string[]; holds: (row: number, value: string) => boolean }> = {
      label: { values: [0, 1, 2, 3, 4].map((i) => `label ${i}`), holds: (row, value) => row % 7 !== 0 && `label ${row % 5}` === value },
      source: { values: ['a', 'b'], holds: (row, value) => (row < 100 ? 'a' : 'b') === value },
      region: { values: ['r0', 'r1', 'r2'], holds: (row, value) => hasMeta(row) && `r${row % 3}` === value },
      free: { values: ['true', 'false'], holds: (row, value) => hasMeta(row) && String(row % 2 === 0) === value },
      year: { values: ['2000', '2001', '2002', '2003'], holds: (row, value) => hasMeta(row) && String(2000 + (row % 4)) === value },
    };
    // `id` has a value of its own for every row, `tags` is no plain value, and `very long` is one value when cut.
    expect(scan.columns.map(({ name }) => name)).toEqual(Object.keys(expected));
    for (const { name, values, pool, without } of scan.columns) {
      const { holds } = expected[name]!;
      expect(values.map(({ value }) => value).sort()).toEqual([...expected[name]!.values].sort());
      for (const one of values) expect([one.pool, one.random, one.selection], `${name} ${one.value}`).toEqual([weights.pool, weights.random, weights.selection].map((of) => count(of, (row) => holds(row, one.value))));
      expect(pool.images + without).toBe(count(weights.pool, () => true));
      expect(values.map((one) => one.pool)).toEqual(values.map((one) => one.pool).toSorted((a, b) => b - a));
    }
    expect([...scan.facts].map(([row, { uri, caption, offset }]) => [row, uri, caption, offset])).toEqual([3, 149, 150, 399].map((row) => [row, `pool/${row}.jpg`, `caption ${row}`, -1]));
    rows.forEach((row) => expect(scan.labelOf![row] === NO_LABEL ? null : scan.labels[scan.labelOf![row]!]).toBe(row % 7 === 0 ? null : `label ${row % 5}`));
  });
});
