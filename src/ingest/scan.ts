/**
 * Lists the files of a folder, in code-unit order of the relative path whatever order the file system gives: depth
 * first, each folder sorted with a folder's name taken as `name/`. Holds the names of the folders on the way down only.
 */
import type { Dirent } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { readdir, realpath, stat } from 'node:fs/promises';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { IMAGE_EXTENSIONS, type ImageRows, type NamedSource } from './image.ts';
import { extensionOf, isInside, parentOf, sourceError, systemCode } from './path.ts';
import { BATCH_ROWS, type FoundFiles, type Listing, createRowBuffer } from './rows.ts';
import { scanS3Folder } from './s3-scan.ts';
import { isS3Uri } from '../store/s3-uri.ts';

/** The images of a folder source, on a disk or in a bucket. Opens no file. */
export async function* listFolder(source: NamedSource, listing: Listing): AsyncIterable<ImageRows> {
  const extensions = new Set<string>(source.config.extensions ?? IMAGE_EXTENSIONS);
  const rows = createRowBuffer();
  const scan = isS3Uri(source.location) ? scanS3Folder : scanFolder;
  for await (const { paths, sizes } of scan(source.location, extensions, listing)) {
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i]!;
      const label = source.config.label === 'parent' ? parentOf(path) : null;
      rows.append({ uri: `${source.name}/${path}`, path, source: source.name, offset: -1, length: -1, size: sizes[i]!, label, caption: null, meta: null });
    }
    yield rows.take();
  }
}

/**
 * Every regular file under `root` with one of `extensions`, whatever their case. Hidden names are passed over. A link
 * is followed when it stays inside the root, a link to a folder at most once; `listing` counts what is passed over.
 *
 * @throws {WinnowError} INPUT_MISSING when there is no such folder, STORE_DENIED when a folder in it cannot be listed
 */
export async function* scanFolder(root: string, extensions: ReadonlySet<string>, listing: Listing): AsyncIterable<FoundFiles> {
  const base = await realFolder(root);
  const scan: Scan = { root, base, extensions, listing, followed: new Set(), open: [] };
  await openFolder(scan, '', base);
  let found: string[] = [];
  while (scan.open.length > 0) {
    throwIfAborted(listing.signal);
    const folder = scan.open.at(-1)!;
    const name = folder.names[folder.next++];
    if (name === undefined) {
      scan.open.pop();
    } else if (name.endsWith('/')) {
      await openFolder(scan, folder.prefix + name, folder.links.get(name) ?? `${folder.real}/${name.slice(0, -1)}`);
    } else if (found.push(folder.prefix + name) === BATCH_ROWS) {
      yield await measure(scan, found);
      found = [];
    }
  }
  if (found.length > 0) yield await measure(scan, found);
}

interface Scan {
  readonly root: string;
  /** `root` without links. */
  readonly base: string;
  readonly extensions: ReadonlySet<string>;
  readonly listing: Listing;
  /** Links to folders that were followed, each by where the link itself lies. */
  readonly followed: Set<string>;
  /** From the root to the folder being listed. */
  readonly open: OpenFolder[];
}

interface OpenFolder {
  /** Relative to the root, ending in `/` unless empty. */
  readonly prefix: string;
  /** Absolute, without links. */
  readonly real: string;
  /** Sorted; folders end in `/`. */
  readonly names: readonly string[];
  /** Real paths of the names that are links to folders. */
  readonly links: ReadonlyMap<string, string>;
  next: number;
}

async function realFolder(root: string): Promise<string> {
  try {
    const base = await realpath(root);
    if ((await stat(base)).isDirectory()) return base;
  } catch (error) {
    throw sourceError(`list the folder ${root}`, error);
  }
  throw new WinnowError('INPUT_MISSING', `Expected a folder at ${root}, got a file`);
}

async function openFolder(scan: Scan, prefix: string, real: string): Promise<void> {
  const names: string[] = [];
  const links = new Map<string, string>();
  for (const entry of await readNames(scan, prefix)) {
    const { name } = entry;
    if (name.startsWith('.')) scan.listing.count('hidden');
    else if (entry.isDirectory()) pushFolder(scan, real, name, names);
    else if (entry.isSymbolicLink()) await followLink(scan, prefix, real, name, names, links);
    else if (!entry.isFile()) scan.listing.count('not-a-file');
    else if (scan.extensions.has(extensionOf(name))) names.push(name);
    else scan.listing.count('extension');
  }
  names.sort();
  scan.open.push({ prefix, real, names, links, next: 0 });
}

/** Node reads a name that is not UTF-8 with U+FFFD in it, a name that nothing can open: such names are found and counted. */
async function readNames(scan: Scan, prefix: string): Promise<Dirent[]> {
  const path = `${scan.base}/${prefix}`;
  try {
    const entries = await readdir(path, { withFileTypes: true });
    if (!entries.some(({ name }) => name.includes('\uFFFD'))) return entries;
    const raw = await readdir(path, { withFileTypes: true, encoding: 'buffer' });
    const readable = raw.filter(({ name }) => isUtf8(name));
    scan.listing.count('name-not-utf8', raw.length - readable.length);
    return readable.map((entry) => Object.assign(entry, { name: entry.name.toString() }));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || prefix === '') throw sourceError(`list the folder ${prefix === '' ? scan.root : `${prefix} of ${scan.root}`}`, error);
    scan.listing.count('vanished');
    return [];
  }
}

/** What a run writes must not be what its next run reads. */
function pushFolder({ listing }: Scan, real: string, name: string, names: string[]): void {
  if (`${real}/${name}` === listing.avoid) listing.count('store');
  else names.push(`${name}/`);
}

async function followLink(scan: Scan, prefix: string, real: string, name: string, names: string[], links: Map<string, string>): Promise<void> {
  const { base, listing } = scan;
  let target: string;
  let isFolder: boolean;
  try {
    target = await realpath(`${base}/${prefix}${name}`);
    if (!isInside(base, target)) return listing.count('link-outside');
    const facts = await stat(`${base}/${prefix}${name}`);
    isFolder = facts.isDirectory();
    if (!isFolder && !facts.isFile()) return listing.count('not-a-file');
  } catch (error) {
    if (!['ENOENT', 'ELOOP', 'ENOTDIR'].includes(systemCode(error))) throw sourceError(`follow the link ${prefix}${name} of ${scan.root}`, error);
    return listing.count('link-broken');
  }
  if (!isFolder) {
    if (scan.extensions.has(extensionOf(name))) names.push(name);
    else listing.count('extension');
    return;
  }
  if (target === listing.avoid) return listing.count('store');
  const link = `${real}/${name}`;
  const isOpen = isInside(target, real) || scan.open.some((folder) => isInside(target, folder.real));
  if (isOpen || scan.followed.has(link)) return listing.count('link-cycle');
  scan.followed.add(link);
  names.push(`${name}/`);
  links.set(`${name}/`, target);
}

async function measure(scan: Scan, paths: readonly string[]): Promise<FoundFiles> {
  const sizes = new Float64Array(paths.length);
  await Promise.all(
    paths.map(async (path, i) => {
      try {
        sizes[i] = (await stat(`${scan.base}/${path}`)).size;
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw sourceError(`read ${path} of ${scan.root}`, error);
        sizes[i] = -1;
      }
    }),
  );
  if (!sizes.includes(-1)) return { paths, sizes };
  const kept = paths.map((_, i) => i).filter((i) => sizes[i] !== -1);
  scan.listing.count('vanished', paths.length - kept.length);
  return { paths: kept.map((i) => paths[i]!), sizes: Float64Array.from(kept, (i) => sizes[i]!) };
}
