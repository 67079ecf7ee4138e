/** Filters over a queue: workers give the bytes of a local run, and the programs they start end with them. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawSmallRun, type SmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectDone, expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';
import { type Program, kill, startDriver, startWorker } from '../workers/processes.ts';
import { type RedisServer, startRedis, withoutRedis } from '../workers/redis-server.ts';

const PROGRAM = fileURLToPath(new URL('../consumers/winnow_filter.py', import.meta.url));
const filters = [
  { name: 'size', size: { sideMin: 8 } },
  { name: 'sharp', blur: { sharpnessMin: 1 } },
  { name: 'blocked', deny: { uris: ['pool/*1.jpg'] } },
  { name: 'python', command: { run: ['python3', PROGRAM, '7.jpg'], version: '1', columns: ['embedding'] } },
  { name: 'each', cap: { column: 'label', max: 8 } },
  { name: 'best', cap: { column: 'source', max: 60, by: { score: 'sharp' } } },
];

describe.skipIf(withoutRedis())('filters over a queue', () => {
  let redis: RedisServer;
  let small: SmallRun;
  let worker: Program;
  const at = (store: string): string => join(small.folder, store);
  beforeAll(async () => {
    redis = await startRedis();
    worker = startWorker({ redis: redis.url, lockMs: 8_000, concurrency: 2 });
    small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-filter-queue-')), 150, { embed: { batchSize: 16, maxDropRatio: 0.5 }, filters, cluster: { levels: [20, 6] }, sample: { target: 20 } });
    expectDone(await winnow(['run', small.recipePath, '--store', at('local'), '--quiet']));
  });
  afterAll(async () => {
    await kill(worker);
    await redis.stop();
    await rm(small.folder, { recursive: true, force: true });
  });

  it('gives the bytes of a local run', async () => {
    const expected = await storeHashes(at('local'), ['filters', 'survivors', 'dataset']);
    expect(Object.keys(expected)).toEqual(expect.arrayContaining(['filters/manifest.json', 'filters/part-00000.arrow', 'survivors/manifest.json']));
    const { code, stderr } = await startDriver(small.recipePath, at('queue'), redis.url).ended;
    expect(code, stderr).toBe(0);
    for (const kind of ['filter-part', 'filter-cap']) expect(worker.stderr()).toContain(`"kind":"${kind}"`);
    expect(await storeHashes(at('queue'), ['filters', 'survivors', 'dataset'])).toEqual(expected);
    await expectNothingHalfWritten(at('queue'));
  });
});
