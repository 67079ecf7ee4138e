/** Tasks over a real Redis and real worker processes: the same results and records as on one machine, and every odd end. */
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmbedConfig } from '../../src/embed/config.ts';
import { embedPart } from '../../src/embed/task.ts';
import { cancel, retry, status, workers } from '../../src/cli/status.ts';
import { PREFIX, type TaskJob } from '../../workers/queue.ts';
import { readStatus } from '../../workers/status.ts';
import { colourModel } from '../helpers/colour-model.ts';
import { type OddPayload, odd } from './odd-tasks.ts';
import { ODD_TASKS, type Program, kill, startWorker } from './processes.ts';
import { STAGE, openLocalRun, openQueueRun, recordsIn, runsOf } from './queue-run.ts';
import { type RedisServer, startRedis, withoutRedis } from './redis-server.ts';

const LOCK_MS = 3_000;
async function wordsIn(folder: string): Promise<string> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  return (await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')))).join('\n');
}

/** All that a Redis holds, as it would be saved. */
async function keysAndValues(url: string): Promise<string> {
  const redis = new Redis(url);
  const keys = await redis.keys('*');
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)));
  redis.disconnect();
  return keys.join('\n') + dumps.map((dump) => dump?.toString('latin1') ?? '').join('\n');
}

/** Neither timers nor sockets of this process are looked at meanwhile. */
function suspend(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const numbers = (from: number, to: number, more: Partial<OddPayload> = {}): OddPayload[] => Array.from({ length: to - from }, (_, i) => ({ number: from + i, ...more }));

describe.skipIf(withoutRedis())('tasks over a queue', () => {
  let redis: RedisServer;
  let worker: Program;
  const serve = (more: object = {}): Program => startWorker({ redis: redis.url, stages: [STAGE], concurrency: 2, lockMs: LOCK_MS, taskModules: [ODD_TASKS], ...more });
  beforeAll(async () => {
    redis = await startRedis();
    worker = serve();
    await worker.saw('serves');
  });
  afterAll(async () => {
    await kill(worker);
    await redis.stop();
  });

  it('gives results in payload order, once each, and leaves the records that a local run leaves', async () => {
    const payloads = [...numbers(0, 12), { number: 3 }, { number: 12, text: 'long '.repeat(8_000) }];
    const { folder, executor, advanced } = await openQueueRun(redis.url);
    const results = await executor.map(odd, payloads, 'scope');
    expect(results).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 6, 24 + 40_000]);
    expect(advanced).toEqual({ units: 13, kept: 0 });
    expect(new Set(Object.values(await runsOf(folder)))).toEqual(new Set([1]));

    const local = await openQueueRun(redis.url);
    const alone = await openLocalRun(local.folder);
    expect(await alone.map(odd, payloads, 'scope')).toEqual(results);
    expect(await recordsIn(local.folder, 'scope')).toEqual(await recordsIn(folder, 'scope'));
    // Each takes up the other's work.
    expect(await local.executor.map(odd, payloads, 'scope')).toEqual(results);
    expect(local.advanced).toEqual({ units: 13, kept: 13 });
    expect(await (await openLocalRun(folder)).map(odd, payloads, 'scope')).toEqual(results);
    expect(new Set(Object.values(await runsOf(folder)))).toEqual(new Set([1]));
  });

  it('runs a task once that blocks its thread for longer than locks last', async () => {
    const { folder, executor } = await openQueueRun(redis.url);
    expect(await executor.map(odd, [{ number: 0, way: 'block', ms: 4 * LOCK_MS }, { number: 1 }], 'scope')).toEqual([0, 2]);
    expect(await runsOf(folder)).toEqual({ 0: 1, 1: 1 });
  });

  it('tries again what may pass, and lets poison fail alone, with its reason', async () => {
    const { folder, executor } = await openQueueRun(redis.url);
    const payloads: OddPayload[] = [{ number: 0, way: 'flaky' }, { number: 1, way: 'poison' }, ...numbers(2, 8), { number: 8, way: 'poison' }];
    await expect(executor.map(odd, payloads, 'scope')).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(/as number 1 \(one of 2 tasks that failed, of 9; all others are done\)/) });
    expect(await runsOf(folder)).toEqual({ 0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1 });
    const { failures } = await readStatus(redis.url);
    expect(failures.filter(({ run }) => run === executor.run).map(({ reason }) => reason).sort()).toEqual(['INPUT_MALFORMED: Expected something else as number 1', 'INPUT_MALFORMED: Expected something else as number 8']);
    expect((await status(redis.url)).text).toContain('Expected something else as number 8');
    // A later run tries them anew; so does `retry`, without one.
    await expect(executor.map(odd, payloads, 'scope')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    expect(await runsOf(folder)).toMatchObject({ 0: 2, 1: 2, 2: 1, 8: 2 });
    expect((await retry(redis.url, executor.run)).json).toEqual({ [STAGE]: 2 });
    await expect.poll(() => runsOf(folder)).toMatchObject({ 1: 3, 8: 3 });
    expect((await cancel(redis.url, executor.run)).text).toMatch(/cancelled/);
  });

  it('outlives a task that kills its process, and can be cancelled', async () => {
    const { folder, executor } = await openQueueRun(redis.url);
    const ended = executor.map(odd, [{ number: 0, way: 'die' }, { number: 1, way: 'block', ms: 60_000 }, { number: 2 }], 'scope');
    ended.catch(() => undefined);
    await expect.poll(() => runsOf(folder)).toMatchObject({ 0: 2, 1: 1, 2: 1 });
    expect((await readStatus(redis.url)).runs.map(({ run }) => run)).toContain(executor.run);
    await cancel(redis.url, executor.run);
    await expect(ended).rejects.toMatchObject({ code: 'ABORTED', message: expect.stringContaining('cancelled') });
    await executor.close('ABORTED');
    await expect.poll(async () => (await readStatus(redis.url)).stages.find(({ stage }) => stage === STAGE)!.active).toBe(0);
    expect((await readStatus(redis.url)).runs.map(({ run }) => run)).not.toContain(executor.run);
  });

  it.each(['lost', 'kept'] as const)('goes on when Redis is restarted, its data %s', async (data) => {
    const { folder, executor } = await openQueueRun(redis.url);
    const ended = executor.map(odd, numbers(0, 30, { way: 'rest', ms: 200 }), 'scope');
    await expect.poll(async () => Object.keys(await runsOf(folder)).length).toBeGreaterThan(4);
    await redis.restart(data);
    expect(await ended).toEqual(numbers(0, 30).map(({ number }) => 2 * number));
    expect((await readStatus(redis.url)).runs.map(({ run }) => run)).toContain(executor.run);
  });

  it('ends with one error when Redis is half open for too long, and goes on when it was not', async () => {
    const patient = await openQueueRun(redis.url);
    const hasty = await openQueueRun(redis.url, { redisTimeoutMs: 1_000 });
    const ends = [patient, hasty].map(({ executor }) => executor.map(odd, numbers(0, 4, { way: 'rest', ms: 300 }), 'scope'));
    redis.freeze();
    await expect(ends[1]).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining('got none for 1 s') });
    redis.thaw();
    expect(await ends[0]).toEqual([0, 2, 4, 6]);
  });

  it('hears of ends again after driver and worker were suspended', async () => {
    const { executor } = await openQueueRun(redis.url, { lookEveryMs: 60_000 });
    expect(await executor.map(odd, numbers(0, 1), 'before')).toEqual([0]);
    worker.child.kill('SIGSTOP');
    suspend(17_000); // a blocking read and a silent socket are both overdue
    worker.child.kill('SIGCONT');
    const started = performance.now();
    for (let turn = 0; turn < 3; turn++) expect(await executor.map(odd, numbers(0, 1), `after-${turn}`)).toEqual([0]);
    expect(performance.now() - started).toBeLessThan(30_000);
  });

  it('does not hold Redis for lost because it was itself suspended', async () => {
    const { executor } = await openQueueRun(redis.url, { redisTimeoutMs: 2_000 });
    suspend(4_000);
    expect(await executor.map(odd, numbers(0, 1), 'scope')).toEqual([0]);
  });

  it('refuses jobs of another version with a clear line, and leaves them to others', async () => {
    const other = startWorker({ redis: redis.url, stages: ['sample'], concurrency: 1, taskModules: [ODD_TASKS], version: '9.9.9' });
    const { executor, stop, folder } = await openQueueRun(redis.url, { stageOf: () => 'sample' });
    const ended = executor.map(odd, numbers(0, 2), 'scope');
    const { code, stderr } = await other.ended;
    expect(stderr).toContain(`FORMAT_VERSION: Expected jobs of winnow 9.9.9, which this worker is, got one of winnow 0.1.0`);
    expect(code).toBe(1);
    expect(await runsOf(folder)).toEqual({});
    expect((await readStatus(redis.url)).stages.find(({ stage }) => stage === 'sample')).toMatchObject({ waiting: 2, active: 0, failed: 0 });
    stop.abort();
    await expect(ended).rejects.toMatchObject({ code: 'ABORTED' });
    await cancel(redis.url, executor.run);
  });

  it('serves earlier runs first; ends in time on SIGTERM, after what it has begun or with it back in line', async () => {
    const embedding = async () => (await readStatus(redis.url)).stages.find(({ stage }) => stage === 'embed')!;
    const [first, second] = [await openQueueRun(redis.url, { stageOf: () => 'embed' }), await openQueueRun(redis.url, { stageOf: () => 'embed' })];
    const late = second.executor.map(odd, numbers(0, 2, { way: 'rest', ms: 60_000 }), 'scope');
    late.catch(() => undefined);
    const early = first.executor.map(odd, numbers(0, 4, { way: 'rest', ms: 100 }), 'scope');
    await expect.poll(async () => (await embedding()).waiting).toBe(6);
    const other = serve({ stages: ['embed'], concurrency: 1, drainMs: 500 });
    expect(await early).toEqual([0, 2, 4, 6]);
    await expect.poll(() => runsOf(second.folder)).toEqual({ 0: 1 });
    expect((await workers(redis.url)).text).toMatch(/: embed; 1 at once; any; winnow 0\.1\.0/);
    const asked = performance.now();
    other.child.kill('SIGTERM');
    expect((await other.ended).code).toBe(0);
    expect(performance.now() - asked).toBeLessThan(30_000);
    expect(await embedding()).toMatchObject({ waiting: 2, active: 0, failed: 0 });
    second.stop.abort();
    await cancel(redis.url, second.executor.run);

    const third = await openQueueRun(redis.url);
    const begun = third.executor.map(odd, [{ number: 0, way: 'block', ms: 2_000 }], 'scope');
    await expect.poll(() => runsOf(third.folder)).toEqual({ 0: 1 });
    worker.child.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
    expect(await begun).toEqual([0]);
    worker = serve();
  });

  it('gives a killed worker\'s task to another', async () => {
    const { folder, executor } = await openQueueRun(redis.url);
    const ended = executor.map(odd, [{ number: 0, way: 'rest', ms: 1_500 }], 'scope');
    await expect.poll(() => runsOf(folder)).toEqual({ 0: 1 });
    await kill(worker);
    worker = serve();
    expect(await ended).toEqual([0]);
    expect(await runsOf(folder)).toEqual({ 0: 2 });
  });

  it('has a task done where its model is, though another worker has none', async () => {
    const { folder, executor } = await openQueueRun(redis.url);
    const other = serve({ concurrency: 1, locations: ['model=/models/some.onnx'] });
    await other.saw('serves');
    const payloads = numbers(0, 6, { way: 'model' });
    expect(await executor.map(odd, payloads, 'scope')).toEqual(payloads.map(({ number }) => 2 * number));
    expect(worker.stderr()).toContain("the fault may be this machine's");
    expect(Object.values(await runsOf(folder)).reduce((a, b) => a + b)).toBeLessThan(6 + 6);
    await kill(other);
  });

  it('embeds only on what the recipe names, with the encoder that the driver has', async () => {
    const { executor, stop, folder } = await openQueueRun(redis.url, { stageOf: () => 'embed' });
    await writeFile(join(folder, 'colour.onnx'), colourModel({ limit: 256 }));
    const config = EmbedConfig.parse({});
    const part = { path: 'images/part-00000.arrow', firstRow: 0, rowCount: 1, bytes: 1, sha256: '' };
    const payload = { images: part, firstRow: 0, rowCount: 1, out: 'embeddings/part-00000.arrow', config, model: join(folder, 'colour.onnx'), encoder: { provider: 'cpu', sha256: '0123456789abcdef' } };
    const ended = executor.map(embedPart, [payload], 'embeddings');
    ended.catch(() => undefined);
    for (const [providers, said] of [[['webgpu'], 'Expected a worker with one of the providers cpu, this one offers webgpu'], [['cpu'], 'Expected the encoder that the driver has (cpu 0123456789ab), this worker has another (cpu ']] as const) {
      const other = serve({ stages: ['embed'], providers: [...providers] });
      await other.saw(said);
      await kill(other);
    }
    stop.abort();
    await expect(ended).rejects.toMatchObject({ code: 'ABORTED' });
    await cancel(redis.url, executor.run);
    expect(await readdir(folder)).not.toContain('embeddings');
  });

  it('takes a model that it cannot open, though the driver could, for a fault of the machine', async () => {
    const { executor, stop, folder } = await openQueueRun(redis.url, { stageOf: () => 'embed' });
    await mkdir(join(folder, 'copied'));
    await writeFile(join(folder, 'copied', 'config.json'), '{}');
    const part = { path: 'images/part-00000.arrow', firstRow: 0, rowCount: 1, bytes: 1, sha256: '' };
    const payload = { images: part, firstRow: 0, rowCount: 1, out: 'embeddings/part-00000.arrow', config: EmbedConfig.parse({}), model: join(folder, 'copied'), encoder: {} };
    const ended = executor.map(embedPart, [payload], 'embeddings');
    ended.catch(() => undefined);
    const other = serve({ stages: ['embed'] });
    await other.saw('MODEL_UNAVAILABLE: This worker cannot open a model that the driver could: Expected');
    await other.saw("the fault may be this machine's");
    await kill(other);
    stop.abort();
    await expect(ended).rejects.toMatchObject({ code: 'ABORTED' });
    await cancel(redis.url, executor.run);
  });

  it('leaves a job of an earlier attempt undone', async () => {
    const { folder, store, executor } = await openQueueRun(redis.url, { stageOf: () => 'shard' });
    await store.write('work/scope/attempt', Buffer.from('one'));
    const ended = executor.map(odd, [{ number: 0 }], 'scope');
    ended.catch(() => undefined);
    await expect.poll(async () => (await readStatus(redis.url)).stages.find(({ stage }) => stage === 'shard')!.waiting).toBe(1);
    await executor.close();
    await store.write('work/scope/attempt', Buffer.from('two'));
    const other = serve({ stages: ['shard'] });
    await expect.poll(async () => (await readStatus(redis.url)).stages.find(({ stage }) => stage === 'shard')).toMatchObject({ waiting: 0, active: 0, failed: 0, done: 1 });
    await kill(other);
    expect(await runsOf(folder)).toEqual({});
  });

  it('leaves little in Redis: nothing of jobs that are done', async () => {
    const queue = new Queue<TaskJob>(STAGE, { connection: { host: '127.0.0.1', port: redis.port }, prefix: PREFIX });
    expect(await queue.getJobCounts('completed', 'wait', 'prioritized', 'active', 'delayed')).toEqual({ completed: 0, wait: 0, prioritized: 0, active: 0, delayed: 0 });
    await queue.close();
  });
});

describe.skipIf(withoutRedis())('a Redis with a password', () => {
  it('refuses a wrong one; the right one is in nothing that is written; a worker ends when Redis does', async () => {
    const locked = await startRedis([], 'hunter2');
    const worker = startWorker({ redis: locked.url, stages: [STAGE], taskModules: [ODD_TASKS], redisTimeoutMs: 1_500, drainMs: 500 });
    try {
      const open = openQueueRun(locked.url.replace('hunter2', 'hunter3'));
      await expect(open).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.not.stringContaining('hunter') });
      const { executor, folder } = await openQueueRun(locked.url);
      await expect(executor.map(odd, [{ number: 0 }, { number: 1, way: 'poison' }], 'scope')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
      expect(await wordsIn(folder)).not.toContain('hunter2');
      expect(await keysAndValues(locked.url)).toContain('INPUT_MALFORMED');
      expect(await keysAndValues(locked.url)).not.toContain('hunter2');
      await executor.close();
    } finally {
      await locked.stop();
    }
    const { code, stderr } = await worker.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/is gone; trying to reach it again[\s\S]*STORE_UNAVAILABLE: Expected an answer from Redis at/);
    expect(stderr).not.toContain('hunter2');
    await expect(openQueueRun(locked.url)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/Redis at 127\.0\.0\.1:\d+/) });
  });
});
