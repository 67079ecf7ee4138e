/**
 * The whole road over a queue gives the bytes of a local run: one worker, four of different concurrency, every job
 * delivered twice, workers and drivers killed at seeded moments. `test/bench/queue-faults.ts` repeats the faults.
 */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { readStatus } from '../../workers/status.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectDone, expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';
import { type Program, kill, startDriver, startWorker } from './processes.ts';
import { type RedisServer, startRedis, withoutRedis } from './redis-server.ts';
import { deliverTwice } from './twins.ts';

const draws = randomStream(0, 'test', 'queue-road');

describe.skipIf(withoutRedis())('the whole road over a queue', () => {
  let redis: RedisServer;
  let small: SmallRun;
  let expected: Record<string, string>;
  let workers: Program[] = [];
  const at = (store: string): string => join(small.folder, store);
  const serve = (request: { concurrency: number; stages?: string[] }): Program => startWorker({ redis: redis.url, lockMs: 8_000, ...request });
  const drive = (store: string): Program => startDriver(small.recipePath, at(store), redis.url);
  const expectSame = async (store: string): Promise<void> => {
    expect(await storeHashes(at(store))).toEqual(expected);
    await expectNothingHalfWritten(at(store));
  };

  beforeAll(async () => {
    redis = await startRedis();
    workers = [serve({ concurrency: 1 })];
    small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-queue-')), 150, { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [40, 12], iterations: 6, split: { when: 'always', cells: 5 } } });
    expectDone(await winnow(['run', small.recipePath, '--store', at('local'), '--quiet']));
    expected = await storeHashes(at('local'));
    expect(Object.keys(expected).length).toBeGreaterThan(10);
  });
  afterAll(async () => {
    await Promise.all(workers.map(kill));
    await redis.stop();
    await rm(small.folder, { recursive: true, force: true });
  });

  it('gives the same bytes with one worker', async () => {
    expect((await drive('one').ended).code).toBe(0);
    await expectSame('one');
    // Also the tasks of levels that are built in cells.
    for (const kind of ['embed-part', 'cluster-coarse', 'cluster-cell', 'cluster-update', 'retrieve', 'sample', 'shard']) expect(workers[0]!.stderr()).toContain(`"kind":"${kind}"`);
    expect(await readStatus(redis.url)).toMatchObject({ runs: [], workers: [{ concurrency: 1, stages: ['download', 'ingest', 'embed', 'filter', 'dedup', 'cluster', 'sample', 'retrieve', 'shard'] }] });
  });

  it('gives the same bytes with four workers and every job delivered twice', async () => {
    workers.push(serve({ concurrency: 2 }), serve({ concurrency: 3, stages: ['cluster', 'sample'] }), serve({ concurrency: 1, stages: ['embed', 'shard', 'retrieve'] }));
    await Promise.all(workers.map((worker) => worker.saw('serves')));
    const twins = await deliverTwice(redis);
    // A starved machine may lose a lock too often: then one coded error, and the next run goes on to the same bytes.
    const four = drive('four');
    if ((await four.ended).code !== 0) {
      expect(four.stderr()).toMatch(/[A-Z]+_[A-Z]+/);
      const again = drive('four');
      expect((await again.ended).code, again.stderr()).toBe(0);
    }
    await expectSame('four');
    expect(await twins.close()).toBeGreaterThan(10);
  });

  it('gives the same bytes when a driver and a worker are killed', async () => {
    const killed = drive('killed');
    await killed.saw('in line');
    await new Promise((resolve) => setTimeout(resolve, 2_500 * draws.uniform(0)));
    await kill(killed);
    const second = drive('killed');
    await second.saw('in line');
    await new Promise((resolve) => setTimeout(resolve, 2_000 * draws.uniform(1)));
    await kill(workers.shift()!);
    expect((await second.ended).code).toBe(0);
    await expectSame('killed');
  });
});
