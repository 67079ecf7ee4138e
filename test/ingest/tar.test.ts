import { createHash } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync, statSync, writeSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { rowAt } from '../../src/ingest/rows.ts';
import { listTar } from '../../src/ingest/tar.ts';
import { tarBytes } from '../../src/ingest/tar-members.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Entry, type Listed, listAll, packTar, sourceOf, writeTree } from './listing.ts';

/** Lists a tar held in memory and counts the bytes that were read, by member they lie in. */
async function listBytes(bytes: Uint8Array, config: Record<string, unknown> = {}): Promise<Listed & { bytesRead: number; reads: [from: number, to: number][] }> {
  const rows: Listed['rows'] = [];
  const counts: Record<string, number> = {};
  const reads: [number, number][] = [];
  const tar = tarBytes(bytes.length, 'x.tar', (into, position) => {
    const slice = bytes.subarray(position, position + into.length);
    into.set(slice);
    reads.push([position, position + slice.length]);
    return slice.length;
  });
  const listing = { signal: undefined, count: (reason: string, times = 1) => void (counts[reason] = (counts[reason] ?? 0) + times) };
  for await (const batch of listTar(tar, 'x.tar', sourceOf({ tars: '/nowhere/x.tar', ...config }, '/'), listing)) {
    for (let i = 0; i < batch.rowCount; i++) rows.push(rowAt(batch, i));
  }
  return { rows, counts, reads, bytesRead: reads.reduce((sum, [from, to]) => sum + to - from, 0) };
}

const contentsOf = (bytes: Uint8Array, rows: Listed['rows']): string[] => rows.map(({ offset, length }) => Buffer.from(bytes.subarray(offset, offset + length)).toString('latin1'));

describe('a tars source', () => {
  it('groups members by key, with caption, meta and label', async () => {
    const bytes = await packTar([
      ['dir.v1/0001.jpg', 'image one'],
      ['dir.v1/0001.txt', 'a goldfish\n'],
      ['dir.v1/0001.json', '{ "b": 1,\n "a": 12345678901234567890 }'],
      ['dir.v1/0001.cls', ' 7\n'],
      ['./dir.v1/0002.TXT', 'text first'],
      ['./dir.v1/0002.left.png', 'left'],
      ['./dir.v1/0002.right.png', 'right'],
      ['dir.v1/0003.json', 'not json'],
      ['dir.v1/0003.webp', 'w'],
    ]);
    const { rows, counts } = await listBytes(bytes, { label: { extension: 'cls' } });
    expect(contentsOf(bytes, rows)).toEqual(['image one', 'left', 'right', 'w']);
    expect(rows.map(({ uri, label, caption, meta, size }) => ({ uri, label, caption, meta, size }))).toEqual([
      { uri: 'pool/x.tar/dir.v1/0001.jpg', label: '7', caption: 'a goldfish\n', meta: '{ "b": 1,\n "a": 12345678901234567890 }', size: 9 },
      { uri: 'pool/x.tar/dir.v1/0002.left.png', label: null, caption: 'text first', meta: null, size: 4 },
      { uri: 'pool/x.tar/dir.v1/0002.right.png', label: null, caption: 'text first', meta: null, size: 5 },
      { uri: 'pool/x.tar/dir.v1/0003.webp', label: null, caption: null, meta: '"not json"', size: 1 },
    ]);
    expect(rows.every(({ source, path }) => source === 'pool' && path === 'x.tar')).toBe(true);
    expect(counts).toEqual({ 'meta-not-json': 1 });
    const byFolder = await listBytes(bytes, { label: 'parent' });
    expect(byFolder.rows.map(({ label }) => label)).toEqual(['dir.v1', 'dir.v1', 'dir.v1', 'dir.v1']);
    expect(byFolder.counts).toEqual({ 'meta-not-json': 1, extension: 1 });
  });

  it('counts what is not a row and what is odd about one', async () => {
    const bytes = await packTar([
      ['a.jpg', 'a'],
      ['a.txt', 'first'],
      ['a.txt', 'second'],
      ['a.json', Buffer.alloc(2 ** 20 + 1, 32)],
      ['lonely.txt', 'no image'],
      ['b.mp4', 'film'],
      ['b.jpg', 'b'],
      ['b.txt', Uint8Array.of(0x61, 0xff)],
      ['README', 'no dot'],
      ['.hidden/c.jpg', 'c'],
      ['._b.jpg', 'resource fork'],
      { name: 'folder/', type: 'directory' },
      { name: 'link.jpg', type: 'symlink', linkname: 'a.jpg' },
      { name: 'hard.jpg', type: 'link', linkname: 'a.jpg' },
      { name: 'pipe.jpg', type: 'fifo' },
    ]);
    const { rows, counts } = await listBytes(bytes);
    expect(rows.map(({ uri, caption }) => [uri, caption])).toEqual([['pool/x.tar/a.jpg', 'first'], ['pool/x.tar/b.jpg', 'a\uFFFD']]);
    expect(counts).toEqual({ 'text-repeated': 1, 'text-too-long': 1, 'no-image': 1, extension: 2, 'text-not-utf8': 1, hidden: 2, 'not-a-file': 3 });
  });

  it('reads headers and text only', async () => {
    const image = Buffer.alloc(100_000, 1);
    const bytes = await packTar(Array.from({ length: 50 }, (_, i): Entry[] => [[`${i}.jpg`, image], [`${i}.txt`, 'caption'], [`${i}.json`, '{}']]).flat());
    const { rows, reads, bytesRead } = await listBytes(bytes);
    expect(rows.length).toBe(50);
    for (const { offset, length } of rows) expect(reads.some(([from, to]) => from < offset + length && to > offset)).toBe(false);
    expect(bytesRead).toBeLessThanOrEqual(50 * 5 * 512 + 4 * 512);
  });

  it('finds every member where it lies, for any names and sizes', async () => {
    const stem = fc.string({ unit: fc.constantFrom('a', 'b', '/', '_', ' ', 'é', '漢', '𝒳', '\u202E', '"', '\n', 'x'.repeat(40)), minLength: 1, maxLength: 8 });
    const file = fc.tuple(stem, fc.uint8Array({ maxLength: 1200 }));
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 12 }), async (files) => {
        const entries = files.map(([name, data], i): Entry => [`d/${name.replaceAll(/\/+/g, '/').replace(/^\//, '')}${i}.jpg`, data]);
        const bytes = await packTar(entries);
        const { rows, counts } = await listBytes(bytes);
        expect(rows.map(({ uri }) => uri)).toEqual(entries.map((entry) => `pool/x.tar/${(entry as readonly [string, unknown])[0]}`));
        expect(contentsOf(bytes, rows)).toEqual(files.map(([, data]) => Buffer.from(data).toString('latin1')));
        expect(counts).toEqual({});
      }),
      { numRuns: 200 },
    );
  });
});

const hasGnuTar = spawnSync('tar', ['--version']).stdout?.toString().includes('GNU tar') ?? false;

describe('forms of tar', () => {
  const long = `${'long/'.repeat(30)}${'name'.repeat(40)}.jpg`;

  for (const format of ['v7', 'ustar', 'oldgnu', 'gnu', 'posix']) {
    it.skipIf(!hasGnuTar)(`reads what GNU tar writes as ${format}${hasGnuTar ? '' : ': no GNU tar here'}`, async () => {
      const root = await temporaryFolder();
      const deep = format === 'v7' ? 'plain/x.jpg' : format === 'ustar' ? `${'prefix/'.repeat(20)}x.jpg` : long;
      await writeTree(root, { [deep]: 'deep bytes', 'b.jpg': 'b', 'b.txt': 'bee', 'é漢.jpg': 'name' });
      await symlink('b.jpg', join(root, 'l.jpg'));
      execFileSync('tar', [`--format=${format}`, '--sort=name', '-cf', 'x.tar', 'b.jpg', 'b.txt', deep.split('/')[0]!, 'l.jpg', 'é漢.jpg'], { cwd: root });
      const { rows, counts } = await listAll({ tars: 'x.tar' }, root);
      expect(rows.map(({ uri, caption }) => [uri, caption])).toEqual([['pool/x.tar/b.jpg', 'bee'], [`pool/x.tar/${deep}`, null], ['pool/x.tar/é漢.jpg', null]]);
      expect(contentsOf(readFileSync(join(root, 'x.tar')), rows)).toEqual(['b', 'deep bytes', 'name']);
      expect(counts).toEqual({ 'not-a-file': 1 });
    });
  }

  it.skipIf(!hasGnuTar)('passes over sparse files and hops their long maps (written by GNU tar)', async () => {
    const root = await temporaryFolder();
    const sparse = openSync(join(root, 'sparse.jpg'), 'w');
    for (let i = 0; i < 60; i++) writeSync(sparse, Buffer.alloc(8192, 'data'), 0, 8192, i * 1_048_576);
    closeSync(sparse);
    await writeTree(root, { 'z.jpg': 'after' });
    for (const format of ['gnu', 'posix']) {
      execFileSync('tar', [`--format=${format}`, '--sparse', '-cf', `${format}.tar`, 'sparse.jpg', 'z.jpg'], { cwd: root });
      expect(statSync(join(root, `${format}.tar`)).size).toBeLessThan(1e6);
      const { rows, counts } = await listAll({ tars: `${format}.tar` }, root);
      expect(contentsOf(readFileSync(join(root, `${format}.tar`)), rows)).toEqual(['after']);
      expect(counts['not-a-file']).toBe(1);
    }
  });

  it('reads sizes in base 256 and takes global pax records, own ones first', async () => {
    const bytes = await packTar([['a.jpg', 'abc'], ['b.jpg', 'second']]);
    bytes.fill(0, 124, 136);
    bytes[124] = 0x80;
    bytes[135] = 3;
    restoreChecksum(bytes, 0);
    expect(contentsOf(bytes, (await listBytes(bytes)).rows)).toEqual(['abc', 'second']);

    const global = block('pax_global', 'g', paxRecord('path', 'global.jpg') + paxRecord('comment', 'x'.repeat(600)));
    const own = block('pax', 'x', paxRecord('path', 'own.jpg') + paxRecord('size', '6'));
    const empty = block('pax', 'x', paxRecord('path', ''));
    const joined = Buffer.concat([global, block('1.jpg', '0', 'first!'), own, block('2.jpg', '0', 'second'), empty, block('3.jpg', '0', 'third!'), END]);
    const { rows } = await listBytes(joined);
    expect(rows.map(({ uri }) => uri)).toEqual(['pool/x.tar/global.jpg', 'pool/x.tar/own.jpg', 'pool/x.tar/3.jpg']);
    expect(contentsOf(joined, rows)).toEqual(['first!', 'second', 'third!']);
  });

  it('goes on after zero blocks when another tar is joined on, and ignores rubbish after the end', async () => {
    const [one, two] = [await packTar([['a.jpg', 'a']]), await packTar([['b.jpg', 'bb']])];
    const joined = Buffer.concat([one, Buffer.alloc(9 * 512), two, Buffer.alloc(512 * 300)]);
    expect(contentsOf(joined, (await listBytes(joined)).rows)).toEqual(['a', 'bb']);
    const rubbish = Buffer.concat([one, Buffer.from('rubbish'.repeat(200))]);
    expect(contentsOf(rubbish, (await listBytes(rubbish)).rows)).toEqual(['a']);
  });

  it('takes checksums of signed bytes, as some old programs wrote them', async () => {
    const bytes = Buffer.concat([block('é.jpg', '0', 'a'), END]);
    const isHigh = (byte: number, i: number): boolean => byte > 127 && (i < 148 || i > 155);
    const signed = Number.parseInt(bytes.toString('latin1', 148, 154), 8) - 256 * bytes.subarray(0, 512).filter(isHigh).length;
    bytes.write(signed.toString(8).padStart(6, '0'), 148);
    expect((await listBytes(bytes)).rows.length).toBe(1);
  });

  it('counts names that are not UTF-8', async () => {
    const { rows, counts } = await listBytes(Buffer.concat([block('a\xff.jpg', '0', 'a'), block('b.jpg', '0', 'b'), END]));
    expect([rows.length, counts]).toEqual([1, { 'name-not-utf8': 1 }]);
  });
});

describe('a damaged tar', () => {
  it('is an error that says where, at whatever byte it is cut', async () => {
    const entries: Entry[] = [['a.jpg', 'x'.repeat(700)], [`${'n'.repeat(150)}.jpg`, 'y'.repeat(100)], ['c.jpg', 'z']];
    const bytes = await packTar(entries);
    const whole = (await listBytes(bytes)).rows;
    const headers = [0, ...whole.map(({ offset, length }) => offset + Math.ceil(length / 512) * 512)];
    for (let cut = 1; cut < bytes.length - 1024; cut += 37) {
      const lastWhole = whole.filter(({ offset, length }) => offset + length <= cut).length;
      const isBetween = cut > (headers[lastWhole - 1] ?? 0) && lastWhole > 0 && cut >= whole[lastWhole - 1]!.offset + whole[lastWhole - 1]!.length && cut <= headers[lastWhole]!;
      const listed = listBytes(bytes.subarray(0, cut));
      if (isBetween) expect((await listed).counts).toEqual({ 'tar-unended': 1 });
      else await expect(listed, `cut at ${cut}`).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(/x\.tar .*cut off|byte \d+ of .*x\.tar/) });
    }
    expect((await listBytes(bytes.subarray(0, headers.at(-1)))).counts).toEqual({ 'tar-unended': 1 });
  });

  it('is told from gzip, from other files and from an empty one', async () => {
    const bytes = await packTar([['a.jpg', 'a'], ['b.jpg', 'b']]);
    const flipped = Buffer.from(bytes);
    flipped[1024 + 5]! ^= 1;
    await expect(listBytes(flipped)).rejects.toThrow('Expected a tar header at byte 1024 of /nowhere/x.tar, got other bytes: it is damaged or not a tar');
    await expect(listBytes(Buffer.alloc(2048, 7))).rejects.toThrow('header at byte 0');
    await expect(listBytes(Buffer.concat([Uint8Array.of(0x1f, 0x8b, 8), Buffer.alloc(2048, 7)]))).rejects.toThrow('got gzip; unpack it first');
    await expect(listBytes(Buffer.alloc(0))).rejects.toThrow('got an empty file');
    await expect(listBytes(Buffer.concat([block('pax', 'x', 'no records'), block('a.jpg', '0', 'a'), END]))).rejects.toThrow('Expected pax records at byte 512');
    expect(await listBytes(Buffer.alloc(10240))).toMatchObject({ rows: [], counts: {} });
  });

  it('never crashes or hangs on flipped bytes', async () => {
    const bytes = await packTar([['a.jpg', 'x'.repeat(600)], [`${'n'.repeat(150)}.jpg`, 'y'], ['c.json', '{}'], ['c.jpg', 'c']]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.nat(bytes.length), async (flips, end) => {
        const damaged = Buffer.from(bytes.subarray(0, end));
        for (const [at, value] of flips) if (at < damaged.length) damaged[at] = value;
        const outcome = await listBytes(damaged).catch((error: unknown) => error);
        if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'INPUT_MALFORMED' });
      }),
      { numRuns: 300 },
    );
  });
});

describe('the tars of a source', () => {
  it('are those of a folder in order, one tar, or a list in the order given', async () => {
    const root = await temporaryFolder();
    const tar = await packTar([['a.jpg', 'a']]);
    await writeTree(root, { 'b/2.tar': tar, 'b/10.tar': tar, 'b/sub/0.tar': tar, 'b/note.txt': '', 'c/x.tar': tar });
    const uris = async (tars: string | string[]): Promise<string[]> => (await listAll({ tars }, root)).rows.map(({ uri }) => uri);
    expect(await uris('b')).toEqual(['pool/10.tar/a.jpg', 'pool/2.tar/a.jpg', 'pool/sub/0.tar/a.jpg']);
    expect(await uris('c/x.tar')).toEqual(['pool/x.tar/a.jpg']);
    expect(await uris(['c/x.tar', 'b/2.tar', 'b/sub'])).toEqual(['pool/c/x.tar/a.jpg', 'pool/b/2.tar/a.jpg', 'pool/b/sub/0.tar/a.jpg']);
    await expect(uris(['b/2.tar', 'b'])).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(uris('b/none.tar')).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await expect(uris('b/note.txt')).rejects.toThrow('Expected a file ending in .tar or a folder of them');
    await symlink('../../c/x.tar', join(root, 'b/sub/inside.tar'));
    await mkdir(join(root, 'd'));
    await symlink('../c/x.tar', join(root, 'd/out.tar'));
    await expect(uris('d/out.tar')).rejects.toThrow('got a link out of');
    await writeFile(join(root, 'd/empty.tar'), '');
    await expect(uris('d/empty.tar')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  const reason = withoutSharedData();
  it.skipIf(reason !== null)(`hold the bytes that tar-stream extracts at the offsets listed${reason === null ? '' : `: ${reason}`}`, async () => {
    const { rows, counts } = await listAll({ tars: 'pool-tars', label: { extension: 'cls' } }, sharedData);
    expect(rows.length).toBe(13_194);
    expect(counts).toEqual({});
    expect(new Set(rows.map(({ label }) => label)).size).toBe(200);
    expect(rows.every(({ caption, label, uri }) => caption !== null && uri.includes(`/${label}_`))).toBe(true);
    const name = readdirSync(join(sharedData, 'pool-tars')).sort().at(-1)!;
    const bytes = readFileSync(join(sharedData, 'pool-tars', name));
    const expected = new Map<string, string>();
    const stream = extract();
    stream.end(bytes);
    for await (const entry of stream) {
      const hash = createHash('sha256');
      for await (const chunk of entry) hash.update(chunk as Uint8Array);
      expected.set(`pool/${name}/${entry.header.name}`, hash.digest('hex'));
    }
    const listed = rows.filter(({ path }) => path === name);
    expect(listed.length).toBe([...expected.keys()].filter((uri) => uri.endsWith('.jpg')).length);
    for (const { uri, offset, length } of listed) expect(createHash('sha256').update(bytes.subarray(offset, offset + length)).digest('hex')).toBe(expected.get(uri));
  });
});

const END = Buffer.alloc(1024);

/** One member as its blocks, with a v7 header. */
function block(name: string, type: string, data: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0, name.includes('\xff') ? 'latin1' : 'utf8');
  header.write(Buffer.byteLength(data).toString(8).padStart(11, '0'), 124);
  header.write(type, 156);
  restoreChecksum(header, 0);
  return Buffer.concat([header, Buffer.from(data), Buffer.alloc((512 - (Buffer.byteLength(data) % 512)) % 512)]);
}

function restoreChecksum(bytes: Buffer, at: number): void {
  bytes.fill(32, at + 148, at + 156);
  const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148);
}

function paxRecord(key: string, value: string): string {
  const body = Buffer.byteLength(` ${key}=${value}\n`);
  let length = body + 1;
  while (String(length).length + body !== length) length = String(length).length + body;
  return `${length} ${key}=${value}\n`;
}
