import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { listSource } from '../../src/ingest/ingest.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { listAll, sourceOf, writeTree } from './listing.ts';

const paths = async (folder: string, config: Record<string, unknown> = {}): Promise<string[]> => (await listAll({ folder, ...config }, '/')).rows.map(({ path }) => path);

describe('a folder source', () => {
  it('gives uri, path, size and the label of the parent folder', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'cats/a.jpg': 'four', 'cats/young/b.JPEG': 'five!', 'c.png': '' });
    const { rows, counts } = await listAll({ folder: root, label: 'parent' }, '/');
    expect(rows).toEqual([
      { uri: 'pool/c.png', path: 'c.png', source: 'pool', offset: -1, length: -1, size: 0, label: null, caption: null, meta: null },
      { uri: 'pool/cats/a.jpg', path: 'cats/a.jpg', source: 'pool', offset: -1, length: -1, size: 4, label: 'cats', caption: null, meta: null },
      { uri: 'pool/cats/young/b.JPEG', path: 'cats/young/b.JPEG', source: 'pool', offset: -1, length: -1, size: 5, label: 'young', caption: null, meta: null },
    ]);
    expect(counts).toEqual({});
  });

  it('lists any tree in code-unit order of the whole path, whatever order it was made in', async () => {
    const segment = fc.string({ unit: fc.constantFrom('a', 'B', '-', '0', '~', ' ', '!', 'é', '𝒳', '\u{FF5E}', '\u202E', '\n', '"'), minLength: 1, maxLength: 3 });
    const path = fc.tuple(fc.array(segment, { maxLength: 3 }), segment).map(([folders, file]) => [...folders.map((name) => `${name}d`), `${file}.jpg`].join('/'));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(path, { maxLength: 25 }).chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))), async ([all, order]) => {
        const root = await temporaryFolder();
        await writeTree(root, Object.fromEntries(order.map((name) => [name, name])));
        expect(await paths(root)).toEqual([...all].sort((a, b) => (a < b ? -1 : 1)));
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the order where a folder name is a prefix of a file name', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a/z.jpg': '', 'a-b.jpg': '', 'a.jpg': '', 'a0.jpg': '', 'a/a/b.jpg': '', 'a!/x.jpg': '' });
    expect(await paths(root)).toEqual(['a!/x.jpg', 'a-b.jpg', 'a.jpg', 'a/a/b.jpg', 'a/z.jpg', 'a0.jpg']);
  });

  it('passes over hidden names, other extensions and what is no file, and counts them', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a.jpg': '', '.b.jpg': '', '.git/c.jpg': '', '.git/d.jpg': '', 'e.txt': '', 'f': '', 'jpg': '', 'g.jpg/h.png': '' });
    execFileSync('mkfifo', [join(root, 'pipe.jpg')]);
    const { rows, counts } = await listAll({ folder: root }, '/');
    expect(rows.map(({ path }) => path)).toEqual(['a.jpg', 'g.jpg/h.png']);
    expect(counts).toEqual({ hidden: 2, extension: 3, 'not-a-file': 1 });
    expect(await paths(root, { extensions: ['txt'] })).toEqual(['e.txt']);
  });

  it('counts names that are not UTF-8, files and folders, and keeps a true U+FFFD', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a\uFFFD.jpg': 'kept', 'z.jpg': '' });
    const broken = (name: string): Buffer => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]);
    await writeFile(broken('a\xff.jpg'), 'lost');
    await mkdir(broken('d\xfe'));
    const { rows, counts } = await listAll({ folder: root }, '/');
    expect(rows.map(({ path, size }) => [path, size])).toEqual([['a\uFFFD.jpg', 4], ['z.jpg', 0]]);
    expect(counts).toEqual({ 'name-not-utf8': 2 });
  });

  it('follows links that stay inside and counts those that leave, dangle or turn in a circle', async () => {
    const outside = await temporaryFolder();
    const root = await temporaryFolder();
    await writeTree(outside, { 'x.jpg': '' });
    await writeTree(root, { 'a/1.jpg': 'one', '.store/blob': 'blob!', 'deep/er/2.jpg': '' });
    await symlink('.store/blob', join(root, 'from-store.jpg'));
    await symlink('a', join(root, 'again'));
    await symlink('..', join(root, 'a/up'));
    await symlink('.', join(root, 'deep/er/self'));
    await symlink(join(outside, 'x.jpg'), join(root, 'out.jpg'));
    await symlink(outside, join(root, 'out'));
    await symlink('nothing', join(root, 'dangling.jpg'));
    await symlink('loop.jpg', join(root, 'loop.jpg'));
    const { rows, counts } = await listAll({ folder: root }, '/');
    expect(rows.map(({ path, size }) => [path, size])).toEqual([['a/1.jpg', 3], ['again/1.jpg', 3], ['deep/er/2.jpg', 0], ['from-store.jpg', 5]]);
    expect(counts).toEqual({ hidden: 1, 'link-cycle': 3, 'link-outside': 2, 'link-broken': 2 });
  });

  it('ends on links that fan out: each is followed once', async () => {
    const root = await temporaryFolder();
    await mkdir(join(root, 'end'));
    await writeFile(join(root, 'end/x.jpg'), '');
    // 20 folders with two links each to the next: 2^20 paths if every one were walked.
    for (let i = 0; i < 20; i++) {
      await mkdir(join(root, `n${i}`));
      for (const side of ['l', 'r']) await symlink(i === 19 ? '../end' : `../n${i + 1}`, join(root, `n${i}`, side));
    }
    const { rows, counts } = await listAll({ folder: root }, '/');
    expect(rows.length).toBeLessThanOrEqual(41);
    expect(rows.length).toBeGreaterThan(1);
    expect(counts['link-cycle']).toBeGreaterThan(0);
  });

  it('lists a root that is itself a link, and does not enter the folder to avoid', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'real/a.jpg': '', 'real/out/contact-sheet.png': '' });
    await symlink('real', join(root, 'link'));
    expect(await paths(join(root, 'link'))).toEqual(['a.jpg', 'out/contact-sheet.png']);
    const found: string[] = [];
    const counts: string[] = [];
    const listing = { signal: undefined, avoid: join(root, 'real/out'), count: (reason: string) => void counts.push(reason) };
    for await (const { path } of listSource(sourceOf({ folder: join(root, 'link') }, '/'), listing)) found.push(...path);
    expect([found, counts]).toEqual([['a.jpg'], ['store']]);
  });

  it('stops with one sentence when the folder is missing, a file, or cannot be listed', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'file.jpg': '', 'open/a.jpg': '', 'closed/b.jpg': '' });
    await expect(paths(join(root, 'none'))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: `Could not list the folder ${root}/none: it does not exist` });
    await expect(paths(join(root, 'file.jpg'))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: `Expected a folder at ${root}/file.jpg, got a file` });
    execFileSync('chmod', ['755', root]);
    execFileSync('chmod', ['000', join(root, 'closed')]);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65534);
    try {
      await expect(paths(root)).rejects.toMatchObject({ code: 'STORE_DENIED', message: `Could not list the folder closed/ of ${root}: permission denied` });
    } finally {
      if (isRoot) process.seteuid?.(0);
      execFileSync('chmod', ['755', join(root, 'closed')]);
    }
  });

  it('stops when told to', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a.jpg': '' });
    const listing = { signal: AbortSignal.abort(), count: () => {} };
    const listed = async (): Promise<void> => {
      for await (const _ of listSource(sourceOf({ folder: root }, '/'), listing)) expect.unreachable();
    };
    await expect(listed()).rejects.toMatchObject({ code: 'ABORTED' });
  });

  const reason = withoutSharedData();
  it.skipIf(reason !== null)(`lists real pictures by class${reason === null ? '' : `: ${reason}`}`, async () => {
    const { rows } = await listAll({ folder: 'longtail', label: 'parent' }, sharedData);
    expect(rows.length).toBe(3049);
    expect(new Set(rows.map(({ label }) => label)).size).toBe(200);
    expect(rows.every(({ size }) => size > 0)).toBe(true);
  });
});
