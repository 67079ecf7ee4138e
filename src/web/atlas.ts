/**
 * The noun of the atlas: a finished tree laid out so that any node of any level is one run of places in one table. Places
 * count the clustered rows in depth-first order of the tree, and by distance to the centroid within a leaf.
 */
import type { ClusterTree, ClustersManifest, Grouping } from '../cluster/tree.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { randomStream } from '../random.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import type { SortedRecords } from './sorted-records.ts';
import type { TableRows } from './table-rows.ts';

/** A cluster of the tree; level 1 is the finest. */
export interface NodeName {
  readonly level: number;
  readonly cluster: number;
}

export interface Atlas {
  readonly store: Store;
  readonly manifests: {
    readonly images: StoredManifest<ImagesManifest>;
    readonly embeddings: StoredManifest<EmbeddingsManifest>;
    readonly clusters: StoredManifest<ClustersManifest>;
    /** Null before the selection is drawn. */
    readonly selection: StoredManifest<SelectionManifest> | null;
  };
  readonly tree: ClusterTree;
  /** Children of each cluster of level l + 2, by index l. */
  readonly children: readonly Grouping[];
  /** First place of each cluster, by index of its level. */
  readonly start: readonly Float64Array[];
  /** Clustered images. */
  readonly images: number;
  /** By place: `hi` the leaf's first place, `lo` the distance as bits, `row`. */
  readonly members: SortedRecords;
  /** By id: `hi` and `lo` the first 16 hex digits, `row`. Rows without an id are not there. */
  readonly ids: SortedRecords;
  readonly tables: {
    readonly images: TableRows;
    readonly embeddings: TableRows;
    readonly assignment: TableRows;
    readonly selection: TableRows | null;
    /** Level 1 first; column `centroid`. */
    readonly centroids: readonly Pick<TableRows, 'vector'>[];
  };
}

/** First place of each cluster, level 1 first: siblings in order of their number. 8 bytes a cluster. */
export function placeClusters({ levels }: ClusterTree, children: readonly Grouping[]): Float64Array[] {
  const start = levels.map(({ k }) => new Float64Array(k));
  let at = 0;
  levels.at(-1)!.size.forEach((size, c) => {
    start.at(-1)![c] = at;
    at += size;
  });
  for (let l = levels.length - 2; l >= 0; l--) {
    const { offset, child } = children[l]!;
    start[l + 1]!.forEach((first, p) => {
      let next = first;
      for (let i = offset[p]!; i < offset[p + 1]!; i++) {
        start[l]![child[i]!] = next;
        next += levels[l]!.size[child[i]!]!;
      }
    });
  }
  return start;
}

/** Whether the tree has such a cluster. */
export function hasNode({ tree }: Atlas, { level, cluster }: NodeName): boolean {
  return Number.isSafeInteger(level) && level >= 1 && level <= tree.levels.length && Number.isSafeInteger(cluster) && cluster >= 0 && cluster < tree.levels[level - 1]!.k;
}

/** Clusters of the level below, ascending; empty for a leaf. */
export function childrenOf({ children }: Atlas, { level, cluster }: NodeName): Uint32Array {
  if (level === 1) return new Uint32Array(0);
  const { offset, child } = children[level - 2]!;
  return child.subarray(offset[cluster]!, offset[cluster + 1]!);
}

/** From the top down to the node itself. */
export function pathTo({ tree }: Atlas, node: NodeName): NodeName[] {
  const path = [node];
  for (let { level, cluster } = node; level < tree.levels.length; level++) {
    cluster = tree.levels[level - 1]!.parent[cluster]!;
    path.unshift({ level: level + 1, cluster });
  }
  return path;
}

/** Images under a node. */
export function sizeOf({ tree }: Atlas, { level, cluster }: NodeName): number {
  return tree.levels[level - 1]!.size[cluster]!;
}

/** Rows of a leaf by distance, `count` from the `from`-th; of another node in the order of its places. */
export async function membersOf(atlas: Atlas, node: NodeName, from: number, count: number): Promise<number[]> {
  const first = atlas.start[node.level - 1]![node.cluster]!;
  const size = sizeOf(atlas, node);
  const [begin, end] = [Math.min(size, from), Math.min(size, from + count)];
  return [...(await atlas.members.read(first + begin, first + end)).row];
}

/** Rows that a keyed draw takes, the same at every visit; another `draw` gives others. */
export async function randomMembers(atlas: Atlas, node: NodeName, count: number, draw: number): Promise<number[]> {
  const size = sizeOf(atlas, node);
  const first = atlas.start[node.level - 1]![node.cluster]!;
  const stream = randomStream(0, 'atlas', 'members', node.level, node.cluster, draw);
  const places = new Set<number>();
  for (let i = 0; places.size < Math.min(count, size); i++) places.add(stream.below(i, size));
  return Promise.all([...places].map(async (place) => (await atlas.members.read(first + place, first + place + 1)).row[0]!));
}
