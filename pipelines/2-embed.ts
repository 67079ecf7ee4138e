/** `images/` → `embeddings/`: each image's bytes are read once, hashed, checked, decoded and turned into a vector. */
import { embed } from '../src/embed/embed.ts';
import { openEncoder } from '../src/embed/task.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import type { EmbedConfig } from '../src/embed/config.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';

/** @param path `embeddings` for the pool, `seeds/<name>/embeddings` for seed sets */
export async function embedImages(context: RunContext, path: string, images: StoredManifest<ImagesManifest>, config: EmbedConfig, model: string): Promise<StoredManifest<EmbeddingsManifest>> {
  return embed(context, { path, images, config, model: { reference: model, encoder: await openEncoder(model, config, context) } });
}

/** The images of a raw part are read, hashed and checked by decoding; they get no vectors. */
export function checkImages(context: RunContext, path: string, images: StoredManifest<ImagesManifest>, config: EmbedConfig): Promise<StoredManifest<EmbeddingsManifest>> {
  return embed(context, { path, images, config, model: null });
}
