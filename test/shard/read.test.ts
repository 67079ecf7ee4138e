import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { openDataset } from '../../src/shard/read.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildToy, exampleToy, idOf } from './toy-store.ts';

const TOY = exampleToy();
const IDS = TOY.balanced.flatMap(({ row, copies }) => new Array<string>(copies).fill(idOf(TOY.pool[row]!.bytes)));

async function build(rows: number): Promise<{ store: Store; reads: string[] }> {
  const { context, store, recipe } = await buildToy(TOY, await temporaryFolder());
  await mix(context, recipe());
  await shard(context, recipe({ shard: { rows } }));
  const reads: string[] = [];
  const counting: Store = { ...store, read: (key, range) => {
    if (key.startsWith('dataset/shards/')) reads.push(key);
    return store.read(key, range);
  } };
  return { store: counting, reads };
}

describe('openDataset', () => {
  it('gives rows at any indices in the order asked for', async () => {
    const { store } = await build(8);
    const dataset = await openDataset(store);
    const indices = [41, 0, 7, 8, 41, 48, 3, 16];
    expect((await dataset.rows('balanced', indices)).id).toEqual(indices.map((index) => IDS[index]));
    expect((await dataset.rows('balanced', [])).id).toEqual([]);
    const { source, path, offset, length } = await dataset.rows('whole', [0, 1]);
    expect({ source, path, offset: [...offset], length: [...length] }).toEqual({ source: ['whole', 'whole'], path: ['pack.tar', 'image-1.bin'], offset: [0, -1], length: [3, -1] });
  });

  it('reads a shard once a call, and again only when it was dropped from memory', async () => {
    const { store, reads } = await build(8);
    const dataset = await openDataset(store, { rowsKept: 16 });
    await dataset.rows('balanced', [0, 9, 1, 10, 2]);
    expect(reads).toEqual(['dataset/shards/balanced-00000.arrow', 'dataset/shards/balanced-00001.arrow']);
    await dataset.rows('balanced', [15, 3]);
    expect(reads.length).toBe(2);
    await dataset.rows('balanced', [0]);
    await dataset.rows('balanced', [20]); // drops shard 1, used before shard 0
    await dataset.rows('balanced', [1]);
    expect(reads.length).toBe(3);
    await dataset.rows('balanced', [9]);
    expect(reads.slice(3)).toEqual(['dataset/shards/balanced-00001.arrow']);
  });

  it('serves many calls at once', async () => {
    const { store } = await build(8);
    const dataset = await openDataset(store, { rowsKept: 8 });
    const found = await Promise.all(IDS.map(async (_, index) => (await dataset.rows('balanced', [index])).id[0]));
    expect(found).toEqual(IDS);
  });

  it('names the parts there are when asked for another', async () => {
    const dataset = await openDataset((await build(8)).store);
    await expect(dataset.rows('balance', [0])).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected a part of the dataset (balanced, near, whole), got "balance"' });
    await expect(dataset.rows('balanced', [49])).rejects.toThrow('Expected an index of part balanced from 0 to 48, got 49');
  });

  it('notices a shard that is not as it was written', async () => {
    const { store } = await build(8);
    const path = 'dataset/shards/balanced-00002.arrow';
    const bytes = await store.read(path);
    bytes[bytes.length >> 1]! ^= 1;
    await store.write(path, bytes);
    const dataset = await openDataset(store);
    await dataset.rows('balanced', [0]);
    await expect(dataset.rows('balanced', [17])).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringContaining(path) });
  });

  it('says that there is no dataset yet', async () => {
    await expect(openDataset(await openFsStore(await temporaryFolder()))).rejects.toMatchObject({ code: 'INPUT_MISSING' });
  });
});
