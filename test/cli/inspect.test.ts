/** `winnow inspect` of images and of tables that list them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parquetWriteBuffer } from 'hyparquet-writer';
import sharp from 'sharp';
import tar from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { linkOf } from '../../src/cli/image-links.ts';
import { inspect } from '../../src/cli/inspect.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('inspect', () => {
  it('says what an image file is, what embedding would make of it, and links to it', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'a picture #1.png');
    await sharp({ create: { width: 40, height: 30, channels: 3, background: '#123456' } }).png().toFile(path);
    const { text, json } = await inspect(path);
    expect(json).toMatchObject({ kind: 'image', format: 'png', status: 'ok', width: 40, height: 30, link: pathToFileURL(path).href });
    expect(text).toMatch(/png image, 40 × 30 pixels, \d+ bytes\n  status ok\n  id [0-9a-f]{32}\n  file:\/\/.*a%20picture%20%231\.png\n$/);
    await writeFile(join(folder, 'cut.png'), (await sharp(path).png().toBuffer()).subarray(0, 60));
    expect((await inspect(join(folder, 'cut.png'))).text).toMatch(/status truncated: embedding would leave it out/);
    await writeFile(join(folder, 'drawing.svg'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
    expect((await inspect(join(folder, 'drawing.svg'))).json).toMatchObject({ format: 'svg', status: 'unsupported-format', id: null });
  });

  it('says what a list, a tar and a text are, and what it cannot tell', async () => {
    const folder = await temporaryFolder();
    const at = (name: string): string => join(folder, name);
    await writeFile(at('list.csv'), 'uri,label\na.jpg,cat\nb.jpg,\u202edog\n');
    expect((await inspect(at('list.csv'))).text).toBe(`${at('list.csv')}: text; first lines:\n  uri,label\n  a.jpg,cat\n  b.jpg, dog\n  \n`);
    const parquet = parquetWriteBuffer({ columnData: [{ name: 'uri', data: ['a', 'b', 'c'], type: 'STRING' }, { name: 'score', data: [1, 2, 3], type: 'DOUBLE' }] });
    await writeFile(at('list.parquet'), Buffer.from(parquet));
    expect((await inspect(at('list.parquet'))).json).toMatchObject({ kind: 'parquet', rows: 3, shown: ['uri: UTF8', 'score: DOUBLE'] });
    await writeFile(at('cut.parquet'), Buffer.from(parquet).subarray(0, -3));
    await expect(inspect(at('cut.parquet'))).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    const pack = tar.pack();
    pack.entry({ name: 'one/a.jpg' }, 'abc');
    pack.finalize();
    const blocks: Uint8Array[] = [];
    for await (const block of pack as AsyncIterable<Uint8Array>) blocks.push(block);
    await writeFile(at('some.tar'), Buffer.concat(blocks));
    expect((await inspect(at('some.tar'))).text).toBe(`${at('some.tar')}: tar; first members:\n  one/a.jpg, 3 bytes\n`);
    await writeFile(at('noise'), Uint8Array.of(1, 2, 255, 0));
    await expect(inspect(at('noise'))).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  it('links rows of a table to their images where the run log says they lie, and prints no control characters', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'images'));
    await writeFile(join(folder, 'run-log.ndjson'), `${JSON.stringify({ locations: { pool: '/pictures' } })}\n`);
    const table = join(folder, 'images', 'part-00000.arrow');
    await writeFile(table, encodeTable({ source: { type: 'dictionary', values: ['pool', 'pool', 'gone'] }, path: { type: 'utf8', values: ['a b.jpg', '../out.jpg', 'c.jpg'] }, label: { type: 'utf8', values: ['\u001b[31mred\u0007', null, null] } }));
    const { text, json } = await inspect(table);
    expect((json as { links: unknown }).links).toEqual(['file:///pictures/a%20b.jpg', null, null]);
    expect(text).toContain('    file:///pictures/a%20b.jpg\n');
    expect(text).not.toMatch(/[\u001b\u0007]/);
  });
});

describe('linkOf', () => {
  it('names the bytes of a tar member, and objects of a bucket', () => {
    expect(linkOf({ source: 'tars', path: 'pool-000.tar', offset: 512, length: 100 }, { tars: '/data' })).toBe('file:///data/pool-000.tar (pool-000.tar: 100 bytes from byte 512)');
    expect(linkOf({ source: 's', path: 'x/y.jpg', offset: null, length: null }, { s: 's3://bucket/prefix' })).toBe('s3://bucket/prefix/x/y.jpg');
    expect(linkOf({ source: 'constructor', path: 'x' }, {})).toBeNull();
  });
});
