/**
 * Twelve-byte records (hi, lo, row) sorted in bounded memory: a distribution into buckets that spill to the store, then a
 * stable radix sort of one bucket at a time (Knuth, volume 3, sections 5.2.5 and 5.4). Two tables of the atlas are made
 * so: rows by place in the tree and distance, and rows by id.
 */
import { WinnowError } from '../errors.ts';
import type { Pages } from '../batch/pages.ts';
import type { Store } from '../store/store.ts';

/** Columns of equal length. */
export interface Records {
  readonly hi: Uint32Array;
  readonly lo: Uint32Array;
  readonly row: Uint32Array;
}

export interface SortOptions {
  /** Key prefix of the sorted table, ending in `/`. */
  readonly prefix: string;
  /** Bucket of a record: never smaller for a larger `hi`. */
  bucketOf(hi: number): number;
  readonly buckets: number;
  /** Records held before buckets are spilled. */
  readonly recordsMax: number;
}

/** Records of one file of a sorted table. */
const FILE_RECORDS = 2 ** 20;
const RECORD_BYTES = 12;

/**
 * Writes the records of `blocks` in order of (hi, lo), ties as they came. Holds `recordsMax` records, and three times the
 * largest bucket.
 *
 * @returns how many there are
 */
export async function sortRecords(store: Store, blocks: AsyncIterable<Records>, { prefix, bucketOf, buckets, recordsMax }: SortOptions): Promise<number> {
  await store.remove(prefix);
  const held: Growing[] = Array.from({ length: buckets }, () => createGrowing());
  const spills: string[][] = Array.from({ length: buckets }, () => []);
  let count = 0;
  let inMemory = 0;
  for await (const { hi, lo, row } of blocks) {
    for (let i = 0; i < hi.length; i++) held[bucketOf(hi[i]!)]!.add(hi[i]!, lo[i]!, row[i]!);
    count += hi.length;
    inMemory += hi.length;
    if (inMemory < recordsMax || buckets === 1) continue;
    for (const [b, bucket] of held.entries()) {
      if (bucket.count === 0) continue;
      const key = `${prefix}spill/${b}-${spills[b]!.length}.bin`;
      await store.write(key, bucket.take());
      spills[b]!.push(key);
    }
    inMemory = 0;
  }
  const output = createOutput(store, prefix);
  for (const [b, bucket] of held.entries()) {
    const pieces: Uint8Array[] = [];
    for (const key of spills[b]!) pieces.push(await store.read(key));
    pieces.push(bucket.take());
    await output.add(toBytes(radixSort(fromBytes(Buffer.concat(pieces)))));
  }
  await output.finish();
  await store.remove(`${prefix}spill/`);
  return count;
}

/** A sorted table, read by range. */
export interface SortedRecords {
  readonly count: number;
  /** Records from … to − 1. */
  read(from: number, to: number): Promise<Records>;
  /** Place of the first record whose (hi, lo) is not below this one. O(log n) small reads. */
  lowerBound(hi: number, lo: number): Promise<number>;
}

/** @param count as `sortRecords` gave it */
export function openRecords(store: Store, prefix: string, count: number, pages: Pages): SortedRecords {
  const read = async (from: number, to: number): Promise<Records> => {
    if (from < 0 || to > count || from > to) throw new WinnowError('INPUT_MISSING', `Expected records within ${count} in ${prefix} of ${store.uri}, got ${from} to ${to}`);
    const spans = [];
    for (let at = from; at < to; ) {
      const file = Math.floor(at / FILE_RECORDS);
      const end = Math.min(to, (file + 1) * FILE_RECORDS);
      const sizeBytes = Math.min(FILE_RECORDS, count - file * FILE_RECORDS) * RECORD_BYTES;
      spans.push({ key: fileKey(prefix, file), sizeBytes, offset: (at - file * FILE_RECORDS) * RECORD_BYTES, length: (end - at) * RECORD_BYTES });
      at = end;
    }
    return fromBytes(Buffer.concat(await pages.fetch(spans)));
  };
  return {
    count,
    read,
    lowerBound: async (hi, lo) => {
      let low = 0;
      let high = count;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        const one = await read(middle, middle + 1);
        if (one.hi[0]! < hi || (one.hi[0] === hi && one.lo[0]! < lo)) low = middle + 1;
        else high = middle;
      }
      return low;
    },
  };
}

interface Growing {
  readonly count: number;
  add(hi: number, lo: number, row: number): void;
  /** All bytes so far; starts anew. */
  take(): Uint8Array;
}

function createGrowing(): Growing {
  let words = new Uint32Array(0);
  let filled = 0;
  return {
    get count() {
      return filled / 3;
    },
    add: (hi, lo, row) => {
      if (filled + 3 > words.length) {
        const larger = new Uint32Array(Math.max(3072, words.length * 2));
        larger.set(words);
        words = larger;
      }
      words[filled++] = hi;
      words[filled++] = lo;
      words[filled++] = row;
    },
    take: () => {
      const bytes = new Uint8Array(words.buffer, 0, filled * 4);
      words = new Uint32Array(0);
      filled = 0;
      return bytes;
    },
  };
}

/** Stable, by 16 bits at a time, the lowest first; digits that all records share cost one pass of counting. */
function radixSort(records: Records): Records {
  let from = records;
  let to: Records = { hi: new Uint32Array(from.hi.length), lo: new Uint32Array(from.hi.length), row: new Uint32Array(from.hi.length) };
  for (const [column, shift] of [['lo', 0], ['lo', 16], ['hi', 0], ['hi', 16]] as const) {
    const keys = from[column];
    const next = new Uint32Array(65_537);
    for (const key of keys) next[((key >>> shift) & 0xffff) + 1]!++;
    if (next.includes(keys.length)) continue;
    for (let digit = 0; digit < 65_536; digit++) next[digit + 1]! += next[digit]!;
    for (let i = 0; i < keys.length; i++) {
      const place = next[(keys[i]! >>> shift) & 0xffff]!++;
      to.hi[place] = from.hi[i]!;
      to.lo[place] = from.lo[i]!;
      to.row[place] = from.row[i]!;
    }
    [from, to] = [to, from];
  }
  return from;
}

function createOutput(store: Store, prefix: string): { add(bytes: Uint8Array): Promise<void>; finish(): Promise<void> } {
  let waiting: Uint8Array = new Uint8Array(0);
  let file = 0;
  const flush = async (atLeast: number): Promise<void> => {
    const most = FILE_RECORDS * RECORD_BYTES;
    while (waiting.byteLength >= atLeast && waiting.byteLength > 0) {
      await store.write(fileKey(prefix, file++), waiting.subarray(0, most));
      waiting = waiting.subarray(most);
    }
  };
  return {
    add: async (bytes) => {
      waiting = waiting.byteLength === 0 ? bytes : Buffer.concat([waiting, bytes]);
      await flush(FILE_RECORDS * RECORD_BYTES);
    },
    finish: () => flush(1),
  };
}

function fileKey(prefix: string, file: number): string {
  return `${prefix}${String(file).padStart(5, '0')}.bin`;
}

function fromBytes(bytes: Uint8Array): Records {
  // A copy: pages are cut anywhere, and a Buffer would share its pool.
  const words = new Uint32Array(new Uint8Array(bytes).buffer);
  const n = words.length / 3;
  const records = { hi: new Uint32Array(n), lo: new Uint32Array(n), row: new Uint32Array(n) };
  for (let i = 0; i < n; i++) {
    records.hi[i] = words[3 * i]!;
    records.lo[i] = words[3 * i + 1]!;
    records.row[i] = words[3 * i + 2]!;
  }
  return records;
}

function toBytes({ hi, lo, row }: Records): Uint8Array {
  const words = new Uint32Array(hi.length * 3);
  for (let i = 0; i < hi.length; i++) {
    words[3 * i] = hi[i]!;
    words[3 * i + 1] = lo[i]!;
    words[3 * i + 2] = row[i]!;
  }
  return new Uint8Array(words.buffer);
}
