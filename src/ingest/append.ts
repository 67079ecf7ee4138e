/**
 * Appending to `images/`: whether a new listing begins with the rows of the old one, and the rows that come after them as
 * a table of their own.
 */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, type StoredManifest, readPart, rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { type ImageRows, type ImagesManifest, imageColumns } from './image.ts';

/**
 * Compares where each image lies and, where the listing knows it, how many bytes it has. Holds two parts at a time.
 *
 * @throws {WinnowError} INPUT_MALFORMED naming the first row that is another, or is gone
 */
export async function requireSameRows({ store, signal }: RunContext, before: StoredManifest<ImagesManifest>, after: StoredManifest<ImagesManifest>): Promise<void> {
  const there = rowCountOf(after.manifest.parts);
  let held: { part: Part; rows: ListedRows } | null = null;
  for (const part of before.manifest.parts) {
    throwIfAborted(signal);
    const old = await readListed(store, part);
    for (let i = 0; i < part.rowCount; i++) {
      const row = part.firstRow + i;
      if (row >= there) throw changed(row, old.uri[i]!, `found only ${there} images`);
      if (held === null || row >= held.part.firstRow + held.part.rowCount) {
        const next: Part = after.manifest.parts.find((one) => row < one.firstRow + one.rowCount)!;
        held = { part: next, rows: await readListed(store, next) };
      }
      const now = difference(old, i, held.rows, row - held.part.firstRow);
      if (now !== null) throw changed(row, old.uri[i]!, now);
    }
  }
}

/**
 * Rows from `firstRow` on as parts that are numbered from row 0. Cut where `blockRows` rows of the listing's own parts end, so
 * that what is made of them lies as it would, had it been made of the whole listing; parts that are all new are used as
 * they are.
 *
 * @param path key prefix for the parts that have to be written
 */
export async function listNewRows(store: Store, listing: readonly Part[], firstRow: number, blockRows: number, path: string): Promise<Part[]> {
  const parts: Part[] = [];
  const add = async (part: Part, from: number, to: number): Promise<void> => {
    if (from >= to) return;
    if (from === part.firstRow && to === part.firstRow + part.rowCount) {
      parts.push({ ...part, firstRow: from - firstRow });
      return;
    }
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(key, encodeTable(imageColumns(sliceOf(await readListed(store, part), from - part.firstRow, to - part.firstRow), false)));
    parts.push({ path: key, firstRow: from - firstRow, rowCount: to - from, bytes: sizeBytes, sha256 });
  };
  for (const part of listing) {
    const end = part.firstRow + part.rowCount;
    if (end <= firstRow) continue;
    const from = Math.max(firstRow, part.firstRow);
    const cut = Math.min(end, part.firstRow + Math.ceil((from - part.firstRow) / blockRows) * blockRows);
    await add(part, from, cut);
    await add(part, cut, end);
  }
  return parts;
}

type ListedRows = Pick<ImageRows, 'rowCount' | 'uri' | 'source' | 'path' | 'offset' | 'length' | 'size' | 'status'>;

/** Unknown numbers as −1. */
async function readListed(store: Store, part: Part): Promise<ListedRows> {
  const view = decodeTable(await readPart(store, part), part.path);
  const numbers = (name: string): Float64Array => {
    const valid = view.validity(name);
    const values = Float64Array.from(view.numbers(name));
    return valid === undefined ? values : values.map((value, i) => (valid[i] === 0 ? -1 : value));
  };
  return {
    rowCount: part.rowCount,
    uri: view.strings('uri') as string[],
    source: view.strings('source') as string[],
    path: view.strings('path') as string[],
    offset: numbers('offset'),
    length: numbers('length'),
    size: numbers('size'),
    ...(view.names.includes('status') && { status: view.strings('status') }),
  };
}

/** What is there now, in words, or null when it is the same image. */
function difference(old: ListedRows, i: number, now: ListedRows, j: number): string | null {
  if (old.uri[i] !== now.uri[j] || old.source[i] !== now.source[j] || old.path[i] !== now.path[j]) return `found ${now.uri[j]}`;
  if (old.size[i] !== now.size[j]) return `found it with ${now.size[j]} bytes where it had ${old.size[i]}`;
  if (old.offset[i] !== now.offset[j] || old.length[i] !== now.length[j]) return `found it at another place of ${now.path[j]}`;
  return null;
}

function changed(row: number, uri: string, found: string): WinnowError {
  return new WinnowError('INPUT_MALFORMED', `Expected image ${row} of the pool to be ${uri} as before, ${found}: new sources go after the old ones in \`pool\`, and where old images changed, went or moved \`winnow run\` fits a new tree`, {
    details: { row, uri },
  });
}

function sliceOf(rows: ListedRows, from: number, to: number): ImageRows {
  const none = new Array<null>(to - from).fill(null);
  return {
    rowCount: to - from,
    uri: rows.uri.slice(from, to),
    source: rows.source.slice(from, to),
    path: rows.path.slice(from, to),
    offset: rows.offset.slice(from, to),
    length: rows.length.slice(from, to),
    size: rows.size.slice(from, to),
    ...(rows.status !== undefined && { status: rows.status.slice(from, to) }),
    label: none,
    caption: none,
    meta: none,
  };
}
