/**
 * Evaluation sets against the pool: `evaluation/<name>/images` and `/embeddings`, then `contamination/`. Part of the dedup
 * stage, after `duplicates/`, whose groups it takes out whole.
 */
import type { LoadedRecipe, Recipe } from '../src/config.ts';
import { CONTAMINATION, type ContaminationManifest, EVALUATION, contaminationThreshold } from '../src/dedup/contamination.ts';
import { type EvaluationSet, decontaminate } from '../src/dedup/decontaminate.ts';
import type { DuplicatesManifest } from '../src/dedup/duplicates.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import type { ImagesManifest, NamedSource } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';
import { ingestImages } from './1-ingest.ts';
import { embedImages } from './2-embed.ts';
import { DEDUP_EMBEDDINGS } from './3-dedup.ts';

export interface DecontaminatePoolRequest {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** Tables of filters. */
  readonly verdicts: readonly StoredManifest[];
  readonly duplicates: StoredManifest<DuplicatesManifest> | null;
  /** Sources of each set, by its name. */
  readonly evaluations: ReadonlyMap<string, readonly NamedSource[]>;
}

/** Key prefixes of a recipe's evaluation sets, each with `images` and `embeddings` under it. */
export function evaluationPaths({ decontaminate: sets }: Pick<Recipe, 'decontaminate'>): string[] {
  return sets.map(({ name }) => `${EVALUATION}/${name}`);
}

/**
 * Compares the pool with every evaluation set of the recipe, by the embedding of `dedup.near.embed` where there is one.
 * Without sets the table of an earlier run goes.
 *
 * @returns null without sets
 * @throws {WinnowError} CONTAMINATED when a set of mode `fail` has a match; whatever listing and embedding throw
 */
export async function decontaminatePool(context: RunContext, { recipe, baseDirectory }: LoadedRecipe, { evaluations, ...pool }: DecontaminatePoolRequest): Promise<StoredManifest<ContaminationManifest> | null> {
  if (recipe.decontaminate.length === 0) {
    await context.store.remove(`${CONTAMINATION}/`);
    await context.store.remove(`work/${CONTAMINATION}/`);
    return null;
  }
  const near = recipe.dedup?.near;
  const own = near === undefined || near === false ? undefined : near.embed;
  const config = own ?? recipe.embed;
  const model = resolveModelReference(config.model, baseDirectory);
  const embeddings = own === undefined ? pool.embeddings : await embedImages(context, DEDUP_EMBEDDINGS, pool.images, own, model);
  const sets: EvaluationSet[] = [];
  for (const { name, threshold, mode } of recipe.decontaminate) {
    const images = await ingestImages(context, `${EVALUATION}/${name}/images`, evaluations.get(name)!);
    const vectors = await embedImages(context, `${EVALUATION}/${name}/embeddings`, images, config, model);
    sets.push({ name, mode, threshold: threshold ?? contaminationThreshold(own !== undefined, embeddings.manifest.encoder), images, embeddings: vectors });
  }
  return decontaminate(context, { ...pool, embeddings, sets });
}
