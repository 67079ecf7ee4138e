/**
 * Who holds what in `.tmp/` of a folder that several machines may share, containers with equal process ids among them. An
 * owner is a process of a machine. Whether one of this machine lives, the system says; one of another machine is believed
 * while its lock is touched, by the clock of the file system alone.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { WinnowError } from '../errors.ts';

const LOCK = 'lock';
const TOUCH_EVERY_MS = 10_000;
/** A lock of another machine that was not touched for so long is nobody's. */
const LEASE_MS = 60_000;
/** So is an unfinished file of another machine that nothing was written to. */
const ABANDONED_MS = 24 * 3_600_000;

/** What this process writes: unique among processes of all machines that share the folder. */
export function ownerName(): string {
  return `${process.pid}@${hostname()}`;
}

/** Removes what owners that are gone left unfinished. */
export async function clearAbandoned(temporary: string): Promise<void> {
  let now: number | null = null;
  for (const name of await readdir(temporary)) {
    if (name === LOCK) continue;
    const path = join(temporary, name);
    const { pid, machine } = parseOwner(name.split('~')[0]!);
    if (machine !== hostname() && machine !== null) {
      now ??= await clockOf(temporary);
      const written = await stat(path).then(({ mtimeMs }) => mtimeMs, () => null);
      if (written === null || now - written < ABANDONED_MS) continue;
    } else if (isAlive(pid)) continue;
    await rm(path, { recursive: true, force: true }); // a folder: one that was being removed
  }
}

/**
 * Takes the lock of a folder for this process until `release`.
 *
 * @param temporary folder of the lock, which must be there
 * @param holder what the folder is called in a message
 * @throws {WinnowError} STORE_BUSY when somebody who lives holds it; what the file system says otherwise
 */
export async function takeLock(temporary: string, holder: string, leaseMs = LEASE_MS): Promise<{ release(): Promise<void> }> {
  const path = join(temporary, LOCK);
  for (;;) {
    try {
      await writeFile(path, ownerName(), { flag: 'wx' });
      const touch = setInterval(() => void utimesNow(path), Math.min(TOUCH_EVERY_MS, leaseMs / 6));
      touch.unref();
      return {
        release: async () => {
          clearInterval(touch);
          await rm(path, { force: true });
        },
      };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const { pid, machine } = parseOwner(await readFile(path, 'utf8').catch(() => ''));
    const isMine = pid === process.pid && (machine === null || machine === hostname());
    if (!isMine && (machine === null || machine === hostname() ? isAlive(pid) : await isTouched(path, temporary, leaseMs))) {
      throw new WinnowError('STORE_BUSY', `Another run (process ${pid}${machine === null || machine === hostname() ? '' : ` on ${machine}`}) is writing to ${holder}; wait for it or stop it`, { details: { holder: pid } });
    }
    await rm(path, { force: true });
  }
}

async function isTouched(path: string, folder: string, leaseMs: number): Promise<boolean> {
  const touched = await stat(path).then(({ mtimeMs }) => mtimeMs, () => null);
  return touched !== null && (await clockOf(folder)) - touched < leaseMs;
}

/** The time of the file system's own clock: machines that share it may disagree about theirs. */
async function clockOf(folder: string): Promise<number> {
  const path = join(folder, `${ownerName()}~clock-${randomUUID()}`);
  await writeFile(path, '');
  try {
    return (await stat(path)).mtimeMs;
  } finally {
    await rm(path, { force: true });
  }
}

/** By writing, so that the file system's clock is taken and not this machine's. */
async function utimesNow(path: string): Promise<void> {
  await writeFile(path, ownerName(), { flag: 'r+' }).catch(() => utimes(path, new Date(), new Date()).catch(() => undefined));
}

function parseOwner(text: string): { pid: number; machine: string | null } {
  const at = text.indexOf('@');
  return { pid: Number.parseInt(text, 10), machine: at === -1 ? null : text.slice(at + 1) };
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid)) return false;
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** A process that was killed takes signals until its parent asks for its end, which in a container may be never. */
function isZombie(pid: number): boolean {
  try {
    const facts = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^ [ZX]/.test(facts.slice(facts.lastIndexOf(')') + 1));
  } catch {
    return false;
  }
}
