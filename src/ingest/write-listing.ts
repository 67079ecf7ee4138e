/**
 * Writes the parts of `images/` from the rows of its sources. A listing that is broken off, by a kill or a failure, is taken up
 * by the next run after the last part written: folders and buckets go on behind the last path looked at, tars before the tar
 * they were in, and lists, downloads and tiles are read again from their start, their rows passed over. It ends in the bytes
 * and counts of an unbroken one. What came or went meanwhile among files already listed shows in the listing after it, which
 * begins anew as every listing does that follows a finished one.
 */
import { encodeTable } from '../arrow/ipc.ts';
import { throwIfAborted } from '../errors.ts';
import { type Part, rowCountOf } from '../run/manifest.ts';
import type { RunContext, StageResult } from '../run/stage.ts';
import { IMAGES_PART_TEXT, type ImageRows, type ImagesManifest, type NamedSource, REMARKS, type Remark, SKIP_REASONS, type SkipReason, imageColumns } from './image.ts';
import { type KeptListing, type ListingPlace, type SourceStats, readKeptListing, removeListingRecords, writeListingRecord } from './listing-records.ts';
import { type Counts, type Listing, ListingChanged, addCount, createRowBuffer, rowAt } from './rows.ts';

export interface ListingPlan {
  /** Key prefix of the table. */
  readonly path: string;
  readonly sources: readonly NamedSource[];
  /** Hash of what decides the rows besides files of folders and what the stage's own settings and inputs say. */
  readonly madeFrom: string;
  /** What a listing must not enter. */
  readonly avoid: string | undefined;
  /** Most rows of a part. */
  readonly partRows: number;
  /** The rows of a source; a lister that marks goes on after `listing.after`. */
  list(source: NamedSource, listing: Listing): AsyncIterable<ImageRows>;
  /** What was counted of a source before its listing. */
  countedBefore(source: NamedSource): Counts;
}

export type ListingResult = StageResult<ImagesManifest> & { readonly stats: { readonly rows: number; readonly sources: Readonly<Record<string, SourceStats>> } };

/** Without any row there are no parts. @throws {WinnowError} what the listers throw; ABORTED */
export async function writeListing(context: RunContext, plan: ListingPlan): Promise<ListingResult> {
  const { log } = context;
  const { path, madeFrom } = plan;
  const kept = await readKeptListing(context, path, madeFrom);
  if (kept !== null) {
    log.info({ stage: 'ingest', path }, `${path}: going on with a listing that was broken off after ${rowCountOf(kept.parts)} images`);
    try {
      return await listSources(context, plan, kept);
    } catch (error) {
      if (!(error instanceof ListingChanged)) throw error;
      log.info({ stage: 'ingest', path, reason: error.message }, `${path}: the sources have changed since the listing was broken off, listing them from the start`);
      await removeListingRecords(context.store, path);
    }
  }
  return listSources(context, plan, null);
}

async function listSources(context: RunContext, plan: ListingPlan, kept: KeptListing | null): Promise<ListingResult> {
  const { path, sources, madeFrom } = plan;
  const placed = [...(kept?.place.placed ?? [])];
  const stats: Record<string, SourceStats> = { ...kept?.place.stats };
  let place = kept?.place ?? startOf(placed, stats, {});
  const table = createPartWriter(context, plan, kept?.parts ?? [], (part, lastUri) => writeListingRecord(context, path, { madeFrom, part, place, lastUri }));
  context.progress.begin('ingest', null, 'files');
  if (kept !== null) context.progress.advance(table.rowCount(), true);
  let resumed = kept;
  for (const source of sources.slice(placed.length)) {
    place = resumed?.place ?? startOf(placed, stats, plan.countedBefore(source));
    const firstRow = rowCountOf(placed);
    const written = table.rowCount() - firstRow - place.rows;
    const before: Before = { place, written, lastUri: resumed?.lastUri ?? '' };
    const { rows, sizeBytes, unsized, counts } = await listOne(context, plan, source, before, table, (reached) => {
      place = reached;
    });
    resumed = null;
    placed.push({ name: source.name, kind: source.kind, firstRow, rowCount: rows });
    stats[source.name] = { rows, sizeBytes, unsized, skipped: pick(counts, SKIP_REASONS), remarks: pick(counts, REMARKS) };
  }
  const parts = await table.finish();
  return { parts, sources: placed, stats: { rows: rowCountOf(parts), sources: stats } };
}

function startOf(placed: ListingPlace['placed'], stats: ListingPlace['stats'], counts: Counts): ListingPlace {
  return { placed: [...placed], stats: { ...stats }, cursor: null, rows: 0, sizeBytes: 0, unsized: 0, counts };
}

function pick(counts: Counts, names: readonly (SkipReason | Remark)[]): Counts {
  return Object.fromEntries(names.filter((name) => counts[name] !== undefined).map((name) => [name, counts[name]]));
}

/** What is there of a source. */
interface Before {
  readonly place: ListingPlace;
  /** Rows from the place on that lie in whole parts, and the uri of the last of them. */
  readonly written: number;
  readonly lastUri: string;
}

type Tally = Pick<ListingPlace, 'rows' | 'sizeBytes' | 'unsized' | 'counts'>;

/**
 * @param reach told of every place in the source that a listing can go on from
 * @throws {ListingChanged} when the rows that are written do not come again
 */
async function listOne({ signal, progress }: RunContext, plan: ListingPlan, source: NamedSource, { place, written, lastUri }: Before, table: PartWriter, reach: (place: ListingPlace) => void): Promise<Tally> {
  const counts: Counts = { ...place.counts };
  let { rows, sizeBytes, unsized } = place;
  let left = written;
  const listing: Listing = {
    signal,
    avoid: plan.avoid,
    after: place.cursor ?? undefined,
    count: (reason, times = 1) => addCount(counts, reason, times),
    mark: (cursor) => reach({ ...place, cursor, rows, sizeBytes, unsized, counts: { ...counts } }),
  };
  for await (const batch of plan.list(source, listing)) {
    for (const size of batch.size) {
      if (size < 0) unsized += 1;
      else sizeBytes += size;
    }
    const again = Math.min(left, batch.rowCount);
    left -= again;
    if (again > 0 && left === 0 && batch.uri[again - 1] !== lastUri) throw new ListingChanged(`Expected ${lastUri} as row ${rows + again - 1} of source ${source.name}, got ${batch.uri[again - 1]}`);
    await table.add(batch, again);
    rows += batch.rowCount;
    progress.advance(batch.rowCount - again);
  }
  if (left > 0) throw new ListingChanged(`Expected ${left} more rows in source ${source.name}, up to ${lastUri}`);
  return { rows, sizeBytes, unsized, counts };
}

interface PartWriter {
  rowCount(): number;
  /** Rows of a batch from `from` on. */
  add(rows: ImageRows, from: number): Promise<void>;
  finish(): Promise<Part[]>;
}

/**
 * Parts end by rows and text alone, never by batches or sources, so equal listings are cut alike.
 *
 * @param kept parts that are there, from the first on
 * @param written told of every other part once it is there, save one that ends the table before it is full
 */
function createPartWriter({ store, signal }: RunContext, { path, sources, partRows }: ListingPlan, kept: readonly Part[], written: (part: Part, lastUri: string) => Promise<void>): PartWriter {
  const withText = sources.some(({ kind }) => kind === 'tars' || kind === 'list' || kind === 'urls');
  const withStatus = sources.some(({ kind }) => kind === 'urls');
  const withWindows = sources.some(({ kind }) => kind === 'tiles');
  const parts = [...kept];
  const buffer = createRowBuffer();
  const flush = async (): Promise<Part> => {
    throwIfAborted(signal);
    const taken = buffer.take();
    const rows = withStatus ? { status: new Array<null>(taken.rowCount).fill(null), ...taken } : taken;
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(key, encodeTable(imageColumns(rows, withText, withWindows)));
    const part: Part = { path: key, firstRow: rowCountOf(parts), rowCount: rows.rowCount, bytes: sizeBytes, sha256 };
    parts.push(part);
    return part;
  };
  return {
    rowCount: () => rowCountOf(parts) + buffer.rowCount,
    add: async (rows, from) => {
      for (let i = from; i < rows.rowCount; i++) {
        buffer.append(rowAt(rows, i));
        if (buffer.rowCount === partRows || buffer.textLength >= IMAGES_PART_TEXT) await written(await flush(), rows.uri[i]!);
      }
    },
    finish: async () => {
      if (buffer.rowCount > 0) await flush();
      return parts;
    },
  };
}
