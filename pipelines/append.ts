/**
 * New images for a tree that stands: list all, embed what is new, judge the pool anew where filters or dedup do, put what is
 * new into the frozen tree, and draw anew. Images, embeddings, survivors and clusters stay as they were until all are ready;
 * then they change together (src/run/publish.ts). The verdicts themselves are made in place, from the longer pool; a run
 * without the new images would make them again as they were.
 */
import { type AppendedManifest, appendToTree, isAppended } from '../src/cluster/append.ts';
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { LoadedRecipe, Recipe } from '../src/config.ts';
import { extendEmbeddings, otherSettings, requireSameEmbedding } from '../src/embed/append.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingPart, type EmbeddingsManifest } from '../src/embed/embedding.ts';
import { SURVIVORS, findSurvivors } from '../src/embed/survivors.ts';
import type { EmbedConfig } from '../src/embed/config.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import { openEncoder } from '../src/embed/task.ts';
import { verifyImages } from '../src/embed/verify.ts';
import { WinnowError } from '../src/errors.ts';
import { listNewRows, requireSameRows } from '../src/ingest/append.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import { type Manifest, type Part, type StoredManifest, hashOf, readManifest, rowCountOf, writeManifest } from '../src/run/manifest.ts';
import { type Move, discardStaged, finishPublication, publish } from '../src/run/publish.ts';
import type { RunContext } from '../src/run/stage.ts';
import { CREATED_BY } from '../src/version.ts';
import { ingestImages } from './1-ingest.ts';
import { embedImages } from './2-embed.ts';
import { DEDUP_EMBEDDINGS } from './3-dedup.ts';
import { APPEND_STAGING as STAGING, APPEND_VECTORS_STAGING as VECTORS, type PoolTables, curate, sourcesOf } from './curate.ts';
import { downloadSources } from './download.ts';
import { findVerdicts } from './verdicts.ts';

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
  for (const staging of [STAGING, VECTORS]) await finishPublication(context.store, staging);
  const before = await readTables(context);
  warnOfChanges(context, before, loaded.recipe);
  const after = await appendToPool(context, loaded, before, options);
  const added = rowCountOf(after.images.manifest.parts) - rowCountOf(before.images.manifest.parts);
  return { added, clusters: after.clusters, done: await curate(context, loaded, 'shard', after) };
}

function isMadeOf({ manifest }: StoredManifest, { sha256 }: StoredManifest): boolean {
  return manifest.inputs.some((input) => input.sha256 === sha256);
}

/** The tables of a store with a tree. */
interface FittedTables extends PoolTables {
  /** What the tree was made of: the embeddings, or those of them that filters and dedup left in the pool. */
  readonly pool: StoredManifest<EmbeddingsManifest>;
}

/** @throws {WinnowError} when there is no tree, or it is not that of the embeddings beside it */
async function readTables({ store }: RunContext): Promise<FittedTables> {
  const images = await readManifest<ImagesManifest>(store, 'images');
  const embeddings = await readManifest<EmbeddingsManifest>(store, 'embeddings');
  const survivors = await readManifest<EmbeddingsManifest>(store, SURVIVORS);
  const clusters = await readManifest<ClustersManifest>(store, 'clusters');
  if (images === null || embeddings === null || clusters === null) {
    throw new WinnowError('INPUT_MISSING', `Expected a fitted tree to append to in ${store.uri}, found none: \`winnow run\` fits one`);
  }
  const judged = survivors !== null && isMadeOf(survivors, embeddings) ? [survivors] : [];
  const pool = [...judged, embeddings].find((table) => isMadeOf(clusters, table));
  if (!isMadeOf(embeddings, images) || pool === undefined) {
    throw new WinnowError('INPUT_MALFORMED', `Expected the tree in ${store.uri} to be fitted on the images and embeddings beside it, got one of others, which were made again since: \`winnow run\` fits a new one`);
  }
  return { images, embeddings, clusters, pool };
}

/** A frozen tree keeps the settings it was fitted with, whatever the recipe says by now; vectors are only as alike as the code that made them. */
function warnOfChanges({ log }: RunContext, { embeddings, clusters }: PoolTables, { cluster }: Recipe): void {
  const fitted = clusters.manifest.config as Record<string, unknown>;
  const other = Object.entries(cluster).filter(([key, value]) => key in fitted && hashOf({ value }) !== hashOf({ value: fitted[key] }));
  if (other.length > 0) log.warn({ stage: 'append' }, `append: the tree keeps the settings it was fitted with; the recipe has another ${other.map(([key]) => `cluster.${key}`).join(', ')}, which \`winnow run\` would follow`);
  const { createdBy } = embeddings.manifest;
  if (createdBy !== CREATED_BY) log.warn({ stage: 'append' }, `append: the old images were embedded by ${createdBy}, the new ones are by ${CREATED_BY}; their vectors may differ, and \`winnow run\` makes all of them anew`);
}

async function appendToPool(context: RunContext, loaded: LoadedRecipe, before: FittedTables, options: AppendOptions): Promise<PoolTables> {
  const { store } = context;
  const longer = await extendTables(context, loaded, before, options);
  const { images, embeddings } = longer;
  const pool = await judge(context, loaded, longer);
  if (images.stored.sha256 === before.images.sha256 && pool.stored.sha256 === before.pool.sha256) {
    context.log.info({ stage: 'append' }, 'append: no new images; the tree stays as it is');
    await discardStaged(store, STAGING);
    return before;
  }
  const judged = [pool.stored.path, before.pool.path].includes(SURVIVORS) || (isAppended(before.clusters.manifest) && before.clusters.manifest.append.judged === true);
  // A place for each pool: what a stopped attempt recorded must not speak for parts that another wrote over.
  const { manifest, copies } = await appendToTree(context, { clusters: before.clusters, embeddings: pool.stored, embeddingsAt: pool.at, judged, sources: images.stored.manifest.sources, staging: `${STAGING}${pool.stored.sha256.slice(0, 16)}/` });
  const clusters = stagedAs<AppendedManifest>('clusters', manifest);
  const changed: StoredManifest[] = [images.stored, embeddings.stored, ...(pool.stored.path === SURVIVORS ? [pool.stored] : []), clusters];
  for (const table of changed) await writeManifest(store, `${STAGING}manifests/${table.path}`, table.manifest);
  const statuses = (parts: readonly EmbeddingPart[]): Part[] => parts.flatMap(({ status }) => (status === undefined ? [] : [status]));
  await publish(store, STAGING, {
    copies: [...movesOf(images.at, images.stored.manifest.parts), ...movesOf(embeddings.at, embeddings.stored.manifest.parts), ...movesOf(statuses(pool.at), statuses(pool.stored.manifest.parts)), ...copies],
    manifests: changed.map(({ path }) => ({ from: `${STAGING}manifests/${path}/manifest.json`, to: `${path}/manifest.json` })),
  });
  return { images: images.stored, embeddings: embeddings.stored, clusters };
}

function movesOf(from: readonly Part[], to: readonly Part[]): Move[] {
  return from.map(({ path }, p) => ({ from: path, to: to[p]!.path })).filter((move) => move.from !== move.to);
}

/** A table as it is to be, and its parts where they lie until then. */
interface Staged<M extends Manifest> {
  readonly stored: StoredManifest<M>;
  readonly at: M['parts'];
}

interface LongerTables {
  readonly images: Staged<ImagesManifest>;
  readonly embeddings: Staged<EmbeddingsManifest>;
}

/** Lists all images and embeds those that are new. */
async function extendTables(context: RunContext, loaded: LoadedRecipe, before: FittedTables, options: AppendOptions): Promise<LongerTables> {
  const { recipe } = loaded;
  const model = resolveModelReference(recipe.embed.model, loaded.baseDirectory);
  requireSameEmbedding(before.embeddings.manifest, recipe.embed, (await openEncoder(model, recipe.embed, context)).provenance);
  await downloadSources(context, sourcesOf(loaded).pool);
  const staged = await ingestImages(context, `${STAGING}images`, sourcesOf(loaded).pool);
  await requireSameRows(context, before.images, staged);
  const images = { stored: stagedAs('images', { ...staged.manifest, parts: staged.manifest.parts.map((part) => ({ ...part, path: part.path.slice(STAGING.length) })) }), at: staged.manifest.parts };
  await verify(context, before, staged, recipe, options);
  if (images.stored.sha256 === before.images.sha256) {
    const still = <M extends Manifest>(stored: StoredManifest<M>): Staged<M> => ({ stored, at: stored.manifest.parts });
    return { images: still(before.images), embeddings: still(before.embeddings) };
  }
  await extendOwnVectors(context, loaded, before.images, images);
  const added = await embedNewRows(context, recipe.embed, model, staged.manifest, { first: rowCountOf(before.embeddings.manifest.parts), staging: STAGING });
  const extended = await extendEmbeddings(context, { before: before.embeddings, added, images: images.stored, maxDropRatio: recipe.embed.maxDropRatio, staging: `${STAGING}joined/` });
  return { images, embeddings: { stored: stagedAs('embeddings', extended.manifest), at: extended.at } };
}

/**
 * The vectors that copies are found by, where they have a model of their own: only those of new images are made. Made with
 * other settings, or not there, they are left to the search for copies, which then makes all of them.
 */
async function extendOwnVectors(context: RunContext, { recipe, baseDirectory }: LoadedRecipe, before: StoredManifest<ImagesManifest>, images: Staged<ImagesManifest>): Promise<void> {
  const { store } = context;
  const near = recipe.dedup?.near;
  const own = near === undefined || near === false ? undefined : near.embed;
  const old = own === undefined ? null : await readManifest<EmbeddingsManifest>(store, DEDUP_EMBEDDINGS);
  if (own === undefined || old === null || !isMadeOf(old, before)) return;
  const model = resolveModelReference(own.model, baseDirectory);
  if (otherSettings(old.manifest, own, (await openEncoder(model, own, context)).provenance).length > 0) return;
  const added = await embedNewRows(context, own, model, { ...images.stored.manifest, parts: images.at }, { first: rowCountOf(old.manifest.parts), staging: VECTORS });
  const extended = await extendEmbeddings(context, { before: old, added, images: images.stored, maxDropRatio: own.maxDropRatio, staging: `${VECTORS}joined/` });
  await writeManifest(store, `${VECTORS}manifest`, extended.manifest);
  await publish(store, VECTORS, { copies: movesOf(extended.at, extended.manifest.parts), manifests: [{ from: `${VECTORS}manifest/manifest.json`, to: `${DEDUP_EMBEDDINGS}/manifest.json` }] });
}

/** The table as stages can read it before it is published, under the hash that it will have. */
async function readable<M extends Manifest>({ store }: RunContext, { stored, at }: Staged<M>): Promise<StoredManifest<M>> {
  if (at === stored.manifest.parts) return stored;
  const manifest = { ...stored.manifest, parts: at };
  const { path, sha256 } = await writeManifest(store, `${STAGING}tables/${stored.path}`, manifest);
  return { ...stored, manifest, staged: { path, sha256 } };
}

/** @returns the pool as the tree is to see it: without the images that filters, dedup and decontamination take out */
async function judge(context: RunContext, loaded: LoadedRecipe, { images, embeddings }: LongerTables): Promise<Staged<EmbeddingsManifest>> {
  const [listed, embedded] = [await readable(context, images), await readable(context, embeddings)];
  const verdicts = await findVerdicts(context, loaded, { images: listed, embeddings: embedded, evaluations: sourcesOf(loaded).evaluations });
  if (verdicts.length === 0) return embeddings;
  const { manifest } = await findSurvivors(context, embedded, verdicts, `${STAGING}${SURVIVORS}`);
  const parts = manifest.parts.map(({ status }, p) => ({ ...embeddings.stored.manifest.parts[p]!, status: { ...status!, path: status!.path.slice(STAGING.length) } }));
  return { stored: stagedAs(SURVIVORS, { ...manifest, parts }), at: manifest.parts };
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

/**
 * @param listing all rows, parts where they lie
 * @param first row that is new
 * @returns the table of the new rows, numbered from 0, or null when there are none
 */
async function embedNewRows(context: RunContext, embed: EmbedConfig, model: string, listing: ImagesManifest, { first, staging }: { first: number; staging: string }): Promise<EmbeddingsManifest | null> {
  const parts = await listNewRows(context.store, listing.parts, first, EMBEDDING_PART_ROWS, `${staging}new`);
  if (parts.length === 0) return null;
  // The share of rejected images is that of the whole pool, and looked at when the tables are joined.
  const config = { ...embed, maxDropRatio: 1 };
  const added = await embedImages(context, `${staging}embeddings`, { path: `${staging}new`, manifest: { ...listing, parts }, sha256: hashOf(parts) }, config, model);
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
