import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { lockFsStore, openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { storeConformance } from './store-conformance.ts';

describe('the file system store', () => {
  const folders: string[] = [];
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));
  storeConformance(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'winnow-store-'));
    folders.push(folder);
    return openFsStore(folder);
  });

  it('clears what a dead process left unfinished, and only that', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, '.tmp'), { recursive: true });
    const dead = spawn(process.execPath, ['-e', '0']);
    await new Promise((resolve) => dead.on('exit', resolve));
    await writeFile(join(folder, '.tmp', `${dead.pid}-0`), 'half');
    await writeFile(join(folder, '.tmp', `${process.ppid}-0`), 'in use');
    await openFsStore(folder);
    expect(await readdir(join(folder, '.tmp'))).toEqual([`${process.ppid}-0`]);
  });

  it('says in one sentence why it cannot be opened', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(openFsStore(join(folder, 'file', 'store'))).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.stringContaining('a file') });
  });

  it.skipIf(process.platform !== 'linux')('says so where no folder can be made, instead of trying for ever (needs /proc: skipped elsewhere)', async () => {
    await expect(openFsStore('/proc/winnow/store')).rejects.toMatchObject({ code: 'STORE_DENIED' });
  });

  it.skipIf(process.getuid?.() === 0)('says that permission is denied (root is never denied: skipped for root)', async () => {
    const folder = await temporaryFolder();
    await chmod(folder, 0o500);
    await expect(openFsStore(join(folder, 'store'))).rejects.toMatchObject({ code: 'STORE_DENIED' });
  });

  it('says that the disk is full, and leaves nothing half-written', async (context) => {
    const folder = await temporaryFolder();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      return context.skip('no permission to mount a small tmpfs: skipped');
    }
    try {
      const store = await openFsStore(folder);
      await store.write('small', new Uint8Array(1000));
      await expect(store.write('big', new Uint8Array(1 << 20))).rejects.toMatchObject({ code: 'STORE_FULL' });
      expect(await store.head('big')).toBeNull();
      expect(await readdir(join(folder, '.tmp'))).toEqual([]);
      expect((await store.read('small')).byteLength).toBe(1000);
    } finally {
      execFileSync('umount', [folder]);
    }
  });

  it('is held by one live process at a time', async () => {
    const folder = await temporaryFolder();
    await openFsStore(folder);
    await writeFile(join(folder, '.tmp', 'lock'), String(process.ppid));
    await expect(lockFsStore(folder)).rejects.toMatchObject({ code: 'STORE_BUSY' });
    await writeFile(join(folder, '.tmp', 'lock'), '999999999');
    const lock = await lockFsStore(folder);
    await lock.release();
    await (await lockFsStore(folder)).release();
  });
});
