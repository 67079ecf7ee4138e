/** The manifests a report is made from: those of the stages that are finished and belong together. */
import { type ClusterTree, type ClustersManifest, readTree } from '../cluster/tree.ts';
import { EVALUATION } from '../dedup/contamination.ts';
import type { DuplicatesManifest } from '../dedup/duplicates.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { SURVIVORS } from '../embed/survivors.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { BALANCED_PART, type MixtureManifest } from '../mix/mixture.ts';
import { type Manifest, type StoredManifest, readManifest, requireManifest } from '../run/manifest.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { DatasetManifest } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';

export interface Retrieved {
  readonly name: string;
  readonly selection: StoredManifest<SelectionManifest>;
  /** The listing of the seed images; null for prompts. */
  readonly seeds: StoredManifest<ImagesManifest> | null;
  /** Vectors of the seeds; those of prompts have the prompts beside them. */
  readonly vectors: StoredManifest<EmbeddingsManifest>;
}

export interface StoredDatasetFacts {
  readonly path: string;
  readonly manifest: DatasetManifest;
  readonly sha256: string;
}

/** The images of a part or of an evaluation set. */
export interface NamedListing {
  readonly name: string;
  readonly images: StoredManifest<ImagesManifest>;
}

/** Null: not finished, or made from an earlier version of what it is made from. */
export interface ReportFacts {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest> | null;
  /** `survivors` where there is one, else `embeddings`. */
  readonly pool: StoredManifest<EmbeddingsManifest> | null;
  readonly duplicates: StoredManifest<DuplicatesManifest> | null;
  readonly clusters: StoredManifest<ClustersManifest> | null;
  readonly tree: ClusterTree | null;
  readonly balanced: StoredManifest<SelectionManifest> | null;
  readonly retrieved: readonly Retrieved[];
  readonly raws: readonly NamedListing[];
  /** Sets that the pool was kept clear of. */
  readonly evaluations: readonly NamedListing[];
  readonly mixture: StoredManifest<MixtureManifest> | null;
  readonly dataset: StoredDatasetFacts | null;
  /** Stages that lie in the store but were made from something else than what lies there now. */
  readonly outdated: readonly string[];
}

/** Reads manifests and the tree's shape: O(clusters) memory. @throws {WinnowError} INPUT_MISSING without a listing of images */
export async function readReportFacts(store: Store): Promise<ReportFacts> {
  const outdated: string[] = [];
  const current = <S extends StoredManifest>(stored: S | null, from: StoredManifest | null): S | null => {
    if (stored === null || (from !== null && stored.manifest.inputs.some(({ sha256 }) => sha256 === from.sha256))) return stored;
    outdated.push(stored.path);
    return null;
  };
  const images = await requireManifest<ImagesManifest>(store, 'images', 'ingest');
  const embeddings = current(await readManifest<EmbeddingsManifest>(store, 'embeddings'), images);
  const survivors = embeddings === null ? null : current(await readManifest<EmbeddingsManifest>(store, SURVIVORS), embeddings);
  const pool = survivors ?? embeddings;
  const duplicates = survivors === null ? null : await readManifest<DuplicatesManifest>(store, 'duplicates');
  const clusters = current(await readManifest<ClustersManifest>(store, 'clusters'), pool);
  const balanced = current(await readManifest<SelectionManifest>(store, `selections/${BALANCED_PART}`), clusters);
  const mixture = current(await readManifest<MixtureManifest>(store, 'mixture'), balanced);
  const dataset = current(await readManifest<Manifest>(store, 'dataset'), mixture);
  return {
    images, embeddings, pool, duplicates, clusters, balanced, outdated,
    tree: clusters === null ? null : (await readTree(store)).tree,
    retrieved: await readRetrieved(store),
    raws: await readRaws(store, mixture),
    evaluations: await readEvaluations(store),
    mixture,
    dataset: dataset as unknown as StoredDatasetFacts | null,
  };
}

async function readRetrieved(store: Store): Promise<Retrieved[]> {
  const found: Retrieved[] = [];
  for await (const { key } of store.list('selections/')) {
    const [, name = ''] = /^selections\/([^/]+)\/manifest\.json$/.exec(key) ?? [];
    if (name === '' || name === BALANCED_PART) continue;
    const selection = await readManifest<SelectionManifest>(store, `selections/${name}`);
    const vectors = await readManifest<EmbeddingsManifest>(store, `seeds/${name}/embeddings`);
    if (selection !== null && vectors !== null) found.push({ name, selection, seeds: await readManifest<ImagesManifest>(store, `seeds/${name}/images`), vectors });
  }
  return found;
}

async function readRaws(store: Store, mixture: StoredManifest<MixtureManifest> | null): Promise<NamedListing[]> {
  const found: NamedListing[] = [];
  for (const { name, kind } of mixture?.manifest.mixtureParts ?? []) {
    if (kind !== 'raw') continue;
    const images = await readManifest<ImagesManifest>(store, `raw/${name}/images`);
    if (images !== null) found.push({ name, images });
  }
  return found;
}

async function readEvaluations(store: Store): Promise<NamedListing[]> {
  const found: NamedListing[] = [];
  for await (const { key } of store.list(`${EVALUATION}/`)) {
    const [path, name = ''] = /^[^/]+\/([^/]+)\/images(?=\/manifest\.json$)/.exec(key) ?? [];
    if (path !== undefined) found.push({ name, images: (await readManifest<ImagesManifest>(store, path))! });
  }
  return found;
}
