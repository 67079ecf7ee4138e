/** Lists what was downloaded from a URL list: a row for every URL, in the order of the list, whether there are bytes of it or not. */
import { resolve } from 'node:path';
import { throwIfAborted } from '../errors.ts';
import { type DownloadsManifest, downloadsPath, readDownloads } from '../download/downloads.ts';
import { type StoredManifest, requireManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { storeFolder } from '../store/open.ts';
import { type S3Options, formatS3Uri, isS3Uri, parseS3Uri } from '../store/s3-uri.ts';
import type { ImageRows, NamedSource } from './image.ts';
import { createRowBuffer } from './rows.ts';

/** The downloads of every source of URLs, by its name. @throws {WinnowError} INPUT_MISSING where there are none yet */
export async function requireDownloads({ store }: RunContext, sources: readonly NamedSource[]): Promise<ReadonlyMap<string, StoredManifest<DownloadsManifest>>> {
  const found = new Map<string, StoredManifest<DownloadsManifest>>();
  for (const { kind, name } of sources) if (kind === 'urls') found.set(name, await requireManifest<DownloadsManifest>(store, downloadsPath(name), 'download'));
  return found;
}

/** The rows of a source's downloads. A URL is its own uri. */
export async function* listDownloads({ store, signal }: RunContext, source: NamedSource, { manifest }: StoredManifest<DownloadsManifest>): AsyncIterable<ImageRows> {
  const rows = createRowBuffer();
  for (const part of manifest.parts) {
    throwIfAborted(signal);
    const found = await readDownloads(store, part);
    for (let i = 0; i < found.rowCount; i++) {
      const { label, caption, meta, status } = found;
      rows.append({
        uri: found.uri[i]!, path: found.path[i] ?? '', source: source.name,
        offset: found.offset[i]!, length: found.length[i]!, size: found.length[i]!,
        label: label[i]!, caption: caption[i]!, meta: meta[i]!, status: status[i]!,
      });
      if (rows.isFull) yield rows.take();
    }
  }
  if (rows.rowCount > 0) yield rows.take();
}

/**
 * Where the tars of a source of URLs lie: in the store of the run.
 *
 * @param store as the user names it; undefined where nothing is read, and the location then names no place
 */
export function downloadsLocation(store: string | undefined, name: string, s3: S3Options): string {
  const path = downloadsPath(name);
  if (store === undefined) return path;
  if (!isS3Uri(store)) return resolve(storeFolder(store), path);
  const place = parseS3Uri(store, s3);
  return formatS3Uri({ ...place, key: place.key === '' ? path : `${place.key.replace(/\/$/, '')}/${path}` });
}
