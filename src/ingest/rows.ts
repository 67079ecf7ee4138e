/** What a lister is handed and hands on, and rows of `images/` being gathered, column by column. */
import type { ImageRows, Remark, SkipReason } from './image.ts';

export interface ImageRow {
  readonly uri: string;
  readonly path: string;
  readonly source: string;
  readonly offset: number;
  readonly length: number;
  readonly size: number;
  readonly label: string | null;
  readonly caption: string | null;
  readonly meta: string | null;
  /** How a download ended; absent where there was none. */
  readonly status?: string | null;
}

/** What a listing is handed: when to stop, and where to count what is not a row or is odd about one. */
export interface Listing {
  readonly signal: AbortSignal | undefined;
  /** Real path of a folder that is not entered: the store that the run writes to. */
  readonly avoid?: string | undefined;
  count(reason: SkipReason | Remark, times?: number): void;
  /**
   * Told by a lister that can go on from `cursor`: all rows that it has handed on, and all that it has counted, come before.
   * A lister that never tells can only be begun again.
   */
  mark?(cursor: Cursor): void;
  /** Where to go on, of an earlier listing of the same source: what comes before is neither listed nor counted. */
  readonly after?: Cursor | undefined;
}

/** A place between two rows of a source. JSON-able; names no path outside the source. */
export interface Cursor {
  /** Last path that was looked at, of a file or key; for tars, the tar that comes next. */
  readonly path: string;
  /** In folders on a disk: links to folders that were followed, in the order met. Absent: none. */
  readonly links?: readonly string[];
  /** How many of `links` were followed before each folder on the way to `path` was opened, the root first. */
  readonly linksBefore?: readonly number[];
}

/** The source is not as it was when the cursor was made, so that a listing has to be begun again. */
export class ListingChanged extends Error {}

/** How often each thing was met. */
export type Counts = Partial<Record<SkipReason | Remark, number>>;

/** Adds to a count; zero times leave no entry. */
export function addCount(counts: Counts, reason: SkipReason | Remark, times = 1): void {
  if (times > 0) counts[reason] = (counts[reason] ?? 0) + times;
}

/** Files of a folder, as a scan hands them on. What it counted on the way to them is told before. */
export interface FoundFiles {
  /** Relative to the folder, ascending by code units over all batches. */
  readonly paths: readonly string[];
  /** Bytes of each. */
  readonly sizes: Float64Array;
  /** Where a scan goes on after these; absent where it cannot. */
  readonly cursor?: Cursor | undefined;
}

/** Rows, and UTF-16 units of text, that a lister gathers before it hands them on. */
export const BATCH_ROWS = 1024;
const BATCH_TEXT = 2 ** 23;

export interface RowBuffer {
  readonly rowCount: number;
  /** UTF-16 units of all text in the buffer. */
  readonly textLength: number;
  /** Whether a lister should hand the rows on. */
  readonly isFull: boolean;
  append(row: ImageRow): void;
  /** The rows so far; the buffer is empty afterwards. */
  take(): ImageRows;
}

/** Collects rows of a listing as columns, to be handed on a batch at a time. */
export function createRowBuffer(): RowBuffer {
  let columns = emptyColumns();
  let textLength = 0;
  return {
    get rowCount() {
      return columns.uri.length;
    },
    get textLength() {
      return textLength;
    },
    get isFull() {
      return columns.uri.length >= BATCH_ROWS || textLength >= BATCH_TEXT;
    },
    append: (row) => {
      columns.uri.push(row.uri);
      columns.path.push(row.path);
      columns.source.push(row.source);
      columns.offset.push(row.offset);
      columns.length.push(row.length);
      columns.size.push(row.size);
      columns.label.push(row.label);
      columns.caption.push(row.caption);
      columns.meta.push(row.meta);
      columns.status.push(row.status ?? null);
      textLength += row.uri.length + row.path.length + (row.label?.length ?? 0) + (row.caption?.length ?? 0) + (row.meta?.length ?? 0);
    },
    take: () => {
      const { offset, length, size, status, ...text } = columns;
      columns = emptyColumns();
      textLength = 0;
      return { rowCount: text.uri.length, ...text, offset: Float64Array.from(offset), length: Float64Array.from(length), size: Float64Array.from(size), ...(status.some((one) => one !== null) && { status }) };
    },
  };
}

/** Row i of a batch, for handing it on to another buffer. */
export function rowAt(rows: ImageRows, i: number): ImageRow {
  return {
    uri: rows.uri[i]!,
    path: rows.path[i]!,
    source: rows.source[i]!,
    offset: rows.offset[i]!,
    length: rows.length[i]!,
    size: rows.size[i]!,
    label: rows.label[i]!,
    caption: rows.caption[i]!,
    meta: rows.meta[i]!,
    ...(rows.status !== undefined && { status: rows.status[i]! }),
  };
}

function emptyColumns() {
  return {
    uri: [] as string[],
    path: [] as string[],
    source: [] as string[],
    offset: [] as number[],
    length: [] as number[],
    size: [] as number[],
    label: [] as (string | null)[],
    caption: [] as (string | null)[],
    meta: [] as (string | null)[],
    status: [] as (string | null)[],
  };
}
