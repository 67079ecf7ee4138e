/**
 * The store on an object store that speaks S3. An object is written whole or not at all by S3 itself, so keys are written in
 * place; a multipart upload shows nothing before it is completed. What is written must show in reads and listings at once, as
 * on Amazon S3 since 2020, MinIO, Ceph and R2. `.tmp/` under the prefix holds the lock and is never listed.
 */
import assert from 'node:assert/strict';
import { WinnowError } from '../errors.ts';
import { type S3Bucket, type S3BucketOptions, openS3Bucket } from './s3-bucket.ts';
import { parseS3Uri, plainS3Uri } from './s3-uri.ts';
import { type Store, type StoreEntry, isValidKey } from './store.ts';

/** What an S3 store keeps beside the outputs. */
export const S3_TEMPORARY = '.tmp/';

/**
 * Opens the store under `s3://bucket/prefix` after asking the server whether bucket, region and credentials are right.
 *
 * @param options.readOnly there must be something under the prefix
 * @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING without such a bucket, STORE_DENIED, STORE_UNAVAILABLE
 */
export async function openS3Store(uri: string, options: S3BucketOptions & { readonly readOnly?: boolean } = {}): Promise<Store> {
  const { bucket, prefix, name } = await openPrefix(uri, options);
  if ((await bucket.probe(prefix)) === 'empty' && options.readOnly === true) {
    throw new WinnowError('INPUT_MISSING', `Expected a store at ${name}, found nothing there`);
  }
  const keyOf = (key: string): string => {
    assert(isValidKey(key), `Expected a key of plain segments, got "${key}"`);
    return prefix + key;
  };
  return {
    uri: name,
    read: async (key, range) => {
      const got = await bucket.read(keyOf(key), { range });
      assert(got.status === 'ok', 'Expected no bound on the size of an object of the store');
      return got.bytes;
    },
    write: async (key, bytes) => bucket.write(keyOf(key), bytes),
    head: async (key) => {
      const entry = await bucket.head(keyOf(key));
      return entry === null ? null : { key, sizeBytes: entry.sizeBytes };
    },
    list: (below) => listUnder(bucket, prefix, below),
    remove: async (key) => {
      const path = keyOf(key);
      if (!key.endsWith('/')) return bucket.remove([path]);
      for await (const entries of bucket.list(path)) if (entries.length > 0) await bucket.remove(entries.map((entry) => entry.key));
    },
  };
}

/** The bucket and prefix of an `s3://` name; the prefix is empty or ends in `/`. */
export async function openPrefix(uri: string, options: S3BucketOptions): Promise<{ bucket: S3Bucket; bucketName: string; prefix: string; name: string }> {
  const place = parseS3Uri(uri, options.s3);
  const bucket = await openS3Bucket(place.bucket, { ...options, s3: place.options });
  const prefix = place.key === '' || place.key.endsWith('/') ? place.key : `${place.key}/`;
  return { bucket, bucketName: place.bucket, prefix, name: plainS3Uri(place.bucket, prefix) };
}

async function* listUnder(bucket: S3Bucket, prefix: string, below: string): AsyncIterable<StoreEntry> {
  for await (const entries of bucket.list(prefix + below)) {
    for (const { key, sizeBytes } of entries) {
      const own = key.slice(prefix.length);
      // A folder's marker, as consoles make them, is no object of ours.
      if (!own.startsWith(S3_TEMPORARY) && own !== '' && !own.endsWith('/')) yield { key: own, sizeBytes };
    }
  }
}
