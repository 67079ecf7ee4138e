/**
 * Lists a million files of a disk into a store, as `ingest` does: a thousand folders of a thousand files each, and one folder
 * that holds them all. Each pool is listed unbroken, then into another store by a process that is killed at about half and
 * by one that goes on: seconds, files a second, memory of each process, and whether `images/` has the same bytes.
 *
 *   npx tsx test/bench/list-files.ts [files=1000000] [folders,flat]
 *
 * The files hold one byte each and are removed afterwards; they need as many inodes, and 4 GB of a disk with 4 KB blocks.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { IMAGES_PART_ROWS, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { localContext } from '../helpers/local-context.ts';

const LAYOUTS: Readonly<Record<string, (files: number) => number>> = { folders: (files) => Math.ceil(Math.sqrt(files)), flat: (files) => files };

/** How a process fared. */
export interface Listed {
  readonly seconds: number;
  readonly peakMb: number;
}

/** Runs in a process of its own. @param pool a folder or s3:// name */
async function list(pool: string, root: string): Promise<Listed> {
  const { context, close } = localContext(await openFsStore(root));
  const started = performance.now();
  await ingest(context, { path: 'images', sources: resolveSources([SourceConfig.parse({ name: 'pool', folder: pool })], '/') });
  const seconds = (performance.now() - started) / 1000;
  await close();
  return { seconds, peakMb: peakMb('self') };
}

/** Of one process image alone: what `maxRSS` says includes the process that started it. */
function peakMb(pid: number | 'self'): number {
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

const childArgs = (pool: string, root: string): string[] => ['--import', 'tsx', fileURLToPath(import.meta.url), 'list', pool, root];

/** Lists a pool into the store at `root`, in a process of its own. */
export async function listInChild(pool: string, root: string): Promise<Listed> {
  return JSON.parse((await promisify(execFile)(process.execPath, childArgs(pool, root))).stdout) as Listed;
}

/** Kills the process once it has left a record of its `parts`-th part. */
export async function listAndKill(pool: string, root: string, parts: number): Promise<Listed> {
  const record = join(root, `work/images/listing/part-${String(parts - 1).padStart(5, '0')}.json`);
  const child: ChildProcess = spawn(process.execPath, childArgs(pool, root), { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const started = performance.now();
  while (!existsSync(record) && child.exitCode === null) await sleep(10);
  if (child.exitCode !== null) throw new Error('Expected a listing that can be killed at half, it had ended');
  const killed = { seconds: (performance.now() - started) / 1000, peakMb: peakMb(child.pid!) };
  child.kill('SIGKILL');
  await ended;
  return killed;
}

/** Of all names and bytes. */
export async function hashOfImages(root: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(join(root, 'images'))).sort()) hash.update(`${name}\n`).update(await readFile(join(root, 'images', name)));
  return hash.digest('hex').slice(0, 12);
}

/** Names are made out of order, so that a file system that keeps the order of making does not give a sorted listing. */
async function makeFiles(folder: string, files: number, filesAFolder: number): Promise<void> {
  for (let from = 0; from < files; from += 256) {
    await Promise.all(
      Array.from({ length: Math.min(256, files - from) }, async (_, i) => {
        const number = ((from + i) * 7919) % files;
        const below = filesAFolder === files ? folder : join(folder, `class-${String(Math.floor(number / filesAFolder)).padStart(4, '0')}`);
        const path = join(below, `${String(number).padStart(7, '0')}.jpg`);
        await writeFile(path, 'x').catch(async () => {
          await mkdir(below, { recursive: true });
          await writeFile(path, 'x');
        });
      }),
    );
  }
}

async function measure(files: number, layout: string, base: string): Promise<void> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const load = (): string => `load ${loadavg()[0]!.toFixed(1)}`;
  const told = (what: string, { seconds, peakMb: peak }: Listed, hash?: string): void => say(`  ${what}: ${seconds.toFixed(1)} s, ${hash === undefined ? '' : `${Math.round(files / seconds)} files/s, `}peak ${peak.toFixed(0)} MB${hash === undefined ? '' : `, images/ ${hash}`}, ${load()}`);
  const pool = join(base, layout);
  await makeFiles(pool, files, LAYOUTS[layout]!(files));
  say(`${files} files, ${layout}`);
  const whole = await listInChild(pool, join(base, 'whole'));
  const expected = await hashOfImages(join(base, 'whole'));
  told('unbroken', whole, expected);
  told('again', await listInChild(pool, join(base, 'whole')), await hashOfImages(join(base, 'whole')));
  const half = Math.floor(files / IMAGES_PART_ROWS / 2);
  if (half > 0) {
    told(`killed after part ${half}`, await listAndKill(pool, join(base, 'broken'), half));
    told('going on', await listInChild(pool, join(base, 'broken')), await hashOfImages(join(base, 'broken')));
    if ((await hashOfImages(join(base, 'broken'))) !== expected) throw new Error('Expected the same bytes from a listing that was broken off');
  }
  for (const name of [layout, 'whole', 'broken']) await rm(join(base, name), { recursive: true, force: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [first, second, third] = process.argv.slice(2);
  if (first === 'list') process.stdout.write(JSON.stringify(await list(second!, third!)));
  else {
    const base = await mkdtemp(join(tmpdir(), 'winnow-list-files-'));
    try {
      for (const layout of (second ?? 'folders,flat').split(',')) await measure(Number(first ?? 1_000_000), layout, base);
    } finally {
      await rm(base, { recursive: true, force: true });
    }
  }
}
