/**
 * Small reads of a store's files through a bounded cache of pages: rows of a large dataset are read by range, and those of
 * a small one soon lie in memory whole. Pages go that were used least lately, about (CLOCK). Pages that are fetched together
 * and lie together are one read.
 */
import type { Span } from '../arrow/layout.ts';
import type { Store } from '../store/store.ts';
import type { Limiter } from './limiter.ts';

export interface FileSpan extends Span {
  readonly key: string;
  /** Bytes of the file. */
  readonly sizeBytes: number;
}

export interface Pages {
  /** @returns the bytes of each span, in order; views that must not be written to */
  fetch(spans: readonly FileSpan[]): Promise<Uint8Array[]>;
}

interface Page {
  readonly file: Map<number, Page>;
  readonly key: string;
  /** Bytes of the file. */
  readonly sizeBytes: number;
  readonly number: number;
  /** Null until they have come. */
  bytes: Uint8Array | null;
  loading: Promise<void>;
  isUsed: boolean;
}

export interface PagesOptions {
  /** Default: 16,384. */
  readonly pageBytes?: number;
  /** Pages between two that are read with them, unused, to save a read: where a read costs more than its bytes. Default: 0. */
  readonly gapPages?: number;
}

/** Pages of one read at most, so that other reads get their turn. */
const RUN_PAGES_MAX = 16;

/** @param sizeBytesMax bytes kept, beside those of the fetches under way */
export function createPages(store: Store, limiter: Limiter, sizeBytesMax: number, { pageBytes = 16_384, gapPages = 0 }: PagesOptions = {}): Pages {
  const read = (key: string, offset: number, length: number): Promise<Uint8Array> => limiter(() => store.read(key, { offset, length }));
  const { pageOf, load, makeRoom } = createPageCache(read, Math.max(1, Math.floor(sizeBytesMax / pageBytes)), pageBytes);
  return {
    fetch: async (spans) => {
      const pages: Page[] = [];
      const fresh: Page[] = [];
      const counts = new Uint32Array(spans.length);
      spans.forEach((span, i) => {
        if (span.length === 0) return;
        const first = Math.floor(span.offset / pageBytes);
        counts[i] = Math.ceil((span.offset + span.length) / pageBytes) - first;
        for (let k = 0; k < counts[i]!; k++) pages.push(pageOf(span, first + k, fresh));
      });
      for (const run of cutRuns(fresh, gapPages)) load(run);
      makeRoom();
      const missing = pages.filter(({ bytes }) => bytes === null);
      if (missing.length > 0) await Promise.all(missing.map(({ loading }) => loading));
      let next = 0;
      return spans.map(({ offset, length }, i) => cut(pages, next, (next += counts[i]!), offset % pageBytes, length));
    },
  };
}

/** Pages of a file in ascending order, no two neighbours further apart than told. */
function cutRuns(pages: readonly Page[], gapPages: number): Page[][] {
  const runs: Page[][] = [];
  const files = new Map<Page['file'], Page[]>();
  for (const page of pages) {
    const own = files.get(page.file);
    if (own === undefined) files.set(page.file, [page]);
    else own.push(page);
  }
  for (const own of files.values()) {
    own.sort((a, b) => a.number - b.number);
    let run: Page[] = [];
    for (const page of own) {
      const isNear = run.length > 0 && page.number - run.at(-1)!.number <= gapPages + 1 && page.number - run[0]!.number < RUN_PAGES_MAX;
      if (isNear) run.push(page);
      else runs.push((run = [page]));
    }
  }
  return runs;
}

interface PageCache {
  /** A page of the span's file; one that is not kept is put into `fresh`, to be loaded. */
  pageOf(span: FileSpan, number: number, fresh: Page[]): Page;
  /** Reads pages of one file, ascending, in one go. */
  load(run: readonly Page[]): void;
  /** Drops what is too many. */
  makeRoom(): void;
}

function createPageCache(read: (key: string, offset: number, length: number) => Promise<Uint8Array>, pagesMax: number, pageBytes: number): PageCache {
  const files = new Map<string, Map<number, Page>>();
  const kept = new Set<Page>();
  const drop = (page: Page): void => {
    kept.delete(page);
    if (page.file.get(page.number) === page) page.file.delete(page.number);
    if (page.file.size === 0 && files.get(page.key) === page.file) files.delete(page.key);
  };
  const loadRun = async (run: readonly Page[]): Promise<void> => {
    const { key, number: first, sizeBytes } = run[0]!;
    const start = first * pageBytes;
    try {
      const bytes = await read(key, start, Math.min((run.at(-1)!.number + 1) * pageBytes, sizeBytes) - start);
      // A page has memory of its own, so that one that stays does not keep the others'.
      for (const page of run) page.bytes = run.length === 1 ? bytes : bytes.slice((page.number - first) * pageBytes, (page.number - first + 1) * pageBytes);
    } catch (error) {
      run.forEach(drop);
      throw error;
    }
  };
  return {
    load: (run) => {
      const loading = loadRun(run);
      for (const page of run) page.loading = loading;
    },
    pageOf: (span, number, fresh) => {
      let file = files.get(span.key);
      if (file === undefined) files.set(span.key, (file = new Map()));
      const known = file.get(number);
      if (known !== undefined) {
        known.isUsed = true;
        return known;
      }
      const page: Page = { file, key: span.key, sizeBytes: span.sizeBytes, number, bytes: null, loading: Promise.resolve(), isUsed: false };
      file.set(number, page);
      kept.add(page);
      fresh.push(page);
      return page;
    },
    makeRoom: () => {
      // Round and round: a page that was used since the last time stays once more.
      for (const page of kept) {
        if (kept.size <= pagesMax) return;
        if (page.isUsed) {
          page.isUsed = false;
          kept.delete(page);
          kept.add(page);
        } else drop(page);
      }
    },
  };
}

/** @param from first of the pages that the bytes lie in, up to `end` − 1 */
function cut(pages: readonly Page[], from: number, end: number, offset: number, length: number): Uint8Array {
  if (length === 0) return NOTHING;
  if (end - from > 1) return Buffer.concat(pages.slice(from, end).map(({ bytes }) => bytes!)).subarray(offset, offset + length);
  const { buffer, byteOffset } = pages[from]!.bytes!;
  return new Uint8Array(buffer, byteOffset + offset, length);
}

const NOTHING = new Uint8Array(0);
