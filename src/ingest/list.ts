/**
 * Lists the images that a CSV, JSON Lines or Parquet file names, in the order of the file. Nothing is looked up: an
 * entry without a file behind it becomes a row whose bytes turn out unreadable.
 */
import { realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { readCsv } from './csv.ts';
import type { ImageRows, NamedSource } from './image.ts';
import { type ListFile, listName, openList } from './list-file.ts';
import { readJsonLines } from './jsonl.ts';
import { readParquet } from './parquet.ts';
import { extensionOf, isInside, isPlainPath, parentOf } from './path.ts';
import { type ListRecord, jsonText } from './record.ts';
import { type ImageRow, type Listing, createRowBuffer } from './rows.ts';
import { s3Name } from './s3-source.ts';
import { isS3Uri } from '../store/s3-uri.ts';

/** The images of a list source. */
export async function* listEntries(source: NamedSource, listing: Listing): AsyncIterable<ImageRows> {
  const path = listName(source.entries[0]!);
  const read = readerOf(path);
  const file = await openList(source.entries[0]!);
  try {
    yield* listRecords(source, listing, file, read);
  } finally {
    await file.close();
  }
}

async function* listRecords(source: NamedSource, listing: Listing, file: ListFile, read: typeof readCsv): AsyncIterable<ImageRows> {
  const path = file.name;
  const { label, column } = source.config;
  const labelColumn = typeof label === 'object' && 'column' in label ? label.column : null;
  const list: OpenList = { source, listing, path, roots: await rootsOf(source.location), labelColumn };
  const rows = createRowBuffer();
  let number = 0;
  let readable = 0;
  let strayed: string | null = null;
  for await (const records of read(file, labelColumn === null ? [column] : [column, labelColumn], listing)) {
    throwIfAborted(listing.signal);
    for (const record of records) {
      number += 1;
      const row = rowOf(list, record, number);
      if (row === null) continue;
      if (row.outside) listing.count('outside-root');
      if (row.outside) strayed ??= row.path;
      else readable += 1;
      rows.append(row);
      if (rows.isFull) yield rows.take();
    }
  }
  if (readable === 0 && strayed !== null) {
    throw new WinnowError('INPUT_MALFORMED', `Expected entries of ${path} to lie under ${isS3Uri(source.location) ? s3Name(source.location) : source.location}, got none that do, the first is ${JSON.stringify(strayed)}: set \`root\` to the folder that holds the images`);
  }
  if (rows.rowCount > 0) yield rows.take();
}

interface OpenList {
  readonly source: NamedSource;
  readonly listing: Listing;
  readonly path: string;
  /** The root as named, and without links. */
  readonly roots: readonly string[];
  readonly labelColumn: string | null;
}

async function rootsOf(location: string): Promise<string[]> {
  if (isS3Uri(location)) return [s3Name(location)];
  const real = await realpath(location).catch(() => location);
  return real === location ? [location] : [location, real];
}

/** How the records of a list are read, by its extension. @throws {WinnowError} CONFIG_INVALID for another one */
export function readerOf(path: string): typeof readCsv {
  const extension = extensionOf(path);
  if (extension === 'csv') return readCsv;
  if (extension === 'jsonl') return readJsonLines;
  if (extension === 'parquet') return readParquet;
  throw new WinnowError('CONFIG_INVALID', `Expected a list that ends in .csv, .jsonl or .parquet, got ${path}`);
}

/** Null for a row without an entry, which is counted. */
function rowOf(list: OpenList, record: ListRecord, number: number): (ImageRow & { readonly outside: boolean }) | null {
  const { source, listing } = list;
  const { column, label } = source.config;
  const entry = record[column] ?? '';
  if (typeof entry !== 'string') throw new WinnowError('INPUT_MALFORMED', `Expected text in column ${column} at row ${number} of ${list.path}, got a ${typeof entry}`);
  if (entry.trim() === '') {
    listing.count('blank');
    return null;
  }
  const inside = pathOf(list, entry, number);
  const path = inside ?? entry;
  return {
    outside: inside === null,
    uri: inside === null && (FILE_URL.test(entry) || isS3Uri(entry)) ? entry : `${source.name}/${path}`,
    path,
    source: source.name,
    offset: -1,
    length: -1,
    size: -1,
    ...textsOf(record, list, listing),
    ...(label === 'parent' && { label: parentOf(path) }),
  };
}

/** The entry relative to the root, or null when it does not lie under it. */
function pathOf({ path: where, source, roots }: OpenList, entry: string, number: number): string | null {
  if (isS3Uri(source.location)) return keyOf(entry, roots[0]!);
  let path = entry;
  if (FILE_URL.test(entry)) {
    try {
      path = fileURLToPath(entry);
    } catch {
      return null; // such as a file URL with a host
    }
  } else if (OTHER_URL.test(entry)) {
    const scheme = entry.slice(0, entry.indexOf(':'));
    const says = isS3Uri(entry) ? 'set `root` to the s3://bucket/prefix that the images lie under' : /^https?$/i.test(scheme) ? 'name the list under `urls` instead of `list` to download what it names' : `${scheme}: is not read`;
    throw new WinnowError('INPUT_MALFORMED', `Expected paths or file: URLs in column ${source.config.column} of ${where}, got ${JSON.stringify(entry.slice(0, 200))} at row ${number}: ${says}`);
  }
  const normal = posix.normalize(path);
  if (posix.isAbsolute(normal)) {
    const root = roots.find((folder) => normal !== folder && isInside(folder, normal));
    return root === undefined ? null : normal.slice(root.endsWith('/') ? root.length : root.length + 1);
  }
  return normal === '.' || normal === './' || normal === '..' || normal.startsWith('../') ? null : normal;
}

/** In a bucket nothing but keys under the root has a path: a file of this machine never does. */
function keyOf(entry: string, root: string): string | null {
  if (isS3Uri(entry)) return entry.startsWith(`${root}/`) && isPlainPath(entry.slice(root.length + 1)) ? entry.slice(root.length + 1) : null;
  if (FILE_URL.test(entry) || OTHER_URL.test(entry) || entry.startsWith('/')) return null;
  const normal = posix.normalize(entry);
  return normal === '.' || normal === './' || normal === '..' || normal.startsWith('../') ? null : normal;
}

/** The texts that travel with a row: label, caption, and the columns that are neither of these nor the entry, as JSON. */
export function textsOf(record: ListRecord, { source, labelColumn }: Pick<OpenList, 'source' | 'labelColumn'>, listing: Listing): Pick<ImageRow, 'label' | 'caption' | 'meta'> {
  const others = Object.keys(record).filter((name) => name !== source.config.column && name !== CAPTION && name !== labelColumn);
  return {
    label: labelColumn === null ? null : textOf(record[labelColumn]),
    caption: bounded(textOf(record[CAPTION]), listing),
    meta: others.length === 0 ? null : bounded(jsonText(record, others), listing),
  };
}

function textOf(value: unknown): string | null {
  if (value === null || value === undefined || value === '') return null;
  return typeof value === 'object' ? jsonText({ value }, ['value']).slice('{"value":'.length, -1) : String(value);
}

function bounded(text: string | null, listing: Listing): string | null {
  if (text === null || text.length <= TEXT_LENGTH_MAX) return text;
  listing.count('text-too-long');
  return null;
}

const CAPTION = 'caption';
const FILE_URL = /^file:/i;
const OTHER_URL = /^(?:[a-z][a-z0-9+.-]*:\/\/|data:)/i;
/** A caption or meta above this is left out and counted. */
const TEXT_LENGTH_MAX = 2 ** 20;
