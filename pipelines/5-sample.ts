/** Stage 5, sample: cluster tree → `selections/balanced/`. */
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { Recipe } from '../src/config.ts';
import { BALANCED_PART } from '../src/mix/mixture.ts';
import { type StoredManifest, requireManifest, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import { sampleTask } from '../src/sample/sample.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';

/**
 * Draws the balanced part from the cluster tree. A pool that gives less than the target is a warning and a number in
 * the manifest, unless the recipe is strict.
 *
 * @throws {WinnowError} INPUT_MISSING without `clusters/`, OVERRIDES_STALE when the recipe's overrides are of another tree, TARGET_UNREACHABLE when strict, TOO_FEW_ROWS
 */
export async function sample(context: RunContext, recipe: Pick<Recipe, 'sample'> & Partial<Pick<Recipe, 'overrides'>>): Promise<StoredManifest<SelectionManifest>> {
  const clusters = await requireManifest<ClustersManifest>(context.store, 'clusters', 'cluster');
  const path = `selections/${BALANCED_PART}`;
  const overrides = recipe.overrides === undefined ? {} : { overrides: recipe.overrides };
  return runStage<SelectionManifest>(context, {
    path,
    stage: 'sample',
    config: { ...recipe.sample, ...overrides },
    inputs: [clusters],
    make: async () => {
      context.progress.begin('sample', rowCountOf(clusters.manifest.parts), 'images');
      const [result] = await context.executor.map(sampleTask, [{ clusters: clusters.sha256, path, config: recipe.sample, ...overrides, seed: context.seed }], path);
      const { requested, selected, unique, shortfall } = result!;
      if (shortfall > 0) {
        context.log.warn({ stage: 'sample', requested, selected, shortfall }, `sample: ${requested} images wanted, the pool gives ${selected}, short by ${shortfall}; lower sample.target or raise sample.multiplier`);
      }
      context.progress.end(`${selected} of ${requested} images selected, ${unique} different`);
      return { ...result!, part: BALANCED_PART, kind: 'balanced' };
    },
  });
}
