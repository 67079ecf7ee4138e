/** How a worker opens the store that a job names, and how it stops touching it once its place in the queue is lost. */
import { resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { WinnowError } from '../src/errors.ts';
import { openStore, storeFolder } from '../src/store/open.ts';
import { isS3Uri } from '../src/store/s3-uri.ts';
import type { Store } from '../src/store/store.ts';

/**
 * @param allowed stores, or folders and prefixes above them, that this worker may write to; null: any
 * @throws {WinnowError} STORE_DENIED, CONFIG_INVALID, and what opening a store throws
 */
export async function openJobStore(uri: string, allowed: readonly string[] | null): Promise<Store> {
  const place = placeOf(uri);
  // A job could otherwise send this worker's credentials to a server of its own.
  if (allowed !== null && isS3Uri(uri) && uri.includes('?')) throw new WinnowError('STORE_DENIED', `Expected a job whose store names no server, got ${place} with one: set AWS_ENDPOINT_URL_S3 on workers that are limited to some stores`);
  if (place.split('/').includes('..') || (allowed !== null && !allowed.some((root) => place === placeOf(root) || place.startsWith(`${placeOf(root)}/`)))) {
    throw new WinnowError('STORE_DENIED', `Expected a job whose store lies under ${allowed?.join(', ') ?? 'a plain path'}, got ${place}: this worker may not write there`);
  }
  return openStore(uri);
}

/** Without where the server is and without a last slash; folders as absolute paths. */
function placeOf(uri: string): string {
  if (isS3Uri(uri)) return uri.split('?')[0]!.replace(/\/+$/, '');
  const folder = storeFolder(uri);
  return folder.split('/').includes('..') ? folder : resolve(folder);
}

/**
 * The same store, but nothing is written or removed once `isOurs` says no. The event loop turns before each write, so that news which
 * came while native code held this thread are heard first.
 */
export function fenced(store: Store, isOurs: () => boolean): Store {
  const check = async (): Promise<void> => {
    await turn();
    if (!isOurs()) throw new WinnowError('ABORTED', 'This task was given to another worker');
  };
  return {
    ...store,
    write: async (key, bytes) => {
      await check();
      return store.write(key, bytes);
    },
    remove: async (key) => {
      await check();
      return store.remove(key);
    },
  };
}
