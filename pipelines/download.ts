/** URL lists → `downloads/`: the bytes that the web has now, kept for all later runs. Does nothing for sources that lie somewhere already. */
import type { DownloadsManifest } from '../src/download/downloads.ts';
import { download } from '../src/download/download.ts';
import type { NamedSource } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';

/** @param sources of the pool, the seed sets and the raw parts; one that stands in two places is downloaded once */
export async function downloadSources(context: RunContext, sources: readonly NamedSource[]): Promise<StoredManifest<DownloadsManifest>[]> {
  const done: StoredManifest<DownloadsManifest>[] = [];
  for (const source of urlSources(sources)) done.push(await download(context, source));
  return done;
}

/** Sources of URLs, each name once. */
export function urlSources(sources: readonly NamedSource[]): NamedSource[] {
  return [...new Map(sources.filter(({ kind }) => kind === 'urls').map((source) => [source.name, source])).values()];
}
