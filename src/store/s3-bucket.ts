/**
 * One bucket as the store and the sources of images use it: five calls on whole keys, each tried again as often as is worth
 * it, each ending in a result or in one coded error.
 */
import { type S3Connection, type S3Limits, connectS3 } from './s3-client.ts';
import { s3Error, s3ErrorName } from './s3-errors.ts';
import { type ListPage, type ListQuery, listKeys } from './s3-list.ts';
import { type ReadBytes, type ReadOptions, readObject } from './s3-read.ts';
import { type S3Options, plainS3Uri } from './s3-uri.ts';
import { writeObject } from './s3-write.ts';
import type { StoreEntry, Written } from './store.ts';

export interface S3BucketOptions {
  readonly s3?: S3Options;
  /** Ends the waits and requests that are under way when it fires; what is called later, to clean up, goes through. */
  readonly signal?: AbortSignal | undefined;
  readonly limits?: Partial<S3Limits>;
}

/** Errors are `WinnowError`s, save those that a source of bytes throws. */
export interface S3Bucket {
  readonly connection: S3Connection;
  /** Asks for one key under a prefix, to learn whether bucket, region and credentials are right. Few tries. */
  probe(prefix: string): Promise<'empty' | 'filled'>;
  read(key: string, options?: Omit<ReadOptions, 'signal'>): Promise<ReadBytes>;
  write(key: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<Written>;
  head(key: string): Promise<StoreEntry | null>;
  /** Ascending by code units. @param startAfter `lastKey` of a batch of an earlier listing */
  list(prefix: string, startAfter?: string): AsyncGenerator<readonly StoreEntry[]>;
  remove(keys: readonly string[]): Promise<void>;
  /** Runs a call of this bucket, with its failure as a coded error. */
  attempt<T>(verb: string, key: string, action: () => Promise<T>): Promise<T>;
}

/** @throws {WinnowError} CONFIG_INVALID; asks the server nothing yet */
export async function openS3Bucket(bucket: string, { s3 = {}, signal: given, limits }: S3BucketOptions = {}): Promise<S3Bucket> {
  const connection = await connectS3(s3, limits);
  const { sdk, retrier, once, endpoint, region } = connection;
  const live = (): AbortSignal | undefined => (given?.aborted === true ? undefined : given);
  const attempt = async <T>(verb: string, key: string, action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      if (error instanceof SourceError) throw error.cause;
      throw s3Error(`${verb} ${plainS3Uri(bucket, key)}`, { bucket, endpoint, region }, error);
    }
  };
  const page = (query: ListQuery, keys?: number, attempts?: number): Promise<ListPage> => {
    const signal = live();
    return attempt('list', query.prefix, () => retrier.run(() => listPage(connection, bucket, query, keys, signal), { signal, ...(attempts !== undefined && { attempts }) }));
  };
  return {
    connection,
    attempt,
    probe: async (prefix) => ((await page({ prefix }, 1, PROBES)).entries.length === 0 ? 'empty' : 'filled'),
    read: (key, options = {}) => attempt('read', key, () => readObject(connection, { bucket, key }, { ...options, signal: live() })),
    write: (key, bytes) => attempt('write', key, () => writeObject(connection, { bucket, key }, bytes instanceof Uint8Array ? bytes : marked(bytes), live())),
    head: (key) =>
      attempt('find', key, async () => {
        const signal = live();
        try {
          const facts = await retrier.run(() => once(({ client, options }) => client.send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: key }), options), { signal }), { signal });
          return { key, sizeBytes: facts.ContentLength ?? 0 };
        } catch (error) {
          if (s3ErrorName(error) === 'NotFound' || s3ErrorName(error) === 'NoSuchKey') return null;
          throw error;
        }
      }),
    list: (prefix, startAfter) => listKeys((query) => page(query), prefix, undefined, startAfter),
    remove: (keys) => attempt('remove', keys[0] ?? '', () => removeKeys(connection, bucket, keys, live())),
  };
}

/** Tries of a probe: a wrong address should not take minutes to say so. */
const PROBES = 4;

/** What the caller's own bytes throw goes through untouched. */
class SourceError extends Error {}

async function* marked(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (cause) {
    throw new SourceError('the source of the bytes failed', { cause });
  }
}

async function listPage({ sdk, once }: S3Connection, bucket: string, { prefix, folded, startAfter, token }: ListQuery, keys: number | undefined, signal: AbortSignal | undefined): Promise<ListPage> {
  const answer = await once(
    ({ client, options }) =>
      client.send(
        new sdk.ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          EncodingType: 'url', // XML cannot hold every character of a key
          ...(folded === true && { Delimiter: '/' }),
          ...(keys !== undefined && { MaxKeys: keys }),
          ...(startAfter !== undefined && { StartAfter: startAfter }),
          ...(token !== undefined && { ContinuationToken: token }),
        }),
        options,
      ),
    { signal },
  );
  const decode = answer.EncodingType === 'url' ? decodeKey : (text: string): string => text;
  return {
    entries: (answer.Contents ?? []).map(({ Key, Size }) => ({ key: decode(Key ?? ''), sizeBytes: Size ?? 0 })),
    prefixes: (answer.CommonPrefixes ?? []).map(({ Prefix }) => decode(Prefix ?? '')),
    token: answer.IsTruncated === true ? (answer.NextContinuationToken ?? null) : null,
  };
}

function decodeKey(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}

const KEYS_A_CALL = 1000;

async function removeKeys({ sdk, retrier, once }: S3Connection, bucket: string, keys: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  if (keys.length === 1) {
    await retrier.run(() => once(({ client, options }) => client.send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: keys[0]! }), options), { signal }), { signal });
    return;
  }
  for (let from = 0; from < keys.length; from += KEYS_A_CALL) {
    const Objects = keys.slice(from, from + KEYS_A_CALL).map((Key) => ({ Key }));
    await retrier.run(
      async () => {
        const { Errors } = await once(({ client, options }) => client.send(new sdk.DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }), options), { signal });
        const first = Errors?.[0];
        if (first !== undefined) throw Object.assign(new Error('a key was not removed'), { name: first.Code ?? 'InternalError', $metadata: {} });
      },
      { signal },
    );
  }
}
