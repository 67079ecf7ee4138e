/** WebDataset tars in a bucket: which there are, and their bytes by ranges. */
import { WinnowError } from '../errors.ts';
import type { NamedSource } from './image.ts';
import { extensionOf } from './path.ts';
import type { Listing } from './rows.ts';
import { scanS3Folder } from './s3-scan.ts';
import { openS3File, s3Name, s3Prefix } from './s3-source.ts';
import { type TarBytes, fetchedTarBytes } from './tar-members.ts';
import { formatS3Uri, parseS3Uri } from '../store/s3-uri.ts';

/** Paths from the source's location of the tar that an entry names, or of those under it, sorted. */
export async function* s3TarsUnder(entry: string, source: NamedSource, listing: Listing): AsyncIterable<string> {
  const from = s3Prefix(source.location).length;
  if (extensionOf(s3Name(entry)) === 'tar') {
    yield parseS3Uri(entry).key.slice(from);
    return;
  }
  const below = s3Prefix(entry).slice(from);
  for await (const { paths } of scanS3Folder(entry, TARS, listing)) for (const path of paths) yield below + path;
}

/** Opens a tar in place. @throws {WinnowError} INPUT_MISSING, STORE_DENIED, STORE_UNAVAILABLE */
export async function openS3Tar(location: string, path: string, signal: AbortSignal | undefined): Promise<{ tar: TarBytes; close(): Promise<void> }> {
  const place = parseS3Uri(location);
  const { sizeBytes, read } = await openS3File(formatS3Uri({ ...place, key: s3Prefix(location) + path }), signal);
  if (sizeBytes === 0) throw new WinnowError('INPUT_MALFORMED', `Expected a tar at ${s3Name(location)}/${path}, got an empty object`);
  return { tar: fetchedTarBytes(sizeBytes, `${s3Name(location)}/${path}`, read), close: async () => undefined };
}

const TARS = new Set(['tar']);
