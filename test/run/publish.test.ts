import { describe, expect, it } from 'vitest';
import { discardStaged, finishPublication, publish } from '../../src/run/publish.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

async function contents(store: Store): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { key } of store.list('')) found[key] = new TextDecoder().decode(await store.read(key));
  return found;
}

/** Throws at the n-th change of the store. */
function failingAt(store: Store, n: number): Store {
  let changes = 0;
  const counted =
    <A extends readonly unknown[], R>(change: (...given: A) => Promise<R>) =>
    async (...given: A): Promise<R> => {
      if (changes++ === n) throw new Error('the power is gone');
      return change(...given);
    };
  return { ...store, write: counted(store.write), remove: counted(store.remove) };
}

async function openStaged(): Promise<Store> {
  const store = await openFsStore(await temporaryFolder('publish'));
  for (const [key, text] of Object.entries({ 'a/part-0': 'old a0', 'a/part-1': 'kept', 'a/manifest.json': 'old a', 'b/manifest.json': 'old b', 'c/other': 'other' })) await store.write(key, bytesOf(text));
  for (const [key, text] of Object.entries({ 'new/x': 'new a0', 'new/y': 'new b0', 'new/a.json': 'new a', 'new/b.json': 'new b', 'work/new/record': '{}' })) await store.write(key, bytesOf(text));
  return store;
}

const BEFORE = { 'a/part-0': 'old a0', 'a/part-1': 'kept', 'a/manifest.json': 'old a', 'b/manifest.json': 'old b', 'c/other': 'other' };
const AFTER = { 'a/part-0': 'new a0', 'a/part-1': 'kept', 'a/manifest.json': 'new a', 'b/part-0': 'new b0', 'b/manifest.json': 'new b', 'c/other': 'other' };
const CHANGE = {
  copies: [{ from: 'new/x', to: 'a/part-0' }, { from: 'new/y', to: 'b/part-0' }],
  manifests: [{ from: 'new/a.json', to: 'a/manifest.json' }, { from: 'new/b.json', to: 'b/manifest.json' }],
};

describe('publish', () => {
  it('puts everything in its place and leaves nothing staged', async () => {
    const store = await openStaged();
    await publish(store, 'new/', CHANGE);
    expect(await contents(store)).toEqual(AFTER);
    expect(await finishPublication(store, 'new/')).toBe(false);
  });

  it('stopped at any change, and stopped again, ends in all of it or nothing; a manifest stands only over its own parts', async () => {
    let stopped = 0;
    let nothing = 0;
    for (let first = 0; ; first++) {
      const store = await openStaged();
      const ended = await publish(failingAt(store, first), 'new/', CHANGE).then(() => true, () => false);
      if (ended) break;
      stopped++;
      const between = await contents(store);
      if (between['a/manifest.json'] === 'old a') expect(between['a/part-0']).toBe('old a0');
      if (between['a/manifest.json'] === 'new a') expect(between['a/part-0']).toBe('new a0');
      for (let again = 0; again < 3; again++) await finishPublication(failingAt(store, again), 'new/').catch(() => undefined);
      const wasCommitted = await finishPublication(store, 'new/');
      await discardStaged(store, 'new/');
      const now = await contents(store);
      if (!wasCommitted && now['a/part-0'] === 'old a0') {
        nothing++;
        expect(now).toEqual(BEFORE);
      } else expect(now).toEqual(AFTER);
    }
    // One change commits; before it nothing has happened, after it everything will.
    expect(nothing).toBe(1);
    expect(stopped).toBeGreaterThan(8);
  });
});
