/** `winnow serve`: the live page, the feed, or both in one server. */
import { isLoopback } from '../web/access.ts';
import { type ServeFlags, feedPlugin, serveBatches } from './batches.ts';
import { type PageFlags, type PageOptions, serveLive } from './pages.ts';

/**
 * Serves until the signal is aborted. Off loopback without a token there are no pages: the feed alone is served, as it is to
 * ranks that have none.
 *
 * @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING
 */
export async function serveStore(store: string, flags: ServeFlags & PageFlags & { readonly batches?: boolean }, options: PageOptions): Promise<void> {
  if (flags.batches !== true) return serveLive(store, flags, [], options);
  const hasToken = (flags.token ?? process.env['WINNOW_TOKEN']) !== undefined;
  if (!isLoopback(flags.host) && !hasToken) return serveBatches(store, flags, options.log, options.signal, options.onReady);
  const { plugin, close } = await feedPlugin(store, flags, options.log);
  try {
    await serveLive(store, flags, [plugin], options);
  } finally {
    await close();
  }
}
