import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { createLimiter } from '../../src/batch/limiter.ts';
import { createPages } from '../../src/batch/pages.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { type Records, openRecords, sortRecords } from '../../src/web/sorted-records.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

it('sorts as a stable sort of all records would, however little it may hold', async () => {
  const store = await openFsStore(await temporaryFolder('records'));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.oneof(fc.nat(6), fc.integer({ min: 0, max: 0xffffffff })), fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 0xffffffff }))), { minLength: 1, maxLength: 80 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 9 }),
      async (keys, recordsMax, blockRows) => {
        const all = keys.map(([hi, lo], row) => ({ hi, lo, row }));
        async function* blocks(): AsyncIterable<Records> {
          for (let at = 0; at < all.length; at += blockRows) {
            const some = all.slice(at, at + blockRows);
            yield { hi: Uint32Array.from(some, ({ hi }) => hi), lo: Uint32Array.from(some, ({ lo }) => lo), row: Uint32Array.from(some, ({ row }) => row) };
          }
        }
        const buckets = Math.ceil(all.length / recordsMax);
        const count = await sortRecords(store, blocks(), { prefix: 'sorted/', bucketOf: (hi) => Math.floor((hi / 2 ** 32) * buckets), buckets, recordsMax });
        const expected = all.toSorted((a, b) => a.hi - b.hi || a.lo - b.lo);
        const sorted = openRecords(store, 'sorted/', count, createPages(store, createLimiter(4), 4096, { pageBytes: 256 }));
        const { hi, lo, row } = await sorted.read(0, count);
        expect(Array.from(hi, (_, i) => ({ hi: hi[i], lo: lo[i], row: row[i] }))).toEqual(expected);
        const [wantedHi, wantedLo] = keys[0]!;
        const first = expected.findIndex((one) => one.hi === wantedHi && one.lo === wantedLo);
        expect(await sorted.lowerBound(wantedHi, wantedLo)).toBe(first);
      },
    ),
    { numRuns: 40 },
  );
  for await (const { key } of store.list('sorted/spill/')) expect(key).toBe('no spill is left');
});
