/**
 * Lists the files of a folder, in code-unit order of the relative path whatever order the file system gives: depth
 * first, each folder sorted with a folder's name taken as `name/`. The folders and files that come next are looked at
 * ahead of their turn, several at once; what is counted is counted in turn. Holds the names in the folders on the way down, as
 * bytes, and bounded numbers of names and files ahead.
 */
import { promises, stat } from 'node:fs';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { IMAGE_EXTENSIONS, type ImageRows, type NamedSource, type SkipReason } from './image.ts';
import { isInside, parentOf, sourceError } from './path.ts';
import type { NameList } from './name-list.ts';
import { type FolderContent, type FolderReader, type ScanTerms, createFolderReader } from './read-folder.ts';
import { BATCH_ROWS, type Counts, type Cursor, type FoundFiles, type Listing, ListingChanged, addCount, createRowBuffer } from './rows.ts';
import { scanS3Folder } from './s3-scan.ts';
import { isS3Uri } from '../store/s3-uri.ts';

/** The images of a folder source, on a disk or in a bucket; goes on after any batch. Opens no file. */
export async function* listFolder(source: NamedSource, listing: Listing): AsyncIterable<ImageRows> {
  const extensions = new Set<string>(source.config.extensions ?? IMAGE_EXTENSIONS);
  const rows = createRowBuffer();
  const scan = isS3Uri(source.location) ? scanS3Folder : scanFolder;
  for await (const { paths, sizes, cursor } of scan(source.location, extensions, listing, listing.after)) {
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i]!;
      const label = source.config.label === 'parent' ? parentOf(path) : null;
      rows.append({ uri: `${source.name}/${path}`, path, source: source.name, offset: -1, length: -1, size: sizes[i]!, label, caption: null, meta: null });
    }
    yield rows.take();
    if (cursor !== undefined) listing.mark?.(cursor);
  }
}

/**
 * Every regular file under `root` with one of `extensions`, whatever their case. Hidden names are passed over. A link
 * is followed when it stays inside the root, a link to a folder at most once; `listing` counts what is passed over.
 *
 * @param after cursor of an earlier scan: gives the files and counts that came after it, as long as nothing has changed
 * @param batchRows files that are handed on together
 * @throws {WinnowError} INPUT_MISSING when there is no such folder, STORE_DENIED when a folder in it cannot be listed
 * @throws {ListingChanged} when a folder on the way to the cursor is gone
 */
export async function* scanFolder(root: string, extensions: ReadonlySet<string>, listing: Listing, after?: Cursor, batchRows = BATCH_ROWS): AsyncIterable<FoundFiles> {
  const base = await realFolder(root);
  const terms: ScanTerms = { root, base, extensions, avoid: listing.avoid };
  const scan: Scan = { ...terms, signal: listing.signal, reader: createFolderReader(terms), counts: {}, followed: new Set(), open: [] };
  try {
    for await (const { paths, sizes, cursor, counts } of measureAhead(scan, walk(scan, after, batchRows))) {
      throwIfAborted(listing.signal);
      for (const [reason, times] of Object.entries(counts)) listing.count(reason as SkipReason, times);
      if (paths.length > 0) yield { paths, sizes, cursor };
    }
  } finally {
    await scan.reader.close();
  }
}

interface Scan extends ScanTerms {
  readonly signal: AbortSignal | undefined;
  readonly reader: FolderReader;
  /** Since the last batch. */
  counts: Counts;
  /** Links to folders that were followed, each by where the link itself lies under the base. */
  followed: Set<string>;
  /** From the root to the folder being listed. */
  readonly open: OpenFolder[];
}

interface OpenFolder {
  /** Relative to the root, ending in `/` unless empty. */
  readonly prefix: string;
  /** Absolute, without links. */
  readonly real: string;
  /** Sorted; folders end in `/`. */
  readonly names: NameList;
  /** Real paths of the names that are links to folders. */
  readonly links: ReadonlyMap<string, string>;
  /** Links that were followed before this folder was opened. */
  readonly linksBefore: number;
  next: number;
  /** Names up to here were looked through for folders to begin; so many of these were begun and not opened. */
  begun: number;
  waiting: number;
}

interface FoundPaths {
  readonly paths: readonly string[];
  /** On the way from the batch before. */
  readonly counts: Counts;
  readonly cursor: Cursor | undefined;
}

async function realFolder(root: string): Promise<string> {
  try {
    const base = await promises.realpath(root);
    if ((await promises.stat(base)).isDirectory()) return base;
  } catch (error) {
    throw sourceError(`list the folder ${root}`, error);
  }
  throw new WinnowError('INPUT_MISSING', `Expected a folder at ${root}, got a file`);
}

/** Batches of `batchRows` paths; the last one has fewer, perhaps none. */
async function* walk(scan: Scan, after: Cursor | undefined, batchRows: number): AsyncGenerator<FoundPaths> {
  if (after === undefined) await openFolder(scan, '', scan.base);
  else await reopenFolders(scan, after);
  beginNext(scan);
  let paths: string[] = [];
  const take = (cursor: Cursor | undefined): FoundPaths => {
    const found = { paths, counts: scan.counts, cursor };
    paths = [];
    scan.counts = {};
    return found;
  };
  while (scan.open.length > 0) {
    throwIfAborted(scan.signal);
    const folder = scan.open.at(-1)!;
    if (folder.next === folder.names.length) {
      scan.open.pop();
      continue;
    }
    const name = folder.names.at(folder.next++);
    if (name.endsWith('/')) {
      if (folder.next <= folder.begun) folder.waiting -= 1;
      await openFolder(scan, folder.prefix + name, realOf(folder, name));
      beginNext(scan);
    } else if (paths.push(folder.prefix + name) === batchRows) {
      yield take(cursorAt(scan, paths.at(-1)!));
    }
  }
  yield take(undefined);
}

async function openFolder(scan: Scan, prefix: string, real: string): Promise<void> {
  const content = await scan.reader.take({ prefix, real });
  for (const [reason, times] of Object.entries(content.counts)) addCount(scan.counts, reason as SkipReason, times);
  const linksBefore = scan.followed.size;
  const links = followLinks(scan, real, content);
  const { names } = content;
  for (const name of links.keys()) names.push(name);
  names.sort();
  scan.open.push({ prefix, real, names, links, linksBefore, next: 0, begun: 0, waiting: 0 });
}

function followLinks(scan: Scan, real: string, content: FolderContent): Map<string, string> {
  const links = new Map<string, string>();
  for (const { name, target } of content.links) {
    const link = `${real}/${name}`.slice(scan.base.length);
    const isOpen = isInside(target, real) || scan.open.some((folder) => isInside(target, folder.real));
    if (isOpen || scan.followed.has(link)) {
      addCount(scan.counts, 'link-cycle');
    } else {
      scan.followed.add(link);
      links.set(`${name}/`, target);
    }
  }
  return links;
}

/** Begins to read the folders whose turn comes next: in every open folder some, the innermost first. */
function beginNext({ open, reader }: Scan): void {
  for (let level = open.length - 1; level >= 0; level--) {
    const folder = open[level]!;
    folder.begun = Math.max(folder.begun, folder.next);
    while (folder.begun < folder.names.length && folder.waiting < FOLDERS_AHEAD && reader.heldCount < FOLDERS_AHEAD_MAX) {
      const i = folder.begun++;
      if (!folder.names.isFolder(i)) continue;
      const name = folder.names.at(i);
      folder.waiting += 1;
      reader.begin({ prefix: folder.prefix + name, real: realOf(folder, name) });
    }
  }
}

function realOf(folder: OpenFolder, name: string): string {
  return folder.links.get(name) ?? `${folder.real}/${name.slice(0, -1)}`;
}

/** None where so many links were followed that it would be large. */
function cursorAt({ followed, open }: Scan, path: string): Cursor | undefined {
  if (followed.size === 0) return { path };
  return followed.size > LINKS_MAX ? undefined : { path, links: [...followed], linksBefore: open.map(({ linksBefore }) => linksBefore) };
}

/**
 * Opens the folders on the way to a cursor and passes over what comes before it there; whole folders before it are not read
 * at all. Each folder is opened as it was: with the links followed by then, so that the same ones are followed from it.
 */
async function reopenFolders(scan: Scan, { path, links = [], linksBefore = [] }: Cursor): Promise<void> {
  const segments = path.split('/');
  let prefix = '';
  let real = scan.base;
  for (const [depth, segment] of segments.entries()) {
    scan.followed = new Set(links.slice(0, linksBefore[depth] ?? 0));
    await openFolder(scan, prefix, real);
    const folder = scan.open.at(-1)!;
    const isFile = depth === segments.length - 1;
    const name = isFile ? segment : `${segment}/`;
    folder.next = folder.names.firstAfter(name);
    if (!isFile && (folder.next === 0 || folder.names.at(folder.next - 1) !== name)) throw new ListingChanged(`Expected a folder ${prefix}${name}, found none`);
    prefix += name;
    real = isFile ? real : realOf(folder, name);
  }
  scan.followed = new Set(links);
  scan.counts = {};
}

type Measured = FoundFiles & FoundPaths;

/** Some batches are measured while earlier ones are used. */
async function* measureAhead(scan: Scan, batches: AsyncGenerator<FoundPaths>): AsyncGenerator<Measured> {
  const under: Promise<Measured | null>[] = [];
  try {
    for (;;) {
      while (under.length < BATCHES_AHEAD) {
        const next = batches.next().then(({ done, value }) => (done === true ? null : measure(scan, value)));
        next.catch(() => undefined); // heard when its turn comes
        under.push(next);
      }
      const measured = await under.shift()!;
      if (measured === null) return;
      yield measured;
    }
  } finally {
    await Promise.allSettled([...under, batches.return(undefined)]);
  }
}

async function measure({ root, base }: Scan, { paths, counts, cursor }: FoundPaths): Promise<Measured> {
  const sizes = await sizesOf(paths, base, root);
  if (!sizes.includes(GONE)) return { paths, sizes, counts, cursor };
  const kept = paths.map((_, i) => i).filter((i) => sizes[i] !== GONE);
  addCount(counts, 'vanished', paths.length - kept.length);
  return { paths: kept.map((i) => paths[i]!), sizes: Float64Array.from(kept, (i) => sizes[i]!), counts, cursor };
}

const GONE = -1;

/** By callback: promises of a million files cost more time and memory than the files do. */
function sizesOf(paths: readonly string[], base: string, root: string): Promise<Float64Array> {
  return new Promise((resolve, reject) => {
    const sizes = new Float64Array(paths.length);
    let next = 0;
    let done = 0;
    const measureNext = (): void => {
      if (next === paths.length) return;
      const i = next++;
      stat(`${base}/${paths[i]}`, (error, facts) => {
        if (error !== null && error.code !== 'ENOENT') {
          next = paths.length;
          reject(sourceError(`read ${paths[i]} of ${root}`, error));
          return;
        }
        sizes[i] = error === null ? facts.size : GONE;
        if (++done === paths.length) resolve(sizes);
        else measureNext();
      });
    };
    if (paths.length === 0) resolve(sizes);
    for (let i = 0; i < STATS_AT_ONCE; i++) measureNext();
  });
}

/** Folders read ahead in one open folder, and in all. */
const FOLDERS_AHEAD = 8;
const FOLDERS_AHEAD_MAX = 64;
const BATCHES_AHEAD = 2;
const STATS_AT_ONCE = 64;
/** A cursor holds no more links than these. */
const LINKS_MAX = 4096;
