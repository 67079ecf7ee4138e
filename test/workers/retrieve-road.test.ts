/** Every kind of retrieval and parts that leave images to each other: a run over a queue and one with other blocks give the bytes of a local run. */
import { mkdtempSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawSmallRun, type SmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectDone, expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';
import { textTower, writeTextTower } from '../retrieve/text-tower.ts';
import { type Program, kill, startDriver, startWorker } from './processes.ts';
import { type RedisServer, startRedis, withoutRedis } from './redis-server.ts';

/** Dimensions of the built-in descriptor, so that prompts lie in its space, if not in its meaning. */
const D = 396;

describe('retrieval in full, from the recipe to the shards', () => {
  let small: SmallRun;
  let expected: Record<string, string>;
  const at = (store: string): string => join(small.folder, store);
  const hashes = (store: string): Promise<Record<string, string>> => storeHashes(at(store), ['dataset', 'disjoint', 'mixture', 'retrieval', 'seeds', 'selections']);
  beforeAll(async () => {
    const seeds = { sources: [{ folder: './seeds' }] };
    small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-retrieve-')), 150, {
      cluster: { levels: [40, 12], iterations: 6 },
      sample: { target: 30 },
      retrieve: [
        { name: 'once', ...seeds, k: 3, topUp: true },
        { name: 'clusters', ...seeds, cluster: { clusters: 10, hitsAbove: 0, images: 30, cap: 60 } },
        { name: 'levels', ...seeds, cluster: { level: 2, hitsAbove: 0, draw: 'closest', images: 40 } },
        { name: 'words', prompts: ['red', 'a green flower'], text: { model: './clip/onnx/text_model.onnx' }, k: 60 },
      ],
      mix: { homogeneous: { part: 'raw', probability: 0.25 }, overlap: 'first' },
    });
    await writeTextTower(join(small.folder, 'clip'), { tower: textTower({ d: D }) });
    const { code, stdout, stderr } = await winnow(['run', small.recipePath, '--store', at('local')]);
    expect(code, stderr).toBe(0);
    expected = await hashes('local');
    expect(stdout + stderr).toMatch(/words: shares \d+ images with earlier parts \(.*\): \d+\s+rows\s+left\s+out/s);
  });
  afterAll(() => rm(small.folder, { recursive: true, force: true }));

  it('has a table of each kind, and a dataset of disjoint parts', () => {
    for (const key of ['retrieval/clusters-10/manifest.json', 'seeds/words/embeddings/manifest.json', 'selections/once/manifest.json', 'selections/clusters/manifest.json', 'selections/levels/manifest.json', 'selections/words/manifest.json', 'disjoint/words/manifest.json', 'disjoint/raw/manifest.json', 'dataset/manifest.json']) expect(Object.keys(expected)).toContain(key);
  });

  it('gives the same bytes again with other threads, blocks and memory, and when retrieval is made again', async () => {
    const other = join(small.folder, 'other.yaml');
    await writeFile(other, `${await readFile(small.recipePath, 'utf8')}\nexecution: { threads: 1, blockRows: 1024, memoryMb: 64 }\n`);
    expectDone(await winnow(['run', other, '--store', at('other'), '--quiet']));
    expect(await hashes('other')).toEqual(expected);
    expectDone(await winnow(['run', small.recipePath, '--store', at('other'), '--quiet', '--force', 'retrieve']));
    expect(await hashes('other')).toEqual(expected);
  });

  it.skipIf(withoutRedis())('gives the same bytes over a queue', async () => {
    const redis: RedisServer = await startRedis();
    const workers: Program[] = [startWorker({ redis: redis.url, lockMs: 8_000, concurrency: 2 })];
    try {
      expect((await startDriver(small.recipePath, at('queued'), redis.url).ended).code).toBe(0);
      expect(await hashes('queued')).toEqual(expected);
      await expectNothingHalfWritten(at('queued'));
      for (const kind of ['retrieve', 'retrieve-draw', 'retrieve-score', 'cluster-assign']) expect(workers[0]!.stderr()).toContain(`"kind":"${kind}"`);
    } finally {
      await Promise.all(workers.map(kill));
      await redis.stop();
    }
  });
});
