/** Opens the store that a name stands for: a folder, a `file:` URL, or `s3://bucket/prefix`. What S3 needs is loaded only for S3. */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { lockFsStore, openFsStore } from './fs.ts';
import { type S3Options, isS3Uri } from './s3-uri.ts';
import type { Store } from './store.ts';

export interface OpenOptions {
  /** The store must be there, and nothing is made or cleared in it. */
  readonly readOnly?: boolean;
  /** Where the object store is, when the name does not say. */
  readonly s3?: S3Options;
  /** Ends waits for an object store. */
  readonly signal?: AbortSignal | undefined;
}

/** @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING, STORE_DENIED, STORE_FULL, STORE_UNAVAILABLE */
export async function openStore(uri: string, options: OpenOptions = {}): Promise<Store> {
  if (!isS3Uri(uri)) return openFsStore(storeFolder(uri), options);
  const { openS3Store } = await import('./s3.ts');
  return openS3Store(uri, options);
}

/**
 * Keeps two runs out of one store: holds its lock until `release`.
 *
 * @param options.log is told when the server cannot keep a lock for one alone
 * @throws {WinnowError} STORE_BUSY when another run holds it
 */
export async function lockStore(uri: string, options: OpenOptions & { readonly log: Log }): Promise<{ release(): Promise<void> }> {
  if (!isS3Uri(uri)) return lockFsStore(storeFolder(uri));
  const { lockS3Store } = await import('./s3-lock.ts');
  return lockS3Store(uri, options);
}

/** The folder of a store given as a path or a `file:` URL. @throws {WinnowError} CONFIG_INVALID */
export function storeFolder(uri: string): string {
  if (uri === '') throw new WinnowError('CONFIG_INVALID', 'Expected the store to be a folder, a file: URL or s3://bucket/prefix, got an empty text');
  if (uri.startsWith('file:')) return fileURLToPath(new URL(uri, pathToFileURL(`${process.cwd()}/`)));
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(uri)?.[1];
  if (scheme === undefined) return uri;
  const got = isS3Uri(uri) ? 's3://, and a folder is needed here' : `${scheme}://`;
  throw new WinnowError('CONFIG_INVALID', `Expected the store to be a folder, a file: URL or s3://bucket/prefix, got ${got}`);
}
