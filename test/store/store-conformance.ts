/** Laws that every `Store` keeps. Called by the test of each implementation with a fresh, empty store. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { WinnowError } from '../../src/errors.ts';
import type { Store } from '../../src/store/store.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

async function keysOf(store: Store, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

export function storeConformance(open: () => Promise<Store>): void {
  it('reads back what was written, whole and by range', async () => {
    const store = await open();
    const written = await store.write('a/b.bin', bytesOf('hello world'));
    expect(written).toEqual({ sizeBytes: 11, sha256: 'b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9' });
    expect(await store.read('a/b.bin')).toEqual(bytesOf('hello world'));
    expect(await store.read('a/b.bin', { offset: 6, length: 5 })).toEqual(bytesOf('world'));
    expect(await store.head('a/b.bin')).toEqual({ key: 'a/b.bin', sizeBytes: 11 });
  });

  it('writes a stream of chunks as one object', async () => {
    const store = await open();
    async function* chunks(): AsyncIterable<Uint8Array> {
      for (let i = 0; i < 100; i++) yield bytesOf(`${i},`);
    }
    const written = await store.write('stream', chunks());
    expect((await store.read('stream')).byteLength).toBe(written.sizeBytes);
  });

  it('leaves the old object when a write breaks off', async () => {
    const store = await open();
    await store.write('kept', bytesOf('old'));
    async function* broken(): AsyncIterable<Uint8Array> {
      yield bytesOf('new');
      throw new Error('source broke');
    }
    await expect(store.write('kept', broken())).rejects.toThrow();
    expect(await store.read('kept')).toEqual(bytesOf('old'));
    expect(await keysOf(store, '')).toEqual(['kept']);
  });

  it('says so when there is nothing, or too little', async () => {
    const store = await open();
    expect(await store.head('none')).toBeNull();
    await expect(store.read('none')).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await store.write('short', bytesOf('abc'));
    await expect(store.read('short', { offset: 1, length: 3 })).rejects.toBeInstanceOf(WinnowError);
    await store.remove('none');
    await store.remove('none/');
  });

  it('lists every key under a prefix once, in code-unit order, whatever the order of writing', async () => {
    const segment = fc.stringMatching(/^[a-zA-Z0-9_-]{1,4}(\.x)?$/);
    const key = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => segments.join('/'));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { minLength: 1, maxLength: 12 }), async (keys) => {
        // A key can not be both an object and a folder.
        const usable = keys.filter((one) => !keys.some((other) => other !== one && other.startsWith(`${one}/`)));
        const store = await open();
        for (const one of usable) await store.write(one, bytesOf(one));
        const sorted = [...usable].sort((a, b) => (a < b ? -1 : 1));
        expect(await keysOf(store, '')).toEqual(sorted);
        const prefix = usable[0]!.slice(0, 2);
        expect(await keysOf(store, prefix)).toEqual(sorted.filter((one) => one.startsWith(prefix)));
      }),
      { numRuns: 60 },
    );
  });

  it('removes a key alone and a folder whole', async () => {
    const store = await open();
    for (const key of ['a/1', 'a/2', 'ab/1', 'b']) await store.write(key, bytesOf(key));
    await store.remove('a/1');
    expect(await keysOf(store, '')).toEqual(['a/2', 'ab/1', 'b']);
    await store.remove('a/');
    expect(await keysOf(store, '')).toEqual(['ab/1', 'b']);
  });

  it('takes two writers of the same key at once', async () => {
    const store = await open();
    const big = new Uint8Array(1 << 20).fill(7);
    await Promise.all(Array.from({ length: 8 }, () => store.write('same', big)));
    expect(await store.read('same')).toEqual(big);
    expect(await keysOf(store, '')).toEqual(['same']);
  });

  it('refuses keys that lead out of it', async () => {
    const store = await open();
    for (const key of ['../x', 'a/../b', '/etc/x', 'a//b', '', '.']) await expect(Promise.resolve().then(() => store.write(key, bytesOf('x')))).rejects.toThrow();
  });
}
