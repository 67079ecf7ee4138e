import { createHash } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { verifyImages } from '../../src/embed/verify.ts';
import { imageColumns } from '../../src/ingest/image.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type Part, writePart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const COUNT = 20;
let folder: string;
let check: (options: { all: boolean; end?: number }) => Promise<number>;

/** Twenty files in one part of images and two of embeddings; the listing knows the size of the even ones. The last was unreadable. */
beforeEach(async () => {
  const root = await temporaryFolder('verify');
  const store = await openFsStore(join(root, 'store'));
  folder = join(root, 'pool');
  await mkdir(folder);
  const names = Array.from({ length: COUNT }, (_, i) => `${i}.jpg`);
  for (const name of names.slice(0, -1)) await writeFile(join(folder, name), `bytes of ${name}`);
  const none = new Array<null>(COUNT).fill(null);
  const minus = new Float64Array(COUNT).fill(-1);
  const size = Float64Array.from(names, (name, i) => (i % 2 === 0 ? `bytes of ${name}`.length : -1));
  const images = { ...(await writePart(store, 'images', [], COUNT, encodeTable(imageColumns({ rowCount: COUNT, uri: names.map((name) => `pool/${name}`), path: names, source: new Array(COUNT).fill('pool'), offset: minus, length: minus, size, label: none, caption: none, meta: none }, false)))), firstRow: 0 };
  const ids = names.map((name, i) => (i === COUNT - 1 ? null : createHash('sha256').update(`bytes of ${name}`).digest('hex').slice(0, 32)));
  const embeddings: Part[] = [];
  for (const [from, to] of [[0, 12], [12, COUNT]] as const) embeddings.push(await writePart(store, 'embeddings', embeddings, to - from, encodeTable({ id: { type: 'utf8', values: ids.slice(from, to) } })));
  const { signal } = new AbortController();
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution: { concurrency: 2, threads: 1, blockRows: 1024, memoryBytes: 1 }, locations: { pool: folder }, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  let times = 0;
  check = async ({ all, end = COUNT }) => (await executor.map(verifyImages, [{ images, embeddings: embeddings.filter(({ firstRow }) => firstRow < end), end, all, sizeBytesMax: 1000 }], `verify-${times++}`))[0]!;
});

describe('verifyImages', () => {
  it('passes images that have the bytes they had, and those that could not be read before and cannot now', async () => {
    expect(await check({ all: true })).toBe(COUNT);
    expect(await check({ all: false })).toBe(COUNT / 2);
    expect(await check({ all: true, end: 15 })).toBe(15);
  });

  it('names one that has others, of the same size too', async () => {
    await writeFile(join(folder, '14.jpg'), 'BYTES of 14.jpg');
    await expect(check({ all: true })).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(/^Expected image 14 of the pool, pool\/14\.jpg, to have id [0-9a-f]{12}… as before, got id [0-9a-f]{12}…: .*`winnow run`/) });
    expect(await check({ all: false })).toBe(COUNT / 2);
    expect(await check({ all: true, end: 14 })).toBe(14);
  });

  it('always reads those whose size the listing does not know', async () => {
    await rm(join(folder, '3.jpg'));
    await expect(check({ all: false })).rejects.toMatchObject({ message: expect.stringMatching(/image 3 .*got no readable bytes/) });
  });

  it('names one that can be read now', async () => {
    await writeFile(join(folder, '19.jpg'), 'back');
    await expect(check({ all: false })).rejects.toMatchObject({ message: expect.stringMatching(/image 19 .*to have no readable bytes as before, got id/) });
  });
});
