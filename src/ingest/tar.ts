/**
 * Lists WebDataset tars without reading an image: from header to header by seeks. Members of one sample lie together
 * and share a key, the path up to the first dot of its last segment; the rest is the extension, in lower case
 * (webdataset `tariterators.base_plus_ext`, `group_by_keys`). As there, a key that comes back later is another sample.
 */
import { realpath, stat } from 'node:fs/promises';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { IMAGE_EXTENSIONS, type ImageRows, type NamedSource } from './image.ts';
import { extensionOf, isInside, parentOf, sourceError } from './path.ts';
import { type Listing, ListingChanged, type RowBuffer, createRowBuffer } from './rows.ts';
import { openS3Tar, s3TarsUnder } from './s3-tar.ts';
import { s3Name } from './s3-source.ts';
import { scanFolder } from './scan.ts';
import { type TarBytes, type TarMember, openTar, tarMembers } from './tar-members.ts';
import { isS3Uri } from '../store/s3-uri.ts';

/** The images of a tars source: the tars in the order named, those of a folder sorted, members as they lie. Goes on before any tar. */
export async function* listTars(source: NamedSource, listing: Listing): AsyncIterable<ImageRows> {
  const rows = createRowBuffer();
  for (const path of await tarsToList(source, listing)) {
    listing.mark?.({ path });
    const { tar, close } = await (isS3Uri(source.location) ? openS3Tar(source.location, path, listing.signal) : openTar(`${source.location}/${path}`));
    try {
      for await (const batch of listTar(tar, path, source, listing, rows)) yield batch;
    } finally {
      await close();
    }
  }
}

/** The images of one tar, `path` relative to the source's location. */
export async function* listTar(tar: TarBytes, path: string, source: NamedSource, listing: Listing, rows: RowBuffer = createRowBuffer()): AsyncIterable<ImageRows> {
  const extensions = new Set<string>(source.config.extensions ?? IMAGE_EXTENSIONS);
  const sample: Sample = { source, listing, path, extensions, key: null, images: [], text: new Map() };
  for await (const member of tarMembers(tar, `${isS3Uri(source.location) ? s3Name(source.location) : source.location}/${path}`, () => listing.count('tar-unended'))) {
    throwIfAborted(listing.signal);
    await addMember(sample, member, tar, rows);
    if (rows.isFull) yield rows.take();
  }
  finishSample(sample, rows);
  if (rows.rowCount > 0) yield rows.take();
}

/** All are found before the first is listed, so that what was passed over beside them is counted before any place to go on from. */
async function tarsToList(source: NamedSource, listing: Listing): Promise<string[]> {
  const { after } = listing;
  const paths = await tarPaths(source, after === undefined ? listing : { ...listing, count: () => undefined });
  if (after === undefined) return paths;
  const first = paths.indexOf(after.path);
  if (first < 0) throw new ListingChanged(`Expected a tar ${after.path} in source ${source.name}, found none`);
  return paths.slice(first);
}

async function tarPaths(source: NamedSource, listing: Listing): Promise<string[]> {
  const seen = new Set<string>();
  for (const entry of source.entries) {
    const prefix = entry.slice(source.location.length).replace(/^\//, '');
    const found = isS3Uri(entry) ? s3TarsUnder(entry, source, listing) : tarsUnder(entry, prefix, source, listing);
    for await (const path of found) {
      if (seen.has(path)) throw new WinnowError('CONFIG_INVALID', `Expected every tar of source ${source.name} to be named once, got ${path} twice`);
      seen.add(path);
    }
  }
  return [...seen];
}

async function* tarsUnder(entry: string, prefix: string, source: NamedSource, listing: Listing): AsyncIterable<string> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(entry)).isDirectory();
    // Bytes are later read through the location, and never through a link that leaves it.
    if (!isFolder && !isInside(await realpath(source.location), await realpath(entry))) {
      throw new WinnowError('INPUT_MALFORMED', `Expected a tar at ${entry}, got a link out of ${source.location}: name the tar that it leads to`);
    }
  } catch (error) {
    throw sourceError(`open ${entry} of source ${source.name}`, error);
  }
  if (!isFolder) {
    if (prefix === '') throw new WinnowError('INPUT_MALFORMED', `Expected a file ending in .tar or a folder of them at ${entry}, got another file`);
    yield prefix;
    return;
  }
  const below = prefix === '' ? '' : `${prefix}/`;
  for await (const { paths } of scanFolder(entry, TARS, listing)) for (const path of paths) yield below + path;
}

interface Sample {
  readonly source: NamedSource;
  readonly listing: Listing;
  /** The tar. */
  readonly path: string;
  readonly extensions: ReadonlySet<string>;
  key: string | null;
  images: { readonly name: string; readonly offset: number; readonly sizeBytes: number }[];
  readonly text: Map<TextRole, string>;
}

type TextRole = 'caption' | 'meta' | 'label';

async function addMember(sample: Sample, member: TarMember, tar: TarBytes, rows: RowBuffer): Promise<void> {
  const { listing } = sample;
  if (member.kind === 'folder') return;
  if (member.kind === 'other') return listing.count('not-a-file');
  if (member.name === null) return listing.count('name-not-utf8');
  const name = member.name.replace(/^(\.?\/)+/, '');
  if (name.split('/').some((segment) => segment.startsWith('.') && segment !== '..')) return listing.count('hidden');
  const dot = name.indexOf('.', name.lastIndexOf('/') + 1);
  if (dot < 0) return listing.count('extension');
  const key = name.slice(0, dot);
  if (key !== sample.key) finishSample(sample, rows);
  sample.key = key;
  if (sample.extensions.has(extensionOf(name))) {
    sample.images.push({ name, offset: member.offset, sizeBytes: member.sizeBytes });
    return;
  }
  const roles = textRoles(name.slice(dot + 1).toLowerCase(), sample.source);
  if (roles.length === 0) return listing.count('extension');
  if (roles.every((role) => sample.text.has(role))) return listing.count('text-repeated');
  if (member.sizeBytes > TEXT_BYTES_MAX) return listing.count('text-too-long');
  const text = await readText(tar, member, listing);
  for (const role of roles) if (!sample.text.has(role)) sample.text.set(role, text);
}

function textRoles(extension: string, { config }: NamedSource): TextRole[] {
  const roles: TextRole[] = extension === 'txt' ? ['caption'] : extension === 'json' ? ['meta'] : [];
  if (typeof config.label === 'object' && 'extension' in config.label && config.label.extension === extension) roles.push('label');
  return roles;
}

async function readText(tar: TarBytes, { offset, sizeBytes }: TarMember, listing: Listing): Promise<string> {
  const padded = Math.min(Math.ceil(sizeBytes / BLOCK) * BLOCK, tar.sizeBytes - offset);
  const bytes = (await tar.read(offset, padded, BLOCK)).subarray(0, sizeBytes);
  try {
    return STRICT.decode(bytes);
  } catch {
    listing.count('text-not-utf8');
    return LENIENT.decode(bytes);
  }
}

function finishSample(sample: Sample, rows: RowBuffer): void {
  const { source, listing, path, images, text } = sample;
  if (sample.key !== null && images.length === 0) listing.count('no-image');
  if (images.length > 0) {
    const caption = text.get('caption') ?? null;
    const meta = jsonText(text.get('meta'), listing);
    for (const { name, offset, sizeBytes } of images) {
      const label = source.config.label === 'parent' ? parentOf(name) : text.get('label')?.trim() || null;
      rows.append({ uri: `${source.name}/${path}/${name}`, path, source: source.name, offset, length: sizeBytes, size: sizeBytes, label, caption, meta });
    }
  }
  sample.key = null;
  sample.images = [];
  text.clear();
}

/** JSON stays as it was written; anything else becomes a JSON string. */
function jsonText(text: string | undefined, listing: Listing): string | null {
  if (text === undefined) return null;
  try {
    JSON.parse(text);
    return text;
  } catch {
    listing.count('meta-not-json');
    return JSON.stringify(text);
  }
}

const TARS = new Set(['tar']);
const BLOCK = 512;
/** A caption, meta or label above this is left out and counted. */
const TEXT_BYTES_MAX = 2 ** 20;
const STRICT = new TextDecoder('utf-8', { fatal: true });
const LENIENT = new TextDecoder();
