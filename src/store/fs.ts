/**
 * The store on a file system. Writes go to `.tmp/` under the same root, are flushed, then renamed: rename is atomic
 * within one file system, and an unfinished write can never be taken for output or listed.
 */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type ErrorCode, WinnowError } from '../errors.ts';
import { clearAbandoned, ownerName, takeLock } from './fs-owner.ts';
import { type Store, type StoreEntry, type Written, isValidKey } from './store.ts';

const TEMPORARY = '.tmp';

/**
 * Opens a store rooted at a folder, which is made when absent, and clears what dead processes left unfinished.
 *
 * @param options.readOnly the folder must be there, and nothing is made or cleared in it
 * @throws {WinnowError} STORE_DENIED when the folder cannot be made or written, STORE_FULL, STORE_UNAVAILABLE;
 *   INPUT_MISSING when it is not there to be read
 */
export async function openFsStore(root: string, { readOnly = false }: { readonly readOnly?: boolean } = {}): Promise<Store> {
  const base = resolve(root);
  const temporary = join(base, TEMPORARY);
  if (readOnly) await attempt('read', base, () => readdir(base));
  else {
    await attempt('open', base, () => makeFolder(temporary));
    await attempt('open', base, () => clearAbandoned(temporary));
  }
  const owner = `${ownerName()}~${randomUUID().slice(0, 8)}-`;
  let writes = 0;

  const pathOf = (key: string): string => {
    assert(isValidKey(key), `Expected a key of plain segments, got "${key}"`);
    return join(base, ...key.split('/'));
  };

  return {
    uri: base,
    read: (key, range) => attempt('read', key, () => readFileRange(pathOf(key), key, range)),
    write: async (key, bytes) => {
      const path = pathOf(key);
      const partial = join(temporary, `${owner}${writes++}`);
      return attempt('write', key, async () => {
        try {
          const written = await writeFlushed(partial, bytes);
          await makeFolder(dirname(path));
          await rename(partial, path);
          return written;
        } catch (error) {
          await unlink(partial).catch(() => undefined);
          throw error;
        }
      });
    },
    head: async (key) => {
      try {
        const facts = await stat(pathOf(key));
        return facts.isFile() ? { key, sizeBytes: facts.size } : null;
      } catch (error) {
        if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
        throw storeError('read', key, error);
      }
    },
    list: (prefix) => listFiles(base, prefix),
    remove: (key) => attempt('remove', key, () => removeWhole(pathOf(key), join(temporary, `${owner}${writes++}`))),
  };
}

/**
 * Keeps two runs out of one store: takes the store's lock for this process until `release`.
 *
 * @throws {WinnowError} STORE_BUSY when a live process, of this machine or another that shares the folder, holds it
 */
export async function lockFsStore(root: string): Promise<{ release(): Promise<void> }> {
  const temporary = join(resolve(root), TEMPORARY);
  return attempt('open', join(temporary, 'lock'), () => takeLock(temporary, resolve(root)));
}

async function readFileRange(path: string, key: string, range?: { offset: number; length: number }): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const { offset, length } = range ?? { offset: 0, length: size };
    if (offset + length > size) {
      throw new WinnowError('INPUT_MALFORMED', `Expected ${offset + length} bytes or more in ${key}, got ${size}`);
    }
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) throw new WinnowError('INPUT_MALFORMED', `${key} ended at ${filled} of ${length} bytes`);
      filled += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** Like `mkdir` with `recursive`, which in Node 20 never returns where the file system refuses new entries as /proc does. */
async function makeFolder(path: string): Promise<void> {
  if ((await makeOne(path)) === 'made') return;
  const above = dirname(path);
  // What is above may have been made by another writer since.
  if (above !== path && !(await exists(above))) await makeFolder(above);
  if ((await makeOne(path)) === 'nothing above') await mkdir(path);
}

async function makeOne(path: string): Promise<'made' | 'nothing above'> {
  try {
    await mkdir(path);
  } catch (error) {
    if (!isNodeError(error)) throw error;
    if (error.code === 'ENOENT') return 'nothing above';
    if (error.code !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
  }
  return 'made';
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function writeFlushed(path: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<Written> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  let sizeBytes = 0;
  try {
    for await (const chunk of bytes instanceof Uint8Array ? [bytes] : bytes) {
      hash.update(chunk);
      await writeFully(file, chunk);
      sizeBytes += chunk.byteLength;
    }
    await file.datasync();
  } finally {
    await file.close();
  }
  return { sizeBytes, sha256: hash.digest('hex') };
}

/** A nearly full disk takes a part of a write without an error; only the next call fails. */
async function writeFully(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let written = 0;
  while (written < chunk.byteLength) {
    const { bytesWritten } = await file.write(chunk, written, chunk.byteLength - written);
    written += bytesWritten;
  }
}

/** Moved out of the way first: a task that was delivered twice may still write into a folder, which then is never empty. */
async function removeWhole(path: string, aside: string): Promise<void> {
  const isAside = await rename(path, aside).then(
    () => true,
    (error: unknown) => (isNodeError(error) && error.code === 'ENOENT' ? null : false),
  );
  if (isAside === null) return; // one that came since is not this call's to remove
  // A mount point cannot be moved. A write that had found the folder before it was moved may still come: tried again then.
  await rm(isAside ? aside : path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
}

/** Depth first with sorted names; a folder sorts as `name/`, so that keys come out in code-unit order. */
async function* listFiles(base: string, prefix: string): AsyncIterable<StoreEntry> {
  const folder = prefix.includes('/') ? prefix.slice(0, prefix.lastIndexOf('/') + 1) : '';
  const pending: string[] = [folder];
  while (pending.length > 0) {
    const key = pending.pop()!;
    if (key !== '' && !key.endsWith('/')) {
      const facts = await attempt('read', key, () => stat(join(base, key)));
      yield { key, sizeBytes: facts.size };
      continue;
    }
    let entries: import('node:fs').Dirent[];
    try {
      entries = await readdir(join(base, key), { withFileTypes: true });
    } catch (error) {
      if (isNodeError(error) && error.code === 'ENOENT') continue;
      throw storeError('read', key, error);
    }
    const children = entries
      .filter((entry) => !(key === '' && entry.name === TEMPORARY))
      .map((entry) => key + entry.name + (entry.isDirectory() ? '/' : ''))
      .filter((child) => child.startsWith(prefix) || (child.endsWith('/') && prefix.startsWith(child)))
      .sort((a, b) => (a < b ? 1 : -1));
    pending.push(...children);
  }
}

async function attempt<T>(verb: 'open' | 'read' | 'write' | 'remove', where: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw storeError(verb, where, error);
  }
}

const CODES: Record<string, { code: ErrorCode; says: string }> = {
  ENOENT: { code: 'INPUT_MISSING', says: 'it does not exist' },
  EACCES: { code: 'STORE_DENIED', says: 'permission denied' },
  EPERM: { code: 'STORE_DENIED', says: 'operation not permitted' },
  EROFS: { code: 'STORE_DENIED', says: 'the file system is read-only' },
  ENOTDIR: { code: 'STORE_DENIED', says: 'a part of the path is a file, not a folder' },
  EEXIST: { code: 'STORE_DENIED', says: 'a file stands where a folder is needed' },
  EISDIR: { code: 'STORE_DENIED', says: 'a folder stands where a file is needed' },
  ENOSPC: { code: 'STORE_FULL', says: 'the disk is full' },
  EDQUOT: { code: 'STORE_FULL', says: 'the disk quota is used up' },
  EFBIG: { code: 'STORE_FULL', says: 'the file would pass the size limit' },
};

function storeError(verb: string, where: string, error: unknown): WinnowError {
  if (error instanceof WinnowError) return error;
  const system = isNodeError(error) ? (error.code ?? '') : '';
  const refused = verb === 'open' && system === 'ENOENT' ? { code: 'STORE_DENIED' as const, says: 'the file system takes no new folder there' } : undefined;
  const known = refused ?? CODES[system] ?? { code: 'STORE_UNAVAILABLE' as const, says: String(error) };
  return new WinnowError(known.code, `Could not ${verb} ${where}: ${known.says}`, { details: { where, system }, cause: error });
}

function isNodeError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error;
}
