import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ListPages, compareUtf8, lastKey, listKeys } from '../../src/store/s3-list.ts';

interface Counted {
  readonly pages: ListPages;
  calls: number;
  atOnceMax: number;
}

/** An object store's listing over keys at hand, a few a page: folded prefixes count as keys do. */
function paging(keys: readonly string[], pageKeys: number): Counted {
  const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  let atOnce = 0;
  const counted: Counted = {
    calls: 0,
    atOnceMax: 0,
    pages: async ({ prefix, folded, startAfter = '', token }) => {
      counted.calls += 1;
      counted.atOnceMax = Math.max(counted.atOnceMax, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce -= 1;
      const items = sorted
        .filter((key) => key.startsWith(prefix) && Buffer.compare(Buffer.from(key), Buffer.from(startAfter)) > 0)
        .map((key) => (folded === true && key.indexOf('/', prefix.length) >= 0 ? key.slice(0, key.indexOf('/', prefix.length) + 1) : key));
      const distinct = items.filter((item, i) => item !== items[i - 1]);
      const from = token === undefined ? 0 : distinct.indexOf(token) + 1; // a token stands for a place, whatever the first page began after
      const page = distinct.slice(from, from + pageKeys);
      const isFolded = (item: string): boolean => folded === true && item.indexOf('/', prefix.length) >= 0;
      return {
        entries: page.filter((item) => !isFolded(item)).map((key) => ({ key, sizeBytes: key.length })),
        prefixes: page.filter(isFolded),
        token: from + pageKeys < distinct.length ? distinct[from + pageKeys - 1]! : null,
      };
    },
  };
  return counted;
}

async function keysOf(pages: ListPages, prefix: string, ahead?: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const entries of listKeys(pages, prefix, ahead)) keys.push(...entries.map(({ key }) => key));
  return keys;
}

const segment = fc.oneof(fc.constantFrom('a', 'b', 'a-', 'a.x', 'a0', 'b/c', 'é', '！', '\u{1F600}', 'ﬀ', '\u{10FFFD}', '\uD7FF'), fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom('a', 'b', '-', '/', '0', '！', '\u{1F600}') }));
const key = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

describe('keys listed from pages', () => {
  it('are every key under the prefix once, in code-unit order, whatever the pages and what is fetched ahead', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { maxLength: 60 }), fc.integer({ min: 1, max: 9 }), fc.constantFrom('', 'a', 'a/', 'b/', '！'), fc.integer({ min: 0, max: 20 }), async (keys, pageKeys, prefix, ahead) => {
        expect(await keysOf(paging(keys, pageKeys).pages, prefix, ahead)).toEqual(keys.filter((one) => one.startsWith(prefix)).sort());
      }),
      { numRuns: 400 },
    );
  });

  it('go on after any batch with the keys that an unbroken listing has after it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 9 }), fc.constantFrom('', 'a', 'a/', 'b/'), fc.integer({ min: 0, max: 20 }), async (keys, pageKeys, prefix, ahead) => {
        const { pages } = paging(keys, pageKeys);
        const expected = keys.filter((one) => one.startsWith(prefix)).sort();
        let before = 0;
        for await (const entries of listKeys(pages, prefix, ahead)) {
          before += entries.length;
          const rest: string[] = [];
          for await (const more of listKeys(pages, prefix, ahead, lastKey(entries))) rest.push(...more.map((entry) => entry.key));
          expect(rest).toEqual(expected.slice(before));
        }
        expect(before).toBe(expected.length);
      }),
      { numRuns: 200 },
    );
  });

  it('are refused from a server that begins them from the start again', async () => {
    const { pages } = paging(['a', 'b', 'c'], 10);
    const listed = async (): Promise<void> => {
      for await (const _ of listKeys(({ startAfter: _, ...query }) => pages(query), '', 4, 'b')) expect.unreachable();
    };
    await expect(listed()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/got "a" after "b"/) });
  });

  it('come from several large folders at once, within the pages allowed ahead', async () => {
    const keys = Array.from({ length: 5000 }, (_, i) => `pool/class-${String(i % 25).padStart(2, '0')}/${String(i).padStart(5, '0')}.jpg`);
    const counted = paging(keys, 100);
    expect(await keysOf(counted.pages, 'pool/', 8)).toEqual([...keys].sort());
    expect(counted.atOnceMax).toBeGreaterThan(3);
    expect(counted.atOnceMax).toBeLessThanOrEqual(9);
    expect(counted.calls).toBeLessThan(50 + 4 * 25);
  });

  it('cost no call for each of many small folders', async () => {
    const keys = Array.from({ length: 3000 }, (_, i) => `${String(i).padStart(4, '0')}/x.jpg`);
    const counted = paging(keys, 100);
    expect(await keysOf(counted.pages, '')).toEqual(keys);
    expect(counted.calls).toBe(30);
  });

  it('stop fetching when the reader stops', async () => {
    const counted = paging(Array.from({ length: 5000 }, (_, i) => `${i % 4}/${i}`), 10);
    for await (const entries of listKeys(counted.pages, '')) {
      expect(entries.length).toBeGreaterThan(0);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    const after = counted.calls;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(counted.calls).toBe(after);
    expect(after).toBeLessThan(30);
  });

  it('are refused from a server that lists them in another order', async () => {
    const pages: ListPages = async () => ({ entries: ['a', 'c', 'b'].map((name) => ({ key: name, sizeBytes: 1 })), prefixes: [], token: null });
    await expect(keysOf(pages, '')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/got "b" after "c"/) });
  });

  it('compare as their UTF-8 bytes do', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }));
  });
});
