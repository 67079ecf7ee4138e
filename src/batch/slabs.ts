/**
 * Memory that images are read into. Fresh memory costs a page fault for every 4 KiB, together as much as reading into it
 * from the page cache does, so a stream whose chunks are used up before the next is asked for has its own again.
 */

export interface Slabs {
  /** @returns memory of so many bytes or more, with anything in it; null where slabs are not kept */
  take(sizeBytes: number): SharedArrayBuffer | null;
  /** Takes back what nobody reads any more. */
  give(slabs: readonly ArrayBufferLike[]): void;
}

/** Slabs that are kept are a whole number of this: batches differ by a few images' bytes. */
const GRAIN_BYTES = 2 ** 20;

/** @returns slabs that are kept when given back, never more of them than were taken at once */
export function createSlabs(): Slabs {
  const free: SharedArrayBuffer[] = [];
  return {
    take: (sizeBytes) => {
      const fit = free.findIndex(({ byteLength }) => byteLength >= sizeBytes);
      const [kept] = free.splice(Math.max(0, fit), 1); // one that is too small makes room for its successor
      return kept !== undefined && fit >= 0 ? kept : new SharedArrayBuffer(Math.ceil(sizeBytes / GRAIN_BYTES) * GRAIN_BYTES);
    },
    give: (slabs) => {
      for (const slab of slabs) if (slab instanceof SharedArrayBuffer) free.push(slab);
    },
  };
}

export const NO_SLABS: Slabs = { take: () => null, give: () => undefined };
