/**
 * Reads ranges of local files on threads of its own, many ranges a message, one after another into one slab of memory, and
 * checks each while it is in the processor's cache: a message or an array for each image costs more than the copy out of
 * the page cache does. Slabs go there and back without a copy.
 */
import { Worker } from 'node:worker_threads';
import { throwIfAborted } from '../errors.ts';
import { HAS_NATIVE_CRC32 } from '../crc32.ts';

/** How bytes are checked. */
export type Sum = 'crc32' | 'sha256' | 'none';

/** Ranges of files, in the order they are read. */
export interface FileRanges {
  readonly paths: readonly string[];
  /** Which path each range is of, where it begins, and its bytes. */
  readonly file: Uint32Array;
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** CRC-32 of each range, null where another sum is to be checked; null as a whole: none is. */
  readonly crc32: readonly (number | null)[] | null;
  /** What the SHA-256 of each range begins with, hex; null as `crc32`. */
  readonly sha256: readonly (string | null)[] | null;
}

export interface RangesRead {
  /** The ranges one after another, whatever came of each: the memory that was given, else some of its own. */
  readonly slab: ArrayBufferLike;
  /** What is wrong with which range: an errno, `short` when the file ends before the range does, `changed` when its sum is another. */
  readonly faults: readonly (readonly [range: number, fault: string])[];
}

export interface ReadPool {
  /** @param slab as many bytes as the ranges have or more; it is the threads' until the promise settles. @throws {WinnowError} ABORTED when its turn comes after the signal */
  read(ranges: FileRanges, slab: SharedArrayBuffer | null, signal: AbortSignal): Promise<RangesRead>;
  /** Ends the threads; reads under way are ended with them, so there should be none. */
  close(): Promise<void>;
}

/** Files a thread keeps open. */
const FILES = 64;
/** Requests that lie at a thread, so that it has the next one when it is done with one. */
const DEPTH = 2;

const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const crc32 = ${HAS_NATIVE_CRC32} ? require('node:zlib').crc32 : (bytes) => require('node:module').createRequire(workerData.from)('crc-32').buf(bytes) >>> 0;
const files = new Map();
const open = (path) => {
  const known = files.get(path);
  if (known !== undefined) return known;
  const file = fs.openSync(path, 'r');
  files.set(path, file);
  if (files.size > ${FILES}) {
    const [oldest, other] = files.entries().next().value;
    files.delete(oldest);
    fs.closeSync(other);
  }
  return file;
};
const fill = (file, bytes, offset) => {
  for (let filled = 0; filled < bytes.length; ) {
    const count = fs.readSync(file, bytes, filled, bytes.length - filled, offset + filled);
    if (count === 0) return 'short';
    filled += count;
  }
  return null;
};
const check = (bytes, crc, sha) => {
  if (crc !== null) return crc32(bytes) === crc ? null : 'changed';
  if (sha !== null) return createHash('sha256').update(bytes).digest('hex').startsWith(sha) ? null : 'changed';
  return null;
};
parentPort.on('message', ({ paths, file, offset, length, crc32: crc, sha256: sha, slab: given }) => {
  const faults = [];
  const slab = given ?? Buffer.allocUnsafeSlow(length.reduce((sum, one) => sum + one, 0)).buffer;
  let at = 0;
  for (let i = 0; i < file.length; i++) {
    const bytes = Buffer.from(slab, at, length[i]);
    at += length[i];
    try {
      const fault = fill(open(paths[file[i]]), bytes, offset[i]) ?? check(bytes, crc === null ? null : crc[i], sha === null ? null : sha[i]);
      if (fault !== null) faults.push([i, fault]);
    } catch (error) {
      faults.push([i, error.code ?? String(error)]);
    }
  }
  parentPort.postMessage({ own: given === null ? slab : null, faults }, given === null ? [slab] : []);
});
`;

interface Waiting {
  readonly ranges: FileRanges;
  readonly slab: SharedArrayBuffer | null;
  readonly signal: AbortSignal;
  readonly resolve: (read: RangesRead) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane {
  readonly worker: Worker;
  /** Requests at the thread, in its order. */
  readonly taken: Waiting[];
}

/** Starts no thread before the first read. @param threads reads at once */
export function createReadPool(threads: number): ReadPool {
  const queue: Waiting[] = [];
  const lanes: Lane[] = [];
  const dispatch = (): void => {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      const lane = freestLane();
      if (lane === null) return;
      queue.shift();
      try {
        throwIfAborted(next.signal);
      } catch (error) {
        next.reject(error);
        continue;
      }
      lane.taken.push(next);
      lane.worker.ref();
      lane.worker.postMessage({ ...next.ranges, slab: next.slab });
    }
  };
  /** An idle lane, else a new one, else the first that can hold another request. */
  const freestLane = (): Lane | null => {
    const least = Math.min(...lanes.map(({ taken }) => taken.length));
    if (least > 0 && lanes.length < threads) return startLane();
    return least < DEPTH ? lanes.find(({ taken }) => taken.length === least)! : null;
  };
  const startLane = (): Lane => {
    const worker = new Worker(PROGRAM, { eval: true, execArgv: [], workerData: { from: import.meta.url } });
    const lane: Lane = { worker, taken: [] };
    lanes.push(lane);
    worker.unref();
    worker.on('message', ({ own, faults }: { own: ArrayBuffer | null; faults: RangesRead['faults'] }) => {
      const { resolve, slab } = lane.taken.shift()!;
      if (lane.taken.length === 0) worker.unref();
      dispatch();
      resolve({ slab: (slab ?? own)!, faults });
    });
    worker.on('error', (error) => {
      lanes.splice(lanes.indexOf(lane), 1);
      for (const { reject } of lane.taken) reject(error);
      dispatch();
    });
    return lane;
  };
  return {
    read: (ranges, slab, signal) =>
      new Promise((resolve, reject) => {
        queue.push({ ranges, slab, signal, resolve, reject });
        dispatch();
      }),
    close: async () => {
      await Promise.all(lanes.splice(0).map(({ worker }) => worker.terminate()));
    },
  };
}
