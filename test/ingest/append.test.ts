import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { listNewRows, requireSameRows } from '../../src/ingest/append.ts';
import { type ImagesManifest, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type Part, type StoredManifest, readPart } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { packTar, writeTree } from './listing.ts';

interface World {
  readonly root: string;
  readonly store: Store;
  readonly context: RunContext;
  list(path: string, ...sources: object[]): Promise<StoredManifest<ImagesManifest>>;
}

async function openWorld(): Promise<World> {
  const root = await temporaryFolder('same-rows');
  const store = await openFsStore(join(root, 'store'));
  const { signal } = new AbortController();
  const execution = { concurrency: 1, threads: 1, blockRows: 1024, memoryBytes: 1 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  const context = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
  return { root, store, context, list: (path, ...sources) => ingest(context, { path, sources: resolveSources(sources.map((source) => SourceConfig.parse(source)), root) }) };
}

const names = (count: number, prefix = ''): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}${String(i).padStart(4, '0')}.jpg`, 'x'.repeat(i % 7)]));

describe('requireSameRows', () => {
  it('passes a listing that only got longer, though a list among the sources gives the table more columns', async () => {
    const { root, context, list } = await openWorld();
    await writeTree(join(root, 'a'), names(30));
    await writeTree(root, { 'more.csv': 'uri,caption\nb/1.jpg,one\n' });
    const before = await list('images', { folder: 'a' });
    await requireSameRows(context, before, await list('longer', { folder: 'a', label: 'parent' }, { list: 'more.csv' }));
  });

  it.each([
    ['a file that came in between', async (root: string) => writeFile(join(root, 'a', '0012x.jpg'), ''), /image 13 of the pool to be a\/0013\.jpg as before, found a\/0012x\.jpg: new sources go after/],
    ['a file that went', async (root: string) => rm(join(root, 'a', '0004.jpg')), /image 4 .*a\/0004\.jpg as before, found a\/0005\.jpg/],
    ['the last file gone', async (root: string) => rm(join(root, 'a', '0029.jpg')), /image 29 .*found only 29 images/],
    ['another size', async (root: string) => writeFile(join(root, 'a', '0020.jpg'), 'longer than before'), /image 20 .*found it with 18 bytes where it had 6/],
  ])('names %s', async (_, change, sentence) => {
    const { root, context, list } = await openWorld();
    await writeTree(join(root, 'a'), names(30));
    const before = await list('images', { folder: 'a' });
    await change(root);
    const after = await list('longer', { folder: 'a' });
    await expect(requireSameRows(context, before, after)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(sentence) });
  });

  it('names a member of a tar that moved', async () => {
    const { root, context, list } = await openWorld();
    await writeTree(root, { 'a.tar': await packTar([['1.txt', 'short'], ['1.jpg', 'one']]) });
    const before = await list('images', { tars: 'a.tar' });
    await writeTree(root, { 'a.tar': await packTar([['1.txt', 'l'.repeat(2000)], ['1.jpg', 'one']]) });
    const after = await list('longer', { tars: 'a.tar' });
    await expect(requireSameRows(context, before, after)).rejects.toMatchObject({ message: expect.stringMatching(/image 0 .*found it at another place of a\.tar/) });
  });
});

describe('listNewRows', () => {
  it('gives the rows after the old ones, cut where blocks of the listing end', async () => {
    const { root, store, list } = await openWorld();
    await writeTree(join(root, 'a'), names(30));
    await writeTree(root, { 'b.csv': `uri\n${Array.from({ length: 15 }, (_, i) => `b/${i}.jpg`).join('\n')}\n` });
    const { manifest } = await list('images', { folder: 'a' }, { list: 'b.csv' });
    const whole = manifest.parts[0]!;
    const parts: Part[] = [whole, { ...whole, firstRow: 45 }]; // the same rows again stand for a part that is all new
    for (const [firstRow, cuts] of [[0, [[0, 45], [45, 45]]], [13, [[0, 7], [7, 25], [32, 45]]], [20, [[0, 25], [25, 45]]], [41, [[0, 4], [4, 45]]], [45, [[0, 45]]], [90, []]] as const) {
      const found = await listNewRows(store, parts, firstRow, 10, `new-${firstRow}`);
      expect(found.map((part) => [part.firstRow, part.rowCount]), `from row ${firstRow}`).toEqual(cuts);
      const uris: (string | null)[] = [];
      const sizes: (number | null)[] = [];
      for (const part of found) {
        const view = decodeTable(await readPart(store, part), part.path);
        uris.push(...view.strings('uri'));
        const valid = view.validity('size');
        sizes.push(...Array.from(view.numbers('size'), (size, i) => (valid === undefined || valid[i] === 1 ? size : null)));
      }
      const all = Array.from({ length: 90 }, (_, row) => row % 45);
      expect(uris).toEqual(all.slice(firstRow).map((row) => (row < 30 ? `a/${String(row).padStart(4, '0')}.jpg` : `b.csv/b/${row - 30}.jpg`)));
      expect(sizes).toEqual(all.slice(firstRow).map((row) => (row < 30 ? row % 7 : null)));
    }
  });
});
