/**
 * What a listing leaves behind while it is made: after every part a record of it under `work/`, with a place that the listing
 * of a later run can go on from. They go with the stage's other working records once the manifest is written.
 */
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, readPart, rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import type { ImagesManifest } from './image.ts';
import type { Counts, Cursor } from './rows.ts';

/** What a source's listing counted; `unsized` are images whose bytes the listing does not know. */
export interface SourceStats {
  readonly rows: number;
  readonly sizeBytes: number;
  readonly unsized: number;
  readonly skipped: Counts;
  readonly remarks: Counts;
}

/** Between two rows of the source that comes after those that are done. */
export interface ListingPlace {
  /** The sources that are done, and what their listings counted. */
  readonly placed: ImagesManifest['sources'];
  readonly stats: Readonly<Record<string, SourceStats>>;
  /** Where the source's lister goes on; null: it begins. */
  readonly cursor: Cursor | null;
  /** Rows of the source before the place, their bytes, and what was counted on the way. */
  readonly rows: number;
  readonly sizeBytes: number;
  readonly unsized: number;
  readonly counts: Counts;
}

export interface KeptListing {
  /** The parts that are there, from the first on. */
  readonly parts: readonly Part[];
  /** In the last of them or before its first row: rows from here to its end are there and not to be written again. */
  readonly place: ListingPlace;
  /** Uri of its last row. */
  readonly lastUri: string;
}

interface ListingRecord extends Omit<KeptListing, 'parts'> {
  /** Hash of what the listing is made from. */
  readonly madeFrom: string;
  readonly part: Part;
}

/** Records a part that has been written. */
export async function writeListingRecord({ store }: RunContext, path: string, record: ListingRecord): Promise<void> {
  await store.write(keyOf(path, record.part.path), new TextEncoder().encode(JSON.stringify(record)));
}

/**
 * The parts of a listing that was broken off, up to the first whose record is of a listing made from something else, or
 * whose bytes are not those recorded; later records are removed. Reads every part once, which takes a hundredth of the time
 * that listing takes.
 *
 * @returns null when there are none
 */
export async function readKeptListing(context: RunContext, path: string, madeFrom: string): Promise<KeptListing | null> {
  const { store, signal } = context;
  const keys: string[] = [];
  for await (const { key } of store.list(`${folderOf(path)}/`)) keys.push(key);
  keys.sort((a, b) => a.length - b.length || (a < b ? -1 : 1)); // by number
  const parts: Part[] = [];
  let last: ListingRecord | null = null;
  for (const key of keys) {
    throwIfAborted(signal);
    const record = await readRecord(store, key);
    const { part } = record ?? {};
    if (part === undefined || record?.madeFrom !== madeFrom || key !== keyOf(path, part.path) || part.firstRow !== rowCountOf(parts) || !(await isWhole(store, part))) break;
    parts.push(part);
    last = record;
  }
  // From the end, so that a run that is killed here leaves no gap.
  for (const key of keys.slice(parts.length).reverse()) await store.remove(key);
  return last === null ? null : { parts, place: last.place, lastUri: last.lastUri };
}

/** Lets the next listing begin from the start. */
export async function removeListingRecords(store: Store, path: string): Promise<void> {
  await store.remove(`${folderOf(path)}/`);
}

function folderOf(path: string): string {
  return `work/${path}/listing`;
}

function keyOf(path: string, part: string): string {
  return `${folderOf(path)}/${part.slice(part.lastIndexOf('/') + 1).replace(/\.arrow$/, '.json')}`;
}

async function readRecord(store: Store, key: string): Promise<ListingRecord | null> {
  try {
    return JSON.parse(new TextDecoder().decode(await store.read(key))) as ListingRecord;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

async function isWhole(store: Store, part: Part): Promise<boolean> {
  try {
    await readPart(store, part);
    return true;
  } catch (error) {
    if (error instanceof WinnowError && (error.code === 'CHECKSUM_MISMATCH' || error.code === 'INPUT_MISSING')) return false;
    throw error;
  }
}
