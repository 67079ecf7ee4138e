import { chmod, mkdir, readdir, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Counts, type Cursor, addCount } from '../../src/ingest/rows.ts';
import { scanFolder } from '../../src/ingest/scan.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { writeTree } from './listing.ts';

interface Scanned {
  readonly paths: string[];
  readonly counts: Counts;
  /** Every place to go on from, with what came before it. */
  readonly places: { readonly cursor: Cursor | undefined; readonly files: number; readonly counts: Counts }[];
}

const JPG = new Set(['jpg']);

async function scan(root: string, batchRows?: number, after?: Cursor): Promise<Scanned> {
  const found: Scanned = { paths: [], counts: {}, places: [] };
  const listing = { signal: undefined, count: (reason: keyof Counts, times?: number) => addCount(found.counts, reason, times) };
  for await (const { paths, sizes, cursor } of scanFolder(root, JPG, listing, after, batchRows)) {
    found.paths.push(...paths);
    expect(sizes.length).toBe(paths.length);
    found.places.push({ cursor, files: found.paths.length, counts: { ...found.counts } });
  }
  return found;
}

/** One folder after the other, one name after the other. */
async function oneByOne(root: string): Promise<Pick<Scanned, 'paths' | 'counts'>> {
  const paths: string[] = [];
  const counts: Counts = {};
  const followed = new Set<string>();
  const isUnder = (folder: string, path: string): boolean => !relative(folder, path).startsWith('..');
  const enter = async (prefix: string, real: string, open: readonly string[]): Promise<void> => {
    const below = new Map<string, string | null>();
    for (const entry of await readdir(real, { withFileTypes: true })) {
      const { name } = entry;
      const path = join(real, name);
      if (name.startsWith('.')) addCount(counts, 'hidden');
      else if (entry.isDirectory()) below.set(`${name}/`, path);
      else if (entry.isSymbolicLink()) {
        const target = await realpath(path).catch(() => null);
        if (target === null) addCount(counts, 'link-broken');
        else if (!isUnder(root, target)) addCount(counts, 'link-outside');
        else if (!(await stat(target)).isDirectory()) {
          if (name.endsWith('.jpg')) below.set(name, null);
          else addCount(counts, 'extension');
        } else if ([...open, real].some((folder) => isUnder(target, folder)) || followed.has(path)) addCount(counts, 'link-cycle');
        else {
          followed.add(path);
          below.set(`${name}/`, target);
        }
      } else if (name.endsWith('.jpg')) below.set(name, null);
      else addCount(counts, 'extension');
    }
    for (const name of [...below.keys()].sort()) {
      const folder = below.get(name)!;
      if (folder === null) paths.push(prefix + name);
      else await enter(prefix + name, folder, [...open, real]);
    }
  };
  await enter('', root, []);
  return { paths, counts };
}

const name = fc.constantFrom('a', 'b', 'b-', 'c', '.h', 'é', '！', '\u{1F600}');
const folder = fc.array(name, { maxLength: 3 }).map((names) => names.join('/'));
const file = fc.tuple(folder, fc.constantFrom('1.jpg', '2.jpg', '3.jpg', 'a.jpg', 'b.txt', '.x.jpg')).map((parts) => parts.filter((part) => part !== '').join('/'));
const link = fc.record({ at: fc.tuple(folder, fc.constantFrom('l1', 'l2', 'l3.jpg')).map((parts) => parts.filter((part) => part !== '').join('/')), to: fc.oneof(folder, file, fc.constantFrom('none', '/etc')) });

async function makeTree(files: readonly string[], links: readonly { readonly at: string; readonly to: string }[]): Promise<string> {
  const root = await realpath(await temporaryFolder());
  await writeTree(root, Object.fromEntries(files.map((path) => [path, path])));
  for (const { at, to } of links) {
    await mkdir(dirname(join(root, at)), { recursive: true });
    await symlink(to.startsWith('/') ? to : relative(dirname(join(root, at)), join(root, to)) || '.', join(root, at)).catch(() => undefined); // two links of one name
  }
  return root;
}

describe('a scan that looks ahead', () => {
  it('finds and counts what one folder after the other would, links and all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(file, { maxLength: 25 }), fc.array(link, { maxLength: 8 }), fc.integer({ min: 1, max: 5 }), async (files, links, batchRows) => {
        const root = await makeTree(files, links);
        const { paths, counts } = await scan(root, batchRows);
        expect({ paths, counts }).toEqual(await oneByOne(root));
      }),
      { numRuns: 150 },
    );
  });

  it('reads large folders ahead in pieces, and ends with a reader that stops', async () => {
    const root = await temporaryFolder();
    const names = ['a', 'b'].flatMap((below, b) => Array.from({ length: b === 0 ? 2 : 4500 }, (_, i) => `${below}/${String(i).padStart(4, '0')}.jpg`));
    await writeTree(root, { 'a/0000.jpg': '', 'b/0000.jpg': '' });
    for (let from = 0; from < names.length; from += 500) await Promise.all(names.slice(from, from + 500).map((path) => writeFile(join(root, path), '')));
    expect((await scan(root)).paths).toEqual(names);
    const before = await openHandles();
    for await (const { paths } of scanFolder(root, JPG, { signal: undefined, count: () => undefined })) {
      expect(paths[0]).toBe('a/0000.jpg');
      break;
    }
    expect(await openHandles()).toBe(before);
  });

  it('fails at a folder it may not read when its turn has come, not before', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a/1.jpg': '', 'b/2.jpg': '', 'c/3.jpg': '' });
    await chmod(root, 0o755);
    await chmod(join(root, 'c'), 0);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65534);
    const found: string[] = [];
    try {
      const listed = async (): Promise<void> => {
        for await (const { paths } of scanFolder(root, JPG, { signal: undefined, count: () => undefined }, undefined, 1)) found.push(...paths);
      };
      await expect(listed()).rejects.toMatchObject({ code: 'STORE_DENIED', message: `Could not list the folder c/ of ${root}: permission denied` });
    } finally {
      if (isRoot) process.seteuid?.(0);
      await chmod(join(root, 'c'), 0o755);
    }
    expect(found).toEqual(['a/1.jpg', 'b/2.jpg']);
  });
});

/** Files that this process holds open. */
async function openHandles(): Promise<number> {
  return (await readdir('/proc/self/fd')).length;
}

describe('a scan that goes on', () => {
  it('gives from any place the files and counts that an unbroken one gives after it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(file, { maxLength: 25 }), fc.array(link, { maxLength: 8 }), fc.integer({ min: 1, max: 4 }), async (files, links, batchRows) => {
        const root = await makeTree(files, links);
        const whole = await scan(root, batchRows);
        for (const { cursor, files: before, counts } of whole.places) {
          if (cursor === undefined) continue;
          const rest = await scan(root, batchRows, JSON.parse(JSON.stringify(cursor)) as Cursor);
          expect(rest.paths).toEqual(whole.paths.slice(before));
          const sum = { ...counts };
          for (const [reason, times] of Object.entries(rest.counts)) addCount(sum, reason as keyof Counts, times);
          expect(sum).toEqual(whole.counts);
          // Its own places are as good.
          expect(rest.places.map((place) => place.cursor)).toEqual(whole.places.filter((place) => place.files > before).map((place) => place.cursor));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('knows which links were followed from which folder', async () => {
    // `b/l` leads to `d`, whose own link was followed there first: from `d` itself it is not followed again.
    const root = await makeTree(['b/1.jpg', 'd/1.jpg', 'd/2.jpg', 'e/1.jpg', 'e/2.jpg'], [{ at: 'b/l', to: 'd' }, { at: 'd/m', to: 'e' }]);
    const whole = await scan(root, 1);
    expect(whole.paths).toEqual(['b/1.jpg', 'b/l/1.jpg', 'b/l/2.jpg', 'b/l/m/1.jpg', 'b/l/m/2.jpg', 'd/1.jpg', 'd/2.jpg', 'e/1.jpg', 'e/2.jpg']);
    expect(whole.counts).toEqual({ 'link-cycle': 1 });
    expect(whole.places[3]!.cursor).toEqual({ path: 'b/l/m/1.jpg', links: ['/b/l', '/d/m'], linksBefore: [0, 0, 1, 2] });
    for (const { cursor, files } of whole.places) expect((await scan(root, 1, cursor)).paths).toEqual(cursor === undefined ? whole.paths : whole.paths.slice(files));
  });

  it('reads no folder that lies wholly before its place', async () => {
    const root = await makeTree(['a/x/1.jpg', 'b/2.jpg', 'b/3.jpg', 'c/4.jpg'], []);
    await rm(join(root, 'a'), { recursive: true });
    expect((await scan(root, 1, { path: 'b/2.jpg' })).paths).toEqual(['b/3.jpg', 'c/4.jpg']);
  });

  it('says so when a folder on the way to its place is gone', async () => {
    const root = await makeTree(['a/1.jpg', 'c/1.jpg'], []);
    await expect(scan(root, 1, { path: 'b/1.jpg' })).rejects.toThrow('Expected a folder b/, found none');
  });
});
