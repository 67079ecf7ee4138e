/** Batches of some columns: what the whole batch has of them, in its order, and nothing read that is not asked for. */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BATCH_COLUMNS, parseColumns } from '../../src/batch/batch.ts';
import type { Feed, FeedWish } from '../../src/batch/feed.ts';
import { streamBatches } from '../../src/cli/batches.ts';
import { SILENT } from '../../src/log.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { NEVER, type ReadBatch, buildDataset, collect, collectCopies, openToyFeed, readStream } from './toy-feed.ts';

const read = async (feed: Feed, wish: FeedWish): Promise<ReadBatch[]> => readStream(await collect(feed.stream(feed.resolve(wish), NEVER)));

const project = (batches: readonly ReadBatch[], columns: readonly string[]): ReadBatch[] =>
  batches.map(({ metadata, rows }) => ({ metadata, rows: rows.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => columns.includes(name)))) }));

describe('columns', () => {
  it.each([
    ['in shards', { shard: { rows: 20, withBytes: true } }, 'crc32'],
    ['in shards, checked by their hash', { shard: { rows: 20, withBytes: true } }, 'sha256'],
    ['in files', {}, 'crc32'],
    ['in files, unchecked', {}, 'none'],
  ] as const)('are those of the whole batch, images %s', async (_, overrides, verify) => {
    const { store, locations } = await buildDataset(await temporaryFolder(), overrides);
    // One image is lost: what stands in its place has the same columns.
    if (verify === 'crc32') await unlink(join(locations['pool']!, 'image-1.bin'));
    const feed = await openToyFeed(store, { locations, verify });
    for (const images of [false, true]) {
      const whole = await read(feed, { steps: 8, images });
      await fc.assert(
        fc.asyncProperty(fc.shuffledSubarray([...BATCH_COLUMNS], { minLength: 1 }).filter((columns) => images || columns.some((name) => name !== 'derivedId')), async (columns) => {
          expect(await read(feed, { steps: 8, images, columns })).toEqual(project(whole, images ? [...columns, 'image'] : columns));
        }),
        { numRuns: 25 },
      );
    }
    expect(await read(feed, { steps: 2, columns: ['image'] })).toEqual(project(await read(feed, { steps: 2, images: true }), ['image']));
  });

  it('are named by flags, and refused where there are none of that name', async () => {
    expect(parseColumns(['image', 'uri', 'index'])).toEqual({ columns: ['index', 'uri'], images: true });
    expect(() => parseColumns(['index', 'labels'])).toThrow('Expected columns of a batch (part, index, id, uri, source, path, offset, length, derivedId, image), got "labels"');
    const { store } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes: true } });
    const flags = { source: [], cacheMb: 16, ahead: 1, reads: 4, verify: 'crc32' as const, steps: 3, fromStep: 2, every: 1, rank: 0 };
    const some = readStream(await collectCopies(streamBatches(store.uri, { ...flags, columns: ['index', 'image'] }, SILENT, NEVER)));
    expect(some).toEqual(project(readStream(await collectCopies(streamBatches(store.uri, { ...flags, withImages: true }, SILENT, NEVER))), ['index', 'image']));
    const feed = await openToyFeed(store);
    expect(() => feed.resolve({ steps: 1, columns: [] })).toThrow('Expected a batch of one column at least, got none');
    expect(() => feed.resolve({ steps: 1, columns: ['derivedId'] })).toThrow('Expected a batch of one column at least, got none'); // nothing is derived here
    expect(() => feed.resolve({ steps: 1, columns: [''] })).toThrow(/^Expected columns of a batch .* got ""$/);
  });
});
