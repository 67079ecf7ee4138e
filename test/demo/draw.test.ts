import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CorpusSummary } from '../../src/demo/corpus.ts';
import { planCorpus } from '../../src/demo/corpus.ts';
import { drawCorpus } from '../../src/demo/draw.ts';

const OPTIONS = { images: 120, concepts: 8, seed: 11 };
let root: string;
let corpus: string;
let summary: CorpusSummary;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'winnow-demo-'));
  corpus = join(root, 'corpus');
  summary = await drawCorpus(corpus, { images: 700, concepts: 12, seed: 5 });
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Path → SHA-256 of every file under the folder. */
async function hashAll(directory: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const entry of (await readdir(directory, { recursive: true, withFileTypes: true })).filter((one) => one.isFile())) {
    const path = join(entry.parentPath, entry.name);
    hashes[path.slice(directory.length + 1)] = createHash('sha256').update(await readFile(path)).digest('hex');
  }
  return hashes;
}

describe('drawCorpus', () => {
  it('writes every planned file, and each plain one is a JPEG of 96 to 128 pixels without metadata', async () => {
    const { files } = planCorpus({ images: 700, concepts: 12, seed: 5 });
    expect(Object.keys(await hashAll(corpus)).sort()).toEqual([...files.map(({ path }) => path), 'corpus.json'].sort());
    for (const { path } of files.filter(({ odd, copy, index }) => !odd && !copy && index % 10 === 0)) {
      const { format, width, height, exif, icc } = await sharp(join(corpus, path)).metadata();
      expect(format).toBe('jpeg');
      expect(Math.min(width, height)).toBeGreaterThanOrEqual(96);
      expect(Math.max(width, height)).toBeLessThanOrEqual(128);
      expect([exif, icc]).toEqual([undefined, undefined]);
    }
  });

  it('draws no two plain files alike', async () => {
    const special = new Set(summary.oddFiles.map(({ path }) => path));
    const hashes = Object.entries(await hashAll(corpus)).filter(([path]) => !special.has(path)).map(([, hash]) => hash);
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('gives the same bytes whatever the concurrency', async () => {
    await drawCorpus(join(root, 'one'), { ...OPTIONS, concurrency: 1 });
    await drawCorpus(join(root, 'seven'), { ...OPTIONS, concurrency: 7 });
    expect(await hashAll(join(root, 'one'))).toEqual(await hashAll(join(root, 'seven')));
  });

  it('gives another corpus for another seed', async () => {
    await drawCorpus(join(root, 'seed-12'), { images: 30, concepts: 3, seed: 12 });
    await drawCorpus(join(root, 'seed-13'), { images: 30, concepts: 3, seed: 13 });
    const seen = new Set(Object.values(await hashAll(join(root, 'seed-12'))));
    expect(Object.values(await hashAll(join(root, 'seed-13'))).filter((hash) => seen.has(hash))).toEqual([]);
  });

  it('makes near-copies that are near: closer to the original than other pictures of the concept are', async () => {
    const pixels = (path: string): Promise<Uint8Array> => sharp(join(corpus, path)).resize(16, 16, { fit: 'fill' }).raw().toBuffer();
    const distance = (a: Uint8Array, b: Uint8Array): number => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
    const special = new Set([...summary.oddFiles, ...summary.nearCopies].map(({ path }) => path));
    let nearer = 0;
    for (const { path, original } of summary.nearCopies) {
      const folder = path.split('/')[0]!;
      const other = (await readdir(join(corpus, folder))).map((name) => `${folder}/${name}`).find((name) => !special.has(name) && name !== original);
      const copy = await pixels(path);
      expect(await readFile(join(corpus, path))).not.toEqual(await readFile(join(corpus, original)));
      if (distance(copy, await pixels(original)) < distance(copy, await pixels(other ?? original))) nearer++;
    }
    expect(summary.nearCopies).toHaveLength(14);
    expect(nearer).toBeGreaterThanOrEqual(13);
  });

  it('returns at once when the corpus is there, and draws it anew when it is not whole', async () => {
    const folder = join(root, 'twice');
    const first = await drawCorpus(folder, OPTIONS);
    const hashes = await hashAll(folder);
    let drawn = 0;
    expect(await drawCorpus(folder, { ...OPTIONS, onProgress: () => drawn++ })).toEqual(first);
    expect(drawn).toBe(0);
    await writeFile(join(folder, 'corpus.json'), '{"format":');
    await drawCorpus(folder, { ...OPTIONS, onProgress: () => drawn++ });
    expect(drawn).toBe(OPTIONS.images);
    expect(await hashAll(folder)).toEqual(hashes);
  });

  it('stops on abort without a summary, and the next call makes it whole', async () => {
    const folder = join(root, 'aborted');
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 25) controller.abort();
    };
    await expect(drawCorpus(folder, { ...OPTIONS, signal: controller.signal, onProgress })).rejects.toMatchObject({ code: 'ABORTED' });
    const left = Object.keys(await hashAll(folder));
    expect(left).not.toContain('corpus.json');
    expect(left.length).toBeLessThan(40);
    expect(left.filter((path) => path.endsWith('.part'))).toEqual([]);
    await drawCorpus(folder, OPTIONS);
    expect(await hashAll(folder)).toEqual(await hashAll(join(root, 'one')));
  });

  it('removes what an earlier corpus left, and nothing else', async () => {
    const folder = join(root, 'smaller');
    const { concepts } = await drawCorpus(folder, { ...OPTIONS, seed: 12 });
    await writeFile(join(folder, concepts[0]!.name, 'mine.jpg'), 'mine');
    await writeFile(join(folder, concepts[0]!.name, `.${concepts[0]!.name}-00001.jpg.part`), 'half');
    await mkdir(join(folder, 'holiday'));
    await writeFile(join(folder, 'holiday', 'holiday-00001.jpg'), 'mine too');
    await drawCorpus(folder, OPTIONS);
    const { [`${concepts[0]!.name}/mine.jpg`]: mine, 'holiday/holiday-00001.jpg': holiday, ...rest } = await hashAll(folder);
    expect(mine).toBeDefined();
    expect(holiday).toBeDefined();
    expect(rest).toEqual(await hashAll(join(root, 'one')));
  });

  it('says in one sentence what is wrong', async () => {
    await expect(drawCorpus(join(root, 'x'), { concepts: 1_000 })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('concepts') });
    await expect(drawCorpus(join(root, 'x'), { images: 5, concepts: 6 })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await writeFile(join(root, 'file'), '');
    await expect(drawCorpus(join(root, 'file'), OPTIONS)).rejects.toMatchObject({ code: 'STORE_DENIED' });
  });
});
