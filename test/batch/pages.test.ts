import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLimiter } from '../../src/batch/limiter.ts';
import { createPages } from '../../src/batch/pages.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('createPages', () => {
  it('gives the bytes of any spans, however small the cache', async () => {
    const store = await openFsStore(await temporaryFolder());
    const files = { a: Uint8Array.from({ length: 1000 }, (_, i) => i & 255), b: Uint8Array.from({ length: 77 }, (_, i) => (i * 3) & 255) };
    for (const [key, bytes] of Object.entries(files)) await store.write(key, bytes);
    let reads = 0;
    const counted: Store = {
      ...store,
      read: (key, range) => {
        reads++;
        return store.read(key, range);
      },
    };
    const span = fc.constantFrom('a' as const, 'b' as const).chain((key) => fc.tuple(fc.nat(files[key].length), fc.nat(files[key].length)).map(([x, y]) => ({ key, sizeBytes: files[key].length, offset: Math.min(x, y), length: Math.abs(x - y) })));
    await fc.assert(
      fc.asyncProperty(fc.array(span, { maxLength: 12 }), fc.constantFrom(1, 64, 10_000), fc.constantFrom(8, 64, 4096), fc.constantFrom(0, 1, 4), async (spans, cacheBytes, pageBytes, gapPages) => {
        const found = await createPages(counted, createLimiter(4), cacheBytes, { pageBytes, gapPages }).fetch(spans);
        expect(found.map((bytes) => [...bytes])).toEqual(spans.map(({ key, offset, length }) => [...files[key].subarray(offset, offset + length)]));
      }),
      { numRuns: 60 },
    );
    const pages = createPages(counted, createLimiter(4), 10_000, { pageBytes: 64 });
    const whole = { key: 'a', sizeBytes: 1000, offset: 0, length: 1000 };
    await pages.fetch([whole]);
    reads = 0;
    await pages.fetch([whole, { ...whole, offset: 100, length: 5 }]);
    expect(reads).toBe(0);
  });

  it('reads together what lies together, and what lies between where that is told', async () => {
    const store = await openFsStore(await temporaryFolder());
    const bytes = Uint8Array.from({ length: 4000 }, (_, i) => i % 251);
    await store.write('a', bytes);
    const reads: string[] = [];
    const counted: Store = {
      ...store,
      read: (key, range) => {
        reads.push(`${range!.offset}+${range!.length}`);
        return store.read(key, range);
      },
    };
    const span = (offset: number, length: number) => ({ key: 'a', sizeBytes: 4000, offset, length });
    const spans = [span(3990, 10), span(0, 1), span(150, 20), span(600, 1), span(700, 1), span(2000, 1)];
    for (const [gapPages, expected] of [[0, ['0+200', '2000+100', '3900+100', '600+200']], [3, ['0+200', '2000+100', '3900+100', '600+200']], [4, ['0+800', '2000+100', '3900+100']]] as const) {
      reads.length = 0;
      const pages = createPages(counted, createLimiter(4), 10_000, { pageBytes: 100, gapPages });
      const found = await pages.fetch(spans);
      expect(found.map((one) => [...one])).toEqual(spans.map(({ offset, length }) => [...bytes.subarray(offset, offset + length)]));
      expect([...reads].sort()).toEqual(expected);
      // Of those between nothing is kept.
      reads.length = 0;
      await pages.fetch([span(1, 1), span(500, 1)]);
      expect(reads).toEqual(['500+100']);
    }
  });

  it('does not keep a page that could not be read', async () => {
    const store = await openFsStore(await temporaryFolder());
    const pages = createPages(store, createLimiter(4), 10_000, { pageBytes: 64 });
    const span = { key: 'late', sizeBytes: 3, offset: 0, length: 3 };
    await expect(pages.fetch([span])).rejects.toThrow();
    await store.write('late', Uint8Array.of(1, 2, 3));
    expect([...(await pages.fetch([span]))[0]!]).toEqual([1, 2, 3]);
  });
});
