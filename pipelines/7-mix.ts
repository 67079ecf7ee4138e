/** Stage 7, mix: selections and raw parts → `mixture/`. */
import type { Recipe } from '../src/config.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { mixParts, rawPart, selectionPart } from '../src/mix/mix.ts';
import { BALANCED_PART, type MixtureManifest, type MixturePart } from '../src/mix/mixture.ts';
import { type StoredManifest, requireManifest } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';

/**
 * Settles which parts make the dataset, in the order balanced, retrieved, raw, and how batches draw from them. A part
 * that no batch draws from is a warning, and is written all the same.
 *
 * @throws {WinnowError} INPUT_MISSING without a part, TOO_FEW_ROWS when one is empty, CONFIG_INVALID
 */
export async function mix(context: RunContext, recipe: Pick<Recipe, 'retrieve' | 'raw' | 'mix'>): Promise<StoredManifest<MixtureManifest>> {
  const inputs: StoredManifest[] = [];
  const mixtureParts: MixturePart[] = [];
  for (const name of [BALANCED_PART, ...recipe.retrieve.map((seeds) => seeds.name)]) {
    const selection = await requireManifest<SelectionManifest>(context.store, `selections/${name}`, name === BALANCED_PART ? 'sample' : 'retrieve');
    inputs.push(selection);
    mixtureParts.push(selectionPart(selection.manifest));
  }
  for (const { name } of recipe.raw) {
    const embeddings = await requireManifest<EmbeddingsManifest>(context.store, `raw/${name}/embeddings`, 'embed');
    inputs.push(embeddings);
    mixtureParts.push(rawPart(name, embeddings.manifest));
  }
  return runStage<MixtureManifest>(context, {
    path: 'mixture',
    stage: 'mix',
    config: { ...recipe.mix, parts: mixtureParts.map(({ name }) => name) },
    inputs,
    seeded: false,
    make: async () => {
      context.progress.begin('mix', mixtureParts.length, 'parts');
      const { mixture, unused } = mixParts(mixtureParts, recipe.mix);
      for (const name of unused) context.log.warn({ stage: 'mix', part: name }, `mix: no batch draws from the part "${name}"; give it a ratio in mix.heterogeneous, or take it out of the recipe`);
      const rows = mixtureParts.reduce((sum, part) => sum + part.rows, 0);
      context.progress.end(`${rows} rows in ${mixtureParts.length} part${mixtureParts.length === 1 ? '' : 's'}`);
      return { parts: [], stats: { rows, unused }, mixtureParts, mixture };
    },
  });
}
