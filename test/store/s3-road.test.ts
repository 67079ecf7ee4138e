/** The whole road with its store, and its images, in buckets: the bytes of a run on a disk. */
import { createHash } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { resolveExecution } from '../../src/cli/session.ts';
import { type LoadedRecipe, parseRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { lockStore, openStore } from '../../src/store/open.ts';
import { openS3Bucket } from '../../src/store/s3-bucket.ts';
import { formatS3Uri } from '../../src/store/s3-uri.ts';
import type { Store } from '../../src/store/store.ts';
import { SLOW_DOWN, type S3Proxy, someOf, startS3Proxy } from '../helpers/s3-proxy.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';

let server: S3Server;
let proxy: S3Proxy;
let small: SmallRun;
let value: Record<string, unknown>;
let expected: Record<string, string>;
beforeAll(async () => {
  server = await startS3Server();
  proxy = await startS3Proxy(server.s3.endpoint);
  small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-s3-road-')), 300);
  value = parse(await readFile(small.recipePath, 'utf8')) as Record<string, unknown>;
  expected = await road(join(small.folder, 'store'), value);
  expect(Object.keys(expected).length).toBeGreaterThan(12);
});
afterAll(async () => {
  await rm(small.folder, { recursive: true, force: true });
  await proxy.close();
  await server.close();
});

async function road(uri: string, recipe: Record<string, unknown>, endpoint = server.s3.endpoint): Promise<Record<string, string>> {
  const s3 = { ...server.s3, endpoint };
  const loaded: LoadedRecipe = { recipe: parseRecipe(recipe, 'recipe'), baseDirectory: small.folder };
  const signal = new AbortController().signal;
  const store = await openStore(uri, { s3, signal });
  const lock = await lockStore(uri, { s3, signal, log: SILENT });
  const execution = resolveExecution(loaded.recipe.execution);
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: sourcesOf(loaded).locations, tasks: 1, onAdvance: () => undefined, onNote: () => undefined });
  try {
    await curate({ store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: loaded.recipe.seed, resource: executor.resource }, loaded);
    return await hashesOf(store);
  } finally {
    await executor.close();
    await lock.release();
  }
}

async function hashesOf(store: Store): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const stage of ['dataset/', 'clusters/', 'selections/', 'mixture/', 'embeddings/', 'images/']) {
    for await (const { key } of store.list(stage)) hashes[key] = createHash('sha256').update(await store.read(key)).digest('hex');
  }
  return hashes;
}

/** Puts a folder of the small run into the bucket of images. @returns its s3:// name, with where the server is */
async function putFolder(name: string): Promise<string> {
  const bucket = await openS3Bucket(server.otherBucket, { s3: server.s3 });
  const prefix = `${server.prefix('road')}/${name}`;
  const root = join(small.folder, name);
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    await bucket.write(`${prefix}${path.slice(root.length)}`, await readFile(path));
  }
  return formatS3Uri({ bucket: server.otherBucket, key: prefix, options: server.s3 });
}

describe('the whole road', () => {
  it('gives the same bytes with the store in a bucket, and nothing is made again', async () => {
    const uri = `s3://${server.bucket}/${server.prefix('road')}`;
    expect(await road(uri, value)).toEqual(expected);
    expect(await road(uri, value)).toEqual(expected);
  });

  it('gives the same bytes with the images in one bucket and the store in another', async () => {
    const remote = {
      ...value,
      pool: [{ folder: await putFolder('pool'), label: 'parent' }],
      retrieve: [{ name: 'around', sources: [{ folder: await putFolder('seeds') }], k: 4 }],
      raw: [{ name: 'raw', sources: [{ folder: await putFolder('raw') }] }],
    };
    expect(await road(`s3://${server.bucket}/${server.prefix('road')}`, remote)).toEqual(expected);
  });

  it('gives the same bytes while a fifth of all calls fail or arrive torn or flipped', async () => {
    const [fails, tears, flips] = [someOf(0.2, 5), someOf(0.3, 6), someOf(0.2, 7)];
    proxy.faultOf = ({ index, method }) => {
      if (!fails(index)) return { kind: 'none' };
      if (tears(index)) return { kind: 'torn' };
      if (flips(index)) return method === 'PUT' ? { kind: 'flipped-upload' } : SLOW_DOWN;
      return SLOW_DOWN;
    };
    const faults = proxy.calls.faults;
    expect(await road(`s3://${server.bucket}/${server.prefix('road')}`, value, proxy.endpoint)).toEqual(expected);
    expect(proxy.calls.faults - faults).toBeGreaterThan(20);
  });
});
