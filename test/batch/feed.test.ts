import { readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { parseRecipe } from '../../src/config.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { idOf } from '../shard/toy-store.ts';
import { NEVER, type ReadBatch, buildDataset, collect, openToyFeed, readStream } from './toy-feed.ts';

const idsOf = (batches: readonly ReadBatch[]): string[][] => batches.map(({ rows }) => rows.map(({ id }) => String(id)));

describe('openFeed with images', () => {
  it.each([true, false])('gives the bytes that were embedded, from the shards (%s) or from the files', async (withBytes) => {
    const { store, locations } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes } });
    const feed = await openToyFeed(store, { locations: withBytes ? {} : locations });
    const batches = readStream(await collect(feed.stream(feed.resolve({ steps: 20, images: true }), NEVER)));
    expect(batches.length).toBe(20);
    for (const { metadata, rows } of batches) {
      expect(metadata['substituted']).toBe('0');
      for (const { id, image } of rows) expect(idOf(image as Uint8Array)).toBe(id);
    }
    expect(feed.counts).toMatchObject({ batches: 20, rows: 200, substituted: 0 });
    expect(idsOf(batches)).toEqual(idsOf(readStream(await collect(feed.stream(feed.resolve({ steps: 20 }), NEVER)))));
  });

  it('puts another image of the part in the place of one that is gone or changed, the same at any world size, and counts it', async () => {
    const { store, locations, toy } = await buildDataset(await temporaryFolder());
    const gone = toy.raws['whole']!.findIndex(({ inTar, status }) => !inTar && status === 'ok');
    await unlink(join(locations['whole']!, `image-${gone}.bin`));
    await writeFile(join(locations['pool']!, 'image-1.bin'), 'something else');
    const lost = new Set([idOf(toy.raws['whole']![gone]!.bytes), idOf(toy.pool[1]!.bytes)]);
    const lines: { uri: string; msg: string }[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line) as { uri: string; msg: string }) });
    const feed = await openToyFeed(store, { locations, log });
    const read = async (request: object): Promise<ReadBatch[]> => readStream(await collect(feed.stream(feed.resolve({ steps: 30, images: true, ...request }), NEVER)));
    const plain = idsOf(readStream(await collect(feed.stream(feed.resolve({ steps: 30 }), NEVER)))).flat();
    const whole = await read({});
    const wanted = plain.filter((id) => lost.has(id)).length;
    expect(wanted).toBeGreaterThan(3);
    expect(whole.reduce((sum, { metadata }) => sum + Number(metadata['substituted']), 0)).toBe(wanted);
    expect(feed.counts.substituted).toBe(wanted);
    expect(lines.map(({ uri }) => uri).toSorted()).toEqual([...new Set(lines.map(({ uri }) => uri))].toSorted());
    expect(lines.length).toBe(new Set(plain.flatMap((id) => (lost.has(id) ? [id] : []))).size);
    expect(lines[0]!.msg).toMatch(/^batch: (pool|whole)\/.* could not be read \(.*\); .* is in its place$/);
    expect(lines[0]!.msg).not.toContain(locations['pool']);
    expect(idsOf(whole).flat().some((id) => lost.has(id))).toBe(false);
    expect(idsOf(whole).flat().filter((id, i) => id !== plain[i]).length).toBe(wanted);
    const ranks = [await read({ rank: 0, worldSize: 3 }), await read({ rank: 1, worldSize: 3 }), await read({ rank: 2, worldSize: 3 })];
    expect(ranks[0]!.map((_, step) => ranks.flatMap((rank) => rank[step]!.rows))).toEqual(whole.map(({ rows }) => rows));
  });

  it('fails under strict, and when no image of a part can be had', async () => {
    const { store, locations, toy } = await buildDataset(await temporaryFolder());
    const path = join(locations['pool']!, 'image-1.bin');
    await unlink(path);
    const feed = await openToyFeed(store, { locations });
    await expect(collect(feed.stream(feed.resolve({ steps: 60, images: true, strict: true }), NEVER))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringMatching(/^Expected the bytes of pool\/image-1\.bin#1 \(row \d+ of part "(balanced|near)"\), could not have them: it does not exist$/) });
    for (const [i, { inTar }] of toy.raws['whole']!.entries()) if (!inTar) await writeFile(join(locations['whole']!, `image-${i}.bin`), '');
    await writeFile(join(locations['whole']!, 'pack.tar'), '');
    const broken = await openToyFeed(store, { locations });
    await expect(collect(broken.stream(broken.resolve({ steps: 1, part: 'whole', images: true }), NEVER))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringMatching(/of part "whole" that can be read in place of row \d+ .*, got none in 8 tries/) });
    const elsewhere = await openToyFeed(store);
    await expect(collect(elsewhere.stream(elsewhere.resolve({ steps: 1, images: true }), NEVER))).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('Expected a location for source') });
  });

  it('keeps reads and memory bounded: never more reads at once than told, and a small cache changes nothing', async () => {
    const { store } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes: true } });
    let active = 0;
    let most = 0;
    const counted: Store = {
      ...store,
      read: async (key, range) => {
        most = Math.max(most, ++active);
        await new Promise((resolve) => setTimeout(resolve, 1));
        try {
          return await store.read(key, range);
        } finally {
          active--;
        }
      },
    };
    const feed = await openToyFeed(counted, { readsAtOnce: 3, cacheBytes: 0 });
    const bytes = await collect(feed.stream(feed.resolve({ steps: 6, images: true }), NEVER));
    expect(most).toBeLessThanOrEqual(6); // three for tables, three for images
    const plenty = await openToyFeed(store);
    expect(Buffer.compare(bytes, await collect(plenty.stream(plenty.resolve({ steps: 6, images: true }), NEVER)))).toBe(0);
  });

  it('gives the same bytes in memory that it uses again, once a piece was taken for the next', async () => {
    const { store } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes: true } });
    const feed = await openToyFeed(store, { ahead: 2 });
    const request = feed.resolve({ steps: 40, images: true });
    const expected = await collect(feed.stream(request, NEVER));
    const memory = new Set<ArrayBufferLike>();
    for (let time = 0; time < 2; time++) {
      const copies: Uint8Array[] = [];
      for await (const piece of feed.stream(request, NEVER, { reuse: true })) {
        if (piece.buffer instanceof SharedArrayBuffer) memory.add(piece.buffer);
        copies.push(piece.slice());
        await new Promise((resolve) => setImmediate(resolve)); // what is read ahead must not come to lie in it
        expect(Buffer.compare(piece, copies.at(-1)!)).toBe(0);
      }
      expect(Buffer.compare(Buffer.concat(copies), expected)).toBe(0);
    }
    expect(memory.size).toBeGreaterThan(0);
    expect(memory.size).toBeLessThanOrEqual(4); // the one taken, two ahead, and the one that is made meanwhile
  });

  it('works ahead, and no further than told', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const feed = await openToyFeed(store, { ahead: 2 });
    const chunks = feed.stream(feed.resolve({ steps: 1000 }), NEVER)[Symbol.asyncIterator]();
    await chunks.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(feed.counts.batches).toBeLessThanOrEqual(3);
    await chunks.return?.();
  });

  it('notices a shard that is not as it was written', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const path = join(store.uri, 'dataset/shards/balanced-00000.arrow');
    const bytes = await readFile(path);
    for (const damaged of [bytes.subarray(0, 900), new Uint8Array(bytes.length), Buffer.concat([bytes, Buffer.alloc(8)])]) {
      await writeFile(path, damaged);
      const feed = await openToyFeed(await openFsStore(store.uri));
      await expect(collect(feed.stream(feed.resolve({ steps: 5 }), NEVER))).rejects.toMatchObject({ code: expect.stringMatching(/^(CHECKSUM_MISMATCH|INPUT_MALFORMED)$/), message: expect.stringContaining('balanced-00000.arrow') });
    }
    await unlink(path);
    const feed = await openToyFeed(store);
    await expect(collect(feed.stream(feed.resolve({ steps: 5 }), NEVER))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('--force shard') });
  });
});

describe('what a request can say', () => {
  it('takes every n-th step, so that workers share a stream without overlap', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const feed = await openToyFeed(store);
    const read = async (request: object): Promise<ReadBatch[]> => readStream(await collect(feed.stream(feed.resolve({ steps: 12, ...request }), NEVER)));
    const whole = await read({});
    const workers = await Promise.all([0, 1, 2].map((worker) => read({ fromStep: worker, every: 3, steps: 4 })));
    expect(whole.map((_, step) => workers[step % 3]![Math.floor(step / 3)])).toEqual(whole);
  });

  it('deals the same global batch to each rank group by its own size', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const feed = await openToyFeed(store);
    const groups = [1, 2, 4];
    const read = async (request: object): Promise<ReadBatch[]> => readStream(await collect(feed.stream(feed.resolve({ steps: 3, ...request }), NEVER)));
    const whole = await read({});
    const ranks = await Promise.all(Array.from({ length: 7 }, (_, rank) => read({ rank, groups })));
    for (const [group, first, size] of [[0, 0, 1], [1, 1, 2], [2, 3, 4]] as const) {
      for (let step = 0; step < 3; step++) {
        const own = ranks.slice(first, first + size).map((rank) => rank[step]!);
        expect(own.flatMap(({ rows }) => rows)).toEqual(whole[step]!.rows);
        own.forEach(({ metadata }, i) => expect(metadata).toMatchObject({ rank: String(first + i), worldSize: '7', group: String(group), groupRank: String(i), groupSize: String(size), first: String(Math.floor((10 * i) / size)) }));
      }
    }
    expect(() => feed.resolve({ steps: 1, groups, worldSize: 8 })).toThrow(/sum to the world size 8, got 1 \+ 2 \+ 4 = 7/);
  });

  it('draws from one part alone, and refuses a part that is not there', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const feed = await openToyFeed(store);
    const batches = readStream(await collect(feed.stream(feed.resolve({ steps: 4, part: 'near' }), NEVER)));
    expect(batches.flatMap(({ rows }) => rows.map(({ part }) => part))).toEqual(new Array(40).fill('near'));
    expect(() => feed.resolve({ steps: 1, part: 'nowhere' })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: 'Expected a part of the dataset (balanced, near, whole), got "nowhere"' }));
  });

  it('draws and cuts as another recipe says, when given one', async () => {
    const { store } = await buildDataset(await temporaryFolder());
    const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'other', pool: [{ folder: 'x' }], retrieve: [{ name: 'near', sources: [{ folder: 'y' }] }], raw: [{ name: 'whole', sources: [{ folder: 'z' }] }], mix: { heterogeneous: { near: 1, whole: 1 } }, batch: { size: 6, crops: 'paper' } }, 'other');
    const feed = await openToyFeed(store, { recipe });
    const batches = readStream(await collect(feed.stream(feed.resolve({ steps: 20 }), NEVER)));
    for (const { metadata, rows } of batches) {
      expect(rows.map(({ part }) => part).toSorted()).toEqual(['near', 'near', 'near', 'whole', 'whole', 'whole']);
      expect(metadata).toMatchObject({ globalCrop: expect.stringMatching(/^(512|768)$/), localCrop: expect.stringMatching(/^(112|168|224|336)$/), gramCrop: expect.stringMatching(/^(768|1152)$/) });
    }
    const ranks = await Promise.all([0, 1].map(async (rank) => readStream(await collect(feed.stream(feed.resolve({ steps: 20, rank, worldSize: 2 }), NEVER)))));
    for (const rank of ranks) rank.forEach(({ metadata }, step) => expect([metadata['globalCrop'], metadata['localCrop']]).toEqual([batches[step]!.metadata['globalCrop'], batches[step]!.metadata['localCrop']]));
    const missing = parseRecipe({ format: 'winnow-recipe/1', name: 'other', pool: [{ folder: 'x' }], raw: [{ name: 'void', sources: [{ folder: 'z' }] }], mix: { heterogeneous: { void: 1 } } }, 'other');
    await expect(openToyFeed(store, { recipe: missing })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('"void"') });
  });

  it.each(['stratified', 'cluster'])('composes %s batches from the clusters in the shards, each row once a pass', async (compose) => {
    const { store } = await buildDataset(await temporaryFolder(), { batch: { size: 6, compose } });
    const feed = await openToyFeed(store);
    const { rows: n } = feed.manifest.parts[0]!;
    const batches = readStream(await collect(feed.stream(feed.resolve({ steps: n, part: 'balanced' }), NEVER)));
    const seen = new Array<number>(n).fill(0);
    for (const { rows } of batches) {
      for (const { index } of rows) seen[Number(index)]!++;
      expect(Math.max(...seen) - Math.min(...seen)).toBeLessThanOrEqual(1);
    }
    expect(seen).toEqual(new Array(n).fill(6));
    expect(() => parseRecipe({ format: 'winnow-recipe/1', name: 'x', pool: [{ folder: 'x' }], batch: { compose: 'mixed' } }, 'x')).toThrow(/batch\.compose/);
    const tooHigh = await openToyFeed((await buildDataset(await temporaryFolder(), { batch: { size: 6, compose, level: 9 } })).store);
    await expect(collect(tooHigh.stream(tooHigh.resolve({ steps: 1 }), NEVER))).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: 'Expected batch.level to be one of the 3 levels of the tree, got 9' });
  });
});
