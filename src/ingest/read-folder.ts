/**
 * Reads folders of a disk, some of them before a scan comes to them. Names are read a few at a time; a folder that is read ahead
 * waits after so many of them until its turn, so that of large folders only the one being listed is held.
 */
import { isUtf8 } from 'node:buffer';
import type { Dirent } from 'node:fs';
import { opendir, realpath, stat } from 'node:fs/promises';
import { extensionOf, isInside, sourceError, systemCode } from './path.ts';
import type { SkipReason } from './image.ts';
import { type NameList, createNameList } from './name-list.ts';
import { type Counts, addCount } from './rows.ts';

/** What a scan is looking for. */
export interface ScanTerms {
  /** As named, for messages. */
  readonly root: string;
  /** `root` without links. */
  readonly base: string;
  /** Lower case. */
  readonly extensions: ReadonlySet<string>;
  /** Real path of a folder that is not entered. */
  readonly avoid: string | undefined;
}

export interface FolderPlace {
  /** Relative to the root, ending in `/` unless empty. */
  readonly prefix: string;
  /** Absolute, without links. */
  readonly real: string;
}

export interface FolderContent {
  /** Files that are wanted and folders, which end in `/`, in the order of the file system. */
  readonly names: NameList;
  /** Links to folders inside the root, by name and real path; only the scan knows which of them lead in a circle. */
  readonly links: readonly { readonly name: string; readonly target: string }[];
  /** What was passed over. */
  readonly counts: Counts;
}

export interface FolderReader {
  /** Folders that were begun and not taken. */
  readonly heldCount: number;
  /** Begins to read a folder. A fault is kept to itself: the folder is read again when it is taken. */
  begin(place: FolderPlace): void;
  /** The content of a folder, begun before or not. @throws {WinnowError} STORE_DENIED, INPUT_MISSING of the root only, STORE_UNAVAILABLE */
  take(place: FolderPlace): Promise<FolderContent>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

/** A reader of the folders under one root. */
export function createFolderReader(terms: ScanTerms): FolderReader {
  const held = new Map<string, { readonly turn: Turn; readonly content: Promise<FolderContent | null> }>();
  return {
    get heldCount() {
      return held.size;
    },
    begin: (place) => {
      if (held.has(place.prefix)) return;
      const turn = createTurn();
      held.set(place.prefix, { turn, content: readFolder(terms, place, turn).catch(() => null) });
    },
    take: async (place) => {
      const begun = held.get(place.prefix);
      held.delete(place.prefix);
      begun?.turn.come();
      return (await begun?.content) ?? readFolder(terms, place, null);
    },
    close: async () => {
      for (const { turn } of held.values()) turn.cancel();
      await Promise.all([...held.values()].map(({ content }) => content));
      held.clear();
    },
  };
}

/** What a folder that is read ahead waits for. */
interface Turn {
  readonly came: Promise<void>;
  come(): void;
  cancel(): void;
}

function createTurn(): Turn {
  let come = (): void => undefined;
  let fail = (_: Error): void => undefined;
  const came = new Promise<void>((resolve, reject) => {
    come = resolve;
    fail = reject;
  });
  came.catch(() => undefined); // a folder may be read to its end without waiting
  return { came, come, cancel: () => fail(new Error('the scan has ended')) };
}

async function readFolder(terms: ScanTerms, place: FolderPlace, turn: Turn | null): Promise<FolderContent> {
  const { prefix } = place;
  try {
    const found = await readNames(terms, place, turn, false);
    return found ?? (await readNames(terms, place, turn, true))!;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || prefix === '') throw sourceError(`list the folder ${prefix === '' ? terms.root : `${prefix} of ${terms.root}`}`, error);
    return { names: createNameList(), links: [], counts: { vanished: 1 } };
  }
}

/**
 * Node reads a name that is not UTF-8 with U+FFFD in it, a name that nothing can open: when there is one, names are wanted as bytes.
 *
 * @returns null when they are
 */
async function readNames(terms: ScanTerms, { prefix, real }: FolderPlace, turn: Turn | null, asBytes: boolean): Promise<FolderContent | null> {
  const names = createNameList();
  const linkNames = createNameList();
  const counts: Counts = {};
  let read = 0;
  const encoding = (asBytes ? 'buffer' : 'utf8') as BufferEncoding; // the types know of text only
  for await (const entry of (await opendir(`${terms.base}/${prefix}`, { encoding, bufferSize: NAMES_A_CALL })) as AsyncIterable<Dirent<string | Buffer>>) {
    if (++read > NAMES_AHEAD && turn !== null) await turn.came;
    if (typeof entry.name === 'string' ? entry.name.includes('\uFFFD') : !isUtf8(entry.name)) {
      if (!asBytes) return null;
      addCount(counts, 'name-not-utf8');
      continue;
    }
    const name = entry.name.toString();
    if (name.startsWith('.')) addCount(counts, 'hidden');
    else if (entry.isDirectory() && `${real}/${name}` === terms.avoid) addCount(counts, 'store');
    else if (entry.isDirectory()) names.push(`${name}/`);
    else if (entry.isSymbolicLink()) linkNames.push(name);
    else if (!entry.isFile()) addCount(counts, 'not-a-file');
    else if (terms.extensions.has(extensionOf(name))) names.push(name);
    else addCount(counts, 'extension');
  }
  const links = await resolveLinks(terms, prefix, linkNames, names, counts);
  return { names, links, counts };
}

/** What a run writes must not be what its next run reads: a link to the folder to avoid is counted as that folder is. */
async function resolveLinks(terms: ScanTerms, prefix: string, linkNames: NameList, names: NameList, counts: Counts): Promise<FolderContent['links']> {
  const links: { name: string; target: string }[] = [];
  for (let first = 0; first < linkNames.length; first += LINKS_AT_ONCE) {
    const some = Array.from({ length: Math.min(LINKS_AT_ONCE, linkNames.length - first) }, (_, i) => linkNames.at(first + i));
    const resolved = await Promise.all(some.map((name) => resolveLink(terms, prefix + name)));
    some.forEach((name, i) => {
      const link = resolved[i]!;
      if (typeof link === 'string') addCount(counts, link);
      else if (!link.isFolder && terms.extensions.has(extensionOf(name))) names.push(name);
      else if (!link.isFolder) addCount(counts, 'extension');
      else if (link.target === terms.avoid) addCount(counts, 'store');
      else links.push({ name, target: link.target });
    });
  }
  return links;
}

async function resolveLink({ root, base }: ScanTerms, path: string): Promise<{ readonly target: string; readonly isFolder: boolean } | SkipReason> {
  try {
    const target = await realpath(`${base}/${path}`);
    if (!isInside(base, target)) return 'link-outside';
    const facts = await stat(`${base}/${path}`);
    if (facts.isDirectory()) return { target, isFolder: true };
    return facts.isFile() ? { target, isFolder: false } : 'not-a-file';
  } catch (error) {
    if (!['ENOENT', 'ELOOP', 'ENOTDIR'].includes(systemCode(error))) throw sourceError(`follow the link ${path} of ${root}`, error);
    return 'link-broken';
  }
}

const NAMES_A_CALL = 1024;
/** A folder that is read ahead waits after these. */
const NAMES_AHEAD = 4096;
const LINKS_AT_ONCE = 64;
