/** Images for `winnow inspect`: what an image file is, and where the image of a row lies, as a link that a terminal opens. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CHECK_ONLY, DEFAULT_DECODE_LIMITS, decodeImage } from '../embed/decode.ts';
import { isDecodable, sniffFormat } from '../embed/sniff.ts';
import { isPlainPath } from '../ingest/path.ts';
import { isS3Uri } from '../store/s3-uri.ts';
import { sourceLocations } from './batches.ts';

export interface DescribedImage {
  readonly text: string;
  readonly json: { readonly path: string; readonly kind: 'image'; readonly format: string; readonly status: string; readonly width: number | null; readonly height: number | null; readonly bytes: number; readonly id: string | null; readonly link: string };
}

/** Signatures that a text or any other file may begin with by chance: they are told of where nothing else fits. */
const HEAD_BYTES = 4096;

/** Null when the bytes are no image that is known. @param head the first bytes of the file */
export async function describeImage(path: string, head: Uint8Array): Promise<DescribedImage | null> {
  const format = sniffFormat(head.subarray(0, HEAD_BYTES));
  if (format === 'empty' || format === 'not-an-image') return null;
  const { size } = await stat(path);
  const link = pathToFileURL(resolve(path)).href;
  const isRead = isDecodable(format) && size <= DEFAULT_DECODE_LIMITS.sizeBytesMax;
  const bytes = isRead ? await readFile(path) : null;
  const { status, width, height } = bytes === null ? { status: isDecodable(format) ? 'too-large-file' : 'unsupported-format', width: null, height: null } : await decodeImage(bytes, CHECK_ONLY, DEFAULT_DECODE_LIMITS);
  const id = bytes === null ? null : createHash('sha256').update(bytes).digest('hex').slice(0, 32);
  const about = [`${format} image`, ...(width === null ? [] : [`${width} × ${height} pixels`]), `${size} bytes`];
  const lines = [`${path}: ${about.join(', ')}`, `  status ${status}${status === 'ok' ? '' : ': embedding would leave it out with this reason'}`, ...(id === null ? [] : [`  id ${id}`]), `  ${link}`];
  return { text: `${lines.join('\n')}\n`, json: { path, kind: 'image', format, status, width, height, bytes: size, id, link } };
}

/** Folders from a table up to its store at most: `clusters/level-1/centroids/part-00000.arrow` has four. */
const STORE_ABOVE = 5;

/** Where the sources of a table's store lie, as its run log tells; nothing for a table outside a store. */
export async function locationsAbove(path: string): Promise<Record<string, string>> {
  for (let folder = dirname(resolve(path)), depth = 0; depth < STORE_ABOVE; folder = dirname(folder), depth++) {
    const log = await stat(join(folder, 'run-log.ndjson')).catch(() => null);
    if (log !== null) return sourceLocations(folder, []);
  }
  return {};
}

/** A link to the image of a row, or null where the row names none, its source is not known, or its path leads out of it. */
export function linkOf(row: Readonly<Record<string, unknown>>, locations: Readonly<Record<string, string>>): string | null {
  const { source, path, offset, length } = row;
  if (typeof source !== 'string' || typeof path !== 'string' || !Object.hasOwn(locations, source) || !isPlainPath(path)) return null;
  const location = locations[source]!;
  const file = isS3Uri(location) ? `${location.replace(/[?#].*$/, '').replace(/\/$/, '')}/${path}` : pathToFileURL(join(location, path)).href;
  return typeof offset === 'number' && typeof length === 'number' ? `${file} (${basename(path)}: ${length} bytes from byte ${offset})` : file;
}
