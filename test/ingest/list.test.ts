import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import pl from 'nodejs-polars';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Listed, listAll, writeTree } from './listing.ts';

async function listFile(name: string, bytes: string | Uint8Array, config: Record<string, unknown> = {}): Promise<Listed & { root: string }> {
  const root = await temporaryFolder();
  await writeTree(root, { [name]: bytes });
  return { ...(await listAll({ list: name, ...config }, root)), root };
}

const brief = ({ rows }: Listed): unknown[] => rows.map(({ uri, label, caption, meta }) => [uri, label, caption, meta]);

describe('a CSV list', () => {
  it('takes the named columns and puts the others in meta', async () => {
    const csv = '\uFEFFb,uri,caption,kind,a\r\n1,x/a.jpg,"two, words",cat,\r\n\n2,./x//b.jpg,,dog,"line\nbreak"\n,"  ",,,\n3,"q""uote.jpg",c,,z';
    const listed = await listFile('pool.csv', csv, { label: { column: 'kind' } });
    expect(brief(listed)).toEqual([
      ['pool/x/a.jpg', 'cat', 'two, words', '{"a":"","b":"1"}'],
      ['pool/x/b.jpg', 'dog', null, '{"a":"line\\nbreak","b":"2"}'],
      ['pool/q"uote.jpg', null, 'c', '{"a":"z","b":"3"}'],
    ]);
    expect(listed.rows.map(({ path, offset, size }) => [path, offset, size])).toEqual([['x/a.jpg', -1, -1], ['x/b.jpg', -1, -1], ['q"uote.jpg', -1, -1]]);
    expect(listed.counts).toEqual({ blank: 2 });
  });

  it('has no meta without other columns, and takes the parent folder as label', async () => {
    expect((await listFile('pool.csv', 'uri\r\na.jpg\r\n')).counts).toEqual({});
    expect((await listFile('pool.csv', 'uri\n\na.jpg\n\n')).counts).toEqual({ blank: 2 });
    expect(brief(await listFile('pool.csv', 'file\na/b/c.jpg\nd.jpg\n', { column: 'file', label: 'parent' }))).toEqual([['pool/a/b/c.jpg', 'b', null, null], ['pool/d.jpg', null, null, null]]);
  });

  it('says what is wrong and where', async () => {
    const wrong = (csv: string | Uint8Array, config = {}): Promise<unknown> => listFile('pool.csv', csv, config);
    await expect(wrong('path,b\nx,y\n')).rejects.toThrow(/^Expected a column uri in .*pool\.csv, got path, b$/);
    await expect(wrong('uri,b\nx,y\n', { label: { column: 'kind' } })).rejects.toThrow(/^Expected a column kind in .*, got uri, b$/);
    await expect(wrong('uri,b\nx,y\nz\n')).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining('line 3') });
    await expect(wrong('uri,b,b\nx,y,z\n')).rejects.toThrow('got b twice');
    await expect(wrong('uri\n"open\nx\n')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(wrong(`uri\n"${'open\n'.repeat(4_000_000)}`)).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(wrong(Buffer.from('uri\na.jpg\nb\xff.jpg\n', 'latin1'))).rejects.toThrow('Expected UTF-8 text');
    await expect(wrong('')).rejects.toMatchObject({ code: 'INPUT_EMPTY' });
    await expect(listFile('pool.tsv', 'uri\n')).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('.csv, .jsonl or .parquet') });
    await expect(listAll({ list: '/none/pool.csv' }, '/')).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    const root = await temporaryFolder();
    execFileSync('mkfifo', [join(root, 'pool.csv')]);
    await expect(listAll({ list: 'pool.csv' }, root)).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  it('gives many rows in order', async () => {
    const names = Array.from({ length: 5000 }, (_, i) => `d${i % 7}/${i}.jpg`);
    expect((await listFile('pool.csv', `uri\n${names.join('\n')}\n`)).rows.map(({ path }) => path)).toEqual(names);
  });
});

describe('the entries of a list', () => {
  it('lie under the root, as relative paths, absolute ones or file URLs', async () => {
    const root = await temporaryFolder();
    const list = ['a b.jpg', `${root}/images/c.jpg`, pathToFileURL(`${root}/images/ü?#.jpg`).href, 'd/../e.jpg', 'https.jpg', 'foo:bar.jpg'].map((uri) => JSON.stringify({ uri })).join('\n');
    await writeTree(root, { 'lists/pool.jsonl': list, 'images/c.jpg': '' });
    const { rows, counts } = await listAll({ list: 'lists/pool.jsonl', root: 'images' }, root);
    expect(rows.map(({ path }) => path)).toEqual(['a b.jpg', 'c.jpg', 'ü?#.jpg', 'e.jpg', 'https.jpg', 'foo:bar.jpg']);
    expect(rows.every(({ uri, path }) => uri === `pool/${path}`)).toBe(true);
    expect(counts).toEqual({});
  });

  it('that leave the root are listed as they are, and counted', async () => {
    const stray = ['../up.jpg', 'a/../../up.jpg', '/etc/passwd', 'file:///etc/passwd', 'file://host/x.jpg', '.', '..'];
    const { rows, counts } = await listFile('pool.jsonl', ['in.jpg', ...stray].map((uri) => JSON.stringify({ uri })).join('\n'));
    expect(rows.map(({ path }) => path)).toEqual(['in.jpg', ...stray]);
    expect(rows.slice(3, 6).map(({ uri }) => uri)).toEqual(['pool//etc/passwd', 'file:///etc/passwd', 'file://host/x.jpg']);
    expect(counts).toEqual({ 'outside-root': stray.length });
    await expect(listFile('pool.jsonl', '{"uri":"/elsewhere/a.jpg"}')).rejects.toThrow(/got none that do, the first is "\/elsewhere\/a\.jpg": set `root`/);
  });

  it('with another scheme are one clear error', async () => {
    for (const uri of ['https://example.org/x.jpg', 'GS://b/x', 'data:image/png;base64,AAAA']) {
      await expect(listFile('pool.csv', `uri\na.jpg\n"${uri}"\n`)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringMatching(/at row 2: (\w+: is not read|name the list under `urls` instead of `list` to download what it names)$/) });
    }
  });
});

describe('a JSON Lines list', () => {
  it('keeps values, sorts keys, and splits at line feeds only', async () => {
    const lines = ['{"uri":"a.jpg","z":[1,{"y":null}],"a":9007199254740993,"caption":"one\u2028two"}', '', '  ', '{"uri":"b.jpg","caption":3,"__proto__":1}', '{"other":1}', '{"uri":"c.jpg"}'];
    const listed = await listFile('pool.jsonl', lines.join('\r\n'));
    expect(brief(listed)).toEqual([
      ['pool/a.jpg', null, 'one\u2028two', '{"a":9007199254740993,"z":[1,{"y":null}]}'],
      ['pool/b.jpg', null, '3', '{"__proto__":1}'],
      ['pool/c.jpg', null, null, null],
    ]);
    expect(listed.counts).toEqual({ blank: 3 });
  });

  it('reads lines that chunks of the file cut anywhere', async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => ({ uri: `${'é漢'.repeat(i % 50)}${i}.jpg` }));
    expect((await listFile('pool.jsonl', lines.map((line) => JSON.stringify(line)).join('\n'))).rows.map(({ path }) => path)).toEqual(lines.map(({ uri }) => uri));
  });

  it('leaves out and counts text above the limit', async () => {
    const { rows, counts } = await listFile('pool.jsonl', JSON.stringify({ uri: 'a.jpg', caption: 'x'.repeat(2 ** 20 + 1), more: 'y'.repeat(2 ** 20) }));
    expect([rows[0]?.caption, rows[0]?.meta, counts]).toEqual([null, null, { 'text-too-long': 2 }]);
  });

  it('says what is wrong and where', async () => {
    const wrong = (text: string | Uint8Array, config = {}): Promise<unknown> => listFile('pool.jsonl', text, config);
    await expect(wrong('{"uri":"a.jpg"}\n{"uri":\n')).rejects.toThrow('Expected JSON in UTF-8 on line 2 of');
    await expect(wrong('["a.jpg"]')).rejects.toThrow('on line 1 of');
    await expect(wrong('{"uri":7}')).rejects.toThrow('Expected text in column uri at row 1');
    await expect(wrong('{"path":"a.jpg","b":1}\n{"c":1}')).rejects.toThrow(/Expected a column uri in .*, got path, b, c$/);
    await expect(wrong('{"uri":"a.jpg"}', { label: { column: 'kind' } })).rejects.toThrow('Expected a column kind');
    await expect(wrong(Buffer.from('{"uri":"\xff.jpg"}', 'latin1'))).rejects.toThrow('line 1');
    await expect(wrong(`${'['.repeat(200_000)}${']'.repeat(200_000)}`)).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(wrong('x'.repeat(2 ** 24 + 70_000))).rejects.toThrow('Expected lines of at most 16777216 bytes');
  });
});

describe('a Parquet list', () => {
  const columns = (n: number): Parameters<typeof parquetWriteBuffer>[0] => ({
    columnData: [
      { name: 'z', data: Array.from({ length: n }, (_, i) => BigInt(i) + 2n ** 60n), type: 'INT64' },
      { name: 'uri', data: Array.from({ length: n }, (_, i) => `d${i % 3}/${i}.jpg`), type: 'STRING' },
      { name: 'caption', data: Array.from({ length: n }, (_, i) => (i % 2 === 0 ? `picture ${i}` : null)), type: 'STRING', nullable: true },
      { name: 'kind', data: Array.from({ length: n }, (_, i) => i % 5), type: 'INT32' },
      { name: 'when', data: Array.from({ length: n }, () => new Date(0)), type: 'TIMESTAMP' },
      { name: 'thumb', data: Array.from({ length: n }, () => Uint8Array.of(1, 2)), type: 'BYTE_ARRAY' },
    ],
    rowGroupSize: [100],
  });

  it('is read row group by row group, without its columns of bytes', async () => {
    const listed = await listFile('pool.parquet', new Uint8Array(parquetWriteBuffer(columns(250))), { label: { column: 'kind' } });
    expect(listed.rows.map(({ path }) => path)).toEqual(Array.from({ length: 250 }, (_, i) => `d${i % 3}/${i}.jpg`));
    expect(brief(listed)[101]).toEqual(['pool/d2/101.jpg', '1', null, '{"when":"1970-01-01T00:00:00.000Z","z":1152921504606847077}']);
    expect(brief(listed)[102]).toEqual(['pool/d0/102.jpg', '2', 'picture 102', '{"when":"1970-01-01T00:00:00.000Z","z":1152921504606847078}']);
    expect(listed.counts).toEqual({ 'binary-column': 1 });
  });

  it('reads what polars writes, nested values too', async () => {
    const frame = pl.DataFrame({ uri: ['a.jpg', 'b.jpg', null], tags: [['x', 'y'], [], ['z']], score: [0.5, 1.25, 2], kind: ['cat', null, 'dog'] });
    for (const compression of ['uncompressed', 'snappy', 'gzip', 'brotli'] as const) {
      const root = await temporaryFolder();
      frame.writeParquet(join(root, 'pool.parquet'), { compression });
      const listed = await listAll({ list: 'pool.parquet', label: { column: 'kind' } }, root);
      expect(brief(listed), compression).toEqual([['pool/a.jpg', 'cat', null, '{"score":0.5,"tags":["x","y"]}'], ['pool/b.jpg', null, null, '{"score":1.25,"tags":[]}']]);
      expect(listed.counts).toEqual({ blank: 1 });
    }
  });

  it('says what is wrong and where', async () => {
    const bytes = new Uint8Array(parquetWriteBuffer(columns(50)));
    await expect(listFile('pool.parquet', bytes, { column: 'path' })).rejects.toThrow(/^Expected a column path in .*, got z, uri, caption, kind, when, thumb$/);
    await expect(listFile('pool.parquet', 'not parquet')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(listFile('pool.parquet', gzipSync(bytes))).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(listFile('pool.parquet', '')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(listFile('pool.parquet', bytes, { column: 'kind' })).rejects.toThrow('Expected text in column kind at row 1');
  });

  it('ends a file cut at any byte with a coded error', async () => {
    const bytes = new Uint8Array(parquetWriteBuffer(columns(20)));
    const root = await temporaryFolder();
    for (let end = 0; end < bytes.length; end += 7) {
      await writeTree(root, { 'pool.parquet': bytes.subarray(0, end) });
      await expect(listAll({ list: 'pool.parquet' }, root), `cut at ${end}`).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    }
  });
});
