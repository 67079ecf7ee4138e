import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, readlinkSync, renameSync } from 'node:fs';
import { rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openByteReader } from '../../src/ingest/bytes.ts';
import type { ByteReader, ImageBytes } from '../../src/ingest/image.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { listAll, packTar, writeTree } from './listing.ts';

const MAX = 1_000_000;
const read = (reader: ByteReader, path: string, offset = -1, length = -1): Promise<ImageBytes> => reader.read({ source: 'pool', path, offset, length }, MAX);
const text = (outcome: ImageBytes): string => (outcome.status === 'ok' ? Buffer.from(outcome.bytes).toString() : outcome.status);

describe('a byte reader', () => {
  it('reads whole files and ranges, in folders and through links that stay inside', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a.jpg': 'whole', 'deep/er/b \n".jpg': 'deep', 'empty.jpg': '', 'x.tar': '0123456789' });
    await symlink('deep', join(root, 'link'));
    await symlink('deep/er/b \n".jpg', join(root, 'file.jpg'));
    const reader = openByteReader({ pool: root });
    expect(text(await read(reader, 'a.jpg'))).toBe('whole');
    expect(text(await read(reader, 'deep/er/b \n".jpg'))).toBe('deep');
    expect(text(await read(reader, 'link/er/b \n".jpg'))).toBe('deep');
    expect(text(await read(reader, 'file.jpg'))).toBe('deep');
    expect(text(await read(reader, 'empty.jpg'))).toBe('');
    expect(text(await read(reader, 'x.tar', 3, 4))).toBe('3456');
    expect(text(await read(reader, 'x.tar', 0, 0))).toBe('');
    expect(text(await read(reader, 'x.tar', 9, 1))).toBe('9');
    await reader.close();
  });

  it('gives a status for what cannot be read, without a machine path in the reason', async () => {
    const outside = await temporaryFolder();
    const root = join(outside, 'pool');
    await writeTree(outside, { 'secret.jpg': 'secret', 'pool-not/secret.jpg': 'secret', 'pool/a.jpg': 'a', 'pool/d/b.jpg': 'b', 'pool/x.tar': '0123456789' });
    await symlink('../secret.jpg', join(root, 'out.jpg'));
    await symlink('..', join(root, 'out'));
    await symlink('../pool-not', join(root, 'beside'));
    await symlink('nothing', join(root, 'dangling.jpg'));
    await symlink('loop.jpg', join(root, 'loop.jpg'));
    execFileSync('mkfifo', [join(root, 'pipe.jpg')]);
    const reader = openByteReader({ pool: root });
    const reasons = {
      '../secret.jpg': 'the path leads out of the source',
      'd/../../secret.jpg': 'the path leads out of the source',
      [join(outside, 'secret.jpg')]: 'the path leads out of the source',
      'a.jpg\0': 'the path leads out of the source',
      '': 'the path leads out of the source',
      'd//b.jpg': 'the path leads out of the source',
      'out.jpg': 'a link leads out of the source',
      'out/secret.jpg': 'a link leads out of the source',
      'beside/secret.jpg': 'a link leads out of the source',
      'pipe.jpg': 'it is not a regular file',
      d: 'it is not a regular file',
      'dangling.jpg': 'it does not exist',
      'none.jpg': 'it does not exist',
      'none/none.jpg': 'it does not exist',
      'a.jpg/b.jpg': 'a part of the path is a file, not a folder',
      'loop.jpg': 'its links lead in a circle',
      ['n'.repeat(300)]: 'the path is longer than the system allows',
    };
    for (const [path, reason] of Object.entries(reasons)) expect(await read(reader, path), path).toEqual({ status: 'unreadable', reason });
    expect(await read(reader, 'x.tar', 8, 4)).toEqual({ status: 'unreadable', reason: 'it ended at byte 10 of 12' });
    for (const path of ['../secret.jpg', 'out.jpg', 'none.tar', 'pipe.jpg']) expect((await read(reader, path, 0, 1)).status, path).toBe('unreadable');
    await reader.close();
  });

  it('does not read what is above the limit', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'a.jpg': 'four', 'x.tar': '0123456789', 'huge.jpg': '' });
    await truncate(join(root, 'huge.jpg'), 2 ** 40);
    const reader = openByteReader({ pool: root });
    const limited = (path: string, offset: number, length: number, max: number): Promise<ImageBytes> => reader.read({ source: 'pool', path, offset, length }, max);
    expect(await limited('a.jpg', -1, -1, 3)).toEqual({ status: 'too-large-file', sizeBytes: 4 });
    expect(text(await limited('a.jpg', -1, -1, 4))).toBe('four');
    expect(await limited('x.tar', 2, 5, 4)).toEqual({ status: 'too-large-file', sizeBytes: 5 });
    expect(await limited('huge.jpg', -1, -1, MAX)).toEqual({ status: 'too-large-file', sizeBytes: 2 ** 40 });
    await reader.close();
  });

  it('stops the run when a source is not known or is gone', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'pool/a.jpg': 'a', 'pool/x.tar': 'x' });
    const reader = openByteReader({ pool: join(root, 'pool'), gone: join(root, 'gone') });
    await expect(reader.read({ source: 'other', path: 'a.jpg', offset: -1, length: -1 }, MAX)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('got pool, gone') });
    await expect(reader.read({ source: 'constructor', path: 'a.jpg', offset: -1, length: -1 }, MAX)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(reader.read({ source: 'gone', path: 'a.jpg', offset: -1, length: -1 }, MAX)).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    expect(text(await read(reader, 'a.jpg'))).toBe('a');
    await rename(join(root, 'pool'), join(root, 'away'));
    await expect(read(reader, 'a.jpg')).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await expect(read(reader, 'x.tar', 0, 1)).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await rename(join(root, 'away'), join(root, 'pool'));
    expect(text(await read(reader, 'a.jpg'))).toBe('a');
    await reader.close();
  });

  it('sees a tar and a file that come after a failed read', async () => {
    const root = await temporaryFolder();
    const reader = openByteReader({ pool: root });
    expect((await read(reader, 'd/x.tar', 0, 1)).status).toBe('unreadable');
    await writeTree(root, { 'd/x.tar': 'x' });
    expect(text(await read(reader, 'd/x.tar', 0, 1))).toBe('x');
    await reader.close();
  });

  it.skipIf(!existsSync('/proc/self/fd'))('keeps few tars open (seen in /proc), however many are read at once, and none after closing', async () => {
    const root = await temporaryFolder();
    const names = Array.from({ length: 60 }, (_, i) => `${i}.tar`);
    await writeTree(root, Object.fromEntries(names.map((name) => [name, `data ${name}`.padEnd(20)])));
    const openTars = (): number => readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).startsWith(root)).length;
    const reader = openByteReader({ pool: root });
    const outcomes = await Promise.all(Array.from({ length: 600 }, (_, i) => read(reader, names[(i * 7) % 60]!, 5, 6)));
    outcomes.forEach((outcome, i) => expect(text(outcome)).toBe(names[(i * 7) % 60]!.padEnd(6)));
    expect(openTars()).toBe(16);
    const late = read(reader, names[3]!, 0, 4);
    await reader.close();
    expect(openTars()).toBe(0);
    expect(text(await late)).toBe('data');
  });

  it('reads on from a tar that was replaced under its name', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'x.tar': 'old old' });
    const reader = openByteReader({ pool: root });
    expect(text(await read(reader, 'x.tar', 0, 3))).toBe('old');
    await writeFile(join(root, 'new'), 'new new');
    renameSync(join(root, 'new'), join(root, 'x.tar'));
    await rm(join(root, 'x.tar'));
    expect(text(await read(reader, 'x.tar', 4, 3))).toBe('old');
    await reader.close();
  });
});

describe('what is listed', () => {
  it('is what is read, folder and tar alike', async () => {
    const root = await temporaryFolder();
    const files = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`d${i % 3}/é${i}.jpg`, `bytes of ${i}`.repeat(i)]));
    await writeTree(join(root, 'folder'), files);
    await writeTree(root, { 'x.tar': await packTar(Object.entries(files)) });
    const reader = openByteReader({ pool: join(root, 'folder'), tar: root });
    const listed = [...(await listAll({ folder: 'folder' }, root)).rows, ...(await listAll({ tars: 'x.tar', name: 'tar' }, root)).rows];
    expect(listed.length).toBe(80);
    for (const row of listed) expect(text(await reader.read(row, MAX))).toBe(files[row.uri.replace(/^(pool|tar\/x\.tar)\//, '')]);
    await reader.close();
  });

  const reason = withoutSharedData();
  it.skipIf(reason !== null)(`of real tars gives whole JPEGs${reason === null ? '' : `: ${reason}`}`, async () => {
    const { rows } = await listAll({ tars: ['pool-tars/pool-013.tar', 'pool-tars/pool-000.tar'] }, sharedData);
    const reader = openByteReader({ pool: join(sharedData, 'pool-tars') });
    for (const row of rows) {
      const outcome = await reader.read(row, MAX);
      if (outcome.status !== 'ok') throw new Error(outcome.status);
      expect([outcome.bytes[0], outcome.bytes[1], outcome.bytes.at(-2), outcome.bytes.at(-1)]).toEqual([0xff, 0xd8, 0xff, 0xd9]);
      expect(outcome.bytes.length).toBe(row.size);
    }
    await reader.close();
  });

  it.skipIf(reason !== null)(`of a real folder is each file's bytes${reason === null ? '' : `: ${reason}`}`, async () => {
    const { rows } = await listAll({ folder: 'odd-images' }, sharedData);
    const reader = openByteReader({ pool: join(sharedData, 'odd-images') });
    for (const row of rows) {
      const outcome = await reader.read(row, 2 ** 30);
      if (outcome.status !== 'ok') throw new Error(outcome.status);
      expect(Buffer.compare(outcome.bytes, readFileSync(join(sharedData, 'odd-images', row.path)))).toBe(0);
    }
    await reader.close();
  });
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ''; // the handle of this very listing
  }
}
