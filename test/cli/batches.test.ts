import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type BatchesFlags, type ServeFlags, serveBatches, streamBatches } from '../../src/cli/batches.ts';
import { SILENT } from '../../src/log.ts';
import { NEVER, buildDataset, collectCopies, readStream } from '../batch/toy-feed.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { idOf } from '../shard/toy-store.ts';

const FEED = { source: [], cacheMb: 16, ahead: 1, reads: 4, verify: 'crc32' as const };
const BATCHES: BatchesFlags = { ...FEED, steps: 4, fromStep: 0, every: 1, rank: 0 };
const SERVE: ServeFlags = { ...FEED, host: '127.0.0.1', port: 0, memoryMb: 1024, streams: 8, stallSeconds: 60 };

describe('winnow batches', () => {
  it('finds the images where the sources lay when the store was made, or where it is told', async () => {
    const { store, locations } = await buildDataset(await temporaryFolder());
    const read = async (flags: Partial<BatchesFlags>) => readStream(await collectCopies(streamBatches(store.uri, { ...BATCHES, withImages: true, ...flags }, SILENT, NEVER)));
    await expect(read({})).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('Expected a location for source') });
    const told = await read({ source: Object.entries(locations).map(([name, folder]) => `${name}=${folder}`) });
    for (const { rows } of told) for (const { id, image } of rows) expect(idOf(image as Uint8Array)).toBe(id);
    await writeFile(join(store.uri, 'run-log.ndjson'), `${JSON.stringify({ locations: { pool: '/gone' } })}\n${JSON.stringify({ locations })}\n{"cut o`);
    expect(await read({})).toEqual(told);
    await expect(read({ source: ['pool'] })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected --source to be name=folder, got "pool"' });
  });

  it('takes groups, parts and strides', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const batches = readStream(await collectCopies(streamBatches(store.uri, { ...BATCHES, groups: [1, 3], rank: 2, every: 5, part: 'near' }, SILENT, NEVER)));
    expect(batches.map(({ metadata: { step, group, groupRank, groupSize } }) => [step, group, groupRank, groupSize])).toEqual([['0', '1', '1', '3'], ['5', '1', '1', '3'], ['10', '1', '1', '3'], ['15', '1', '1', '3']]);
  });
});

describe('winnow serve --batches', () => {
  it('serves until it is stopped', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const stop = new AbortController();
    let url = '';
    const served = serveBatches(store.uri, SERVE, SILENT, stop.signal, (address) => (url = address));
    await expect.poll(() => url).not.toBe('');
    const bytes = new Uint8Array(await (await fetch(`${url}/batches?steps=4`)).arrayBuffer());
    expect(readStream(bytes)).toEqual(readStream(await collectCopies(streamBatches(store.uri, BATCHES, SILENT, NEVER))));
    stop.abort();
    await served;
    await expect(fetch(`${url}/health`)).rejects.toThrow();
  });

  it('says so without a dataset', async () => {
    await expect(serveBatches(await temporaryFolder(), SERVE, SILENT, NEVER, () => undefined)).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('winnow shard') });
  });
});
