/** A list as bytes, from a disk or an object store. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { WinnowError } from '../errors.ts';
import { isS3Uri } from '../store/s3-uri.ts';
import { sourceError } from './path.ts';
import { openS3File, s3Name } from './s3-source.ts';

export interface ListFile {
  /** For messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** All bytes in order. */
  chunks(): AsyncIterable<Uint8Array>;
  /** Bytes from `start` to `end`. @throws when the file ends before */
  read(start: number, end: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** @throws {WinnowError} INPUT_MISSING, STORE_DENIED, INPUT_MALFORMED when it is not a regular file; STORE_UNAVAILABLE */
export async function openList(path: string): Promise<ListFile> {
  if (isS3Uri(path)) return openRemoteList(path);
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw sourceError(`open the list ${path}`, error);
  });
  const facts = await file.stat();
  if (facts.isFile()) {
    return { name: path, sizeBytes: facts.size, chunks: () => file.createReadStream({ autoClose: false }), read: (start, end) => readRange(file, start, end), close: () => file.close() };
  }
  await file.close();
  throw new WinnowError('INPUT_MALFORMED', `Expected a list at ${path}, got something that is not a file`);
}

/** The name of a list in messages: without where its server is. */
export function listName(path: string): string {
  return isS3Uri(path) ? s3Name(path) : path;
}

async function readRange(file: FileHandle, start: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw new Error(`the file ends at byte ${start + filled}`);
    filled += bytesRead;
  }
  return bytes;
}

async function openRemoteList(path: string): Promise<ListFile> {
  const name = s3Name(path);
  const { sizeBytes, read } = await openS3File(path);
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < sizeBytes; start += CHUNK_BYTES) yield await read(start, Math.min(CHUNK_BYTES, sizeBytes - start));
  };
  return { name, sizeBytes, chunks, read: (start, end) => read(start, end - start), close: async () => undefined };
}

const CHUNK_BYTES = 2 ** 22;
