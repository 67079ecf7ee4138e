import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openByteReader } from '../../src/ingest/bytes.ts';
import { type NamedSource, SourceConfig } from '../../src/ingest/image.ts';
import { listSource, resolveSources } from '../../src/ingest/ingest.ts';
import { type Counts, type Cursor, addCount, rowAt } from '../../src/ingest/rows.ts';
import { scanS3Folder } from '../../src/ingest/s3-scan.ts';
import { type S3Bucket, openS3Bucket } from '../../src/store/s3-bucket.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Listed, listAll, packTar, writeTree } from './listing.ts';

let server: S3Server;
let bucket: S3Bucket;
beforeAll(async () => {
  server = await startS3Server();
  bucket = await openS3Bucket(server.otherBucket, { s3: server.s3 });
});
afterAll(() => server.close());

type Files = Readonly<Record<string, string | Uint8Array>>;

/** @returns the s3:// name of what was put */
async function put(files: Files): Promise<string> {
  const prefix = server.prefix('pool');
  for (const [path, data] of Object.entries(files)) await bucket.write(`${prefix}/${path}`, Buffer.from(data));
  return `s3://${server.otherBucket}/${prefix}`;
}

function remote(config: Record<string, unknown>): NamedSource {
  return resolveSources([SourceConfig.parse({ name: 'pool', ...config })], '/nowhere', server.s3)[0]!;
}

async function listRemote(config: Record<string, unknown>, avoid?: string): Promise<Listed> {
  const counts: Record<string, number> = {};
  const rows: Listed['rows'] = [];
  const count = (reason: string, times = 1): void => {
    if (times > 0) counts[reason] = (counts[reason] ?? 0) + times;
  };
  for await (const batch of listSource(remote(config), { signal: undefined, avoid, count })) for (let i = 0; i < batch.rowCount; i++) rows.push(rowAt(batch, i));
  return { rows, counts };
}

/** The same files on a disk. */
async function local(files: Files): Promise<string> {
  const folder = await temporaryFolder();
  await writeTree(folder, files);
  return folder;
}

describe('a folder in a bucket', () => {
  it('gives the rows of the same folder on a disk', async () => {
    const files = { 'b/2.jpg': 'bb', 'b/1.PNG': 'b', 'b-c/1.jpg': 'c', 'b.jpg': 'x', 'a/deep/er/1.webp': 'deep', 'é/ü.jpg': 'u', 'Z.jpg': 'z', 'a b+c%20&?.jpg': 'odd', 'notes.txt': 't', '.hidden/1.jpg': 'h', '.hidden/2.jpg': 'h', 'a/.x.jpg': 'h' };
    const expected = await listAll({ folder: await local(files), label: 'parent' }, '/');
    expect(expected.rows).toHaveLength(8);
    expect(await listRemote({ folder: await put(files), label: 'parent' })).toEqual(expected);
  });

  it('orders names as their code units are, emoji beside full-width forms too', async () => {
    const files = { '！.jpg': '1', '😀.jpg': '2', 'x/😀.jpg': '3', 'x/ﬀ.jpg': '4', 'x/a.jpg': '5', 'y.jpg': '6' };
    const { rows } = await listRemote({ folder: await put(files) });
    expect(rows.map(({ path }) => path)).toEqual(Object.keys(files).sort());
    expect(rows).toEqual((await listAll({ folder: await local(files) }, '/')).rows);
  });

  it('passes over the store that the run writes to', async () => {
    const folder = await put({ 'a.jpg': 'a', 'store/dataset/x.jpg': 'made', 'store/y.jpg': 'made', 'storey/b.jpg': 'b' });
    const { rows, counts } = await listRemote({ folder }, `${folder}/store`);
    expect(rows.map(({ path }) => path)).toEqual(['a.jpg', 'storey/b.jpg']);
    expect(counts).toEqual({ store: 1 });
  });

  it('goes on from any place with the rows and counts that come after it, amid a hidden folder or the store too', async (test) => {
    const fresh = await startS3Server(); // it looks for its files once, at the first call
    test.onTestFinished(() => fresh.close());
    if (fresh.folder === null) return test.skip('only s3rver keeps objects as files that can be made here');
    const prefix = fresh.prefix('pool');
    const number = (i: number): string => String(i).padStart(4, '0');
    const below = { 'a/': 700, 'b/.h/': 900, 'c/': 300, 'd/store/': 1200, 'd/x/': 200, 'e！/': 20, 'e\u{1F600}/': 20 };
    for (const [folder, count] of Object.entries(below)) {
      const path = join(fresh.folder!, fresh.otherBucket, prefix, folder);
      await mkdir(path, { recursive: true });
      await Promise.all(Array.from({ length: count }, (_, i) => [writeFile(join(path, `${number(i)}.${i % 9 === 0 ? 'txt' : 'jpg'}._S3rver_object`), 'x'), writeFile(join(path, `${number(i)}.${i % 9 === 0 ? 'txt' : 'jpg'}._S3rver_object.md5`), '9dd4e461268c8034f5c8564e155c67a6')]).flat());
    }
    const folder = `s3://${fresh.otherBucket}/${prefix}`;
    const { location } = resolveSources([SourceConfig.parse({ folder })], '/nowhere', fresh.s3)[0]!;
    const scanned = async (after?: Cursor): Promise<{ paths: string[]; counts: Counts; places: { cursor: Cursor | undefined; rows: number; counts: Counts }[] }> => {
      const [paths, counts, places]: [string[], Counts, { cursor: Cursor | undefined; rows: number; counts: Counts }[]] = [[], {}, []];
      const listing = { signal: undefined, avoid: `${folder}/d/store`, count: (reason: keyof Counts, times?: number) => addCount(counts, reason, times) };
      for await (const found of scanS3Folder(location, new Set(['jpg']), listing, after)) {
        paths.push(...found.paths);
        places.push({ cursor: found.cursor, rows: paths.length, counts: { ...counts } });
      }
      return { paths, counts, places };
    };
    const whole = await scanned();
    expect(whole.paths).toEqual([...whole.paths].sort());
    expect(whole.counts).toMatchObject({ hidden: 1, store: 1 });
    expect(whole.places.length).toBeGreaterThan(2);
    expect(whole.places.some(({ cursor }) => cursor!.path.startsWith('b/.h/') || cursor!.path.startsWith('d/store/'))).toBe(true);
    for (const { cursor, rows, counts } of whole.places) {
      const rest = await scanned(cursor);
      expect(rest.paths).toEqual(whole.paths.slice(rows));
      const sum = { ...counts };
      for (const [reason, times] of Object.entries(rest.counts)) addCount(sum, reason as keyof Counts, times);
      expect(sum).toEqual(whole.counts);
    }
  });

  it('says in one sentence that there is no such bucket', async () => {
    await expect(listRemote({ folder: 's3://no-such-bucket/x' })).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringMatching(/there is no bucket no-such-bucket at http/) });
  });
});

describe('tars in a bucket', () => {
  it('give the rows and bytes of the same tars on a disk', async () => {
    const big = new Uint8Array(300_000).fill(5);
    const first = await packTar([['a.jpg', 'aaa'], ['a.txt', 'caption'], ['b.jpg', big], ['c.jpg', 'c'], ['c.json', '{"n":1}']]);
    const second = await packTar([['d/e.png', big], ['d/e.cls', '7'], ['d/f.png', 'f']]);
    const files = { '1.tar': first, 'more/2.tar': second };
    const config = { label: { extension: 'cls' } };
    const folder = await local(files);
    const prefix = await put(files);
    const expected = await listAll({ tars: folder, ...config }, '/');
    expect(expected.rows).toHaveLength(5);
    expect(await listRemote({ tars: prefix, ...config })).toEqual(expected);
    expect((await listRemote({ tars: [`${prefix}/more/2.tar`, `${prefix}/1.tar`], ...config })).rows.map(({ uri }) => uri)).toEqual([
      'pool/more/2.tar/d/e.png', 'pool/more/2.tar/d/f.png', 'pool/1.tar/a.jpg', 'pool/1.tar/b.jpg', 'pool/1.tar/c.jpg',
    ]);
    const here = openByteReader({ pool: folder });
    const there = openByteReader({ pool: remote({ tars: prefix }).location });
    for (const row of expected.rows) {
      const [expectedBytes, bytes] = [await here.read(row, 2 ** 20), await there.read(row, 2 ** 20)];
      if (expectedBytes.status !== 'ok' || bytes.status !== 'ok') throw new Error(`${row.path}: ${expectedBytes.status}, ${bytes.status}`);
      expect(Buffer.compare(bytes.bytes, expectedBytes.bytes), row.path).toBe(0);
    }
    await Promise.all([here.close(), there.close()]);
  });

  it('is a clear error when one is not there, is empty or is cut off', async () => {
    const prefix = await put({ 'empty.tar': '', 'cut.tar': (await packTar([['a.jpg', new Uint8Array(5000)]])).subarray(0, 3000) });
    await expect(listRemote({ tars: `${prefix}/none.tar` })).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await expect(listRemote({ tars: `${prefix}/empty.tar` })).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(listRemote({ tars: `${prefix}/cut.tar` })).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(/cut off$/) });
  });
});

describe('a list', () => {
  const csv = (prefix: string): string => `uri,caption\n${prefix}/in/a.jpg,one\nin/b.jpg,two\n`;

  it('on a disk names images of a bucket', async () => {
    const prefix = await put({ 'in/a.jpg': 'a', 'in/b.jpg': 'b' });
    const folder = await local({ 'pool.csv': csv(prefix) });
    const { rows } = await listRemote({ list: join(folder, 'pool.csv'), root: prefix });
    expect(rows.map(({ uri, path, caption }) => [uri, path, caption])).toEqual([['pool/in/a.jpg', 'in/a.jpg', 'one'], ['pool/in/b.jpg', 'in/b.jpg', 'two']]);
    await expect(listRemote({ list: join(folder, 'pool.csv') })).rejects.toThrow(/at row 1: set `root` to the s3:\/\/bucket\/prefix/);
  });

  it('in a bucket is read there, whatever its format', async () => {
    const prefix = await put({ 'pool.csv': 'uri\nin/a.jpg\n', 'pool.jsonl': '{"uri":"in/a.jpg"}\n' });
    for (const name of ['pool.csv', 'pool.jsonl']) expect((await listRemote({ list: `${prefix}/${name}` })).rows.map(({ path }) => path)).toEqual(['in/a.jpg']);
  });

  it('in a bucket never reads a file of this machine, nor another prefix or bucket', async () => {
    const folder = await local({ 'secret.jpg': 'secret' });
    const prefix = await put({});
    const stray = [`file://${folder}/secret.jpg`, `${folder}/secret.jpg`, '../x.jpg', `${prefix}-other/x.jpg`, `${prefix}/a/../../x.jpg`, 's3://other-bucket/x.jpg', 'https://example.org/x.jpg'];
    await bucket.write(`${prefix.slice(`s3://${server.otherBucket}/`.length)}/pool.jsonl`, Buffer.from(['in/a.jpg', ...stray].map((uri) => `${JSON.stringify({ uri })}\n`).join('')));
    const { rows, counts } = await listRemote({ list: `${prefix}/pool.jsonl` });
    expect(counts).toEqual({ 'outside-root': stray.length });
    const reader = openByteReader({ pool: remote({ list: `${prefix}/pool.jsonl` }).location });
    for (const row of rows.slice(1)) expect(await reader.read(row, 1000), row.path).toMatchObject({ status: 'unreadable' });
    await reader.close();
    expect(() => remote({ list: `${prefix}/pool.jsonl`, root: folder })).toThrow(/Expected the root of a list in a bucket to be s3:/);
  });
});

describe('images in a bucket', () => {
  it('are read whole, refused when too large, and unreadable when gone', async () => {
    const prefix = await put({ 'a.jpg': 'aaa', 'empty.jpg': '' });
    const reader = openByteReader({ pool: remote({ folder: prefix }).location });
    const place = (path: string) => ({ source: 'pool', path, offset: -1, length: -1 });
    expect(await reader.read(place('a.jpg'), 10)).toEqual({ status: 'ok', bytes: new Uint8Array(Buffer.from('aaa')) });
    expect(await reader.read(place('empty.jpg'), 10)).toEqual({ status: 'ok', bytes: new Uint8Array(0) });
    expect(await reader.read(place('a.jpg'), 2)).toEqual({ status: 'too-large-file', sizeBytes: 3 });
    expect(await reader.read(place('none.jpg'), 10)).toEqual({ status: 'unreadable', reason: 'it does not exist' });
    expect(await reader.read({ ...place('a.jpg'), offset: 2, length: 2 }, 10)).toMatchObject({ status: 'unreadable' });
    await expect(openByteReader({ pool: remote({ folder: 's3://no-such-bucket/x' }).location }).read(place('a.jpg'), 10)).rejects.toMatchObject({ code: 'INPUT_MISSING' });
  });
});

describe('a source in a bucket', () => {
  const resolved = (config: Record<string, unknown>) => resolveSources([SourceConfig.parse(config)], '/base', { region: 'eu-west-1' })[0]!;

  it('is named after its prefix or bucket, and its location says where the server is', () => {
    expect(resolved({ folder: 's3://photos/2024/summer' })).toMatchObject({ name: 'summer', kind: 'folder', location: 's3://photos/2024/summer?region=eu-west-1' });
    expect(resolved({ folder: 's3://photos?region=us-east-2' })).toMatchObject({ name: 'photos', location: 's3://photos?region=us-east-2' });
    expect(resolved({ tars: ['s3://photos/a/1.tar', 's3://photos/a/b/2.tar'] })).toMatchObject({ name: 'a', kind: 'tars', location: 's3://photos/a?region=eu-west-1' });
    expect(resolved({ list: 's3://photos/lists/x.csv' })).toMatchObject({ name: 'x.csv', kind: 'list', location: 's3://photos/lists?region=eu-west-1' });
    expect(resolved({ list: 'x.csv', root: 's3://photos' })).toMatchObject({ kind: 'list', location: 's3://photos?region=eu-west-1', entries: ['/base/x.csv'] });
  });

  it('is refused when it mixes buckets, leaves its prefix or holds credentials, which are not repeated', () => {
    expect(() => resolved({ tars: ['s3://photos/1.tar', 's3://other-bucket/2.tar'] })).toThrow(/lie in one bucket/);
    expect(() => resolved({ tars: ['s3://photos/1.tar', '2.tar'] })).toThrow(/lie in one bucket/);
    expect(() => resolved({ folder: 's3://photos/../x' })).toThrow(/plain segments/);
    const error = (() => {
      try {
        return resolved({ folder: 's3://AKIAKEY:s3cret@photos/x' });
      } catch (thrown) {
        return thrown as Error;
      }
    })();
    expect((error as Error).message).toMatch(/credentials before the bucket/);
    expect(JSON.stringify(error) + (error as Error).message).not.toMatch(/s3cret|AKIAKEY/);
  });
});
