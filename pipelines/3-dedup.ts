/** `embeddings/` → `duplicates/`: copies of the same bytes, and near-duplicates where the recipe asks for them. */
import type { DedupConfig } from '../src/dedup/config.ts';
import { type DedupRequest, dedup } from '../src/dedup/dedup.ts';
import type { DuplicatesManifest } from '../src/dedup/duplicates.ts';
import { HASH_PAIRS, findPerceptual } from '../src/dedup/find-perceptual.ts';
import { HASHES } from '../src/dedup/hash-images.ts';
import type { EmbedConfig } from '../src/embed/config.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';
import { embedImages } from './2-embed.ts';

/** Where the vectors of an embedding made for finding copies lie. */
export const DEDUP_EMBEDDINGS = 'dedup/embeddings';

export interface FindDuplicatesOptions {
  /** Tables of steps before this one, whose rows are out already. */
  readonly verdicts?: readonly StoredManifest[];
  /** More pairs of rows that show the same picture. */
  readonly pairs?: DedupRequest['pairs'];
  /** Folder that a relative path of `near.embed.model` starts from. */
  readonly baseDirectory?: string;
}

/**
 * Finds the groups of images that show the same picture and says which one of each stays. With `near.embed` the images are
 * read once more, for vectors of their own.
 *
 * @throws {WinnowError} CHECKSUM_MISMATCH, DIMENSION_MISMATCH; with `near.embed` whatever the embed stage throws
 */
export async function findDuplicates(
  context: RunContext,
  images: StoredManifest<ImagesManifest>,
  embeddings: StoredManifest<EmbeddingsManifest>,
  config: DedupConfig,
  { verdicts = [], pairs, baseDirectory = '.' }: FindDuplicatesOptions = {},
): Promise<StoredManifest<DuplicatesManifest>> {
  const own = config.near === false ? undefined : config.near.embed;
  const vectors = own === undefined ? embeddings : await embedImages(context, DEDUP_EMBEDDINGS, images, own, resolveModelReference(own.model, baseDirectory));
  const more = await perceptualPairs(context, { images, embeddings, verdicts }, config);
  const all = { tables: [...(pairs?.tables ?? []), ...more.flatMap(({ manifest }) => manifest.parts)], inputs: [...(pairs?.inputs ?? []), ...more] };
  return dedup(context, { images, embeddings, verdicts, vectors: config.near === false ? null : vectors, config, pairs: all });
}

/** Pairs by perceptual hash, or nothing where the recipe does not ask; tables of an earlier run go then. */
async function perceptualPairs(context: RunContext, pool: Pick<DedupRequest, 'images' | 'embeddings' | 'verdicts'>, { perceptual }: DedupConfig): Promise<StoredManifest[]> {
  if (perceptual === false) {
    for (const path of [HASHES, HASH_PAIRS]) for (const key of [`${path}/`, `work/${path}/`]) await context.store.remove(key);
    return [];
  }
  const { limits } = pool.embeddings.manifest.config as Pick<EmbedConfig, 'limits'>;
  return [(await findPerceptual(context, { ...pool, config: perceptual, limits })).pairs];
}
