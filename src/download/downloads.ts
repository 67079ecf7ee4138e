/**
 * Nouns of the download of URL lists: the table of what became of each row of a list, the tars that hold the bytes, and the manifest.
 * A source's downloads lie under `downloads/<source>/`, a block of rows in a folder whose name has the hash of its URLs and of the
 * settings that decide: what was fetched is found again as long as the list says the same, whatever was added after it.
 */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { DownloadStatus } from './status.ts';

export const DOWNLOADS = 'downloads';

/** Rows of a list and what became of them, as columns. */
export interface DownloadRows {
  readonly rowCount: number;
  /** The entry of the list, without credentials, cut where it is longer than any URL. */
  readonly uri: readonly string[];
  readonly label: readonly (string | null)[];
  readonly caption: readonly (string | null)[];
  /** JSON text of the other columns of the list. */
  readonly meta: readonly (string | null)[];
  readonly status: readonly DownloadStatus[];
  /** Status of the last answer, 0 without one. */
  readonly http: Uint32Array;
  /** Where redirects led. */
  readonly final: readonly (string | null)[];
  /** Content-Type of the last answer. */
  readonly type: readonly (string | null)[];
  /** SHA-256 of the bytes, first 32 hex digits. */
  readonly id: readonly (string | null)[];
  /** The tar, relative to `downloads/<source>/`; null where there are no bytes. */
  readonly path: readonly (string | null)[];
  /** Bytes into the tar, or −1. */
  readonly offset: Float64Array;
  readonly length: Float64Array;
}

/** A file that a block owns, besides its table. */
export interface Tar {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** What a finished block leaves as `block.json` in its folder; written last, so its existence is completion. */
export interface BlockRecord {
  readonly rows: Part;
  readonly tars: readonly Tar[];
  readonly statuses: Readonly<Partial<Record<DownloadStatus, number>>>;
  /** Bytes of pictures. */
  readonly sizeBytes: number;
}

export interface DownloadsManifest extends Manifest {
  readonly source: string;
  readonly tars: readonly Tar[];
  /** Rows with a transient reason of each part, in part order. */
  readonly transient: readonly number[];
}

/** Key prefix of a source's downloads. */
export function downloadsPath(source: string): string {
  return `${DOWNLOADS}/${source}`;
}

/** The rows as an Arrow file. */
export function encodeRows(rows: DownloadRows): Uint8Array {
  const known = (values: Float64Array): Uint8Array => Uint8Array.from(values, (value) => (value < 0 ? 0 : 1));
  const clamped = (values: Float64Array): Float64Array => values.map((value) => Math.max(0, value));
  return encodeTable({
    uri: { type: 'utf8', values: rows.uri },
    label: { type: 'utf8', values: rows.label },
    caption: { type: 'utf8', values: rows.caption },
    meta: { type: 'utf8', values: rows.meta },
    status: { type: 'dictionary', values: rows.status },
    http: { type: 'uint32', values: rows.http, valid: Uint8Array.from(rows.http, (status) => (status === 0 ? 0 : 1)) },
    final: { type: 'utf8', values: rows.final },
    type: { type: 'utf8', values: rows.type },
    id: { type: 'utf8', values: rows.id },
    path: { type: 'dictionary', values: rows.path },
    offset: { type: 'uint64', values: clamped(rows.offset), valid: known(rows.offset) },
    length: { type: 'uint64', values: clamped(rows.length), valid: known(rows.length) },
  });
}

/** Reads a part of the table. */
export async function readDownloads(store: Store, part: Part): Promise<DownloadRows> {
  const view = decodeTable(await readPart(store, part), part.path);
  const numbers = (name: string): Float64Array => {
    const valid = view.validity(name);
    return Float64Array.from(view.numbers(name), (value, i) => (valid !== undefined && valid[i] === 0 ? -1 : value));
  };
  return {
    rowCount: part.rowCount,
    uri: view.strings('uri') as string[],
    label: view.strings('label'),
    caption: view.strings('caption'),
    meta: view.strings('meta'),
    status: view.strings('status') as DownloadStatus[],
    http: Uint32Array.from(numbers('http'), (status) => Math.max(0, status)),
    final: view.strings('final'),
    type: view.strings('type'),
    id: view.strings('id'),
    path: view.strings('path'),
    offset: numbers('offset'),
    length: numbers('length'),
  };
}

/** Null unless the block in the folder is finished. */
export async function readBlock(store: Store, folder: string): Promise<BlockRecord | null> {
  const key = `${folder}/block.json`;
  return (await store.head(key)) === null ? null : (JSON.parse(new TextDecoder().decode(await store.read(key))) as BlockRecord);
}
