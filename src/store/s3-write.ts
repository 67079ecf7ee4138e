/**
 * Writes objects whole: one PUT, or for what is larger @aws-sdk/lib-storage's multipart upload, completed at the end. Each
 * PUT and part carries its SHA-256. A server that does not answer with that hash is held to the MD5 of its ETag, and one
 * that gives neither is read back.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { S3Connection } from './s3-client.ts';
import { S3Fault, s3ErrorName } from './s3-errors.ts';
import { type S3Key, SHA256_METADATA, md5Of, readObject } from './s3-read.ts';
import { plainS3Uri } from './s3-uri.ts';
import type { Written } from './store.ts';

/** @throws whatever the source of the bytes throws, before anything is written; whatever the last try threw */
export async function writeObject(connection: S3Connection, at: S3Key, bytes: Uint8Array | AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Written> {
  const { partBytes } = connection.limits;
  if (bytes instanceof Uint8Array) {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (bytes.byteLength <= partBytes) await putObject(connection, at, bytes, sha256, {}, signal);
    else await upload(connection, at, piecesOf(bytes, partBytes), { size: bytes.byteLength, sha256 }, signal);
    return { sizeBytes: bytes.byteLength, sha256 };
  }
  const written = { sizeBytes: 0, hash: createHash('sha256') };
  const pieces = gather(bytes, partBytes, written);
  const first = await pieces.next();
  const second = first.done === true ? first : await pieces.next();
  if (second.done === true) {
    const sha256 = written.hash.digest('hex');
    await putObject(connection, at, first.done === true ? new Uint8Array(0) : first.value, sha256, {}, signal);
    return { sizeBytes: written.sizeBytes, sha256 };
  }
  await upload(connection, at, chain([first.value as Uint8Array, second.value], pieces), null, signal);
  const sha256 = written.hash.digest('hex');
  await checkSize(connection, at, written.sizeBytes, signal);
  return { sizeBytes: written.sizeBytes, sha256 };
}

/**
 * One PUT.
 *
 * @param condition such as `{ IfNoneMatch: '*' }`
 * @returns the ETag
 */
export async function putObject(connection: S3Connection, at: S3Key, bytes: Uint8Array, sha256: string, condition: Pick<PutObjectCommandInput, 'IfMatch' | 'IfNoneMatch'>, signal?: AbortSignal): Promise<string> {
  const { sdk, retrier, once } = connection;
  const checksum = Buffer.from(sha256, 'hex').toString('base64');
  const input = { Bucket: at.bucket, Key: at.key, Body: bytes, ContentLength: bytes.byteLength, ChecksumSHA256: checksum, Metadata: { [SHA256_METADATA]: sha256 }, ...condition };
  return retrier.run(
    async () => {
      const answer = await once(({ client, options }) => client.send(new sdk.PutObjectCommand(input), options), { sizeBytes: bytes.byteLength, signal });
      if (answer.ChecksumSHA256 !== checksum && md5Of(answer) !== md5(bytes)) await readBack(connection, at, bytes, signal);
      return answer.ETag ?? '';
    },
    { signal },
  );
}

async function readBack(connection: S3Connection, at: S3Key, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  const back = await readObject(connection, at, { attempts: 1, signal }); // what lies there wrongly is written again, not read again
  if (back.status !== 'ok' || Buffer.compare(back.bytes, bytes) !== 0) throw changed(at);
}

/** @param whole size and hash where they are known beforehand; readers then find the hash beside the object */
async function upload(connection: S3Connection, at: S3Key, pieces: AsyncIterable<Uint8Array>, whole: { size: number; sha256: string } | null, signal: AbortSignal | undefined): Promise<void> {
  const { Upload } = await import('@aws-sdk/lib-storage');
  const { partBytes, partsAtOnce } = connection.limits;
  const unsure: number[] = [];
  const uploading = new Upload({
    client: retryingClient(connection, unsure, signal) as unknown as typeof connection.client,
    params: { Bucket: at.bucket, Key: at.key, Body: Readable.from(pieces), ChecksumAlgorithm: 'SHA256', ...(whole !== null && { Metadata: { [SHA256_METADATA]: whole.sha256 } }) },
    partSize: partBytes,
    queueSize: partsAtOnce,
  });
  await uploading.done();
  if (whole === null) return;
  if (unsure.length === 0) return checkSize(connection, at, whole.size, signal);
  await readObject(connection, at, { signal }); // compares with the noted hash
}

const COMPLETE = 'CompleteMultipartUploadCommand';
/** Servers put thousands of parts together for minutes, and send blanks meanwhile. */
const COMPLETE_SECONDS = 600;

/** What the upload asks of a client: every call is tried again by our rules, and every part is compared. */
function retryingClient(connection: S3Connection, unsure: number[], signal: AbortSignal | undefined): { readonly config: unknown; send(command: { input: object }): Promise<unknown> } {
  const { client, retrier, once } = connection;
  const sendOnce = (command: { input: object }, sizeBytes: number): Promise<object> => once(({ client, options }) => client.send(command as never, options) as Promise<object>, { sizeBytes, signal });
  return {
    config: client.config,
    send: (command) => {
      const { Body, PartNumber, Bucket, Key } = command.input as { Body?: Uint8Array; PartNumber?: number; Bucket: string; Key: string };
      const kind = command.constructor.name;
      return retrier
        .run(
          async (tried) => {
            const answer = await sendOnce(command, kind === COMPLETE ? connection.limits.bytesPerSecondMin * COMPLETE_SECONDS : (Body?.byteLength ?? 0)).catch((error: unknown) => {
              // The answer to the try before was lost; what lies there is looked at afterwards.
              if (kind === COMPLETE && tried > 0 && s3ErrorName(error) === 'NoSuchUpload') return {};
              throw error;
            });
            if (Body !== undefined && PartNumber !== undefined) checkPart(answer, Body, { bucket: Bucket, key: Key }, () => unsure.push(PartNumber));
            return answer;
          },
          { signal },
        )
        .catch((error: unknown) => {
          if (kind === 'AbortMultipartUploadCommand') return {}; // the error that led here says more
          throw error;
        });
    },
  };
}

function checkPart(answer: { ChecksumSHA256?: string; ETag?: string; ServerSideEncryption?: string; SSECustomerAlgorithm?: string }, part: Uint8Array, at: S3Key, onUnsure: () => void): void {
  if (answer.ChecksumSHA256 !== undefined) {
    if (answer.ChecksumSHA256 !== createHash('sha256').update(part).digest('base64')) throw changed(at);
    return;
  }
  const tag = md5Of(answer);
  if (tag === null) onUnsure();
  else if (tag !== md5(part)) throw changed(at);
}

async function checkSize({ sdk, retrier, once }: S3Connection, at: S3Key, sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
  const facts = await retrier.run(() => once(({ client, options }) => client.send(new sdk.HeadObjectCommand({ Bucket: at.bucket, Key: at.key }), options), { signal }), { signal });
  if (facts.ContentLength !== sizeBytes) throw new S3Fault('torn', `wrote ${sizeBytes} bytes, ${facts.ContentLength ?? 0} are there`);
}

function changed({ bucket, key }: S3Key): S3Fault {
  return new S3Fault('flipped', `the bytes that arrived at ${plainS3Uri(bucket, key)} are not those that were sent`);
}

function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

async function* piecesOf(bytes: Uint8Array, sizeBytes: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += sizeBytes) yield asBuffer(bytes.subarray(start, start + sizeBytes));
}

/** Pieces of equal size, the last one shorter; copies, since a source may use its chunks again. */
async function* gather(source: AsyncIterable<Uint8Array>, pieceBytes: number, written: { sizeBytes: number; hash: ReturnType<typeof createHash> }): AsyncGenerator<Uint8Array, undefined> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of source) {
    written.hash.update(chunk);
    written.sizeBytes += chunk.byteLength;
    for (let start = 0; start < chunk.byteLength; ) {
      const part = chunk.slice(start, start + pieceBytes - heldBytes);
      held.push(part);
      heldBytes += part.byteLength;
      start += part.byteLength;
      if (heldBytes < pieceBytes) continue;
      yield Buffer.concat(held);
      held = [];
      heldBytes = 0;
    }
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}

async function* chain(first: readonly Uint8Array[], rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first;
  yield* rest;
}

/** lib-storage copies what is not a Buffer. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
