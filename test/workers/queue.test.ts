/** What travels through Redis, and what is refused before it does. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openFsStore } from '../../src/store/fs.ts';
import { CODE, differenceOf } from '../../workers/code.ts';
import { jobIdOf, jobOptions } from '../../workers/queue.ts';
import { redisName, redisOptions } from '../../workers/redis.ts';
import { readRunRecord, runIdOf, writeRunRecord } from '../../workers/runs.ts';
import { fenced, openJobStore } from '../../workers/store.ts';
import { TASKS, findTask } from '../../workers/tasks.ts';
import { parseWorkerName, workerName } from '../../workers/worker-name.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('a job', () => {
  const part = fc.string({ minLength: 1, maxLength: 12 });
  const place = fc.record({ store: part, run: part, scope: part, attempt: fc.option(part) });

  it('has an id of plain characters that is no integer', () => {
    fc.assert(fc.property(part, place, (task, where) => void expect(jobIdOf('embed:part', task, where)).toMatch(/^embed-part-[0-9a-f]{32}$/)));
  });

  it('is another one in another store, run, scope or attempt, and the same one otherwise', () => {
    fc.assert(
      fc.property(part, place, place, (task, a, b) => {
        expect(jobIdOf('k', task, a)).toBe(jobIdOf('k', task, { ...a }));
        if (JSON.stringify(a) !== JSON.stringify(b)) expect(jobIdOf('k', task, a)).not.toBe(jobIdOf('k', task, b));
      }),
    );
  });

  it('comes before those of later runs, with a priority that BullMQ takes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 21 - 2 }), (number) => {
        expect(jobOptions('x', number).priority).toBeLessThan(jobOptions('x', number + 1).priority!);
        expect(jobOptions('x', number).priority).toBeGreaterThan(0);
      }),
    );
    expect(jobOptions('x', 2 ** 22).priority).toBeLessThan(2 ** 21);
  });
});

describe('a run', () => {
  it('is a recipe in a store', () => {
    expect(runIdOf('/a', 'x')).toBe(runIdOf('/a', 'x'));
    expect(new Set([runIdOf('/a', 'x'), runIdOf('/b', 'x'), runIdOf('/a', 'y')]).size).toBe(3);
  });

  it('leaves a record that a worker reads as it was written, and refuses another', async () => {
    const store = await openFsStore(await temporaryFolder());
    const facts = { recipe: 'abc', locations: { pool: '/images' }, execution: { blockRows: 8192, memoryMb: 384 }, clusterEngine: 'faiss' as const };
    const sha256 = await writeRunRecord(store, 'run-1', facts);
    expect(await readRunRecord(store, 'run-1', sha256)).toMatchObject(facts);
    await writeRunRecord(store, 'run-1', { ...facts, locations: { pool: '/elsewhere' } });
    expect(await readRunRecord(store, 'run-1', sha256)).toMatchObject(facts);
    await expect(readRunRecord(store, 'run-1', sha256.replaceAll(/./g, '0'))).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await store.write(`runs/run-1/${sha256.slice(0, 16)}.json`, Buffer.from('{}'));
    await expect(readRunRecord(store, 'run-1', sha256)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
  });

  it('takes no user or password along', async () => {
    const store = await openFsStore(await temporaryFolder());
    const written = writeRunRecord(store, 'run-1', { recipe: 'abc', locations: { pool: 'https://me:hunter2@images.example/x' }, execution: { blockRows: 8192, memoryMb: 384 }, clusterEngine: 'faiss' as const });
    await expect(written).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.not.stringContaining('hunter2') });
    for await (const { key } of store.list('runs/')) expect(key).toBe('nothing');
  });
});

describe('a Redis URL', () => {
  it('gives host, port, user, password and database', () => {
    expect(redisOptions('rediss://me:p%40ss@queue.example:6380/3')).toMatchObject({ host: 'queue.example', port: 6380, username: 'me', password: 'p@ss', db: 3, tls: {} });
    expect(redisOptions('redis://[::1]')).toMatchObject({ host: '::1', port: 6379, db: 0 });
    expect(redisName(redisOptions('redis://:hunter2@queue.example'))).toBe('Redis at queue.example:6379');
  });

  it.each(['', 'localhost', 'http://:hunter2@queue', 'redis://', 'redis://:hunter2@queue/x'])('is refused without being repeated: %s', (url) => {
    expect(() => redisOptions(url)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.not.stringContaining('hunter2') }));
  });
});

describe('a worker', () => {
  it('is known by its name', () => {
    const facts = { host: 'gpu-1.local', pid: 42, concurrency: 4, providers: ['webgpu', 'cpu'], version: '0.1.0' };
    expect(parseWorkerName(workerName(facts))).toEqual(facts);
    expect(workerName({ ...facts, host: 'a b:c~d' })).not.toMatch(/[ :]/);
    expect(parseWorkerName('somebody-else')).toBeNull();
  });

  it('refuses jobs of other code, another runtime and another instruction set', () => {
    expect(differenceOf(CODE, { ...CODE })).toBeNull();
    expect(differenceOf({ ...CODE, version: '9.9.9' }, CODE)).toMatch(/winnow 9\.9\.9/);
    expect(differenceOf({ ...CODE, runtime: '0.1' }, CODE)).toMatch(/ONNX Runtime/);
    expect(differenceOf({ ...CODE, instructionSet: 'arm64' }, CODE)).toMatch(/last bit/);
  });

  it('writes only where it may', async () => {
    const root = await temporaryFolder();
    expect((await openJobStore(`${root}/a`, [root])).uri).toBe(`${root}/a`);
    await expect(openJobStore(`${root}-other`, [root])).rejects.toMatchObject({ code: 'STORE_DENIED' });
    await expect(openJobStore('s3://other/prefix', ['s3://bucket/prefix'])).rejects.toMatchObject({ code: 'STORE_DENIED' });
    await expect(openJobStore(`${root}/a/../../b`, null)).rejects.toMatchObject({ code: 'STORE_DENIED' });
  });

  it('writes nothing more once its task is another\'s', async () => {
    const store = await openFsStore(await temporaryFolder());
    let ours = true;
    const guarded = fenced(store, () => ours);
    await guarded.write('a', Uint8Array.of(1));
    ours = false;
    await expect(guarded.write('b', Uint8Array.of(1))).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(guarded.remove('a')).rejects.toMatchObject({ code: 'ABORTED' });
    expect([await store.head('a'), await store.head('b')]).toEqual([{ key: 'a', sizeBytes: 1 }, null]);
  });

  it('hears of a loss that came while native code held its thread', async () => {
    const store = await openFsStore(await temporaryFolder());
    let ours = true;
    setImmediate(() => (ours = false));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    await expect(fenced(store, () => ours).write('a', Uint8Array.of(1))).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('the list of tasks', () => {
  it('names each kind once', () => {
    const names = Object.values(TASKS).flat().map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(findTask(name)?.kind.name).toBe(name);
    expect(findTask('no-such')).toBeNull();
  });

  it('has every kind that stages export', async () => {
    const { readdirSync, readFileSync } = await import('node:fs');
    const root = new URL('../../src/', import.meta.url);
    const exported = readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .flatMap((path) => [...readFileSync(new URL(path, root), 'utf8').matchAll(/^export const \w+: TaskKind<[^=]*= \{\s*name: '([\w-]+)'/gm)].map((match) => match[1]!));
    expect(exported.length).toBeGreaterThan(10);
    expect(Object.values(TASKS).flat().map(({ name }) => name).sort()).toEqual(exported.sort());
  });
});
