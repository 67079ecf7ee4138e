import { cp, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import pl from 'nodejs-polars';
import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { IMAGES_PART_ROWS, IMAGES_PART_TEXT, type ImagesManifest, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, readManifest, readPart } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { packTar, writeTree } from './listing.ts';

interface Run extends RunContext {
  readonly events: string[];
}

async function openRun(storeFolder?: string, signal = new AbortController().signal): Promise<Run> {
  const store = await openFsStore(storeFolder ?? (await temporaryFolder()));
  const events: string[] = [];
  const note = (kind: string) => (_: unknown, message: string) => void events.push(`${kind} ${message}`);
  const log = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') } as unknown as RunContext['log'];
  const execution = { concurrency: 1, threads: 1, blockRows: 1024, memoryBytes: 1 << 20 };
  let files = 0;
  const progress = {
    begin: (stage: string, total: number | null, unit: string) => void events.push(`begin ${stage} ${total} ${unit}`),
    note: () => {},
    advance: (units: number) => void (files += units),
    end: (summary: string) => void events.push(`end ${files} ${summary}`),
  };
  const executor = createLocalExecutor({ store, signal, log, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  return { store, executor, signal, log, progress, execution, seed: 0, resource: (_, make) => make(), events };
}

const run = (context: RunContext, configs: readonly Record<string, unknown>[], base: string, path = 'images'): Promise<StoredManifest<ImagesManifest>> =>
  ingest(context, { path, sources: resolveSources(configs.map((config) => SourceConfig.parse(config)), base) });

async function allKeys(context: RunContext, prefix = ''): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of context.store.list(prefix)) keys.push(key);
  return keys;
}

async function messyPool(): Promise<string> {
  const root = await temporaryFolder();
  const tar = await packTar([['t1.jpg', 'tar image'], ['t1.txt', 'a caption'], ['t1.json', '{"k":1}'], ['t1.cls', '3'], ['lonely.txt', '']]);
  await writeTree(root, { 'folder/cats/a.jpg': 'aa', 'folder/cats/.b.jpg': '', 'folder/c.txt': '', 'tars/x.tar': tar, 'list.csv': 'uri,caption,kind\nfolder/cats/a.jpg,,cat\n../out.jpg,gone,cat\n' });
  return root;
}

const MESSY = [{ folder: 'folder', label: 'parent' }, { tars: 'tars', label: { extension: 'cls' } }, { list: 'list.csv', name: 'list', label: { column: 'kind' } }];

describe('ingest', () => {
  it('writes the table and the manifest, source after source', async () => {
    const root = await messyPool();
    const context = await openRun();
    const { manifest, sha256, path } = await run(context, MESSY, root);
    expect(path).toBe('images');
    expect(manifest.sources).toEqual([
      { name: 'folder', kind: 'folder', firstRow: 0, rowCount: 1 },
      { name: 'tars', kind: 'tars', firstRow: 1, rowCount: 1 },
      { name: 'list', kind: 'list', firstRow: 2, rowCount: 2 },
    ]);
    expect(manifest.stats).toEqual({
      rows: 4,
      sources: {
        folder: { rows: 1, sizeBytes: 2, unsized: 0, skipped: { hidden: 1, extension: 1 }, remarks: {} },
        tars: { rows: 1, sizeBytes: 9, unsized: 0, skipped: { 'no-image': 1 }, remarks: {} },
        list: { rows: 2, sizeBytes: 0, unsized: 2, skipped: {}, remarks: { 'outside-root': 1 } },
      },
    });
    expect(await allKeys(context)).toEqual(['images/manifest.json', 'images/part-00000.arrow']);
    expect((await readManifest(context.store, 'images'))?.sha256).toBe(sha256);
    expect(context.events.filter((event) => !event.startsWith('debug'))).toEqual(['begin ingest null files', 'end 4 4 images listed']);

    const view = decodeTable(await readPart(context.store, manifest.parts[0]!), 'images');
    expect(view.names).toEqual(['uri', 'source', 'path', 'offset', 'length', 'size', 'label', 'caption', 'meta']);
    expect(view.strings('uri')).toEqual(['folder/cats/a.jpg', 'tars/x.tar/t1.jpg', 'list/folder/cats/a.jpg', 'list/../out.jpg']);
    expect(view.strings('label')).toEqual(['cats', '3', 'cat', 'cat']);
    expect(view.strings('caption')).toEqual([null, 'a caption', null, 'gone']);
    expect(view.strings('meta')).toEqual([null, '{"k":1}', null, null]);
    expect(view.validity('offset')).toEqual(Uint8Array.of(0, 1, 0, 0));
    expect(view.validity('size')).toEqual(Uint8Array.of(1, 1, 0, 0));
    const bytes = Buffer.from(await context.store.read('images/part-00000.arrow'));
    expect(pl.readIPC(bytes).getColumn('uri').toArray()).toEqual(view.strings('uri'));
    expect(pl.readIPC(bytes).getColumn('offset').toArray().map((value: unknown) => (value === null ? null : Number(value)))).toEqual([null, 512, null, null]);
  });

  it('gives equal bytes wherever the sources lie, again and again, and names no machine path', async () => {
    const [here, there] = [await messyPool(), await temporaryFolder('elsewhere')];
    await cp(here, there, { recursive: true });
    const [first, second] = [await openRun(), await openRun()];
    const one = await run(first, MESSY, here);
    const two = await run(second, MESSY.map((config) => Object.fromEntries(Object.entries(config).map(([key, value]) => [key, ['folder', 'tars', 'list'].includes(key) ? join(there, value as string) : value]))), '/');
    expect(two.sha256).toBe(one.sha256);
    expect((await run(first, MESSY, here)).sha256).toBe(one.sha256);
    for (const key of await allKeys(first)) {
      const bytes = Buffer.from(await first.store.read(key));
      expect(bytes.equals(Buffer.from(await second.store.read(key))), key).toBe(true);
      for (const machine of [here, there, first.store.uri, '/tmp']) expect(bytes.includes(machine), `${machine} in ${key}`).toBe(false);
    }
  });

  it('notices files that come and go', async () => {
    const root = await messyPool();
    const context = await openRun();
    const configs = [{ folder: 'folder' }];
    const one = await run(context, configs, root);
    await writeTree(root, { 'folder/new.jpg': 'n' });
    const two = await run(context, configs, root);
    expect([one.manifest.stats.rows, two.manifest.stats.rows]).toEqual([1, 2]);
    await rm(join(root, 'folder/new.jpg'));
    expect((await run(context, configs, root)).sha256).toBe(one.sha256);
  });

  it('has caption and meta columns by the kinds of sources alone', async () => {
    const root = await messyPool();
    const names = async (configs: Record<string, unknown>[]): Promise<boolean> => {
      const context = await openRun();
      const { manifest } = await run(context, configs, root);
      return decodeTable(await readPart(context.store, manifest.parts[0]!), 'images').has('caption');
    };
    expect(await names([{ folder: 'folder' }])).toBe(false);
    await writeTree(root, { 'plain.tar': await packTar([['a.jpg', 'a']]) });
    expect(await names([{ folder: 'folder' }, { tars: 'plain.tar' }])).toBe(true);
  });

  it('removes what an earlier listing left, keeps the old one when a source is missing, and keeps sets apart', async () => {
    const root = await messyPool();
    const context = await openRun();
    await context.store.write('images/part-00007.arrow', Uint8Array.of(1));
    await context.store.write('images/manifest.json', Buffer.from('not a manifest'));
    await run(context, [{ folder: 'folder' }], root);
    const seeds = await run(context, [{ folder: 'folder/cats' }], root, 'seeds/cats/images');
    expect(seeds.manifest.parts[0]?.path).toBe('seeds/cats/images/part-00000.arrow');
    const keys = ['images/manifest.json', 'images/part-00000.arrow', 'seeds/cats/images/manifest.json', 'seeds/cats/images/part-00000.arrow'];
    expect(await allKeys(context)).toEqual(keys);
    await expect(run(context, [{ folder: 'none' }], root)).rejects.toMatchObject({ code: 'INPUT_MISSING', message: `Could not find ${root}/none of source none: it does not exist` });
    expect(await allKeys(context)).toEqual(keys);
  });

  it('says what was looked for when there is nothing, and warns of one empty source among others', async () => {
    const root = await messyPool();
    await mkdir(join(root, 'empty'));
    await symlink('/etc', join(root, 'empty/etc'));
    const context = await openRun();
    await expect(run(context, [{ folder: 'empty', extensions: ['jpg', 'png'] }], root)).rejects.toMatchObject({
      code: 'INPUT_EMPTY',
      message: `Expected images in folder source empty (files ending in .jpg .png) at ${root}/empty, got none; passed over: 1 link-outside`,
    });
    expect((await allKeys(context)).filter((key) => !key.startsWith('work/'))).toEqual([]);
    await expect(run(context, [], root)).rejects.toMatchObject({ code: 'INPUT_EMPTY' });
    await run(context, [{ folder: 'empty' }, { folder: 'folder' }], root);
    expect(context.events.filter((event) => event.startsWith('warn'))).toEqual([expect.stringContaining('Expected images in folder source empty')]);
  });

  it('does not list its own store', async () => {
    const root = await messyPool();
    const context = await openRun(join(root, 'folder/out'));
    await context.store.write('report/sheet.png', Uint8Array.of(1));
    const { manifest } = await run(context, [{ folder: 'folder' }], root);
    expect(manifest.stats).toMatchObject({ rows: 1, sources: { folder: { skipped: { store: 1 } } } });
  });

  it('stops when told to, without a manifest', async () => {
    const root = await messyPool();
    const stop = new AbortController();
    const context = await openRun(undefined, stop.signal);
    stop.abort();
    await expect(run(context, MESSY, root)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await allKeys(context)).toEqual([]);
  });

  it('cuts parts by rows, across sources', async () => {
    const root = await temporaryFolder();
    const lines = (from: number, count: number): string => Array.from({ length: count }, (_, i) => `${from + i}.jpg`).join('\n');
    await writeTree(root, { 'a.csv': `uri\n${lines(0, IMAGES_PART_ROWS - 1)}`, 'b.csv': `uri\n${lines(IMAGES_PART_ROWS - 1, 3)}` });
    const context = await openRun();
    const { manifest } = await run(context, [{ list: 'a.csv' }, { list: 'b.csv' }], root);
    expect(manifest.parts.map(({ path, firstRow, rowCount }) => [path, firstRow, rowCount])).toEqual([['images/part-00000.arrow', 0, IMAGES_PART_ROWS], ['images/part-00001.arrow', IMAGES_PART_ROWS, 2]]);
    expect(manifest.sources.map(({ firstRow, rowCount }) => [firstRow, rowCount])).toEqual([[0, IMAGES_PART_ROWS - 1], [IMAGES_PART_ROWS - 1, 3]]);
    const paths: (string | null)[] = [];
    for (const part of manifest.parts) paths.push(...decodeTable(await readPart(context.store, part), part.path).strings('path'));
    expect(paths).toEqual(Array.from({ length: IMAGES_PART_ROWS + 2 }, (_, i) => `${i}.jpg`));
  });

  it('cuts parts by text too, so that long captions stay bounded', async () => {
    const root = await temporaryFolder();
    const caption = 'x'.repeat(2 ** 20 - 64);
    const members = Array.from({ length: 70 }, (_, i) => [[`${i}.jpg`, 'a'], [`${i}.txt`, caption]] as const).flat();
    await writeTree(root, { 'x.tar': await packTar(members) });
    const context = await openRun();
    const { manifest } = await run(context, [{ tars: 'x.tar' }], root);
    expect(manifest.parts.length).toBe(2);
    expect(manifest.parts[0]!.rowCount).toBe(Math.ceil(IMAGES_PART_TEXT / (caption.length + 20)));
    expect(manifest.parts[1]!.firstRow).toBe(manifest.parts[0]!.rowCount);
  });

  const reason = withoutSharedData();
  it.skipIf(reason !== null)(`lists the real pools${reason === null ? '' : `: ${reason}`}`, async () => {
    const context = await openRun();
    const { manifest } = await run(context, [{ folder: 'longtail', label: 'parent' }, { tars: 'pool-tars', label: { extension: 'cls' } }], sharedData);
    expect(manifest.stats).toMatchObject({ rows: 3049 + 13_194, sources: { longtail: { skipped: {} }, 'pool-tars': { sizeBytes: 25_920_114, skipped: {}, remarks: {} } } });
  });
});

describe('the names and places of sources', () => {
  const resolved = (config: Record<string, unknown>, base = '/base/dir') => resolveSources([SourceConfig.parse(config)], base)[0]!;

  it('come from the paths', () => {
    expect(resolved({ folder: '../pics' })).toMatchObject({ name: 'pics', kind: 'folder', location: '/base/pics', entries: ['/base/pics'] });
    expect(resolved({ folder: '.' })).toMatchObject({ name: 'dir', location: '/base/dir' });
    expect(resolved({ tars: 'a/x.tar' })).toMatchObject({ name: 'x.tar', kind: 'tars', location: '/base/dir/a', entries: ['/base/dir/a/x.tar'] });
    expect(resolved({ tars: 'a' })).toMatchObject({ name: 'a', location: '/base/dir/a' });
    expect(resolved({ tars: ['a/x.tar', '/base/dir/ab/y.tar', 'a/b'] })).toMatchObject({ name: 'dir', location: '/base/dir', entries: ['/base/dir/a/x.tar', '/base/dir/ab/y.tar', '/base/dir/a/b'] });
    expect(resolved({ list: 'l/p.csv' })).toMatchObject({ name: 'p.csv', kind: 'list', location: '/base/dir/l', entries: ['/base/dir/l/p.csv'] });
    expect(resolved({ list: 'l/p.csv', root: '/data', name: 'mine' })).toMatchObject({ name: 'mine', location: '/data' });
  });

  it('are names that the schema takes, whatever the path', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (folder) => {
        const { name } = resolved({ folder });
        expect(SourceConfig.safeParse({ folder, name }).success).toBe(true);
      }),
    );
    expect(resolved({ folder: 'My Photos (2)' }).name).toBe('My-Photos-2');
    expect(resolved({ folder: '図' }).name).toBe('images');
  });

  it('must differ', () => {
    const two = ['a/pics', 'b/pics'].map((folder) => SourceConfig.parse({ folder }));
    expect(() => resolveSources(two, '/base')).toThrow('got two named pics, /base/a/pics and /base/b/pics: give one of them a `name`');
  });

  it('are refused in forms that no source has', () => {
    for (const config of [{}, { folder: 'a', list: 'b' }, { folder: 'a', label: { column: 'x' } }, { list: 'a.csv', label: { extension: 'cls' } }, { folder: 'a', extensions: ['.jpg'] }, { folder: 'a', typo: 1 }]) {
      expect(SourceConfig.safeParse(config).success, JSON.stringify(config)).toBe(false);
    }
  });
});
