/**
 * Reads bodies within a size that is counted as they come, whatever their headers say, and after decompression, so that an endless or a
 * packed one costs no more than the limit.
 */
import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Answer } from './client.ts';
import type { Limits } from './limits.ts';

/** Where a body goes. */
export interface Sink {
  append(chunk: Uint8Array): Promise<void>;
}

export interface BodyLimits {
  readonly sizeBytesMax: number;
  readonly idleTimeoutMs: number;
}

/** What came, or why it was not read to its end. */
export type ReadBody = { readonly sizeBytes: number; /** SHA-256, hex. */ readonly sha256: string; /** The first bytes, 4 KiB at most. */ readonly head: Uint8Array } | { readonly refused: 'too-large-file' | 'bad-response' };

/** Bytes that tell the format of a picture. */
const HEAD_BYTES = 4_096;

/** @throws what the connection or a decompressor gives; the caller's limits may end it */
export async function readBody({ body, headers }: Answer, { sizeBytesMax, idleTimeoutMs }: BodyLimits, limits: Limits, sink: Sink): Promise<ReadBody> {
  const encoding = (headers['content-encoding'] ?? '').trim().toLowerCase();
  const decoder = DECODERS.get(encoding);
  if (decoder === undefined) return { refused: 'bad-response' };
  if (Number(headers['content-length'] ?? 0) > sizeBytesMax) return { refused: 'too-large-file' };
  const hash = createHash('sha256');
  const head: Uint8Array[] = [];
  let headBytes = 0;
  let sizeBytes = 0;
  limits.arm(idleTimeoutMs);
  const raw = alive(body, limits, idleTimeoutMs, sizeBytesMax);
  const stream = decoder === null ? raw : pipeline(raw, decoder(), () => undefined); // an error reaches the loop below
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > sizeBytesMax) return { refused: 'too-large-file' };
      hash.update(chunk);
      if (headBytes < HEAD_BYTES) {
        const part = chunk.slice(0, HEAD_BYTES - headBytes);
        head.push(part);
        headBytes += part.byteLength;
      }
      await sink.append(chunk);
    }
  } catch (error) {
    if (error instanceof TooLong) return { refused: 'too-large-file' };
    throw error;
  }
  return { sizeBytes, sha256: hash.digest('hex'), head: Buffer.concat(head) };
}

/** At most so many bytes of a body, as UTF-8 text. */
export async function readText(body: Answer['body'], sizeBytesMax: number, limits: Limits, idleTimeoutMs: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  limits.arm(idleTimeoutMs);
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    limits.arm(idleTimeoutMs);
    chunks.push(chunk);
    sizeBytes += chunk.byteLength;
    if (sizeBytes >= sizeBytesMax) break;
  }
  return Buffer.concat(chunks).subarray(0, sizeBytesMax).toString('utf8');
}

/** More packed bytes came than any result within the limit has. */
class TooLong extends Error {}

/** The body as it comes. @throws {TooLong} */
async function* alive(body: Answer['body'], limits: Limits, idleTimeoutMs: number, sizeBytesMax: number): AsyncGenerator<Uint8Array> {
  let sizeBytes = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    limits.arm(idleTimeoutMs);
    yield chunk;
    sizeBytes += chunk.byteLength;
    if (sizeBytes > sizeBytesMax + PACKING_BYTES) throw new TooLong();
  }
}

/** What an encoding may add to bytes that it cannot make shorter. */
const PACKING_BYTES = 2 ** 20;

/** None was asked for, but some servers send one all the same. */
const DECODERS: ReadonlyMap<string, (() => NodeJS.ReadWriteStream) | null> = new Map([
  ['', null],
  ['identity', null],
  ['gzip', () => createGunzip()],
  ['x-gzip', () => createGunzip()],
  ['deflate', () => createInflate()],
  ['br', () => createBrotliDecompress()],
]);
