import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { lockFsStore, openFsStore } from '../../src/store/fs.ts';
import { takeLock } from '../../src/store/fs-owner.ts';
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
    await writeFile(join(folder, '.tmp', `${dead.pid}@${hostname()}~a-0`), 'half');
    await mkdir(join(folder, '.tmp', `${dead.pid}@${hostname()}~a-1`));
    await writeFile(join(folder, '.tmp', `${dead.pid}@${hostname()}~a-1`, 'removed'), 'half');
    await writeFile(join(folder, '.tmp', `${process.ppid}@${hostname()}~a-0`), 'in use');
    // Equal process ids on other machines that share the folder: only long silence says that one is gone.
    await writeFile(join(folder, '.tmp', `${dead.pid}@elsewhere~a-0`), 'being written');
    await writeFile(join(folder, '.tmp', `${dead.pid}@elsewhere~b-0`), 'left long ago');
    const longAgo = new Date(Date.now() - 3 * 86_400_000);
    await utimes(join(folder, '.tmp', `${dead.pid}@elsewhere~b-0`), longAgo, longAgo);
    await openFsStore(folder);
    expect((await readdir(join(folder, '.tmp'))).sort()).toEqual([`${dead.pid}@elsewhere~a-0`, `${process.ppid}@${hostname()}~a-0`].sort());
  });

  it('removes a folder into which a task that was delivered twice still writes', async () => {
    const store = await openFsStore(await temporaryFolder());
    let over = false;
    let writes = 0;
    const write = async (lane: number): Promise<void> => {
      while (!over) await store.write(`work/scope/${lane}-${writes++}.json`, Buffer.from('{}')).catch((error: { code?: string }) => expect(error.code).toBe('INPUT_MISSING'));
    };
    const writing = [0, 1, 2, 3].map(write);
    try {
      for (let i = 0; i < 100; i++) await store.remove('work/scope/');
    } finally {
      over = true;
      await Promise.all(writing);
    }
    expect(writes).toBeGreaterThan(20);
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

  it('is held by a process of another machine as long as that touches its lock', async () => {
    const folder = await temporaryFolder();
    await openFsStore(folder);
    const path = join(folder, '.tmp', 'lock');
    await writeFile(path, '1@elsewhere');
    await expect(lockFsStore(folder)).rejects.toMatchObject({ code: 'STORE_BUSY', message: expect.stringContaining('process 1 on elsewhere') });
    const silent = new Date(Date.now() - 120_000);
    await utimes(path, silent, silent);
    const lock = await takeLock(join(folder, '.tmp'), folder, 600);
    // Touched again and again, so that others see it held.
    await expect.poll(async () => (await stat(path)).mtimeMs - silent.getTime()).toBeGreaterThan(60_000);
    const [first] = [(await stat(path)).mtimeMs];
    await expect.poll(async () => (await stat(path)).mtimeMs).toBeGreaterThan(first);
    expect(await readFile(path, 'utf8')).toBe(`${process.pid}@${hostname()}`);
    await lock.release();
    expect(await readdir(join(folder, '.tmp'))).toEqual([]);
  });

  it.skipIf(process.platform !== 'linux')('is not held by a killed process whose parent never asked for its end (needs /proc: skipped elsewhere)', async () => {
    const folder = await temporaryFolder();
    await openFsStore(folder);
    // The shell becomes a program that waits for nobody, before its child ends, so that one stays a zombie.
    const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60']);
    try {
      const zombie = Number(await new Promise((resolve) => parent.stdout.once('data', (line: Buffer) => resolve(line.toString()))));
      await expect.poll(async () => (await readFile(`/proc/${zombie}/stat`, 'latin1')).split(' ')[2]).toBe('Z');
      await writeFile(join(folder, '.tmp', 'lock'), `${zombie}@${hostname()}`);
      await (await lockFsStore(folder)).release();
    } finally {
      parent.kill('SIGKILL');
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
