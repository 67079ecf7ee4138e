/**
 * Lists keys in the order of their code units from the pages of an object store, which come in the order of their UTF-8
 * bytes. A prefix with large folders under it is listed several folders at once, in pages fetched ahead within a fixed
 * allowance: the order is that of a listing one page after another, and memory does not grow with the number of keys.
 */
import { WinnowError } from '../errors.ts';
import type { StoreEntry } from './store.ts';

export interface ListQuery {
  readonly prefix: string;
  /** Folds what lies below the next `/` into `prefixes`. */
  readonly folded?: boolean;
  readonly startAfter?: string;
  readonly token?: string;
}

export interface ListPage {
  readonly entries: readonly StoreEntry[];
  readonly prefixes: readonly string[];
  /** Null on the last page. */
  readonly token: string | null;
}

export type ListPages = (query: ListQuery) => Promise<ListPage>;

/**
 * Batches of entries under a prefix, ascending by code units.
 *
 * @param pagesAhead fetched before they are wanted, in all
 * @param startAfter `lastKey` of a batch of an earlier listing: gives the batches' entries that came after it
 */
export async function* listKeys(pages: ListPages, prefix: string, pagesAhead = 16, startAfter = ''): AsyncGenerator<readonly StoreEntry[]> {
  const walk: Walk = { pages, credits: { free: pagesAhead }, ahead: Math.max(1, pagesAhead >> 1) };
  yield* inCodeUnitOrder(ascending(walkPrefix(walk, prefix, startAfter), startAfter), prefix.length);
}

/** The key of a batch that the server lists last. No batch ends amid keys that the two orders place otherwise, so all before it are known. */
export function lastKey(entries: readonly StoreEntry[]): string {
  return entries.reduce((last, { key }) => (compareUtf8(key, last) > 0 ? key : last), '');
}

interface Walk {
  readonly pages: ListPages;
  /** Pages that may still be fetched ahead. */
  readonly credits: { free: number };
  /** Folders open at once on one level. */
  readonly ahead: number;
}

type Batches = AsyncGenerator<readonly StoreEntry[]>;

/** A folder counts as large when a page holds no more than this many of its kind. */
const LARGE_FOLDERS_A_PAGE = 4;

async function* walkPrefix(walk: Walk, prefix: string, startAfter: string): Batches {
  const page = await walk.pages({ prefix, ...(startAfter !== '' && { startAfter }) });
  yield page.entries;
  const last = page.entries.at(-1)?.key;
  if (page.token === null || last === undefined) return;
  const folder = folderOf(last, prefix);
  const folders = new Set(page.entries.map(({ key }) => folderOf(key, prefix)));
  if (folder === null || folders.size > LARGE_FOLDERS_A_PAGE) {
    yield* walkPages(walk, prefix, page.token);
    return;
  }
  yield* inTurn(walk, foldersAfter(walk, prefix, folder, last));
}

/** The path up to and with the first `/` after the prefix, or null for a key right under it. */
function folderOf(key: string, prefix: string): string | null {
  const end = key.indexOf('/', prefix.length);
  return end < 0 ? null : key.slice(0, end + 1);
}

async function* walkPages({ pages }: Walk, prefix: string, first: string): Batches {
  for (let token: string | null = first; token !== null; ) {
    const page: ListPage = await pages({ prefix, token });
    yield page.entries;
    token = page.token;
  }
}

/** The rest of a folder, then what comes after it. The folded listing starts anew: servers differ in how they resume inside a folder. */
async function* foldersAfter(walk: Walk, prefix: string, folder: string, last: string): AsyncGenerator<Batches> {
  yield walkPrefix(walk, folder, last);
  for (let token: string | null | undefined; token !== null; ) {
    const page: ListPage = await walk.pages({ prefix, folded: true, ...(token !== undefined && { token }) });
    token = page.token;
    let loose: StoreEntry[] = [];
    let next = 0;
    for (const below of [...page.prefixes, null]) {
      for (; next < page.entries.length && (below === null || compareUtf8(page.entries[next]!.key, below) < 0); next++) {
        if (compareUtf8(page.entries[next]!.key, folder) > 0) loose.push(page.entries[next]!);
      }
      if (loose.length > 0) yield justOne(loose);
      loose = [];
      if (below !== null && compareUtf8(below, folder) > 0) yield walkPrefix(walk, below, '');
    }
  }
}

async function* justOne(entries: readonly StoreEntry[]): Batches {
  yield entries;
}

/** Each listing whole, in the order given, while the next ones fetch ahead. */
async function* inTurn(walk: Walk, listings: AsyncGenerator<Batches>): Batches {
  const open: Batches[] = [];
  let isEnd = false;
  try {
    for (;;) {
      while (!isEnd && open.length < walk.ahead) {
        const next = await listings.next();
        if (next.done === true) isEnd = true;
        else open.push(fetchAhead(next.value, walk.credits));
      }
      const current = open[0];
      if (current === undefined) return;
      yield* current;
      open.shift();
    }
  } finally {
    await Promise.allSettled([...open.map((listing) => listing.return(undefined)), listings.return(undefined)]);
  }
}

const PAGES_AHEAD = 2;

/** Begins at once, as far as the allowance goes. */
function fetchAhead(source: Batches, credits: { free: number }): Batches {
  const held: Promise<IteratorResult<readonly StoreEntry[]>>[] = [];
  const fill = (): void => {
    while (held.length < PAGES_AHEAD && credits.free > 0) {
      credits.free -= 1;
      const next = source.next();
      next.catch(() => undefined); // heard when its turn comes
      held.push(next);
    }
  };
  const giveBack = (): void => {
    credits.free += held.length;
    held.length = 0;
  };
  async function* take(): Batches {
    try {
      for (;;) {
        const first = held[0];
        const result = await (first ?? source.next());
        if (first !== undefined) {
          held.shift();
          credits.free += 1;
        }
        if (result.done === true) return;
        fill();
        yield result.value;
      }
    } finally {
      giveBack();
      await source.return(undefined);
    }
  }
  fill();
  const taking = take();
  // A generator that was never begun runs no `finally`.
  return Object.assign(Object.create(taking) as Batches, {
    next: () => taking.next(),
    return: async (value: undefined) => {
      giveBack();
      await source.return(undefined);
      return taking.return(value);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  });
}

/** @throws {WinnowError} STORE_UNAVAILABLE when the server's pages are out of order: rows would be numbered by chance */
async function* ascending(batches: Batches, startAfter: string): Batches {
  let last: string | null = startAfter === '' ? null : startAfter;
  for await (const entries of batches) {
    for (const { key } of entries) {
      if (last !== null && compareUtf8(last, key) >= 0) {
        throw new WinnowError('STORE_UNAVAILABLE', `Expected the server to list keys in order, got ${JSON.stringify(key)} after ${JSON.stringify(last)}: its listings cannot number rows`);
      }
      last = key;
    }
    yield entries;
  }
}

/** The orders differ where U+E000 … U+FFFF meet characters beyond U+FFFF: keys that share what comes before are held and sorted. */
async function* inCodeUnitOrder(batches: Batches, from: number): Batches {
  let shared: string | null = null;
  let held: StoreEntry[] = [];
  for await (const entries of batches) {
    let ready: StoreEntry[] = [];
    for (const entry of entries) {
      if (shared !== null && !entry.key.startsWith(shared)) {
        ready = ready.concat(held.sort(byCodeUnits));
        held = [];
        shared = null;
      }
      const high: number = shared !== null ? 0 : entry.key.slice(from).search(HIGH);
      if (shared === null && high >= 0) shared = entry.key.slice(0, from + high);
      if (shared === null) ready.push(entry);
      else held.push(entry);
    }
    if (ready.length > 0) yield ready;
  }
  if (held.length > 0) yield held.sort(byCodeUnits);
}

const HIGH = /[\uE000-\uFFFF]/;

function byCodeUnits(a: StoreEntry, b: StoreEntry): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

/** Order of the UTF-8 bytes, which is that of the code points. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i += 1;
  if (i === length) return a.length - b.length;
  const x = a.charCodeAt(i);
  const y = b.charCodeAt(i);
  const isHigh = x >= 0xd800 && y >= 0xd800 && x < 0xe000 !== y < 0xe000;
  return isHigh ? y - x : x - y;
}
