import { createHash } from 'node:crypto';
import { link, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { drawCorpus } from '../../src/demo/draw.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { openEncoder } from '../../src/embed/task.ts';
import { openByteReader } from '../../src/ingest/bytes.ts';
import type { ByteReader, ImagePlace } from '../../src/ingest/image.ts';
import { readManifest } from '../../src/run/manifest.ts';
import { picture, tiff, tiffTags, toSharp } from '../fixtures/images.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { packTar, writeTree } from '../ingest/listing.ts';
import { type EmbedRun, openEmbedRun } from './embed-run.ts';

const idOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 32);
const png = (seed: number): Promise<Buffer> => toSharp(picture(20 + seed, 24)).png().toBuffer();

/** Puts `before` in front of every read of a run's tasks. */
async function watchReads(run: EmbedRun, folder: string, before: (place: ImagePlace) => Promise<void> | void): Promise<void> {
  const reader = openByteReader({ pool: folder });
  await run.executor.resource<ByteReader>('bytes', async () => ({
    read: async (place, sizeBytesMax) => {
      await before(place);
      return reader.read(place, sizeBytesMax);
    },
    close: () => reader.close(),
  }));
}

describe('reading', () => {
  it('takes whole files and members of tars, and reads each once', async () => {
    const files = Object.fromEntries(await Promise.all([0, 1, 2].map(async (i) => [`${i}.png`, await png(i)] as const)));
    const folder = await temporaryFolder('whole');
    await writeTree(folder, files);
    const tars = await temporaryFolder('tars');
    await writeFile(join(tars, 'a.tar'), await packTar(Object.entries(files).flatMap(([name, bytes]) => [[name, bytes], [`${name.slice(0, 1)}.txt`, 'a caption']] as const)));
    for (const [source, root] of [[{ folder }, folder], [{ tars }, tars]] as const) {
      const reads: string[] = [];
      const run = await openEmbedRun(source);
      await watchReads(run, root, ({ path, offset }) => void reads.push(`${path} ${offset}`));
      const table = await run.table(await run.embed('descriptor'));
      expect(table.strings('id')).toEqual(Object.values(files).map(idOf));
      expect(table.strings('status')).toEqual(['ok', 'ok', 'ok']);
      expect(new Set(reads).size).toBe(3);
      expect(reads.length).toBe(3);
    }
  });

  it('opens one session of a model for all tasks and stages', async () => {
    const folder = await temporaryFolder('one');
    await writeTree(folder, { 'a.png': await png(1) });
    const { context } = await openEmbedRun({ folder });
    const config = EmbedConfig.parse({});
    const encoder = await openEncoder('descriptor', config, context);
    expect(await openEncoder('descriptor', { ...config, maxDropRatio: 0.7, dtype: 'float32' } as EmbedConfig, context)).toBe(encoder);
    expect(await openEncoder('descriptor', { ...config, batchSize: 3 }, context)).not.toBe(encoder);
  });
});

describe('a run that is stopped', () => {
  it('ends between two images, leaves no manifest, and gives the same bytes when it goes on', async () => {
    const root = await temporaryFolder('stop');
    const folder = join(root, 'pool');
    await drawCorpus(folder, { images: 120, concepts: 10 });
    const whole = await (await openEmbedRun({ folder })).embed('descriptor');
    const stop = new AbortController();
    let done = 0;
    const reads: ImagePlace[] = [];
    const run = await openEmbedRun({ folder }, { store: join(root, 'store'), signal: stop.signal, onAdvance: () => (++done === 40 ? stop.abort() : undefined) });
    await watchReads(run, folder, (place) => void reads.push(place));
    await expect(run.embed('descriptor')).rejects.toMatchObject({ code: 'ABORTED' });
    expect(done).toBe(40);
    // What had been begun ahead was ended, nothing more.
    expect(reads.length).toBeLessThanOrEqual(40 + 64 + 4);
    const after = reads.length;
    await pause(20);
    expect(reads.length).toBe(after);
    expect(await readManifest(run.context.store, 'embeddings')).toBeNull();
    const resumed = await openEmbedRun({ folder }, { store: join(root, 'store') });
    expect((await resumed.embed('descriptor')).sha256).toBe(whole.sha256);
  });

  it('does not read again what a finished task has embedded', async () => {
    const root = await temporaryFolder('resume');
    await writeFile(join(root, 'a.png'), await png(1));
    await writeFile(join(root, 'list.csv'), `uri\n${'a.png\n'.repeat(4100)}`);
    const stop = new AbortController();
    let done = 0;
    const source = { list: join(root, 'list.csv') };
    const first = await openEmbedRun(source, { store: join(root, 'store'), signal: stop.signal, onAdvance: () => (++done === 4098 ? stop.abort() : undefined) });
    await expect(first.embed(null)).rejects.toMatchObject({ code: 'ABORTED' });
    let [kept, made, reads] = [0, 0, 0];
    const second = await openEmbedRun(source, { store: join(root, 'store'), onAdvance: (units, isKept) => (isKept ? (kept += units) : (made += units)) });
    await watchReads(second, root, () => void reads++);
    const { manifest } = await second.embed(null);
    expect({ kept, made, reads }).toEqual({ kept: 4096, made: 4, reads: 4 });
    expect(manifest.parts.map(({ firstRow, rowCount }) => [firstRow, rowCount])).toEqual([[0, 4096], [4096, 4]]);
    expect(manifest.stats).toMatchObject({ rows: 4100, statuses: { ok: 4100 } });
  });
});

describe('memory', () => {
  const SIDE = 4500;

  it('is bounded by bytes, not by images, where images are large', async () => {
    // Twenty megapixels, 61 MB of file; sixteen rows of it, of which as many as 24 might be under way by number alone.
    const bytes = tiff(new Uint8Array(SIDE * SIDE * 3).fill(90), SIDE, SIDE, tiffTags(2, 8, 3));
    const folder = await temporaryFolder('large');
    await writeFile(join(folder, '00.tif'), bytes);
    for (let i = 1; i < 16; i++) await link(join(folder, '00.tif'), join(folder, `${String(i).padStart(2, '0')}.tif`));
    const run = await openEmbedRun({ folder }, { execution: { concurrency: 12 } });
    let begun = 0;
    let open: () => void = () => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    let peakBytes = 0;
    await watchReads(run, folder, async () => {
      begun += 1;
      await gate;
      peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
    });
    const embedding = run.embed('descriptor');
    await pause(200);
    const before = process.memoryUsage().rss;
    expect(begun).toBe(4); // four of 61 MB are under 256 MiB, five are not
    open();
    const table = await run.table(await embedding);
    expect(new Set(table.strings('id'))).toEqual(new Set([idOf(bytes)]));
    expect(table.strings('status')).toEqual(Array(16).fill('ok'));
    // All files at once are 930 MiB, their pixels as much again.
    expect((peakBytes - before) / 2 ** 20).toBeLessThan(600);
  });
});
