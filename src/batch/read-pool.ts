/**
 * Reads ranges of local files on threads of its own, several ranges a message, and sums them there: reading through the
 * event loop costs more than the copy out of the page cache does. The bytes come over without a copy.
 */
import { Worker } from 'node:worker_threads';
import { HAS_NATIVE_CRC32 } from '../crc32.ts';

/** A range of a file. */
export interface FileRange {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** How bytes are summed on the way. */
export type Sum = 'crc32' | 'sha256' | 'none';

export type RangeRead =
  /** `sum`: CRC-32 as a number, SHA-256 in hex; null where none was asked for or Node has no CRC-32. */
  | { readonly bytes: Uint8Array; readonly sum: number | string | null }
  /** `fault` is an errno, or `short` when the file ends before the range does. */
  | { readonly fault: string };

export interface ReadPool {
  read(range: FileRange, sum: Sum): Promise<RangeRead>;
  /** Ends the threads; reads under way are ended with them, so there should be none. */
  close(): Promise<void>;
}

/** Ranges a message at most, and files a thread keeps open. */
const RANGES = 32;
const FILES = 16;

const PROGRAM = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const { crc32 } = require('node:zlib');
const fs = require('node:fs');
const files = new Map();
const open = (path) => {
  let file = files.get(path);
  if (file === undefined) file = fs.openSync(path, 'r');
  files.delete(path);
  files.set(path, file);
  if (files.size > ${FILES}) {
    const [oldest, other] = files.entries().next().value;
    files.delete(oldest);
    fs.closeSync(other);
  }
  return file;
};
const sums = {
  crc32: ${HAS_NATIVE_CRC32} ? crc32 : () => null,
  sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
  none: () => null,
};
const read = ({ path, offset, length, sum }) => {
  try {
    const file = open(path);
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let filled = 0; filled < length; ) {
      const count = fs.readSync(file, bytes, filled, length - filled, offset + filled);
      if (count === 0) return { fault: 'short' };
      filled += count;
    }
    return { bytes: new Uint8Array(bytes.buffer), sum: sums[sum](bytes) };
  } catch (error) {
    return { fault: error.code ?? String(error) };
  }
};
parentPort.on('message', (ranges) => {
  const results = ranges.map(read);
  parentPort.postMessage(results, results.flatMap(({ bytes }) => (bytes === undefined ? [] : [bytes.buffer])));
});
`;

interface Waiting {
  readonly range: FileRange & { readonly sum: Sum };
  readonly resolve: (read: RangeRead) => void;
  readonly reject: (error: unknown) => void;
}

/** Starts no thread before the first read. @param threads reads at once */
export function createReadPool(threads: number): ReadPool {
  const queue: Waiting[] = [];
  const lanes: { readonly worker: Worker; taken: readonly Waiting[] }[] = [];
  let isScheduled = false;
  const dispatch = (): void => {
    isScheduled = false;
    while (lanes.length < threads && queue.length > RANGES * lanes.filter(({ taken }) => taken.length === 0).length) startLane();
    for (const lane of lanes) {
      if (lane.taken.length > 0 || queue.length === 0) continue;
      lane.taken = queue.splice(0, Math.min(RANGES, Math.ceil(queue.length / threads)));
      lane.worker.ref();
      lane.worker.postMessage(lane.taken.map(({ range }) => range));
    }
  };
  const startLane = (): void => {
    const worker = new Worker(PROGRAM, { eval: true, execArgv: [] });
    const lane: (typeof lanes)[number] = { worker, taken: [] };
    lanes.push(lane);
    worker.unref();
    worker.on('message', (results: readonly RangeRead[]) => {
      const { taken } = lane;
      lane.taken = [];
      worker.unref();
      dispatch();
      taken.forEach(({ resolve }, i) => resolve(results[i]!));
    });
    worker.on('error', (error) => {
      lanes.splice(lanes.indexOf(lane), 1);
      for (const { reject } of lane.taken) reject(error);
      dispatch();
    });
  };
  return {
    read: (range, sum) =>
      new Promise((resolve, reject) => {
        queue.push({ range: { path: range.path, offset: range.offset, length: range.length, sum }, resolve, reject });
        if (isScheduled) return;
        isScheduled = true;
        queueMicrotask(dispatch);
      }),
    close: async () => {
      await Promise.all(lanes.splice(0).map(({ worker }) => worker.terminate()));
    },
  };
}
