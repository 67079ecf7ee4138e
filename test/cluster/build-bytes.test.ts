/** The bytes of a tree: the same whatever it was built with, and after a build that was cut short. */
import { describe, expect, it } from 'vitest';
import { readManifest } from '../../src/run/manifest.ts';
import type { Execution } from '../../src/run/stage.ts';
import type { Store } from '../../src/store/store.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { type Opened, build, expectLaws, mixturePool, openContext, openPool } from './built-tree.ts';

/** Everything at once: rejected rows, a split level, resampling, merging. */
const FULL = { levels: [90, 20, 5], splits: [3, 1, 1], resampling: { rounds: 1, sampleSize: 4 }, outliers: { policy: 'merge', minSize: 3 }, iterations: 8, seedingRows: 900 };

describe('the bytes of a tree', () => {
  it('do not depend on block size, threads or memory', async () => {
    const pool = mixturePool(4000, 12, 'float16');
    const { root, store, embeddings } = await openPool(pool);
    const first = await build(openContext(store), embeddings, FULL);
    await expectLaws(store, pool, first.manifest, { nearest: false });
    const hashes = await storeHashes(root, ['clusters']);
    const variants: Partial<Execution>[] = [
      { blockRows: 1777, threads: 1 },
      { blockRows: 1 << 20, memoryBytes: 1 << 30 },
      { blockRows: 5000, memoryBytes: 0 },
      { blockRows: 1024, memoryBytes: 30_000, threads: 3, concurrency: 7 },
    ];
    for (const execution of variants) {
      await store.remove('clusters/');
      await build(openContext(store, { execution }), embeddings, FULL);
      expect(await storeHashes(root, ['clusters']), JSON.stringify(execution)).toEqual(hashes);
    }
  });

  it('do not depend on where the embeddings are cut into parts', async () => {
    const parts = async (partRows: number) => {
      const { store, embeddings } = await openPool(mixturePool(2000, 8, 'float32', { partRows }));
      const { manifest } = await build(openContext(store), embeddings, FULL);
      return [...manifest.parts, ...manifest.levels.flatMap((level) => level.parts)].map(({ sha256 }) => sha256);
    };
    expect(await parts(4096)).toEqual(await parts(123));
  });

  it('depend on the seed', async () => {
    const { store, embeddings } = await openPool(mixturePool(800, 8, 'float32'));
    const hashOf = async (seed: number): Promise<string> => (await build(openContext(store, { seed }), embeddings, { levels: [30, 5] })).manifest.levels[0]!.parts[0]!.sha256;
    const one = await hashOf(1);
    expect(await hashOf(2)).not.toBe(one);
    expect(await hashOf(1)).toBe(one);
  });
});

describe('a build that was cut short', () => {
  /** The store dies at its m-th write: that write and all after it fail. */
  function dyingStore(store: Store, m: number): { store: Store; dead: () => boolean } {
    let writes = 0;
    return {
      dead: () => writes > m,
      store: {
        ...store,
        write: async (key, bytes) => {
          if (writes++ >= m) throw new Error('died');
          return store.write(key, bytes);
        },
      },
    };
  }

  it('goes on where it was, from a death at any write, and gives the same bytes', async () => {
    const pool = mixturePool(600, 6, 'float16');
    const config = { ...FULL, levels: [30, 6], splits: 1, iterations: 3 };
    const { root, store, embeddings } = await openPool(pool);
    const notes: string[] = [];
    await build(openContext(store, { onNote: (text) => notes.push(text) }), embeddings, config);
    const hashes = await storeHashes(root, ['clusters']);
    let m = 0;
    for (; ; m++) {
      await store.remove('clusters/');
      const dying = dyingStore(store, m);
      const died = await build(openContext(dying.store), embeddings, config).then(() => null, (error: unknown) => error);
      if (!dying.dead()) break;
      expect(died).toMatchObject({ message: 'died' });
      expect(await readManifest(store, 'clusters')).toBeNull();
      const again: string[] = [];
      await build(openContext(store, { onNote: (text) => again.push(text) }), embeddings, config);
      expect(await storeHashes(root, ['clusters']), `died at write ${m}`).toEqual(hashes);
      // A finished round is not run again: its notes are missing, and those there are the last ones of the first run.
      expect(again).toEqual(again.length === 0 ? [] : notes.slice(-again.length));
      if (m > 5 * 4) expect(again).toHaveLength(0);
    }
    // The attempt, then five tasks (two levels of two rounds, the outlier policy) with three arrays and a record each, three parts, the manifest.
    expect(m).toBe(1 + 5 * 4 + 3 + 1);
  });

  it('stops between blocks when told to, and goes on afterwards', async () => {
    const { root, store, embeddings } = await openPool(mixturePool(2500, 6, 'float32'));
    await build(openContext(store), embeddings, FULL);
    const hashes = await storeHashes(root, ['clusters']);
    await store.remove('clusters/');
    const opened: Opened = openContext(store, { onNote: (text) => text.startsWith('level 2, round 0') && opened.stop.abort() });
    await expect(build(opened, embeddings, FULL)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readManifest(store, 'clusters')).toBeNull();
    await build(openContext(store), embeddings, FULL);
    expect(await storeHashes(root, ['clusters'])).toEqual(hashes);
  });

  it('takes nothing from an attempt with other settings', async () => {
    const pool = mixturePool(700, 6, 'float16');
    const { root, store, embeddings } = await openPool(pool);
    const config = { levels: [40, 8], outliers: { policy: 'keep' } };
    await build(openContext(store), embeddings, config);
    const hashes = await storeHashes(root, ['clusters']);
    await store.remove('clusters/');
    // It dies writing the tables. The task of level 2 has left its record then, and nothing in it tells the attempts apart.
    await expect(build(openContext(dyingStore(store, 1 + 3 * 4).store), embeddings, { ...config, splits: [4, 1] })).rejects.toThrow('died');
    await build(openContext(store), embeddings, config);
    expect(await storeHashes(root, ['clusters'])).toEqual(hashes);
  });
});
