/** Stage 7, mix: selections and raw parts → `mixture/`, and `disjoint/` where parts leave images to earlier ones. */
import type { Recipe } from '../src/config.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { requirePool } from '../src/embed/survivors.ts';
import { WinnowError } from '../src/errors.ts';
import { mixParts, rawPart, selectionPart } from '../src/mix/mix.ts';
import { BALANCED_PART, DISJOINT, type MixtureManifest, type MixturePart, type OverlapCount } from '../src/mix/mixture.ts';
import { type OverlapPart, leaveToEarlier } from '../src/mix/overlap.ts';
import { type StoredManifest, requireManifest } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';

/** A part before it is mixed, with the manifest that names its rows. */
interface Candidate {
  readonly part: MixturePart;
  readonly stored: StoredManifest<SelectionManifest> | StoredManifest<EmbeddingsManifest>;
}

/**
 * Settles which parts make the dataset, in the order balanced, retrieved, raw, and how batches draw from them. A part
 * that no batch draws from is a warning, and is written all the same. `overlap` counts the images that several parts hold
 * and, as `first`, leaves each to the first of them.
 *
 * @throws {WinnowError} INPUT_MISSING without a part, TOO_FEW_ROWS when one is empty, CONFIG_INVALID
 */
export async function mix(context: RunContext, recipe: Pick<Recipe, 'retrieve' | 'raw' | 'mix'>): Promise<StoredManifest<MixtureManifest>> {
  const candidates: Candidate[] = [];
  for (const name of [BALANCED_PART, ...recipe.retrieve.map((seeds) => seeds.name)]) {
    const stored = await requireManifest<SelectionManifest>(context.store, `selections/${name}`, name === BALANCED_PART ? 'sample' : 'retrieve');
    candidates.push({ stored, part: selectionPart(stored.manifest) });
  }
  for (const { name } of recipe.raw) {
    const stored = await requireManifest<EmbeddingsManifest>(context.store, `raw/${name}/embeddings`, 'embed');
    candidates.push({ stored, part: rawPart(name, stored.manifest) });
  }
  const { overlap } = recipe.mix;
  if (overlap !== 'first') await context.store.remove(DISJOINT);
  const left = overlap === 'first' ? await separate(context, candidates) : [];
  const mixtureParts = candidates.map(({ part }) => leftOf(part, left.find(({ manifest }) => manifest.part === part.name)));
  return runStage<MixtureManifest>(context, {
    path: 'mixture',
    stage: 'mix',
    config: { ...recipe.mix, parts: mixtureParts.map(({ name }) => name) },
    inputs: [...candidates.map(({ stored }) => stored), ...left],
    seeded: false,
    make: async () => {
      context.progress.begin('mix', mixtureParts.length, 'parts');
      const counts = overlap === 'keep' ? await countOverlaps(context, candidates) : left.map(({ manifest }) => manifest.stats.overlap as OverlapCount);
      const { mixture, unused } = mixParts(mixtureParts, recipe.mix);
      for (const name of unused) context.log.warn({ stage: 'mix', part: name }, `mix: no batch draws from the part "${name}"; give it a ratio in mix.heterogeneous, or take it out of the recipe`);
      const rows = mixtureParts.reduce((sum, part) => sum + part.rows, 0);
      context.progress.advance(mixtureParts.length);
      context.progress.end(`${rows} rows in ${mixtureParts.length} part${mixtureParts.length === 1 ? '' : 's'}${overlap === 'first' ? `, ${counts.reduce((sum, one) => sum + one.rows, 0)} left to earlier parts` : ''}`);
      return { parts: [], stats: { rows, unused, ...(overlap !== undefined && { overlap: { policy: overlap, parts: counts } }) }, mixtureParts, mixture };
    },
  });
}

/** Every part but the first without what is in a part before it, as tables of their own. */
async function separate(context: RunContext, candidates: readonly Candidate[]): Promise<StoredManifest<SelectionManifest>[]> {
  const left: StoredManifest<SelectionManifest>[] = [];
  for (const [i, { part, stored }] of candidates.entries()) {
    if (i === 0) continue;
    const earlier = candidates.slice(0, i);
    const pool = await requirePool(context.store);
    const path = `${DISJOINT}${part.name}`;
    const made = await runStage<SelectionManifest>(context, {
      path,
      stage: 'mix',
      config: { part: part.name, overlap: 'first', earlier: earlier.map(({ part: { name } }) => name) },
      inputs: [...earlier.map((one) => one.stored), stored, pool],
      seeded: false,
      make: async () => {
        const { parts, selected, unique, ...overlap } = await leaveToEarlier(context.store, earlier.map((one) => withVectors(one, pool)), withVectors(candidates[i]!, pool), path, context.signal);
        // A raw part has this table too: rows of its own listing.
        return { parts, stats: { overlap }, part: part.name, kind: part.kind as SelectionManifest['kind'], requested: part.rows, selected, unique, shortfall: part.rows - selected };
      },
    });
    if (made.manifest.selected === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected images in the ${part.kind} part "${part.name}" that no part before it has, got none of ${part.rows}: take it out of the recipe, or set mix.overlap to keep`, { details: { part: part.name } });
    left.push(made);
  }
  return left;
}

async function countOverlaps({ store, signal }: RunContext, candidates: readonly Candidate[]): Promise<OverlapCount[]> {
  const counts: OverlapCount[] = [];
  const pool = await requirePool(store);
  const parts = candidates.map((one) => withVectors(one, pool));
  for (const [i, part] of parts.entries()) {
    if (i === 0) continue;
    const { parts: _parts, selected: _selected, unique: _unique, ...count } = await leaveToEarlier(store, parts.slice(0, i), part, null, signal);
    counts.push(count);
  }
  return counts;
}

function withVectors({ part, stored }: Candidate, pool: StoredManifest<EmbeddingsManifest>): OverlapPart {
  if (part.kind === 'raw') return { name: part.name, selection: null, embeddings: stored.manifest as EmbeddingsManifest };
  return { name: part.name, selection: stored.manifest as SelectionManifest, embeddings: pool.manifest };
}

function leftOf(part: MixturePart, left: StoredManifest<SelectionManifest> | undefined): MixturePart {
  return left === undefined ? part : { ...part, rows: left.manifest.selected, uniqueImages: left.manifest.unique, from: left.path };
}
