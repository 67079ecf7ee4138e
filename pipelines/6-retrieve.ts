/** Stage 6, retrieve: seed images → `selections/<name>/`. */
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { requirePool } from '../src/embed/survivors.ts';
import type { RetrieveConfig } from '../src/retrieve/config.ts';
import { mergePairs } from '../src/retrieve/merge.ts';
import { planSearches, searchEngine, searchTask } from '../src/retrieve/retrieve.ts';
import { type StoredManifest, requireManifest, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';

/**
 * Retrieves the k nearest pool images of each image of one seed dataset, whose vectors lie at `seeds/<name>/embeddings`.
 * Rejected seed images ask for nothing and are counted; a pool of fewer than k images is a shortfall.
 *
 * @throws {WinnowError} INPUT_MISSING without either table of vectors, DIMENSION_MISMATCH, TOO_FEW_ROWS
 */
export async function retrieve(context: RunContext, { name, k, engine: wanted = 'onnxruntime' }: Pick<RetrieveConfig, 'name' | 'k'> & Partial<Pick<RetrieveConfig, 'engine'>>): Promise<StoredManifest<SelectionManifest>> {
  const pool = await requirePool(context.store);
  const seeds = await requireManifest<EmbeddingsManifest>(context.store, `seeds/${name}/embeddings`, 'embed');
  const path = `selections/${name}`;
  const { provenance: engine } = await searchEngine(context, wanted);
  const searches = planSearches(pool, seeds, { path, k, engine });
  const seedRows = rowCountOf(seeds.manifest.parts);
  return runStage<SelectionManifest>(context, {
    path,
    stage: 'retrieve',
    // Products may differ in the last bit between providers and instruction sets, so another engine makes another table.
    config: { name, k, engine },
    inputs: [seeds, pool],
    seeded: false,
    make: async () => {
      context.progress.begin(`retrieve ${name}`, seedRows * rowCountOf(pool.manifest.parts), 'comparisons');
      const found = await context.executor.map(searchTask, searches, path);
      const { stats, ...result } = await mergePairs(context.store, found, { path, k, signal: context.signal });
      const { requested, selected, unique, shortfall } = result;
      if (shortfall > 0) context.log.warn({ stage: 'retrieve', name, requested, selected, shortfall }, `retrieve ${name}: ${k} images wanted around each seed image, the pool has fewer; short by ${shortfall}`);
      context.progress.end(`${selected} images retrieved for ${seedRows} seed images, ${unique} different`);
      return { ...result, stats: { seeds: seedRows, ...stats }, part: name, kind: 'retrieved' };
    },
  });
}
