import { describe, expect, it } from 'vitest';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { canonicalJson, readManifest, readPart } from '../../src/run/manifest.ts';
import { type RunContext, type TaskKind, runStage } from '../../src/run/stage.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const EXECUTION = { concurrency: 2, threads: 1, blockRows: 1024, memoryBytes: 1 << 20 };

async function openContext(tasks = 2, signal = new AbortController().signal): Promise<{ context: RunContext; ran: number[]; double: TaskKind<{ value: number }, number> }> {
  const store = await openFsStore(await temporaryFolder());
  const ran: number[] = [];
  const double: TaskKind<{ value: number }, number> = {
    name: 'double',
    version: 1,
    run: async ({ value }, env) => {
      if (value < 0) throw new Error(`negative ${value}`);
      ran.push(value);
      env.advance(1);
      return value * 2;
    },
  };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution: EXECUTION, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  return { context: { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution: EXECUTION, seed: 0, resource: executor.resource }, ran, double };
}

describe('the local executor', () => {
  it('returns results in payload order and does not repeat a finished task', async () => {
    const { context, ran, double } = await openContext(3);
    const payloads = [5, 1, 4, 2].map((value) => ({ value }));
    expect(await context.executor.map(double, payloads, 'stage')).toEqual([10, 2, 8, 4]);
    expect(await context.executor.map(double, [...payloads, { value: 9 }], 'stage')).toEqual([10, 2, 8, 4, 18]);
    expect(ran.toSorted()).toEqual([1, 2, 4, 5, 9]);
  });

  it('passes on the first failure and keeps what was finished', async () => {
    const { context, ran, double } = await openContext(1);
    await expect(context.executor.map(double, [1, -1, 3].map((value) => ({ value })), 'stage')).rejects.toThrow('negative -1');
    expect(await context.executor.map(double, [1, 3].map((value) => ({ value })), 'stage')).toEqual([2, 6]);
    expect(ran).toEqual([1, 3]);
  });

  it('stops when told to', async () => {
    const stop = new AbortController();
    const { context, double } = await openContext(1, stop.signal);
    stop.abort();
    await expect(context.executor.map(double, [{ value: 1 }], 'stage')).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('runStage', () => {
  const request = (context: RunContext, config: unknown, made: string[], fail = false) => ({
    path: 'thing', stage: 'thing', config, inputs: [],
    make: async () => {
      made.push(JSON.stringify(config));
      const path = `thing/part-${JSON.stringify(config)}.bin`;
      const { sizeBytes, sha256 } = await context.store.write(path, Uint8Array.of(1, 2, 3));
      if (fail) throw new Error('broke before the commit');
      return { parts: [{ path, firstRow: 0, rowCount: 3, bytes: sizeBytes, sha256 }], stats: { rows: 3 } };
    },
  });

  it('makes once, keeps while settings are equal, and makes again when they change, without strays', async () => {
    const { context } = await openContext();
    const made: string[] = [];
    const first = await runStage(context, request(context, 1, made));
    expect((await runStage(context, request(context, 1, made))).sha256).toBe(first.sha256);
    await runStage(context, request(context, 2, made));
    expect(made).toEqual(['1', '2']);
    const keys: string[] = [];
    for await (const { key } of context.store.list('thing/')) keys.push(key);
    expect(keys).toEqual(['thing/manifest.json', 'thing/part-2.bin']);
  });

  it('leaves no manifest when the stage breaks, and the same bytes when it is run again', async () => {
    const { context } = await openContext();
    const made: string[] = [];
    await expect(runStage(context, request(context, 1, made, true))).rejects.toThrow('broke');
    expect(await readManifest(context.store, 'thing')).toBeNull();
    const again = await runStage(context, request(context, 1, made));
    const { context: other } = await openContext();
    expect((await runStage(other, request(other, 1, []))).sha256).toBe(again.sha256);
  });

  it('finds a part that was changed after it was written', async () => {
    const { context } = await openContext();
    const { manifest } = await runStage(context, request(context, 1, []));
    expect((await readPart(context.store, manifest.parts[0]!)).byteLength).toBe(3);
    await context.store.write(manifest.parts[0]!.path, Uint8Array.of(1, 2, 4));
    await expect(readPart(context.store, manifest.parts[0]!)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
  });

  it('refuses a manifest of another version or that is no JSON', async () => {
    const { context } = await openContext();
    await context.store.write('thing/manifest.json', new TextEncoder().encode('{"format":"winnow-manifest","version":99}'));
    await expect(readManifest(context.store, 'thing')).rejects.toMatchObject({ code: 'FORMAT_VERSION' });
    await context.store.write('thing/manifest.json', new TextEncoder().encode('{'));
    await expect(readManifest(context.store, 'thing')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });
});

describe('canonicalJson', () => {
  it('gives one text for one value, whatever the order of keys', () => {
    expect(canonicalJson({ b: 1, a: { d: 2, c: undefined, b: [3, { z: 1, y: 2 }] } })).toBe(canonicalJson({ a: { b: [3, { y: 2, z: 1 }], d: 2 }, b: 1 }));
  });
});
