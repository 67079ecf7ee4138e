/**
 * Lists the files under a prefix of a bucket as `scan.ts` lists those of a folder: the same paths in the same order, hidden
 * names passed over. There are no links; a key that no file could have as its path is counted and passed over.
 */
import { throwIfAborted } from '../errors.ts';
import { lastKey } from '../store/s3-list.ts';
import { isS3Uri } from '../store/s3-uri.ts';
import { extensionOf, isPlainPath } from './path.ts';
import type { Cursor, FoundFiles, Listing } from './rows.ts';
import { openS3Source, s3Prefix } from './s3-source.ts';

/**
 * @param after cursor of an earlier scan: the server lists what comes after it, and nothing before
 * @throws {WinnowError} INPUT_MISSING without such a bucket, STORE_DENIED, CONFIG_INVALID, STORE_UNAVAILABLE
 */
export async function* scanS3Folder(root: string, extensions: ReadonlySet<string>, listing: Listing, after?: Cursor): AsyncIterable<FoundFiles> {
  const { bucket, prefix } = await openS3Source(root, listing.signal);
  const own = avoided(root, listing);
  let passed = after === undefined ? '' : passedAt(prefix, own, after.path); // the hidden folder, or the store, that was counted last
  for await (const entries of bucket.list(prefix, after === undefined ? undefined : prefix + after.path)) {
    throwIfAborted(listing.signal);
    const paths: string[] = [];
    const sizes: number[] = [];
    for (const { key, sizeBytes } of entries) {
      const path = key.slice(prefix.length);
      if (passed !== '' && key.startsWith(passed)) continue;
      const hidden = HIDDEN.exec(path)?.[0];
      if (own !== null && key.startsWith(own)) {
        listing.count('store');
        passed = own;
      } else if (hidden !== undefined) {
        listing.count('hidden');
        if (hidden.endsWith('/')) passed = prefix + hidden;
      } else if (!isPlainPath(path)) {
        if (!isMarker(path, sizeBytes)) listing.count('not-a-file');
      } else if (extensions.has(extensionOf(path))) {
        paths.push(path);
        sizes.push(sizeBytes);
      } else {
        listing.count('extension');
      }
    }
    if (paths.length > 0) yield { paths, sizes: Float64Array.from(sizes), cursor: { path: lastKey(entries).slice(prefix.length) } };
  }
}

/** What a key that was looked at lies in, and what was counted with it. */
function passedAt(prefix: string, own: string | null, path: string): string {
  if (own !== null && (prefix + path).startsWith(own)) return own;
  const hidden = HIDDEN.exec(path)?.[0];
  return hidden?.endsWith('/') === true ? prefix + hidden : '';
}

/** Up to and with the first segment that begins with a dot. */
const HIDDEN = /^(?:[^/]*\/)*?\.[^/]*(?:\/|$)/;

/** An empty key that ends in `/` stands for a folder, as consoles make them. */
function isMarker(path: string, sizeBytes: number): boolean {
  return sizeBytes === 0 && (path === '' || path.endsWith('/'));
}

/** The prefix of the run's own store where it lies in the same bucket. */
function avoided(root: string, { avoid }: Listing): string | null {
  if (avoid === undefined || !isS3Uri(avoid)) return null;
  const bucketOf = (uri: string): string => uri.slice('s3://'.length).split(/[/?]/)[0]!;
  return bucketOf(avoid) === bucketOf(root) && s3Prefix(avoid) !== '' ? s3Prefix(avoid) : null;
}
