/**
 * Sources that lie in an object store: a folder is a prefix, a tar or list one key. What is read stays under the prefix that
 * the recipe names, in its bucket. Loads what speaks to the server only when such a source is used.
 */
import { WinnowError } from '../errors.ts';
import type { S3Bucket } from '../store/s3-bucket.ts';
import { type S3Options, formatS3Uri, isS3Uri, parseS3Uri, plainS3Uri } from '../store/s3-uri.ts';
import type { NamedSource, SourceConfig } from './image.ts';
import { extensionOf } from './path.ts';

/** The bucket of a location, and the prefix in it: empty or ending in `/`. */
export async function openS3Source(location: string, signal?: AbortSignal): Promise<{ bucket: S3Bucket; prefix: string }> {
  const { openPrefix } = await import('../store/s3.ts');
  return openPrefix(location, { signal });
}

/** One object for random access. @throws {WinnowError} INPUT_MISSING when it is not there */
export async function openS3File(uri: string, signal?: AbortSignal): Promise<{ sizeBytes: number; read(offset: number, length: number): Promise<Uint8Array> }> {
  const { bucket: name, key, options } = parseS3Uri(uri);
  const { openS3Bucket } = await import('../store/s3-bucket.ts');
  const bucket = await openS3Bucket(name, { s3: options, signal });
  const entry = await bucket.head(key);
  if (entry === null) throw new WinnowError('INPUT_MISSING', `Could not open ${plainS3Uri(name, key)}: it does not exist`);
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const got = await bucket.read(key, { range: { offset, length } });
    if (got.status !== 'ok') throw new WinnowError('STORE_UNAVAILABLE', `Expected ${length} bytes of ${plainS3Uri(name, key)}, got none`);
    return got.bytes;
  };
  return { sizeBytes: entry.sizeBytes, read };
}

/** `s3://bucket/key`, whatever the location says of the server. */
export function s3Name(location: string): string {
  const { bucket, key } = parseS3Uri(location);
  return plainS3Uri(bucket, key);
}

/** The key of a location as a prefix: empty or ending in `/`. */
export function s3Prefix(location: string): string {
  const { key } = parseS3Uri(location);
  return key === '' || key.endsWith('/') ? key : `${key}/`;
}

/**
 * @returns bytes of a tar or list, null of a prefix
 * @throws {WinnowError} INPUT_MISSING unless what an entry or location names is there: a tar or list by its key, a prefix by what lies under it
 */
export async function requireS3Path(location: string, source: NamedSource, signal: AbortSignal | undefined): Promise<number | null> {
  const isFile = source.kind === 'list' || source.kind === 'urls' ? location === source.entries[0] : source.kind === 'tars' && location !== source.location && extensionOf(s3Name(location)) === 'tar';
  if (isFile) return (await openS3File(location, signal)).sizeBytes;
  const { bucket, prefix } = await openS3Source(location, signal);
  if ((await bucket.probe(prefix)) === 'empty') throw new WinnowError('INPUT_MISSING', `Could not find ${s3Name(location)} of source ${source.name}: nothing lies under it`);
  return null;
}

/**
 * What a source says of S3, or null when it says nothing. Touches no server.
 *
 * @param s3 where the server is, when a name does not say
 * @param absolute makes a path of the recipe absolute
 * @throws {WinnowError} CONFIG_INVALID for a mixture of disks and buckets, or a list in a bucket that would read a disk
 */
export function resolveS3Source(config: SourceConfig, s3: S3Options, absolute: (path: string) => string): { kind: NamedSource['kind']; location: string; entries: string[]; path: string } | null {
  const named = [config.folder, config.list, config.root, ...[config.tars ?? []].flat()].filter((path) => path !== undefined);
  if (!named.some(isS3Uri)) return null;
  const canonical = (path: string): string => (isS3Uri(path) ? formatS3Uri(parseS3Uri(path, s3)) : absolute(path));
  if (config.folder !== undefined) {
    const folder = canonical(config.folder);
    return { kind: 'folder', location: folder, entries: [folder], path: pathOf(folder) };
  }
  if (config.list !== undefined) {
    const list = canonical(config.list);
    const root = config.root === undefined ? parentOf(list) : canonical(config.root);
    if (isS3Uri(list) && !isS3Uri(root)) throw new WinnowError('CONFIG_INVALID', `Expected the root of a list in a bucket to be s3://bucket/prefix, got ${root}: such a list reads no files of this machine`);
    return { kind: 'list', location: root, entries: [list], path: isS3Uri(list) ? pathOf(list) : list };
  }
  const entries = [config.tars ?? []].flat().map(canonical);
  const stray = entries.find((entry) => !isS3Uri(entry) || server(entry) !== server(entries[0]!));
  if (stray !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected the tars of one source to lie in one bucket, got ${isS3Uri(stray) ? s3Name(stray) : stray} beside ${entries[0] === stray ? 'others' : s3Name(entries[0]!)}: make it a source of its own`);
  const location = entries.map((entry) => (extensionOf(s3Name(entry)) === 'tar' ? parentOf(entry) : entry)).reduce(commonPrefix);
  return { kind: 'tars', location, entries, path: pathOf(entries.length === 1 ? entries[0]! : location) };
}

/** Bucket and server, for comparing. */
function server(location: string): string {
  return formatS3Uri({ ...parseS3Uri(location), key: '' });
}

/** As a path, for the name of the source. */
function pathOf(location: string): string {
  const { bucket, key } = parseS3Uri(location);
  return `/${bucket}/${key}`;
}

function parentOf(location: string): string {
  const place = parseS3Uri(location);
  return formatS3Uri({ ...place, key: place.key.slice(0, Math.max(0, place.key.replace(/\/$/, '').lastIndexOf('/'))) });
}

function commonPrefix(a: string, b: string): string {
  let prefix = a;
  while (!s3Prefix(b).startsWith(s3Prefix(prefix))) prefix = parentOf(prefix);
  return prefix;
}
