/**
 * The whole road, in order: ingest, embed, cluster, sample, retrieve, mix, shard. Each step is kept when its manifest
 * says that it was made from the same input with the same settings, so a run that stopped goes on where it was.
 */
import type { LoadedRecipe, Recipe } from '../src/config.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import { SURVIVORS, findSurvivors } from '../src/embed/survivors.ts';
import { WinnowError } from '../src/errors.ts';
import type { ImagesManifest, NamedSource, SourceConfig } from '../src/ingest/image.ts';
import { resolveSources } from '../src/ingest/ingest.ts';
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { DISJOINT } from '../src/mix/mixture.ts';
import type { Manifest, StoredManifest } from '../src/run/manifest.ts';
import { discardStaged, finishPublication } from '../src/run/publish.ts';
import type { RunContext } from '../src/run/stage.ts';
import { DOWNLOADS } from '../src/download/downloads.ts';
import { ingestImages } from './1-ingest.ts';
import { checkImages, embedImages } from './2-embed.ts';
import { DEDUP_EMBEDDINGS } from './3-dedup.ts';
import { clusterImages } from './4-cluster.ts';
import { sample } from './5-sample.ts';
import { retrieve } from './6-retrieve.ts';
import { RETRIEVAL_CLUSTERS } from './retrieve-clusters.ts';
import { mix } from './7-mix.ts';
import { shard } from './8-shard.ts';
import { downloadSources } from './download.ts';
import { evaluationPaths } from './decontaminate.ts';
import { findVerdicts } from './verdicts.ts';

/** Stages in the order they run; one word each, as in `src/`, `test/` and the command line. */
export const STAGES = ['download', 'ingest', 'embed', 'filter', 'dedup', 'cluster', 'sample', 'retrieve', 'mix', 'shard'] as const;
export type StageName = (typeof STAGES)[number];

/** Key prefixes that a stage owns, for `--force`; one that ends in `/` holds several manifests. Seed sets and raw parts are made again with their stage. */
export function pathsOf(stage: StageName, recipe: Recipe): string[] {
  const seeds = recipe.retrieve.map(({ name }) => name);
  const raws = recipe.raw.map(({ name }) => name);
  switch (stage) {
    case 'download':
      return [`${DOWNLOADS}/`];
    case 'ingest':
      return ['', ...seeds.map((name) => `seeds/${name}/`), ...raws.map((name) => `raw/${name}/`), ...evaluationPaths(recipe).map((path) => `${path}/`)].flatMap((set) => [`${set}images`, `${set}tiles/`]);
    case 'embed':
      return ['embeddings', ...seeds.map((name) => `seeds/${name}/embeddings`), ...raws.map((name) => `raw/${name}/embeddings`), ...evaluationPaths(recipe).map((path) => `${path}/embeddings`)];
    case 'filter':
      return ['filters'];
    case 'dedup':
      return ['hashes', 'hash-pairs', 'duplicates', DEDUP_EMBEDDINGS, 'contamination', SURVIVORS];
    case 'cluster':
      return ['clusters'];
    case 'sample':
      return ['selections/balanced'];
    case 'retrieve':
      return [...seeds.map((name) => `selections/${name}`), ...recipe.retrieve.flatMap(({ name, prompts }) => (prompts === undefined ? [] : [`seeds/${name}/embeddings`])), RETRIEVAL_CLUSTERS];
    case 'mix':
      return ['mixture', DISJOINT];
    case 'shard':
      return ['dataset'];
  }
}

/**
 * Every source of a recipe.
 *
 * @param store as the user names it; where it is left out, `locations` do not say where downloads lie
 * @throws {WinnowError} CONFIG_INVALID when one name stands for two places
 */
export function sourcesOf({ recipe, baseDirectory }: LoadedRecipe, store?: string): { pool: NamedSource[]; seeds: Map<string, NamedSource[]>; raws: Map<string, NamedSource[]>; evaluations: Map<string, NamedSource[]>; locations: Record<string, string> } {
  const named = (configs: readonly SourceConfig[]): NamedSource[] => resolveSources(configs, baseDirectory, recipe.s3, store);
  const pool = named(recipe.pool);
  // Prompts have no images: their vectors are made where they are asked with.
  const seeds = new Map(recipe.retrieve.filter(({ prompts }) => prompts === undefined).map(({ name, sources }) => [name, named(sources)]));
  const raws = new Map(recipe.raw.map(({ name, sources }) => [name, named(sources)]));
  const evaluations = new Map(recipe.decontaminate.map(({ name, sources }) => [name, named(sources)]));
  const locations: Record<string, string> = {};
  for (const { name, location } of [pool, ...seeds.values(), ...raws.values(), ...evaluations.values()].flat()) {
    const known = locations[name];
    if (known !== undefined && known !== location) {
      throw new WinnowError('CONFIG_INVALID', `Two sources are named "${name}": ${known} and ${location}; give one of them another \`name\``);
    }
    locations[name] = location;
  }
  return { pool, seeds, raws, evaluations, locations };
}

/** Where an append keeps what is not yet part of the store. */
export const APPEND_STAGING = 'append/';

/** Where it keeps the vectors that copies are found by, where those have a model of their own. */
export const APPEND_VECTORS_STAGING = 'append-vectors/';

/** Where a retry does. */
export const RETRY_STAGING = 'retry/';

/** The tables of the pool that all later stages go by. */
export interface PoolTables {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  readonly clusters: StoredManifest<ClustersManifest>;
}

/**
 * Runs the stages up to and including `until`. Without `pool` an append or a retry that was committed is carried through first, and one
 * that was not is given up.
 *
 * @param pool tables of the pool that are there already and are kept as they are
 * @returns the manifest of each stage that ran, by key prefix
 */
export async function curate(context: RunContext, loaded: LoadedRecipe, until: StageName = 'shard', pool?: PoolTables): Promise<Map<string, StoredManifest>> {
  const { recipe } = loaded;
  const { pool: sources, seeds, raws, evaluations } = sourcesOf(loaded);
  const model = resolveModelReference(recipe.embed.model, loaded.baseDirectory);
  const done = new Map<string, StoredManifest>();
  const keep = <M extends Manifest>(stored: StoredManifest<M>): StoredManifest<M> => {
    done.set(stored.path, stored);
    return stored;
  };
  const last = STAGES.indexOf(until);
  const reached = (stage: StageName): boolean => STAGES.indexOf(stage) <= last;

  if (pool === undefined) {
    for (const staging of [APPEND_STAGING, APPEND_VECTORS_STAGING, RETRY_STAGING]) {
      await finishPublication(context.store, staging);
      await discardStaged(context.store, staging);
    }
  }
  for (const stored of await downloadSources(context, [sources, ...seeds.values(), ...raws.values(), ...evaluations.values()].flat())) keep(stored);
  if (!reached('ingest')) return done;

  const images = keep(pool?.images ?? (await ingestImages(context, 'images', sources)));
  const seedImages = new Map<string, StoredManifest>();
  for (const [name, sources] of seeds) seedImages.set(name, keep(await ingestImages(context, `seeds/${name}/images`, sources)));
  const rawImages = new Map<string, StoredManifest>();
  for (const [name, sources] of raws) rawImages.set(name, keep(await ingestImages(context, `raw/${name}/images`, sources)));
  if (!reached('embed')) return done;

  const embeddings = keep(pool?.embeddings ?? (await embedImages(context, 'embeddings', images, recipe.embed, model)));
  for (const [name, found] of seedImages) keep(await embedImages(context, `seeds/${name}/embeddings`, found as typeof images, recipe.embed, model));
  for (const [name, found] of rawImages) keep(await checkImages(context, `raw/${name}/embeddings`, found as typeof images, recipe.embed));

  if (!reached('filter')) return done;
  const verdicts = (await findVerdicts(context, loaded, { images, embeddings, evaluations }, reached('dedup') ? 'dedup' : 'filter')).map(keep);
  if (!reached('dedup')) return done;
  if (verdicts.length === 0) await context.store.remove(`${SURVIVORS}/`);
  const survivors = verdicts.length === 0 ? embeddings : keep(await findSurvivors(context, embeddings, verdicts));
  if (!reached('cluster')) return done;

  keep(pool?.clusters ?? (await clusterImages(context, survivors, recipe.cluster)));
  if (!reached('sample')) return done;
  keep(await sample(context, recipe));
  if (!reached('retrieve')) return done;
  for (const config of recipe.retrieve) keep(await retrieve(context, config, loaded.baseDirectory));
  if (!reached('mix')) return done;
  keep(await mix(context, recipe));
  if (!reached('shard')) return done;
  done.set('dataset', (await shard(context, recipe, loaded.baseDirectory)) as unknown as StoredManifest);
  return done;
}
