import { readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, afterAll, describe, expect, it } from 'vitest';
import { IMAGES_PART_ROWS, type ImagesManifest, type NamedSource, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, listSource, resolveSources } from '../../src/ingest/ingest.ts';
import type { Cursor } from '../../src/ingest/rows.ts';
import { type ListingPlan, writeListing } from '../../src/ingest/write-listing.ts';
import type { StoredManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { localContext } from '../helpers/local-context.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { packTar, writeTree } from './listing.ts';

class Killed extends Error {}

/** The store of a process that is killed before or after it writes (or removes) the n-th key of a kind. */
function killedAt(store: Store, isKey: (key: string) => boolean, n: number, after: boolean): Store {
  let left = n;
  const act = async <T>(key: string, action: () => Promise<T>): Promise<T> => {
    const isTheOne = left <= 0 || (isKey(key) && --left <= 0);
    if (isTheOne && !after) throw new Killed();
    const done = await action();
    if (isTheOne) throw new Killed();
    return done;
  };
  return { ...store, write: (key, bytes) => act(key, () => store.write(key, bytes)), remove: (key) => act(key, () => store.remove(key)) };
}

const isRecord = (key: string): boolean => key.startsWith('work/') && key.includes('/listing/part-');

async function bytesUnder(store: Store, prefix: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { key } of store.list(prefix)) found[key] = Buffer.from(await store.read(key)).toString('base64');
  return found;
}

async function contextOf(store?: Store): Promise<RunContext> {
  return localContext(store ?? (await openFsStore(await temporaryFolder()))).context;
}

/** A folder with links and things to skip, tars with texts, and a list with entries outside its root. */
let pool: string;
let sources: readonly NamedSource[];
beforeAll(async () => {
  pool = `/tmp/winnow-listing-${process.pid}`;
  const name = (i: number): string => String(i).padStart(5, '0');
  const files = Array.from({ length: 2600 }, (_, i) => [`folder/${i % 7 === 0 ? 'deep/er' : `c${i % 5}`}/${name(i)}.${i % 11 === 0 ? 'txt' : 'jpg'}`, 'x'.repeat(i % 3)]);
  const tar = (from: number): Promise<Buffer> => packTar(Array.from({ length: 300 }, (_, i) => [[`${name(from + i)}.jpg`, 'ab'], [`${name(from + i)}.txt`, `caption ${i}`], ...(i % 50 === 0 ? [[`.hidden${i}`, ''] as const] : [])] as const).flat());
  await writeTree(pool, {
    ...Object.fromEntries(files), 'folder/c1/.hidden': '', 'folder/zz/.h/x.jpg': '',
    'tars/a.tar': await tar(0), 'tars/b.tar': await tar(300), 'tars/sub/c.tar': await tar(600), 'tars/notes.md': '',
    'list.csv': `uri,caption\n${Array.from({ length: 900 }, (_, i) => (i % 100 === 7 ? `../out${i}.jpg,` : i % 100 === 8 ? ',' : `in/${name(i)}.jpg,text ${i}`)).join('\n')}\n`,
  });
  await symlink('../c2', join(pool, 'folder/deep/again'));
  await symlink('..', join(pool, 'folder/c3/up'));
  sources = resolveSources([{ folder: 'folder', label: 'parent' }, { tars: 'tars' }, { list: 'list.csv', name: 'list' }].map((config) => SourceConfig.parse(config)), pool);
});
afterAll(() => rm(pool, { recursive: true, force: true }));

interface Listed {
  readonly from: (Cursor | undefined)[];
}

function planOf(partRows: number, listed: Listed = { from: [] }, changes: Partial<ListingPlan> = {}): ListingPlan {
  return {
    path: 'images', sources, madeFrom: 'one', avoid: undefined, partRows, countedBefore: ({ name }) => (name === 'tars' ? { 'tile-again': 3 } : {}),
    list: (source, listing) => {
      listed.from.push(listing.after);
      return listSource(source, listing);
    },
    ...changes,
  };
}

describe('a listing that was broken off', () => {
  it('ends in the same bytes and counts wherever it was killed, and however parts and batches lie', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(97, 250, 999, 1024, 1500, 2048), fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.boolean()), { minLength: 1, maxLength: 3 }), async (partRows, kills) => {
        const whole = await contextOf();
        const expected = await writeListing(whole, planOf(partRows));
        expect(expected.stats.sources).toMatchObject({ folder: { skipped: { hidden: 2, extension: expect.any(Number), 'link-cycle': 1 } }, tars: { skipped: { hidden: 18, extension: 1 }, remarks: { 'tile-again': 3 } }, list: { skipped: { blank: 9 }, remarks: { 'outside-root': 9 } } });
        const { store } = whole;
        const broken = await contextOf();
        for (const [n, after] of kills) await writeListing({ ...broken, store: killedAt(broken.store, isRecord, n, after) }, planOf(partRows)).catch((error: unknown) => expect(error).toBeInstanceOf(Killed));
        expect(await writeListing(broken, planOf(partRows))).toEqual(expected);
        expect(await bytesUnder(broken.store, 'images/')).toEqual(await bytesUnder(store, 'images/'));
      }),
      { numRuns: 15 },
    );
  });

  it('does not list again what it has: sources that are done, folders before its place, tars before its tar', async () => {
    const killAndGoOn = async (partRows: number, n: number): Promise<Listed['from']> => {
      const context = await contextOf();
      await expect(writeListing({ ...context, store: killedAt(context.store, isRecord, n, true) }, planOf(partRows))).rejects.toBeInstanceOf(Killed);
      const listed: Listed = { from: [] };
      await writeListing(context, planOf(partRows, listed));
      return listed.from;
    };
    const inFolder = await killAndGoOn(1100, 1);
    expect(inFolder).toHaveLength(3);
    expect(inFolder[0]).toMatchObject({ path: expect.stringMatching(/^c\d\//) });
    const folderRows = (await writeListing(await contextOf(), planOf(1100))).sources[0]!.rowCount;
    expect(await killAndGoOn(folderRows + 350, 1)).toEqual([{ path: 'b.tar' }, undefined]);
    expect(await killAndGoOn(folderRows + 1000, 1)).toEqual([undefined]);
  });

  it('is begun anew when its records are not of this listing, and from where they fail to hold', async () => {
    const whole = await contextOf();
    const expected = await writeListing(whole, planOf(500));
    const images = await bytesUnder(whole.store, 'images/');
    const spoil = async (harm: (store: Store) => Promise<unknown>, plan: Partial<ListingPlan> = {}): Promise<{ kept: number }> => {
      const root = await temporaryFolder();
      const context = await contextOf(await openFsStore(root));
      await expect(writeListing({ ...context, store: killedAt(context.store, isRecord, 5, true) }, planOf(500))).rejects.toBeInstanceOf(Killed);
      await harm(context.store);
      let kept = 0;
      const progress = { ...context.progress, advance: (units: number, isKept?: boolean) => void (kept += isKept === true ? units : 0) };
      expect(await writeListing({ ...context, progress }, planOf(500, undefined, plan))).toEqual(expected);
      expect(await bytesUnder(context.store, 'images/')).toEqual(images);
      return { kept };
    };
    const part = (p: number): string => `images/part-0000${p}.arrow`;
    const record = (p: number): string => `work/images/listing/part-0000${p}.json`;
    expect(await spoil(async () => undefined)).toEqual({ kept: 2500 });
    expect(await spoil(async () => undefined, { madeFrom: 'two' })).toEqual({ kept: 0 });
    expect(await spoil((store) => store.remove(part(0)))).toEqual({ kept: 0 });
    expect(await spoil((store) => store.remove(part(3)))).toEqual({ kept: 1500 });
    expect(await spoil(async (store) => store.write(part(2), (await store.read(part(2))).map((byte, i) => (i === 1000 ? byte ^ 1 : byte))))).toEqual({ kept: 1000 });
    expect(await spoil((store) => store.write(record(4), Buffer.from('{"madeFrom":"one","pa')))).toEqual({ kept: 2000 });
    expect(await spoil((store) => store.remove(record(1)))).toEqual({ kept: 500 });
  });

  it('is begun anew when the rows it has do not come again', async () => {
    const folder = await temporaryFolder();
    const list = (names: readonly string[]): Promise<void> => writeFile(join(folder, 'l.csv'), `uri\n${names.join('\n')}\n`);
    const names = Array.from({ length: 50 }, (_, i) => `${i}.jpg`);
    await list(names);
    await writeTree(folder, { 'tars/a.tar': await packTar([['1.jpg', 'a'], ['2.jpg', 'a']]), 'tars/b.tar': await packTar([['3.jpg', 'b'], ['4.jpg', 'b']]), 'files/a/1.jpg': '', 'files/b/2.jpg': '' });
    const plan = (config: Record<string, unknown>): ListingPlan => planOf(3, undefined, { sources: resolveSources([SourceConfig.parse({ name: 's', ...config })], folder) });
    const change = async (config: Record<string, unknown>, act: () => Promise<unknown>): Promise<void> => {
      const context = await contextOf();
      await expect(writeListing({ ...context, store: killedAt(context.store, isRecord, 1, true) }, plan(config))).rejects.toBeInstanceOf(Killed);
      await act();
      const fresh = await contextOf();
      const expected = await writeListing(fresh, plan(config));
      expect(await writeListing(context, plan(config))).toEqual(expected);
      for (const [key, bytes] of Object.entries(await bytesUnder(fresh.store, 'images/'))) expect(Buffer.from(await context.store.read(key)).toString('base64'), key).toBe(bytes);
    };
    await change({ list: 'l.csv' }, () => list(names.slice(1)));
    await change({ list: 'l.csv' }, () => list(names.slice(0, 2)));
    await change({ tars: 'tars' }, () => rm(join(folder, 'tars/b.tar')));
  });
});

describe('ingest', () => {
  const ROWS = 2 * IMAGES_PART_ROWS + 5;
  let folder: string;
  beforeAll(async () => {
    folder = `/tmp/winnow-ingest-${process.pid}`;
    await writeTree(folder, { 'l.csv': `uri\n${Array.from({ length: ROWS }, (_, i) => `${i}.jpg`).join('\n')}\n` });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const run = (context: RunContext, path = 'images', root?: string): Promise<StoredManifest<ImagesManifest>> => ingest(context, { path, sources: resolveSources([SourceConfig.parse({ list: 'l.csv', ...(root !== undefined && { root }) })], folder) });
  const told = (context: RunContext): RunContext & { readonly lines: string[] } => {
    const lines: string[] = [];
    return { ...context, lines, log: { ...context.log, info: (_: unknown, line: string) => void lines.push(line) } as unknown as RunContext['log'] };
  };
  const GOING_ON = (path: string, parts: number): string => `${path}: going on with a listing that was broken off after ${parts * IMAGES_PART_ROWS} images`;

  it.each(['images', 'seeds/flowers/images'])('goes on in %s, leaves no record, and names no path of the machine in one', async (path) => {
    const whole = await contextOf();
    const expected = await run(whole, path);
    const context = told(await contextOf());
    await expect(run({ ...context, store: killedAt(context.store, isRecord, 1, true) }, path)).rejects.toBeInstanceOf(Killed);
    const record = Buffer.from(await context.store.read(`work/${path}/listing/part-00000.json`));
    for (const machine of [folder, context.store.uri, '/tmp']) expect(record.includes(machine)).toBe(false);
    expect((await run(context, path)).sha256).toBe(expected.sha256);
    expect(context.lines).toEqual([GOING_ON(path, 1)]);
    expect(await bytesUnder(context.store, '')).toEqual(await bytesUnder(whole.store, ''));
    expect(Object.keys(await bytesUnder(whole.store, ''))).toEqual([`${path}/manifest.json`, ...[0, 1, 2].map((p) => `${path}/part-0000${p}.arrow`)]);
  });

  it('lists anew after a listing that was finished, though it was killed before its records went', async () => {
    const context = told(await contextOf());
    await expect(run({ ...context, store: killedAt(context.store, (key) => key === 'images/manifest.json', 2, true) })).rejects.toBeInstanceOf(Killed);
    expect(Object.keys(await bytesUnder(context.store, ''))).toContain('images/manifest.json');
    expect(Object.keys(await bytesUnder(context.store, 'work/images/listing/'))).toHaveLength(2);
    await run(context);
    expect(context.lines).toEqual([]);
  });

  it('lists anew when the list or its root is another', async () => {
    const context = told(await contextOf());
    const kill = (): Promise<void> => expect(run({ ...context, store: killedAt(context.store, isRecord, 1, true) })).rejects.toBeInstanceOf(Killed);
    await kill();
    await run(context, 'images', pool);
    await kill();
    const list = join(folder, 'l.csv');
    await writeFile(list, (await readFile(list, 'utf8')).replace('\n0.jpg', '\n9.jpg')); // no row before or after tells
    await utimes(list, 1e9, 1e9);
    await run(context);
    expect(context.lines).toEqual([]);
  });
});
