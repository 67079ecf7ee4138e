import { rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import pl from 'nodejs-polars';
import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { type StoredDataset, shard } from '../../pipelines/8-shard.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Toy, type ToyStore, buildToy, exampleToy, idOf, pathOf } from './toy-store.ts';

async function write(built: ToyStore, shardConfig: Record<string, unknown> = {}): Promise<StoredDataset> {
  const recipe = built.recipe({ mix: { homogeneous: { part: 'whole' } }, shard: shardConfig });
  await mix(built.context, recipe);
  return shard(built.context, recipe);
}

/** All rows of a part as the shards have them, images as arrays of bytes. */
async function readRows(store: Store, { manifest }: StoredDataset, name: string): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for (const { path, firstRow, rowCount } of manifest.parts.find((part) => part.name === name)!.shards) {
    const view = decodeTable(await store.read(path), path);
    expect(view.rowCount).toBe(rowCount);
    expect(rows.length).toBe(firstRow);
    const images = view.has('image') ? view.binaries('image') : [];
    for (let i = 0; i < rowCount; i++) rows.push({ ...view.row(i), ...(view.has('image') && { image: [...images[i]!] }) });
  }
  return rows;
}

/** What the rows of a part must be, worked out from the toy without any of the code under test. */
function expectedRows(toy: Toy, name: string, withBytes: boolean): Record<string, unknown>[] {
  const raw = toy.raws[name];
  const images = raw ?? toy.pool;
  const source = raw === undefined ? 'pool' : name;
  const entries = raw?.flatMap(({ status }, row) => (status === 'ok' ? [{ row, copies: 1, score: null }] : [])) ?? (name === 'balanced' ? toy.balanced : toy.retrieved[name]!);
  const offsets = images.map((_, row) => images.slice(0, row).reduce((sum, { bytes, inTar }) => sum + (inTar ? bytes.length : 0), 0));
  return entries.flatMap(({ row, copies, score }) => {
    const image = images[row]!;
    const chain: number[] = [];
    let cluster = raw === undefined ? toy.cluster[row]! : null;
    for (let l = 0; cluster !== null; l++) {
      chain.push(cluster);
      cluster = toy.parents[l]?.[cluster] ?? null;
    }
    return new Array<Record<string, unknown>>(copies).fill({
      id: idOf(image.bytes),
      uri: `${source}/${pathOf(image, row)}#${row}`,
      row,
      cluster: chain.length === 0 ? null : chain,
      score,
      source,
      path: pathOf(image, row),
      offset: image.inTar ? offsets[row] : null,
      length: image.inTar ? image.bytes.length : null,
      label: image.label,
      ...(toy.withText && { caption: image.caption, meta: null }),
      ...(withBytes && { crc32: zlib.crc32(image.bytes), image: [...image.bytes] }),
    });
  });
}

describe('the shard stage', () => {
  it.each([[false, 20], [false, 7], [true, 20], [true, 1], [false, 65_536]])('writes every row of every part, with bytes %s, %i rows a shard', async (withBytes, rows) => {
    const toy = exampleToy();
    const built = await buildToy(toy, await temporaryFolder());
    const dataset = await write(built, { withBytes, rows });
    for (const { name, rows: rowCount } of dataset.manifest.parts) {
      const found = await readRows(built.store, dataset, name);
      expect(found.length).toBe(rowCount);
      expect(found).toEqual(expectedRows(toy, name, withBytes));
    }
    expect(dataset.manifest.parts.flatMap(({ shards }) => shards).every((one) => one.rowCount <= rows)).toBe(true);
  });

  it('has no caption and meta when no listing has them', async () => {
    const toy = { ...exampleToy(), withText: false };
    const built = await buildToy(toy, await temporaryFolder());
    expect(await readRows(built.store, await write(built), 'near')).toEqual(expectedRows(toy, 'near', false));
  });

  it('keeps within the bytes a shard may have, but for one image that is larger', async () => {
    const toy = exampleToy();
    const big = { ...toy.pool[12]!, bytes: new Uint8Array(3000).fill(9) };
    const withBig: Toy = { ...toy, pool: toy.pool.map((image, i) => (i === 12 ? big : image)), retrieved: { near: [{ row: 11, copies: 1, score: 1 }, { row: 12, copies: 2, score: 1 }, { row: 15, copies: 60, score: 1 }] } };
    const built = await buildToy(withBig, await temporaryFolder());
    const dataset = await write(built, { withBytes: true, rows: 40, sizeBytesMax: 1024 });
    expect(await readRows(built.store, dataset, 'near')).toEqual(expectedRows(withBig, 'near', true));
    const shards = dataset.manifest.parts.find(({ name }) => name === 'near')!.shards;
    expect(shards.map(({ path, rowCount }) => [path, rowCount])).toEqual([
      ['dataset/shards/near-00000.arrow', 1],
      ['dataset/shards/near-00000_00001.arrow', 1],
      ['dataset/shards/near-00000_00002.arrow', 1],
      ['dataset/shards/near-00000_00003.arrow', 36], // 36 × 28 bytes
      ['dataset/shards/near-00000_00004.arrow', 1],
      ['dataset/shards/near-00001.arrow', 23],
    ]);
  });

  it('gives the same bytes at any number of tasks and readers, and when it starts again', async () => {
    const runs = [];
    for (const options of [{ tasks: 1, concurrency: 1 }, { tasks: 4, concurrency: 8 }]) {
      const built = await buildToy(exampleToy(), await temporaryFolder(), options);
      runs.push(await write(built, { withBytes: true, rows: 13, sizeBytesMax: 1024 }));
    }
    expect(runs[1]!.manifest).toEqual(runs[0]!.manifest);
    expect(runs[1]!.sha256).toBe(runs[0]!.sha256);

    const broken = await buildToy(exampleToy(), await temporaryFolder());
    const missing = join(broken.locations['whole']!, 'image-1.bin');
    await rename(missing, `${missing}.away`);
    await expect(write(broken, { withBytes: true, rows: 13, sizeBytesMax: 1024 })).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    expect(await broken.store.head('dataset/manifest.json')).toBeNull();
    await rename(`${missing}.away`, missing);
    expect((await write(broken, { withBytes: true, rows: 13, sizeBytesMax: 1024 })).sha256).toBe(runs[0]!.sha256);
  });

  it('is kept when nothing changed, made again when the recipe did, and leaves no stray file', async () => {
    const built = await buildToy(exampleToy(), await temporaryFolder());
    const first = await write(built, { rows: 10 });
    expect((await write(built, { rows: 10 })).sha256).toBe(first.sha256);
    const second = await write(built, { rows: 30 });
    expect(second.sha256).not.toBe(first.sha256);
    const keys: string[] = [];
    for await (const { key } of built.store.list('dataset/')) keys.push(key);
    expect(keys.toSorted()).toEqual(['dataset/manifest.json', ...second.manifest.parts.flatMap(({ shards }) => shards.map(({ path }) => path))].toSorted());
  });

  it('says which file changed or went since it was embedded', async () => {
    const built = await buildToy(exampleToy(), await temporaryFolder());
    const path = join(built.locations['pool']!, 'image-2.bin');
    await writeFile(path, 'something else');
    await expect(write(built, { withBytes: true })).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringMatching(/^Expected the bytes of pool\/image-2.bin#2 to have the SHA-256 [0-9a-f]{32}… they had when it was embedded, got [0-9a-f]{32}…: the file has changed since/) });
    await unlink(path);
    await expect(write(built, { withBytes: true })).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('pool/image-2.bin#2') });
    await write(built, { withBytes: false }); // references need no bytes
  });

  it('opens in another implementation (polars)', async () => {
    const toy = exampleToy();
    const built = await buildToy(toy, await temporaryFolder());
    const { manifest } = await write(built, { rows: 20, withBytes: true });
    for (const { name, shards } of manifest.parts) {
      const found: Record<string, unknown>[] = [];
      for (const { path } of shards) {
        const frame = pl.readIPC(Buffer.from(await built.store.read(path)));
        expect(frame.columns).toEqual(['id', 'uri', 'row', 'cluster', 'score', 'source', 'path', 'offset', 'length', 'label', 'caption', 'meta', 'crc32', 'image']);
        for (const record of frame.drop('crc32').drop('image').toRecords()) found.push(Object.fromEntries(Object.entries(record).map(([column, value]) => [column, typeof value === 'bigint' ? Number(value) : value])));
      }
      expect(found).toEqual(expectedRows(toy, name, false));
    }
  });
});
