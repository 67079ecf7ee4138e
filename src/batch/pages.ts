/**
 * Small reads of a store's files through a bounded cache of pages: rows of a large dataset are read by range, and those of
 * a small one soon lie in memory whole. Pages go that were used least lately, about (CLOCK).
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
  readonly number: number;
  /** Null until they have come. */
  bytes: Uint8Array | null;
  loading: Promise<void>;
  isUsed: boolean;
}

/** @param sizeBytesMax bytes kept, beside those of the fetches under way */
export function createPages(store: Store, limiter: Limiter, sizeBytesMax: number, pageBytes = 16_384): Pages {
  const { pageOf, makeRoom } = createPageCache((key, offset, length) => limiter(() => store.read(key, { offset, length })), Math.max(1, Math.floor(sizeBytesMax / pageBytes)), pageBytes);
  return {
    fetch: async (spans) => {
      const pages: Page[] = [];
      const counts = new Uint32Array(spans.length);
      spans.forEach((span, i) => {
        if (span.length === 0) return;
        const first = Math.floor(span.offset / pageBytes);
        counts[i] = Math.ceil((span.offset + span.length) / pageBytes) - first;
        for (let k = 0; k < counts[i]!; k++) pages.push(pageOf(span, first + k));
      });
      makeRoom();
      const missing = pages.filter(({ bytes }) => bytes === null);
      if (missing.length > 0) await Promise.all(missing.map(({ loading }) => loading));
      let next = 0;
      return spans.map(({ offset, length }, i) => cut(pages, next, (next += counts[i]!), offset % pageBytes, length));
    },
  };
}

interface PageCache {
  /** A page of the span's file, which is read unless it is kept. */
  pageOf(span: FileSpan, number: number): Page;
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
  const load = async (page: Page, sizeBytes: number): Promise<void> => {
    const offset = page.number * pageBytes;
    try {
      page.bytes = await read(page.key, offset, Math.min(pageBytes, sizeBytes - offset));
    } catch (error) {
      drop(page);
      throw error;
    }
  };
  return {
    pageOf: (span, number) => {
      let file = files.get(span.key);
      if (file === undefined) files.set(span.key, (file = new Map()));
      const known = file.get(number);
      if (known !== undefined) {
        known.isUsed = true;
        return known;
      }
      const page: Page = { file, key: span.key, number, bytes: null, loading: Promise.resolve(), isUsed: false };
      file.set(number, page);
      kept.add(page);
      page.loading = load(page, span.sizeBytes);
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
