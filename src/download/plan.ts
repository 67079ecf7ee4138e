/** A URL list to blocks of rows: read as a stream, each block written for its task unless it is there or done. */
import { createHash } from 'node:crypto';
import { throwIfAborted } from '../errors.ts';
import type { NamedSource } from '../ingest/image.ts';
import { listName, openList } from '../ingest/list-file.ts';
import { readerOf, textsOf } from '../ingest/list.ts';
import { parentOf } from '../ingest/path.ts';
import type { ListRecord } from '../ingest/record.ts';
import type { Listing } from '../ingest/rows.ts';
import { type Part, hashOf } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { type DownloadConfig, decisiveSettings } from './config.ts';
import { type DownloadRows, downloadsPath, encodeRows } from './downloads.ts';
import type { DownloadStatus } from './status.ts';
import { parseEntry, shownEntry } from './url.ts';

export interface PlannedBlock {
  /** Key prefix: `downloads/<source>/<number>-<hash>`. */
  readonly folder: string;
  /** The rows of the list. The file is there unless the block is done. */
  readonly rows: Part;
  readonly isDone: boolean;
}

/**
 * The blocks of a list in order. Equal rows from the same row on with the same deciding settings give the same folder, whatever
 * comes after them in the list.
 *
 * @throws {WinnowError} INPUT_MISSING, INPUT_MALFORMED, such as for a list without the column
 */
export async function* planBlocks(store: Store, source: NamedSource, config: DownloadConfig, listing: Listing): AsyncGenerator<PlannedBlock> {
  const path = downloadsPath(source.name);
  const done = await keysUnder(store, `${path}/`, '/block.json');
  const written = await keysUnder(store, `work/${path}/`, '.arrow');
  let rows: ListRow[] = [];
  let textLength = 0;
  let firstRow = 0;
  let number = 0;
  const flush = async (): Promise<PlannedBlock> => {
    throwIfAborted(listing.signal);
    const bytes = encodeRows(columnsOf(rows));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const name = `${String(number).padStart(5, '0')}-${hashOf({ rows: sha256, firstRow, config: decisiveSettings(config) }).slice(0, 16)}`;
    const folder = `${path}/${name}`;
    const part: Part = { path: `work/${folder}.arrow`, firstRow, rowCount: rows.length, bytes: bytes.byteLength, sha256 };
    const isDone = done.has(`${folder}/block.json`);
    if (!isDone && !written.has(part.path)) await store.write(part.path, bytes);
    firstRow += rows.length;
    number += 1;
    rows = [];
    textLength = 0;
    return { folder, rows: part, isDone };
  };
  for await (const row of readRows(source, listing)) {
    textLength += row.uri.length + (row.label?.length ?? 0) + (row.caption?.length ?? 0) + (row.meta?.length ?? 0);
    if (rows.push(row) === config.blockRows || textLength >= BLOCK_TEXT) yield await flush();
  }
  if (rows.length > 0) yield await flush();
}

/** A block also ends after the row that brings its text to this many UTF-16 units, so that long captions and meta stay bounded. */
const BLOCK_TEXT = 2 ** 24;

async function keysUnder(store: Store, prefix: string, ending: string): Promise<ReadonlySet<string>> {
  const keys = new Set<string>();
  for await (const { key } of store.list(prefix)) if (key.endsWith(ending)) keys.add(key);
  return keys;
}

interface ListRow {
  readonly uri: string;
  readonly status: DownloadStatus;
  readonly label: string | null;
  readonly caption: string | null;
  readonly meta: string | null;
}

async function* readRows(source: NamedSource, listing: Listing): AsyncGenerator<ListRow> {
  const { column, label } = source.config;
  const labelColumn = typeof label === 'object' && 'column' in label ? label.column : null;
  const path = source.entries[0]!;
  const read = readerOf(listName(path));
  const file = await openList(path);
  try {
    for await (const records of read(file, labelColumn === null ? [column] : [column, labelColumn], listing)) {
      for (const record of records) {
        const row = rowOf(record, source, labelColumn, listing);
        if (row === null) listing.count('blank');
        else yield row;
      }
    }
  } finally {
    await file.close();
  }
}

/** Null for a row without an entry. A value that is no text is a row all the same, with a reason. */
function rowOf(record: ListRecord, source: NamedSource, labelColumn: string | null, listing: Listing): ListRow | null {
  const value = record[source.config.column] ?? '';
  const entry = typeof value === 'string' ? value : `${typeof value === 'object' ? JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? String(one) : one)) : String(value)}`;
  if (entry.trim() === '') return null;
  const parsed = typeof value === 'string' ? parseEntry(entry) : { reason: 'url-malformed' as const };
  const texts = textsOf(record, { source, labelColumn }, listing);
  const parent = source.config.label === 'parent' && 'url' in parsed ? { label: parentOf(parsed.url.pathname) } : {};
  return { uri: shownEntry(entry), status: 'reason' in parsed ? parsed.reason : 'unasked', ...texts, ...parent };
}

function columnsOf(rows: readonly ListRow[]): DownloadRows {
  const n = rows.length;
  const none = new Array<null>(n).fill(null);
  return {
    rowCount: n,
    uri: rows.map(({ uri }) => uri),
    label: rows.map(({ label }) => label),
    caption: rows.map(({ caption }) => caption),
    meta: rows.map(({ meta }) => meta),
    status: rows.map(({ status }) => status),
    http: new Uint32Array(n),
    final: none, type: none, id: none, path: none,
    offset: new Float64Array(n).fill(-1),
    length: new Float64Array(n).fill(-1),
  };
}
