import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RecordBatchReader } from 'apache-arrow';
import pl from 'nodejs-polars';
import { afterAll, describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { type BatchesOptions, batches } from '../../pipelines/9-batch.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { type BatchRequest, checkBatchRequest } from '../../src/batch/batch.ts';
import { createSampler } from '../../src/batch/sampler.ts';
import { openDataset } from '../../src/shard/read.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildToy, exampleToy } from '../shard/toy-store.ts';

/** One dataset for all tests here, which only read it. */
let built: Promise<Store> | null = null;
let folder = '';
const buildDataset = (): Promise<Store> => (built ??= build());
afterAll(() => rm(folder, { recursive: true, force: true }));

async function build(): Promise<Store> {
  folder = await mkdtemp(join(tmpdir(), 'winnow-batches-'));
  const { context, store, recipe } = await buildToy(exampleToy(), folder);
  const wanted = recipe({ mix: { homogeneous: { part: 'whole', probability: 0.3 } }, shard: { rows: 20 }, batch: { size: 10 } });
  await mix(context, wanted);
  await shard(context, wanted);
  return store;
}

async function collect(store: Store, options: BatchesOptions): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of batches(store, options)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Arrow's own reader: columns and metadata of each record batch. */
function readStream(bytes: Uint8Array): { metadata: Record<string, string>; rows: Record<string, unknown>[] }[] {
  return [...RecordBatchReader.from(bytes)].map((batch) => ({
    metadata: Object.fromEntries(batch.metadata),
    rows: batch.toArray().map((row) => (row as { toJSON(): Record<string, unknown> }).toJSON()),
  }));
}

describe('batches', () => {
  it('streams what the sampler says, with the facts of each image', async () => {
    const store = await buildDataset();
    const dataset = await openDataset(store);
    const { parts, mixture, seed } = dataset.manifest;
    const sampler = createSampler({ parts, mixture, seed }, 10);
    const shards = new Map<string, ReturnType<typeof decodeTable>[]>();
    for (const { name, shards: files } of parts) shards.set(name, await Promise.all(files.map(async ({ path }) => decodeTable(await store.read(path), path))));
    const stream = readStream(await collect(store, { steps: 12, fromStep: 3 }));
    expect(stream.length).toBe(12);
    stream.forEach(({ metadata, rows }, i) => {
      const { kind, part, index } = sampler.batch(3 + i, 0, 1);
      expect(metadata).toEqual({ step: String(3 + i), kind, rank: '0', worldSize: '1', batchSize: '10', first: '0' });
      expect(rows.map(({ part: name }) => name)).toEqual(Array.from(part, (p) => parts[p]!.name));
      expect(rows.map((row) => Number(row['index']))).toEqual([...index]);
      for (const { part: name, index: at, id, uri, source, path, offset, length } of rows) {
        const written = shards.get(name as string)![Math.floor(Number(at) / 20)]!.row(Number(at) % 20);
        const plain = (value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);
        expect({ id, uri, source, path, offset: plain(offset), length: plain(length) }).toEqual(Object.fromEntries(['id', 'uri', 'source', 'path', 'offset', 'length'].map((column) => [column, written[column]])));
      }
    });
  });

  it('has the contract\'s columns first, in every batch the same schema and the same codes', async () => {
    const bytes = await collect(await buildDataset(), { steps: 8 });
    const reader = RecordBatchReader.from(bytes).open();
    expect(reader.schema.fields.map(({ name, type }) => `${name}: ${type}`)).toEqual([
      'part: Dictionary<Int32, Utf8>', 'index: Uint64', 'id: Utf8', 'uri: Utf8', 'source: Utf8', 'path: Utf8', 'offset: Uint64', 'length: Uint64',
    ]);
    const dictionaries = [...reader].map((batch) => [...(batch.getChild('part')!.data[0]!.dictionary ?? [])]);
    expect(dictionaries).toEqual(new Array(8).fill(['balanced', 'near', 'whole']));
  });

  it('opens in another implementation (polars)', async () => {
    const bytes = await collect(await buildDataset(), { steps: 8, worldSize: 3, rank: 1 });
    const frame = pl.readIPCStream(Buffer.from(bytes));
    const expected = readStream(bytes).flatMap(({ rows }) => rows);
    expect(frame.columns).toEqual(Object.keys(expected[0]!));
    expect(frame.getColumn('part').cast(pl.Utf8).toArray()).toEqual(expected.map(({ part }) => part));
    expect(frame.getColumn('index').toArray().map(Number)).toEqual(expected.map(({ index }) => Number(index)));
    expect(frame.getColumn('id').toArray()).toEqual(expected.map(({ id }) => id));
  });

  it('gives the ranks of any world the same global batches, one without images too', async () => {
    const store = await buildDataset();
    const rowsOf = async (options: Partial<BatchesOptions>) => readStream(await collect(store, { steps: 5, ...options })).map(({ rows }) => rows.map(({ part, index }) => `${part} ${index}`));
    const whole = await rowsOf({});
    for (const worldSize of [2, 3, 16]) {
      const ranks = await Promise.all(Array.from({ length: worldSize }, (_, rank) => rowsOf({ worldSize, rank })));
      whole.forEach((rows, step) => expect(ranks.flatMap((rank) => rank[step]!)).toEqual(rows));
    }
  });

  it('resumes at a step as if it had never stopped, and gives equal bytes for equal requests', async () => {
    const store = await buildDataset();
    const whole = readStream(await collect(store, { steps: 9 }));
    expect(readStream(await collect(store, { steps: 4, fromStep: 5 }))).toEqual(whole.slice(5));
    expect(Buffer.compare(await collect(store, { steps: 9 }), await collect(await openFsStore(store.uri), { steps: 9 }))).toBe(0);
    expect(readStream(await collect(store, { steps: 9, seed: 1 }))).not.toEqual(whole);
  });

  it('takes the batch size from the recipe unless told another', async () => {
    const store = await buildDataset();
    expect(readStream(await collect(store, { steps: 1 }))[0]!.rows.length).toBe(10);
    expect(readStream(await collect(store, { steps: 1, batchSize: 33 }))[0]!.rows.length).toBe(33);
  });

  it('makes a batch when it is asked for, and stops when told to', async () => {
    const store = await buildDataset();
    const stop = new AbortController();
    const stream = batches(store, { steps: 100_000_000, signal: stop.signal })[Symbol.asyncIterator]();
    for (let chunk = 0; chunk < 3; chunk++) expect((await stream.next()).done).toBe(false);
    stop.abort();
    await expect((async () => { for (let chunk = 0; chunk < 3; chunk++) await stream.next(); })()).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('says in one sentence what is wrong with a request', async () => {
    const store = await buildDataset();
    const refusal = (options: Partial<BatchesOptions>) => expect(collect(store, { steps: 1, ...options })).rejects;
    await refusal({ fromStep: -1 }).toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected the first step to be an integer from 0 to 134217727, got -1' });
    await refusal({ fromStep: 2 ** 60 }).toMatchObject({ code: 'CONFIG_INVALID' });
    await refusal({ steps: 0 }).toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected the number of steps to be an integer from 1 to 134217728, got 0' });
    await refusal({ rank: 4, worldSize: 4 }).toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected the rank to be an integer from 0 to 3 (world size 4), got 4' });
    await refusal({ worldSize: 0 }).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^Expected the world size to be an integer from 1/) });
    await refusal({ batchSize: 0 }).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^Expected the batch size to be an integer from 1/) });
    await expect(collect(await openFsStore(await temporaryFolder()), { steps: 1 })).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('winnow shard') });
  });
});

describe('checkBatchRequest', () => {
  const good: BatchRequest = { fromStep: 0, steps: 1, every: 1, rank: 0, worldSize: 1, batchSize: 1, groups: [] };
  it('lets what is in range through, to the last step', () => {
    checkBatchRequest(good, 100);
    checkBatchRequest({ ...good, fromStep: 99 }, 100);
    expect(() => checkBatchRequest({ ...good, fromStep: 99, steps: 2 }, 100)).toThrow(/number of steps to be an integer from 1 to 1, got 2/);
  });

  it('refuses fractions and NaN anywhere', () => {
    for (const name of Object.keys(good).filter((key) => key !== 'groups')) for (const value of [0.5, Number.NaN, Infinity, -1]) expect(() => checkBatchRequest({ ...good, [name]: value }, 100), `${name} ${value}`).toThrow(/^Expected the .* to be an integer/);
  });
});
