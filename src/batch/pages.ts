/**
 * Small reads of a store's files through a bounded cache of pages: rows of a large dataset are read by range, and those of
 * a small one soon lie in memory whole. Least recently used pages go first.
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

/** @param sizeBytesMax bytes kept, beside those of the fetches under way */
export function createPages(store: Store, limiter: Limiter, sizeBytesMax: number, pageBytes = 16_384): Pages {
  const kept = new Map<string, Promise<Uint8Array>>();
  const pagesMax = Math.max(1, Math.floor(sizeBytesMax / pageBytes));
  const load = (name: string, { key, sizeBytes }: FileSpan, page: number): Promise<Uint8Array> => {
    const offset = page * pageBytes;
    const loading = limiter(() => store.read(key, { offset, length: Math.min(pageBytes, sizeBytes - offset) }));
    loading.catch(() => kept.delete(name));
    return loading;
  };
  const pageOf = (span: FileSpan, page: number): Promise<Uint8Array> => {
    const name = `${page} ${span.key}`;
    const known = kept.get(name);
    const bytes = known ?? load(name, span, page);
    if (known !== undefined) kept.delete(name);
    kept.set(name, bytes);
    if (kept.size > pagesMax) kept.delete(kept.keys().next().value!);
    return bytes;
  };
  return {
    fetch: async (spans) => {
      const pages = new Map<string, Promise<Uint8Array>>();
      const names = spans.map((span) => {
        const own: string[] = [];
        for (let page = Math.floor(span.offset / pageBytes); page * pageBytes < span.offset + span.length; page++) {
          const name = `${page} ${span.key}`;
          if (!pages.has(name)) pages.set(name, pageOf(span, page));
          own.push(name);
        }
        return own;
      });
      const loaded = new Map<string, Uint8Array>();
      await Promise.all(Array.from(pages, async ([name, page]) => loaded.set(name, await page)));
      return spans.map(({ offset, length }, i) => cut(names[i]!.map((name) => loaded.get(name)!), offset % pageBytes, length));
    },
  };
}

function cut(pages: readonly Uint8Array[], from: number, length: number): Uint8Array {
  if (length === 0) return new Uint8Array(0);
  if (pages.length === 1) return pages[0]!.subarray(from, from + length);
  return Buffer.concat(pages).subarray(from, from + length);
}
