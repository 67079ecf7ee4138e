/**
 * Opens a store's tree for looking at. At the first opening two tables are made beside the store's own and found again
 * later: rows by place in the tree, and rows by id. They follow from the manifests, so they lie under the tree's hash.
 */
import { createLimiter } from '../batch/limiter.ts';
import { type Pages, createPages } from '../batch/pages.ts';
import { decodeTable } from '../arrow/ipc.ts';
import { type ClustersManifest, NO_CLUSTER, groupByParent, readAssignment, readCentroids, readTree } from '../cluster/tree.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type StoredManifest, readManifest, readPart, requireManifest, rowCountOf } from '../run/manifest.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import { type Atlas, placeClusters } from './atlas.ts';
import { type Records, openRecords, sortRecords } from './sorted-records.ts';
import { type TableRows, openTable } from './table-rows.ts';

export interface AtlasOptions {
  /** Where the tables of the atlas are kept; may be the store itself. */
  readonly cache: Store;
  /** Bytes of tables kept in memory. */
  readonly cacheBytes: number;
  /** Records held while a table is sorted, 12 bytes each. */
  readonly recordsMax: number;
  readonly signal: AbortSignal;
  /** Tells what is being made. */
  note(text: string): void;
}

/** Prefix of everything the atlas writes. */
export const ATLAS_PREFIX = 'atlas/';

/**
 * Holds about 40 bytes a cluster and the caches; no row. The first opening reads the assignment and the ids once.
 *
 * @throws {WinnowError} INPUT_MISSING without a finished tree; INPUT_MALFORMED when the pool is of 2^32 rows or more
 */
export async function openAtlas(store: Store, options: AtlasOptions): Promise<Atlas> {
  const images = await requireManifest<ImagesManifest>(store, 'images', 'ingest');
  const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
  const { stored: clusters, tree } = await readTree(store);
  const selection = await readManifest<SelectionManifest>(store, 'selections/balanced');
  if (rowCountOf(clusters.manifest.parts) >= NO_CLUSTER) throw new WinnowError('INPUT_MALFORMED', `Expected a pool of less than 2^32 rows for the atlas, got ${rowCountOf(clusters.manifest.parts)}`);
  const children = tree.levels.slice(1).map(({ k }, l) => groupByParent(tree.levels[l]!.parent, k));
  const start = placeClusters(tree, children);
  const counts = await findTables(store, { clusters, embeddings, start: start[0]! }, options);
  const limiter = createLimiter(16);
  // A page of 4 KiB holds a few vectors; rows of a cluster lie all over the tables.
  const pages = createPages(store, limiter, options.cacheBytes, { pageBytes: 4096 });
  const cached = createPages(options.cache, limiter, options.cacheBytes / 4, { pageBytes: 4096 });
  const prefix = prefixOf(clusters);
  return {
    store, tree, children, start,
    manifests: { images, embeddings, clusters, selection },
    images: counts.members,
    members: openRecords(options.cache, `${prefix}members/`, counts.members, cached),
    ids: openRecords(options.cache, `${prefix}ids/`, counts.ids, cached),
    tables: {
      images: openTable(store, images.manifest.parts, pages),
      embeddings: openTable(store, embeddings.manifest.parts, pages),
      assignment: openTable(store, clusters.manifest.parts, pages),
      selection: selection === null ? null : openTable(store, selection.manifest.parts, pages),
      centroids: await openCentroids(store, clusters.manifest, options.cacheBytes / 2, pages),
    },
  };
}

/** Levels from the top down are held while they fit, since every page compares centroids; the others are read by range. */
async function openCentroids(store: Store, manifest: ClustersManifest, bytesMax: number, pages: Pages): Promise<Pick<TableRows, 'vector'>[]> {
  const { d, levels } = manifest;
  let left = bytesMax;
  const opened: Pick<TableRows, 'vector'>[] = [];
  for (const { level, k, parts } of levels.toReversed()) {
    left -= k * d * 4;
    const held = left >= 0 ? await readCentroids(store, manifest, level) : null;
    opened.unshift(held === null ? openTable(store, parts, pages) : { vector: (_, row) => Promise.resolve(held.subarray(row * d, (row + 1) * d)) });
  }
  return opened;
}

/** Where what belongs to one tree lies. */
export function prefixOf(clusters: StoredManifest<ClustersManifest>): string {
  return `${ATLAS_PREFIX}${clusters.sha256.slice(0, 16)}/`;
}

interface TableInputs {
  readonly clusters: StoredManifest<ClustersManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** First place of each leaf. */
  readonly start: Float64Array;
}

interface TableCounts {
  readonly members: number;
  readonly ids: number;
}

async function findTables(store: Store, inputs: TableInputs, options: AtlasOptions): Promise<TableCounts> {
  const { cache, recordsMax, signal } = options;
  const prefix = prefixOf(inputs.clusters);
  const key = `${prefix}tables.json`;
  if ((await cache.head(key)) !== null) {
    const found = JSON.parse(new TextDecoder().decode(await cache.read(key))) as TableCounts & { embeddings: string };
    if (found.embeddings === inputs.embeddings.sha256) return found;
  }
  const { manifest } = inputs.clusters;
  const rows = rowCountOf(manifest.parts);
  const buckets = Math.max(1, Math.ceil(rows / recordsMax));
  options.note(`atlas: ordering ${rows} images by cluster, once for this tree`);
  const members = await sortRecords(cache, memberRecords(store, inputs, signal), { prefix: `${prefix}members/`, buckets, recordsMax, bucketOf: (place) => Math.floor(place / recordsMax) });
  options.note(`atlas: ordering ${rows} images by id, once for this tree`);
  const ids = await sortRecords(cache, idRecords(store, inputs.embeddings.manifest, signal), { prefix: `${prefix}ids/`, buckets, recordsMax, bucketOf: (hi) => Math.floor((hi / 2 ** 32) * buckets) });
  await cache.write(key, new TextEncoder().encode(`${JSON.stringify({ members, ids, embeddings: inputs.embeddings.sha256 })}\n`));
  return { members, ids };
}

async function* memberRecords(store: Store, { clusters, start }: TableInputs, signal: AbortSignal): AsyncIterable<Records> {
  for await (const { firstRow, cluster, distance } of readAssignment(store, clusters.manifest)) {
    throwIfAborted(signal);
    const row = Uint32Array.from(cluster.keys()).filter((i) => cluster[i] !== NO_CLUSTER);
    // Distances are not negative, so their bits sort as they do.
    const bits = new Uint32Array(Float32Array.from(distance, (value) => Math.max(0, value)).buffer);
    yield { hi: row.map((i) => start[cluster[i]!]!), lo: row.map((i) => bits[i]!), row: row.map((i) => firstRow + i) };
  }
}

async function* idRecords(store: Store, { parts }: EmbeddingsManifest, signal: AbortSignal): AsyncIterable<Records> {
  for (const part of parts) {
    throwIfAborted(signal);
    const ids = decodeTable(await readPart(store, part), part.path).strings('id');
    const known = Uint32Array.from(ids.keys()).filter((i) => ids[i] !== null);
    yield { hi: known.map((i) => Number.parseInt(ids[i]!.slice(0, 8), 16)), lo: known.map((i) => Number.parseInt(ids[i]!.slice(8, 16), 16)), row: known.map((i) => part.firstRow + i) };
  }
}
