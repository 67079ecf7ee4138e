/** Stage 8, shard: mixture → `dataset/`. */
import type { ClustersManifest } from '../src/cluster/tree.ts';
import { type Recipe, lineageRecipe } from '../src/config.ts';
import { decodeTable } from '../src/arrow/ipc.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { requirePool } from '../src/embed/survivors.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import type { MixtureManifest, MixturePart } from '../src/mix/mixture.ts';
import { type Manifest, type Part, type StoredManifest, hashOf, readPart, requireManifest, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';
import { type DeriveRule, resolveDerive } from '../src/shard/derive.ts';
import { type DatasetTables, type ImageTables, describeLineage } from '../src/shard/lineage.ts';
import { type PartTables, type ShardPayload, countSelected, planShards } from '../src/shard/plan.ts';
import { type DatasetManifest, type DatasetPart, lineageShard } from '../src/shard/shard.ts';
import { writeShards } from '../src/shard/write.ts';

export interface StoredDataset {
  readonly path: string;
  readonly manifest: DatasetManifest;
  readonly sha256: string;
}

/**
 * Writes the dataset: the shards of every part of the mixture, and the manifest that tells where each image comes from.
 * A retrieved part has one row a (query, row) pair, as retrieval counts, with that pair's similarity.
 *
 * @param baseDirectory what paths of a program that derives images are relative to
 * @throws {WinnowError} INPUT_MISSING; CHECKSUM_MISMATCH when an image's bytes changed since it was embedded; COMMAND_FAILED
 */
export async function shard(context: RunContext, recipe: Recipe, baseDirectory = '.'): Promise<StoredDataset> {
  const mixture = await requireManifest<MixtureManifest>(context.store, 'mixture', 'mix');
  const tables = await openTables(context, mixture.manifest.mixtureParts);
  const lineage = lineageRecipe(recipe);
  const derive = recipe.shard.derive === undefined ? null : await resolveDerive(recipe.shard.derive, baseDirectory, recipe.embed.limits);
  const stored = await runStage<Manifest & Pick<DatasetManifest, 'mixture' | 'lineage'>>(context, {
    path: 'dataset',
    stage: 'shard',
    config: { ...lineageShard(recipe.shard), ...(derive !== null && { derive: derive.identity }), recipe: hashOf(lineage) },
    inputs: [mixture, ...inputsOf(tables)],
    make: async () => {
      const parts = await writeParts(context, mixture.manifest.mixtureParts, tables, recipe, derive);
      const shards = parts.flatMap((part) => part.shards);
      const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);
      const rows = sum(parts.map((part) => part.rows));
      const changed = sum(shards.map(({ derived = 0 }) => derived));
      const counts = derive === null ? {} : { derived: { changed, unchanged: rows - changed } };
      const stats = { rows, shards: shards.length, sizeBytes: sum(shards.map(({ bytes }) => bytes)), ...counts };
      context.progress.end(`${stats.rows} rows in ${stats.shards} shard${stats.shards === 1 ? '' : 's'}${derive === null ? '' : `; ${changed} with a derived image`}`);
      return {
        // The contract's `parts` of a dataset have a list of shards each, where other manifests have files.
        parts: parts as unknown as Part[],
        files: shards.map(({ path }) => path),
        stats,
        mixture: mixture.manifest.mixture,
        lineage: { ...describeLineage(lineage, tables), ...(derive !== null && { derive: { ...derive.identity, ...counts.derived } }) },
      };
    },
  });
  return stored as unknown as StoredDataset;
}

async function openTables({ store }: RunContext, parts: readonly MixturePart[]): Promise<DatasetTables> {
  const tables = {
    images: await requireManifest<ImagesManifest>(store, 'images', 'ingest'),
    embeddings: await requirePool(store),
    clusters: await requireManifest<ClustersManifest>(store, 'clusters', 'cluster'),
    selections: new Map<string, StoredManifest<SelectionManifest>>(),
    raws: new Map<string, ImageTables>(),
    disjoint: new Map<string, StoredManifest<SelectionManifest>>(),
  };
  for (const { name, kind, from } of parts) {
    if (from !== undefined) tables.disjoint.set(name, await requireManifest<SelectionManifest>(store, from, 'mix'));
    if (kind !== 'raw') tables.selections.set(name, await requireManifest<SelectionManifest>(store, `selections/${name}`, kind === 'balanced' ? 'sample' : 'retrieve'));
    else {
      const images = await requireManifest<ImagesManifest>(store, `raw/${name}/images`, 'ingest');
      tables.raws.set(name, { images, embeddings: await requireManifest<EmbeddingsManifest>(store, `raw/${name}/embeddings`, 'embed') });
    }
  }
  return tables;
}

function inputsOf({ images, embeddings, clusters, selections, raws, disjoint }: DatasetTables): StoredManifest[] {
  return [images, embeddings, clusters, ...selections.values(), ...[...raws.values()].flatMap((raw) => [raw.images, raw.embeddings]), ...disjoint.values()];
}

async function writeParts(context: RunContext, mixtureParts: readonly MixturePart[], tables: DatasetTables, { shard: config }: Recipe, derive: DeriveRule | null): Promise<DatasetPart[]> {
  const withText = await hasText(context, [tables.images, ...[...tables.raws.values()].map(({ images }) => images)]);
  const levels = tables.clusters.manifest.levels.length;
  const plans: ShardPayload[][] = [];
  for (const part of mixtureParts) plans.push(planShards(part, await countNamed(context, part, tables), { tables: tablesOf(part, tables), levels, withText, config, ...(derive !== null && { derive }) }));
  context.progress.begin('shard', mixtureParts.reduce((sum, { rows }) => sum + rows, 0), 'rows');
  const written = await context.executor.map(writeShards, plans.flat(), 'dataset');
  let next = 0;
  return mixtureParts.map(({ name, kind, rows, uniqueImages }, i) => ({ name, kind, rows, uniqueImages, shards: written.slice(next, (next += plans[i]!.length)).flat() }));
}

async function countNamed(context: RunContext, { name, kind }: MixturePart, { selections, raws, disjoint }: DatasetTables): Promise<readonly number[]> {
  const left = disjoint.get(name);
  if (left !== undefined) return countSelected(context.store, left);
  return kind === 'raw' ? raws.get(name)!.embeddings.manifest.okRows : countSelected(context.store, selections.get(name)!);
}

function tablesOf({ name, kind }: MixturePart, { images, embeddings, clusters, selections, raws, disjoint }: DatasetTables): PartTables {
  const refer = ({ path, sha256 }: StoredManifest): { path: string; sha256: string } => ({ path, sha256 });
  if (kind !== 'raw') return { images: refer(images), embeddings: refer(embeddings), clusters: refer(clusters), selection: refer(disjoint.get(name) ?? selections.get(name)!) };
  const raw = raws.get(name)!;
  return { images: refer(raw.images), embeddings: refer(raw.embeddings), clusters: null, selection: disjoint.has(name) ? refer(disjoint.get(name)!) : null };
}

/** Whether any of the tables has captions; all shards then have the columns, so that they share one schema. */
async function hasText({ store }: RunContext, tables: readonly StoredManifest<ImagesManifest>[]): Promise<boolean> {
  for (const { manifest } of tables) {
    const [first] = manifest.parts;
    if (first !== undefined && rowCountOf(manifest.parts) > 0 && decodeTable(await readPart(store, first), first.path).has('caption')) return true;
  }
  return false;
}
