/** A store made by a small run of drawn pictures, and its pages, for tests. */
import { join } from 'node:path';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { type AtlasFlags, type PageOptions, serveAtlas, serveLive } from '../../src/cli/pages.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { drawSmallRun } from '../helpers/small-run.ts';

/** A top level that is large enough for a map; of larger corpora some raw images are odd files. */
export const MADE = { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [60, 30, 20, 14, 10], resampling: { rounds: 1, sampleSize: 2 } } };

/** Draws and curates `images` pictures under `folder`. */
export async function makeStore(folder: string, images: number): Promise<{ store: string; recipePath: string }> {
  const { recipePath } = await drawSmallRun(folder, images, MADE);
  const store = join(folder, 'store');
  await run({ loaded: await loadRecipe(recipePath), store, until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal });
  return { store, recipePath };
}

/** Serves the atlas of a store at a free port. */
export function serveSite(store: string, flags: Partial<AtlasFlags> = {}): Promise<Served> {
  return start((options) => serveAtlas(store, { host: '127.0.0.1', port: 0, source: [], cacheMb: 16, ...flags }, options));
}

/** Serves the live page of a store, at a free port where none is given. */
export function serveLiveSite(store: string, port = 0): Promise<Served> {
  return start((options) => serveLive(store, { host: '127.0.0.1', port, source: [] }, [], options));
}

export interface Served {
  readonly url: string;
  /** Stops the server and waits for its end. */
  close(): Promise<void>;
}

async function start(serve: (options: PageOptions) => Promise<void>): Promise<Served> {
  const stop = new AbortController();
  let ended: Promise<void> = Promise.resolve();
  const url = await new Promise<string>((resolve, reject) => {
    ended = serve({ log: SILENT, signal: stop.signal, onReady: resolve });
    ended.catch(reject);
  });
  return {
    url,
    close: async () => {
      stop.abort();
      await ended;
    },
  };
}
