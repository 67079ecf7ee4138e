/** Routes of the live page, its events and the pictures on it. */
import type { DecodeLimits } from '../embed/embedding.ts';
import { createLimiter } from '../batch/limiter.ts';
import { createPages } from '../batch/pages.ts';
import { WinnowError } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { ByteReader, ImagesManifest } from '../ingest/image.ts';
import { readManifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { createLiveFeed } from './live-feed.ts';
import { LIVE_PATH, livePage, renderPieces } from './live-page.ts';
import type { LiveReader } from './live-state.ts';
import { NO_PICTURE } from './no-picture.ts';
import type { Route, Section } from './route.ts';
import { type TableRows, openTable } from './table-rows.ts';
import { type Thumbnails, createThumbnails } from './thumbnails.ts';

export interface LiveSite {
  readonly store: Store;
  readonly reader: LiveReader;
  /** Where each source lies; asked anew when the listing changes, as a first run tells it only while it runs. */
  locations(): Promise<Readonly<Record<string, string>>>;
  readonly limits: DecodeLimits;
  /** Where a queue's dashboard is mounted; null: nowhere. */
  readonly queuesPath: string | null;
  /** Of the whole site, for the navigation. */
  readonly sections: readonly Pick<Section, 'title' | 'path'>[];
  /** Milliseconds from one look at the store to the next. */
  readonly everyMs: number;
}

/** Every route below `/live`. */
export function liveRoutes(site: LiveSite): { routes: Route[]; close(): Promise<void> } {
  const pictures = createPictures(site);
  const options = { queuesPath: site.queuesPath, nameOf: async (row: number) => (await pictures.open())?.images.text('uri', row).catch(() => null) ?? null };
  const feed = createLiveFeed({ render: async () => renderPieces(await site.reader.read(), options, Date.now()), everyMs: site.everyMs, epoch: `${Date.now().toString(36)}-${process.pid}` });
  const routes: Route[] = [
    {
      method: 'GET',
      path: LIVE_PATH,
      handle: async () => {
        const { id, pieces } = await feed.now();
        return { html: livePage(pieces, id, site.sections) };
      },
    },
    // A browser that connects again says what it saw in a header; a page that has just been made, in the query.
    { method: 'GET', path: `${LIVE_PATH}/events`, handle: ({ headers, query, signal }) => ({ events: feed.follow(String(headers['last-event-id'] ?? query['last'] ?? ''), signal) }) },
    {
      method: 'GET',
      path: `${LIVE_PATH}/thumb/:row`,
      handle: async ({ params }) => {
        const opened = await pictures.open();
        const row = /^\d{1,12}$/.test(params['row'] ?? '') ? Number(params['row']) : -1;
        if (opened === null || row < 0 || row >= opened.images.rowCount) throw new WinnowError('INPUT_MISSING', 'Expected a row of the listing');
        const thumbnail = await opened.thumbnails.read(row, 96);
        return thumbnail.status === 'ok' ? { type: 'image/webp', bytes: thumbnail.webp } : { type: 'image/svg+xml', bytes: NO_PICTURE };
      },
    },
  ];
  return { routes, close: pictures.close };
}

interface Opened {
  readonly sha256: string;
  readonly images: TableRows;
  readonly thumbnails: Thumbnails;
  readonly reader: ByteReader;
}

const CACHE_BYTES = 2 ** 23;

/** The listing as it is by now; null before there is one. */
function createPictures({ store, locations, limits }: LiveSite): { open(): Promise<Opened | null>; close(): Promise<void> } {
  let opened: Opened | null = null;
  return {
    open: async () => {
      const found = await readManifest<ImagesManifest>(store, 'images').catch(() => null);
      if (found === null || found.sha256 === opened?.sha256) return found === null ? null : opened;
      await opened?.reader.close();
      const images = openTable(store, found.manifest.parts, createPages(store, createLimiter(4), CACHE_BYTES));
      const reader = openByteReader(await locations());
      opened = { sha256: found.sha256, images, reader, thumbnails: createThumbnails({ images, reader, limits, cacheBytes: CACHE_BYTES, atOnce: 2 }) };
      return opened;
    },
    close: async () => {
      await opened?.reader.close();
    },
  };
}
