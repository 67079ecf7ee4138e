/**
 * Records of a few numbers kept by bucket: in memory up to a bound, in the store past it. What the external steps of this stage
 * hand each other (edges to the window of rows that they concern, rows to the bucket of their hash).
 */
import assert from 'node:assert/strict';
import type { Store } from '../store/store.ts';
import { bytesOf, float64Of } from './arrays.ts';

/** Where records go that do not fit in memory. */
export interface SpillPlace {
  readonly store: Store;
  /** Key prefix without a trailing slash; everything under it is this step's own. */
  readonly prefix: string;
}

export interface Spill {
  /** Adds a record of `width` numbers. `settle` must be awaited before the next one when this returns true. */
  add(bucket: number, first: number, second: number, ...rest: number[]): boolean;
  /** Writes large buckets out. */
  settle(): Promise<void>;
  /** The records of a bucket in the order they were added, as runs of `width` numbers each. */
  read(bucket: number): AsyncIterable<Float64Array>;
  /** The same; they are gone afterwards. Records may not be added to the bucket meanwhile. */
  take(bucket: number): AsyncIterable<Float64Array>;
}

/**
 * @param place null: everything stays in memory, whatever `recordsMax` says
 * @param recordsMax records in memory, `width` × 8 to `width` × 16 bytes each
 */
export function createSpill(buckets: number, place: SpillPlace | null, recordsMax: number, width = 2): Spill {
  assert(buckets >= 1 && recordsMax >= 1 && width >= 2, `Expected at least one bucket, one record in memory and two numbers each, got ${buckets}, ${recordsMax} and ${width}`);
  const held = Array.from({ length: buckets }, () => EMPTY);
  const counts = new Uint32Array(buckets);
  const written = new Uint32Array(buckets);
  let total = 0;
  const keyOf = (bucket: number, run: number): string => `${place!.prefix}/${bucket}-${run}`;
  const drop = (bucket: number): void => {
    total -= counts[bucket]!;
    counts[bucket] = 0;
    held[bucket] = EMPTY;
  };
  async function* runs(bucket: number, last: Float64Array): AsyncIterable<Float64Array> {
    for (let run = 0; run < written[bucket]!; run++) yield float64Of(await place!.store.read(keyOf(bucket, run)));
    if (last.length > 0) yield last;
  }
  return {
    add: (bucket, first, second, ...rest) => {
      const at = counts[bucket]! * width;
      let values = held[bucket]!;
      if (at === values.length) {
        values = new Float64Array(Math.max(8 * width, at * 2));
        values.set(held[bucket]!);
        held[bucket] = values;
      }
      values[at] = first;
      values[at + 1] = second;
      for (let i = 0; i < rest.length; i++) values[at + 2 + i] = rest[i]!;
      counts[bucket]! += 1;
      total += 1;
      return place !== null && total >= recordsMax;
    },
    settle: async () => {
      // Buckets smaller than half the mean together hold less than half of what may be held: the rest makes room enough.
      for (let bucket = 0; bucket < buckets; bucket++) {
        const count = counts[bucket]!;
        if (count === 0 || count < recordsMax / (2 * buckets)) continue;
        await place!.store.write(keyOf(bucket, written[bucket]!), bytesOf(held[bucket]!.subarray(0, count * width)));
        written[bucket]! += 1;
        drop(bucket);
      }
    },
    read: (bucket) => runs(bucket, held[bucket]!.subarray(0, counts[bucket]! * width)),
    take: async function* (bucket) {
      const last = held[bucket]!.subarray(0, counts[bucket]! * width);
      drop(bucket);
      yield* runs(bucket, last);
      for (let run = 0; run < written[bucket]!; run++) await place!.store.remove(keyOf(bucket, run));
      written[bucket] = 0;
    },
  };
}

const EMPTY = new Float64Array(0);
