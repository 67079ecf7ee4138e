/**
 * Reads objects and ranges of them. A whole object is checked against the SHA-256 that its writer noted, or against its
 * ETag where that is an MD5. S3 gives nothing to check the bytes of a range by: TLS keeps them, and over plain HTTP a range is
 * fetched until two fetches agree, or with the whole object where that is small. What arrives short, changed or too slowly is
 * fetched again.
 */
import { createHash } from 'node:crypto';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { WinnowError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { S3Fault, s3ErrorName } from './s3-errors.ts';
import { plainS3Uri } from './s3-uri.ts';

/** Metadata under which a writer notes the SHA-256 of the whole object, hex. */
export const SHA256_METADATA = 'winnow-sha256';

export interface S3Key {
  readonly bucket: string;
  readonly key: string;
}

export interface ReadOptions {
  readonly range?: { readonly offset: number; readonly length: number } | undefined;
  /** A larger object is not read. */
  readonly sizeBytesMax?: number;
  /** Fewer tries than others get. */
  readonly attempts?: number;
  readonly signal?: AbortSignal | undefined;
}

export type ReadBytes = { readonly status: 'ok'; readonly bytes: Uint8Array } | { readonly status: 'too-large'; readonly sizeBytes: number };

/** @throws whatever the last try threw; {WinnowError} INPUT_MALFORMED when a range passes the end */
export async function readObject(connection: S3Connection, at: S3Key, options: ReadOptions = {}): Promise<ReadBytes> {
  const { range, signal } = options;
  if (range === undefined) {
    const { isChecked: _, ...read } = await readWhole(connection, at, options);
    return read;
  }
  if (range.length === 0) return readNothing(connection, at, range.offset, signal);
  const read = (): Promise<RangeBytes> => readRange(connection, at, range.offset, range.length, signal);
  return { status: 'ok', bytes: connection.isEncrypted ? (await read()).bytes : await agreed(connection, at, read, range, signal) };
}

/** MD5 of the object where the ETag is one, or null: not of parts, and not of objects under keys of KMS or the client. */
export function md5Of({ ETag, ServerSideEncryption, SSECustomerAlgorithm }: { ETag?: string | undefined; ServerSideEncryption?: string | undefined; SSECustomerAlgorithm?: string | undefined }): string | null {
  if (ServerSideEncryption?.startsWith('aws:') === true || SSECustomerAlgorithm !== undefined) return null;
  return /^"?([0-9a-f]{32})"?$/.exec(ETag ?? '')?.[1] ?? null;
}

/** `isChecked`: the bytes are those of a hash that the server keeps. */
type WholeBytes = ReadBytes & { readonly isChecked: boolean };

async function readWhole(connection: S3Connection, at: S3Key, { sizeBytesMax = Number.POSITIVE_INFINITY, attempts, signal }: ReadOptions): Promise<WholeBytes> {
  const { limits, sdk, retrier } = connection;
  let seen: string | null = null;
  return retrier.run<WholeBytes>(
    async (tried) => {
      const got = await connection.once(
        async ({ client, options, allow }) => {
          const answer = await client.send(new sdk.GetObjectCommand({ Bucket: at.bucket, Key: at.key }), options);
          const sizeBytes = answer.ContentLength ?? 0;
          if (sizeBytes > sizeBytesMax || sizeBytes > 2 * limits.partBytes) {
            dropBody(answer);
            return { answer, sizeBytes, bytes: null };
          }
          allow(sizeBytes);
          return { answer, sizeBytes, bytes: await collect(answer, sizeBytes, at) };
        },
        { signal, tried },
      );
      if (got.sizeBytes > sizeBytesMax) return { status: 'too-large', sizeBytes: got.sizeBytes, isChecked: false };
      const bytes = got.bytes ?? (await readPieces(connection, at, got.sizeBytes, got.answer.ETag, signal));
      const strange = strangeHash(bytes, got.answer, seen);
      if (strange === null) return { status: 'ok', bytes, isChecked: got.answer.Metadata?.[SHA256_METADATA] !== undefined || md5Of(got.answer) !== null };
      seen = strange;
      throw new S3Fault('flipped', `the bytes of ${plainS3Uri(at.bucket, at.key)} are not those that were written`);
    },
    { signal, ...(attempts !== undefined && { attempts }) },
  );
}

/**
 * SHA-256 of bytes that are not what the server says of them, or null when they are. An ETag that is no MD5, as some servers
 * make them, is known by two reads that agree with each other and not with it.
 *
 * @param seen what the try before found strange
 */
function strangeHash(bytes: Uint8Array, answer: GetObjectCommandOutput, seen: string | null): string | null {
  const noted = answer.Metadata?.[SHA256_METADATA];
  const md5 = md5Of(answer);
  if (noted === undefined && (md5 === null || md5 === hashOf('md5', bytes))) return null;
  const sha256 = hashOf('sha256', bytes);
  return (noted ?? seen) === sha256 ? null : sha256;
}

interface RangeBytes {
  readonly bytes: Uint8Array;
  /** Size of the whole object. */
  readonly total: number;
}

async function readRange({ sdk, retrier, once }: S3Connection, { bucket, key }: S3Key, offset: number, length: number, signal: AbortSignal | undefined, etag?: string): Promise<RangeBytes> {
  const end = offset + length;
  return retrier.run(
    (tried) =>
      once(
        async ({ client, options, allow }) => {
          const command = new sdk.GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=${offset}-${end - 1}`, ...(etag !== undefined && { IfMatch: etag }) });
          const answer = await client.send(command, options);
          const total = Number(/\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1] ?? Number.NaN);
          const isRange = answer.$metadata.httpStatusCode === 206 || (offset === 0 && answer.ContentLength === length);
          if (!isRange || total < end) dropBody(answer);
          if (!isRange) throw new WinnowError('STORE_UNAVAILABLE', `Expected bytes ${offset} to ${end - 1} of ${plainS3Uri(bucket, key)}, the server sent the whole object: it reads no ranges`);
          if (total < end) throw new WinnowError('INPUT_MALFORMED', `Expected ${end} bytes or more in ${key}, got ${total}`);
          allow(length);
          return { bytes: await collect(answer, length, { bucket, key }), total };
        },
        { signal, tried },
      ),
    { signal },
  );
}

async function readNothing({ sdk, retrier, once }: S3Connection, { bucket, key }: S3Key, offset: number, signal: AbortSignal | undefined): Promise<ReadBytes> {
  const facts = await retrier.run(() => once(({ client, options }) => client.send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: key }), options), { signal }), { signal });
  if (offset > (facts.ContentLength ?? 0)) throw new WinnowError('INPUT_MALFORMED', `Expected ${offset} bytes or more in ${key}, got ${facts.ContentLength ?? 0}`);
  return { status: 'ok', bytes: new Uint8Array(0) };
}

/** Reads until two are equal, in a row or not; an object that is small, and has a hash, is read whole instead. */
async function agreed(connection: S3Connection, at: S3Key, read: () => Promise<RangeBytes>, { offset, length }: { readonly offset: number; readonly length: number }, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const seen: Uint8Array[] = [];
  while (seen.length < AGREEING_READS) {
    const { bytes, total } = await read();
    if (seen.some((other) => Buffer.compare(other, bytes) === 0)) return bytes;
    if (seen.length === 0 && total <= SMALL_BYTES) {
      const whole = await readWhole(connection, at, { signal });
      if (whole.status === 'ok' && whole.isChecked && whole.bytes.byteLength === total) return whole.bytes.slice(offset, offset + length);
    }
    seen.push(bytes);
  }
  throw new S3Fault('flipped', `no two reads of a range of ${plainS3Uri(at.bucket, at.key)} gave the same bytes`);
}

/** Two reads of a few bytes may agree by chance on bytes that are not there; so few are not worth that. */
const SMALL_BYTES = 2 ** 18;
const AGREEING_READS = 8;

/** A large object in ranges, a few at once, all of the same version. */
async function readPieces(connection: S3Connection, at: S3Key, sizeBytes: number, etag: string | undefined, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { partBytes, partsAtOnce } = connection.limits;
  const bytes = new Uint8Array(sizeBytes);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < sizeBytes) {
      const offset = next;
      next += partBytes;
      bytes.set((await readRange(connection, at, offset, Math.min(partBytes, sizeBytes - offset), signal, etag)).bytes, offset);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: partsAtOnce }, lane));
  for (const ended of lanes) {
    if (ended.status === 'fulfilled') continue;
    if (s3ErrorName(ended.reason) === 'PreconditionFailed') throw new S3Fault('misread', `${plainS3Uri(at.bucket, at.key)} was written while it was read`);
    throw ended.reason;
  }
  return bytes;
}

async function collect(answer: GetObjectCommandOutput, sizeBytes: number, { bucket, key }: S3Key): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  let filled = 0;
  for await (const chunk of answer.Body as unknown as AsyncIterable<Uint8Array>) {
    if (filled + chunk.byteLength > sizeBytes) throw new S3Fault('torn', `got more than the ${sizeBytes} bytes of ${plainS3Uri(bucket, key)}`);
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
  if (filled < sizeBytes) throw new S3Fault('torn', `got ${filled} of ${sizeBytes} bytes of ${plainS3Uri(bucket, key)}`);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, sizeBytes);
}

/** Closes the socket instead of reading what nobody wants. */
function dropBody(answer: GetObjectCommandOutput): void {
  const body = answer.Body as unknown as { destroy(): void; on(event: 'error', heard: () => void): void };
  body.on('error', () => undefined);
  body.destroy();
}

function hashOf(algorithm: 'md5' | 'sha256', bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest('hex');
}
