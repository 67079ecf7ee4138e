/** The feed of a dataset in a bucket: the bytes that the same dataset gives from a disk, each read once where there is room to keep it. */
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FeedSettings } from '../../pipelines/9-batch.ts';
import { openS3Store } from '../../src/store/s3.ts';
import type { Store } from '../../src/store/store.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { exampleToy } from '../shard/toy-store.ts';
import { NEVER, buildDataset, collect, openToyFeed } from './toy-feed.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.close());

/** The same dataset on a disk and in a bucket. */
async function build(): Promise<{ disk: Store; bucket: Store }> {
  const toy = exampleToy();
  const photographs = withoutSharedData() === null ? readPhotographs(toy.pool.length) : [];
  const pool = toy.pool.map((image, i) => ({ ...image, bytes: photographs[i] ?? image.bytes }));
  const { store: disk } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes: true } }, { ...toy, pool });
  const bucket = await openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: server.s3 });
  for await (const { key } of disk.list('dataset/')) await bucket.write(key, await disk.read(key));
  return { disk, bucket };
}

function readPhotographs(count: number): Uint8Array[] {
  const folder = `${sharedData}/seeds`;
  return readdirSync(folder).sort().slice(0, count).map((name) => new Uint8Array(readFileSync(`${folder}/${name}`)));
}

async function read(store: Store, steps: number, settings: FeedSettings = {}): Promise<Uint8Array> {
  const feed = await openToyFeed(store, settings);
  return collect(feed.stream(feed.resolve({ steps, images: true }), NEVER));
}

function countReads(store: Store): { readonly counted: Store; readonly counts: { reads: number } } {
  const counts = { reads: 0 };
  const read: Store['read'] = (key, range) => {
    counts.reads++;
    return store.read(key, range);
  };
  return { counted: { ...store, read }, counts };
}

describe('the feed of a dataset in a bucket', () => {
  it.each([
    { verify: 'crc32', cacheBytes: 2 ** 27 },
    { verify: 'sha256', cacheBytes: 50_000 },
    { verify: 'none', cacheBytes: 0, readsAtOnce: 2 },
  ] as const)('gives the bytes of the dataset on a disk (%o)', async (settings) => {
    const { disk, bucket } = await build();
    expect(Buffer.compare(await read(bucket, 12, settings), await read(disk, 12))).toBe(0);
  });

  it('costs an image two reads where its place alone is wanted, and few more with all that is told of it', async () => {
    // Each column of this shard is longer than what is read with a neighbour.
    const toy = exampleToy(8000);
    const { store: disk } = await buildDataset(await temporaryFolder(), { shard: { rows: 100_000, withBytes: true } }, { ...toy, pool: toy.pool.map((image) => ({ ...image, inTar: true })), partRows: { images: 8000, embeddings: 8000, assignment: 8000, selections: 100_000 } });
    const bucket = await openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: server.s3 });
    for await (const { key } of disk.list('dataset/')) await bucket.write(key, await disk.read(key));
    const { counted, counts } = countReads(bucket);
    for (const [columns, most] of [[['index', 'image'], 2], [['index', 'id', 'image'], 4], [['part', 'index', 'id', 'uri', 'source', 'path', 'offset', 'length', 'image'], 9]] as const) {
      const feed = await openToyFeed(counted, { ahead: 0 });
      const step = (fromStep: number): Promise<Uint8Array> => collect(feed.stream(feed.resolve({ fromStep, steps: 1, batchSize: 1, part: 'balanced', columns }), NEVER));
      await step(0); // opens the shard
      counts.reads = 0;
      await step(1);
      expect(counts.reads, columns.join()).toBeLessThanOrEqual(most);
      expect(counts.reads).toBeGreaterThan(1);
    }
  });

  it('reads what it has room to keep once', async () => {
    const { bucket } = await build();
    const { counted, counts } = countReads(bucket);
    const feed = await openToyFeed(counted);
    const rows = feed.manifest.parts.reduce((sum, part) => sum + part.rows, 0);
    const steps = 4 * rows; // ten images each: every part is gone through
    const once = await collect(feed.stream(feed.resolve({ steps, images: true }), NEVER));
    expect(counts.reads).toBeGreaterThanOrEqual(rows / 3);
    const before = counts.reads;
    const again = await collect(feed.stream(feed.resolve({ steps, images: true }), NEVER));
    expect(Buffer.compare(again, once)).toBe(0);
    expect(counts.reads).toBe(before);
  });
});
