/**
 * What takes images out of the pool, in order: `filters/`, then `duplicates/` and `contamination/`. Every step judges the whole
 * pool; of several reasons the first wins.
 */
import type { LoadedRecipe } from '../src/config.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import type { Verdicts } from '../src/embed/survivors.ts';
import type { ImagesManifest, NamedSource } from '../src/ingest/image.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';
import { findDuplicates } from './3-dedup.ts';
import { filterImages } from './3-filter.ts';
import { decontaminatePool } from './decontaminate.ts';

export interface VerdictsRequest {
  /** Parts may lie elsewhere than they will; the hashes are those of what will be. */
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** Sources of each evaluation set, by its name. */
  readonly evaluations: ReadonlyMap<string, readonly NamedSource[]>;
}

/**
 * Runs the steps that the recipe asks for; tables of those that it does not ask for go.
 *
 * @param until the last stage to run
 */
export async function findVerdicts(context: RunContext, loaded: LoadedRecipe, { images, embeddings, evaluations }: VerdictsRequest, until: 'filter' | 'dedup' = 'dedup'): Promise<Verdicts[]> {
  const { recipe, baseDirectory } = loaded;
  const filters = await filterImages(context, { images, embeddings, filters: recipe.filters, folder: baseDirectory, limits: recipe.embed.limits });
  const filtered: Verdicts[] = filters === null ? [] : [filters];
  if (until === 'filter') return filtered;
  const duplicates = recipe.dedup === undefined ? null : await findDuplicates(context, images, embeddings, recipe.dedup, { verdicts: filtered, baseDirectory });
  if (duplicates === null) await context.store.remove('duplicates/');
  const contamination = await decontaminatePool(context, loaded, { images, embeddings, verdicts: filtered, duplicates, evaluations });
  return [...filtered, ...(duplicates === null ? [] : [duplicates]), ...(contamination === null ? [] : [contamination])];
}
