/** Source → `images/`: the list of what there is. Reads no image bytes. */
import { ingest } from '../src/ingest/ingest.ts';
import type { ImagesManifest, NamedSource } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';

/** @param path `images` for the pool, `seeds/<name>/images` and `raw/<name>/images` for the others */
export function ingestImages(context: RunContext, path: string, sources: readonly NamedSource[]): Promise<StoredManifest<ImagesManifest>> {
  return ingest(context, { path, sources });
}
