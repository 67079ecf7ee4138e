/**
 * New images for a tree that stands: list all, embed what is new, put it into the frozen tree, and draw anew. The store stays
 * as it was until all three tables are ready; then they change together (src/run/publish.ts).
 */
import { type AppendedManifest, appendToTree, isAppended } from '../src/cluster/append.ts';
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { LoadedRecipe, Recipe } from '../src/config.ts';
import { extendEmbeddings, requireSameEmbedding } from '../src/embed/append.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingsManifest } from '../src/embed/embedding.ts';
import { SURVIVORS } from '../src/embed/survivors.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import { openEncoder } from '../src/embed/task.ts';
import { verifyImages } from '../src/embed/verify.ts';
import { WinnowError } from '../src/errors.ts';
import { listNewRows, requireSameRows } from '../src/ingest/append.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import { type Manifest, type Part, type StoredManifest, hashOf, readManifest, rowCountOf, writeManifest } from '../src/run/manifest.ts';
import { discardStaged, finishPublication, publish } from '../src/run/publish.ts';
import type { RunContext } from '../src/run/stage.ts';
import { CREATED_BY } from '../src/version.ts';
import { ingestImages } from './1-ingest.ts';
import { embedImages } from './2-embed.ts';
import { downloadSources } from './download.ts';
import { APPEND_STAGING as STAGING, type PoolTables, curate, sourcesOf } from './curate.ts';

export interface AppendOptions {
  /** Reads and hashes every old image again; otherwise only those whose size the listing does not know. */
  readonly verify: boolean;
}

export interface AppendOutcome {
  /** Images that this call added, rejected ones too. */
  readonly added: number;
  readonly clusters: StoredManifest<ClustersManifest>;
  /** The manifest of every stage, by key prefix. */
  readonly done: Map<string, StoredManifest>;
}

/**
 * Puts the images of new sources into the tree that a run fitted, and makes the dataset anew from it. With nothing new it
 * keeps the tree and follows the recipe from sampling on.
 *
 * @throws {WinnowError} INPUT_MISSING without a fitted tree, INPUT_MALFORMED when old images are not what they were,
 *   CONFIG_INVALID when the recipe embeds in another way; the store is then as it was
 */
export async function append(context: RunContext, loaded: LoadedRecipe, options: AppendOptions): Promise<AppendOutcome> {
  await finishPublication(context.store, STAGING);
  const before = await readTables(context);
  if (loaded.recipe.filters.length > 0) {
    throw new WinnowError('CONFIG_INVALID', `Expected a recipe without \`filters\` to append by, since the tree in ${context.store.uri} was fitted on images that no filter judged, got ${loaded.recipe.filters.length}: \`winnow run\` judges all of them`);
  }
  warnOfChanges(context, before, loaded.recipe);
  const after = await appendToPool(context, loaded, before, options);
  const added = rowCountOf(after.images.manifest.parts) - rowCountOf(before.images.manifest.parts);
  return { added, clusters: after.clusters, done: await curate(context, loaded, 'shard', after) };
}

/** @throws {WinnowError} when there is no tree, or it is not that of the embeddings beside it */
async function readTables({ store }: RunContext): Promise<PoolTables> {
  const images = await readManifest<ImagesManifest>(store, 'images');
  const embeddings = await readManifest<EmbeddingsManifest>(store, 'embeddings');
  const clusters = await readManifest<ClustersManifest>(store, 'clusters');
  if (images === null || embeddings === null || clusters === null) {
    throw new WinnowError('INPUT_MISSING', `Expected a fitted tree to append to in ${store.uri}, found none: \`winnow run\` fits one`);
  }
  if ((await readManifest(store, SURVIVORS)) !== null) {
    // A new image can be a larger copy of an old one, or the one too many of a cap: old rows would leave a tree that is frozen.
    throw new WinnowError('CONFIG_INVALID', `Expected a pool from which nothing was taken out, to append to in ${store.uri}, got one with \`filters\` or \`dedup\`, whose verdict on old images new ones can change: \`winnow run\` judges all of them anew`);
  }
  const isMadeOf = ({ manifest }: StoredManifest, { sha256 }: StoredManifest): boolean => manifest.inputs.some((input) => input.sha256 === sha256);
  if (!isMadeOf(embeddings, images) || !isMadeOf(clusters, embeddings)) {
    throw new WinnowError('INPUT_MALFORMED', `Expected the tree in ${store.uri} to be fitted on the images and embeddings beside it, got one of others, which were made again since: \`winnow run\` fits a new one`);
  }
  return { images, embeddings, clusters };
}

/** A frozen tree keeps the settings it was fitted with, whatever the recipe says by now; vectors are only as alike as the code that made them. */
function warnOfChanges({ log }: RunContext, { embeddings, clusters }: PoolTables, { cluster }: Recipe): void {
  const fitted = clusters.manifest.config as Record<string, unknown>;
  const other = Object.entries(cluster).filter(([key, value]) => key in fitted && hashOf({ value }) !== hashOf({ value: fitted[key] }));
  if (other.length > 0) log.warn({ stage: 'append' }, `append: the tree keeps the settings it was fitted with; the recipe has another ${other.map(([key]) => `cluster.${key}`).join(', ')}, which \`winnow run\` would follow`);
  const { createdBy } = embeddings.manifest;
  if (createdBy !== CREATED_BY) log.warn({ stage: 'append' }, `append: the old images were embedded by ${createdBy}, the new ones are by ${CREATED_BY}; their vectors may differ, and \`winnow run\` makes all of them anew`);
}

async function appendToPool(context: RunContext, loaded: LoadedRecipe, before: PoolTables, options: AppendOptions): Promise<PoolTables> {
  const { store } = context;
  const model = resolveModelReference(loaded.recipe.embed.model, loaded.baseDirectory);
  requireSameEmbedding(before.embeddings.manifest, loaded.recipe.embed, (await openEncoder(model, loaded.recipe.embed, context)).provenance);
  await downloadSources(context, sourcesOf(loaded).pool);
  const staged = await ingestImages(context, `${STAGING}images`, sourcesOf(loaded).pool);
  await requireSameRows(context, before.images, staged);
  const images = stagedAs('images', { ...staged.manifest, parts: staged.manifest.parts.map((part) => ({ ...part, path: part.path.slice(STAGING.length) })) });
  await verify(context, before, staged, loaded.recipe, options);
  if (images.sha256 === before.images.sha256) {
    context.log.info({ stage: 'append' }, 'append: no new images; the tree stays as it is');
    await discardStaged(store, STAGING);
    return before;
  }
  const added = await embedNewRows(context, loaded.recipe, model, before, staged);
  const extended = await extendEmbeddings(context, { before: before.embeddings, added, images, maxDropRatio: loaded.recipe.embed.maxDropRatio, staging: `${STAGING}joined/` });
  const embeddings = stagedAs('embeddings', extended.manifest);
  const { manifest, copies } = await appendToTree(context, { clusters: before.clusters, embeddings, embeddingsAt: extended.at, sources: images.manifest.sources, staging: STAGING });
  const clusters = stagedAs<AppendedManifest>('clusters', manifest);
  for (const table of [images, embeddings, clusters]) await writeManifest(store, `${STAGING}manifests/${table.path}`, table.manifest as Manifest);
  const moved = (from: readonly Part[], to: readonly Part[]) => from.map(({ path }, p) => ({ from: path, to: to[p]!.path })).filter((move) => move.from !== move.to);
  await publish(store, STAGING, {
    copies: [...moved(staged.manifest.parts, images.manifest.parts), ...moved(extended.at, embeddings.manifest.parts), ...copies],
    manifests: [images, embeddings, clusters].map(({ path }) => ({ from: `${STAGING}manifests/${path}/manifest.json`, to: `${path}/manifest.json` })),
  });
  return { images, embeddings, clusters };
}

/** What a manifest will be once it is written. */
function stagedAs<M extends Manifest>(path: string, manifest: M): StoredManifest<M> {
  return { path, manifest, sha256: hashOf(manifest) };
}

async function verify({ store, executor, progress }: RunContext, { embeddings }: PoolTables, staged: StoredManifest<ImagesManifest>, { embed }: Recipe, { verify: all }: AppendOptions): Promise<void> {
  const end = rowCountOf(embeddings.manifest.parts);
  let next = 0;
  const embeddingsUpTo = (row: number): Part[] => {
    const first = next;
    while (next < embeddings.manifest.parts.length && embeddings.manifest.parts[next]!.firstRow < row) next++;
    return embeddings.manifest.parts.slice(first, next);
  };
  const payloads = staged.manifest.parts
    .filter(({ firstRow }) => firstRow < end)
    .map((images) => ({ images, embeddings: embeddingsUpTo(images.firstRow + images.rowCount), end, all, sizeBytesMax: embed.limits.sizeBytesMax }));
  const scope = `${STAGING}verify`;
  await store.remove(`work/${scope}/`); // bytes may have changed since an earlier look
  progress.begin('verify', all ? end : null, 'images');
  const read = (await executor.map(verifyImages, payloads, scope)).reduce((sum, count) => sum + count, 0);
  progress.end(read === 0 ? 'old images are listed as before' : `${read} old images have the bytes they had`);
}

/** @returns the table of the new rows, numbered from 0, or null when there are none */
async function embedNewRows(context: RunContext, { embed }: Recipe, model: string, { embeddings }: PoolTables, staged: StoredManifest<ImagesManifest>): Promise<EmbeddingsManifest | null> {
  const parts = await listNewRows(context.store, staged.manifest.parts, rowCountOf(embeddings.manifest.parts), EMBEDDING_PART_ROWS, `${STAGING}new`);
  if (parts.length === 0) return null;
  // The share of rejected images is that of the whole pool, and looked at when the tables are joined.
  const config = { ...embed, maxDropRatio: 1 };
  const added = await embedImages(context, `${STAGING}embeddings`, { path: `${STAGING}new`, manifest: { ...staged.manifest, parts }, sha256: hashOf(parts) }, config, model);
  return added.manifest;
}

/** What a tree's drift is, in lines for people; empty before anything was appended. */
export function renderDrift({ manifest }: StoredManifest<ClustersManifest>): string {
  if (!isAppended(manifest)) return '';
  const { fit, appended, all, beyondShare, expectedShare, sources, top, advice } = manifest.stats.drift;
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  const number = (value: number | null): string => (value === null ? '–' : value.toPrecision(4)).padStart(10);
  const line = (name: string, { images, p50, p90, p99 }: typeof fit): string => `  ${name.padEnd(22)} ${String(images).padStart(8)} ${number(p50)} ${number(p90)} ${number(p99)}`;
  const worst = top.filter(({ beyond }) => beyond > 0).sort((a, b) => b.beyond - a.beyond || a.cluster - b.cluster).slice(0, 3);
  return [
    'Drift (squared distance to the cluster)',
    `  ${''.padEnd(22)} ${'images'.padStart(8)} ${'median'.padStart(10)} ${'90 %'.padStart(10)} ${'99 %'.padStart(10)}`,
    line('at fit', fit),
    line('appended since', appended),
    `  beyond 99 % of the fit: ${percent(beyondShare)} (about ${percent(expectedShare)} expected); shift ${all.shift.toFixed(2)} of 1`,
    ...(sources.length > 1 ? sources.map(({ name, images, beyond, shift }) => `    source ${name}: ${images} images, ${percent(beyond / images)} beyond, shift ${shift.toFixed(2)}`) : []),
    ...(worst.length > 0 ? [`    most in top-level clusters ${worst.map(({ cluster, images, beyond }) => `${cluster} (${beyond} of ${images})`).join(', ')}`] : []),
    `  ${advice.sentence}`,
    '',
  ].join('\n');
}
