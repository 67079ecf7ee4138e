/**
 * Bodies on their way from the network to a tar: in files of the system's temporary folder, one for each request at work, so that memory
 * does not grow with bodies. The files have no name, so nothing is left of them whatever ends the process.
 */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WinnowError } from '../errors.ts';
import type { Sink } from './body.ts';

/** A body that was kept. */
export interface Kept {
  readonly sizeBytes: number;
  /** Its bytes, in pieces. */
  chunks(): AsyncIterable<Uint8Array>;
}

export interface Spool {
  /** Begins a body; exactly one of `keep` and `discard` ends it. */
  begin(): Promise<Sink & { keep(): Kept; discard(): void }>;
  close(): Promise<void>;
}

interface Lane {
  readonly file: FileHandle;
  /** Where the next body begins. */
  end: number;
}

/** A spool of its own; its files vanish with `close` or with the process. */
export function createSpool(): Spool {
  const lanes: Lane[] = [];
  const idle: Lane[] = [];
  return {
    begin: async () => {
      const lane = idle.pop() ?? (await openLane(lanes));
      const start = lane.end;
      let at = start;
      return {
        append: async (chunk) => {
          await attempt(() => writeFully(lane.file, chunk, at));
          at += chunk.byteLength;
        },
        keep: () => {
          lane.end = at;
          idle.push(lane);
          return { sizeBytes: at - start, chunks: () => readChunks(lane.file, start, at) };
        },
        discard: () => void idle.push(lane),
      };
    },
    close: async () => {
      await Promise.all(lanes.map(({ file }) => file.close()));
    },
  };
}

async function openLane(lanes: Lane[]): Promise<Lane> {
  return attempt(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'winnow-download-'));
    const file = await open(join(folder, 'bodies'), 'wx+', 0o600);
    await rm(folder, { recursive: true });
    const lane = { file, end: 0 };
    lanes.push(lane);
    return lane;
  });
}

async function writeFully(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) done += (await file.write(chunk, done, chunk.byteLength - done, position + done)).bytesWritten;
}

async function* readChunks(file: FileHandle, start: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; ) {
    const bytes = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at));
    const { bytesRead } = await attempt(() => file.read(bytes, 0, bytes.length, at));
    if (bytesRead === 0) throw new WinnowError('STORE_UNAVAILABLE', `Expected ${end - at} more bytes in a temporary file of ${tmpdir()}, got its end`);
    yield bytes.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/** What fails here is this machine's disk, never a URL. */
async function attempt<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof WinnowError) throw error;
    const system = error instanceof Error && 'code' in error ? String(error.code) : '';
    const isFull = system === 'ENOSPC' || system === 'EDQUOT' || system === 'EFBIG';
    throw new WinnowError(isFull ? 'STORE_FULL' : 'STORE_UNAVAILABLE', `Could not keep downloaded bytes in ${tmpdir()}: ${isFull ? 'the disk is full; set TMPDIR to a larger one or lower `blockRows` of the download' : String(error)}`, { cause: error });
  }
}

const CHUNK_BYTES = 2 ** 18;
