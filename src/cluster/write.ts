/** Writes the tables of the cluster stage: centroids of each level, and cluster and distance of every row of the pool. */
import { encodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { type Part, writePart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { ASSIGNMENT_PART_ROWS, CENTROID_PART_ROWS, type ClusterTree, NO_CLUSTER, SET_ASIDE } from './tree.ts';

/**
 * @param centroidsOf reads some centroids of a level (1 is the finest) in original units, count × d
 * @param path key prefix of the tree
 */
export async function writeLevels(store: Store, tree: ClusterTree, centroidsOf: (level: number, first: number, count: number) => Promise<Float32Array>, path = 'clusters'): Promise<{ level: number; k: number; parts: Part[] }[]> {
  const { d } = tree;
  const written = [];
  for (const [l, { k, parent, size }] of tree.levels.entries()) {
    const parts: Part[] = [];
    for (let first = 0; first < k; first += CENTROID_PART_ROWS) {
      const end = Math.min(k, first + CENTROID_PART_ROWS);
      const parents = parent.subarray(first, end);
      const bytes = encodeTable({
        centroid: { type: 'vector', element: 'float32', d, values: await centroidsOf(l + 1, first, end - first) },
        parent: { type: 'uint32', values: parents.map((p) => (p === NO_CLUSTER ? 0 : p)), valid: Uint8Array.from(parents, (p) => (p === NO_CLUSTER ? 0 : 1)) },
        size: { type: 'uint64', values: size.subarray(first, end) },
      });
      parts.push(await writePart(store, `${path}/level-${l + 1}/centroids`, parts, end - first, bytes));
    }
    written.push({ level: l + 1, k, parts });
  }
  return written;
}

/** Clusters of consecutive points, NO_CLUSTER where set aside, and squared distances in original units. */
export interface AssignedPoints {
  readonly assignment: Uint32Array;
  readonly distance: Float32Array;
}

/**
 * Spreads the points' clusters over all rows of the pool: rows that were rejected or set aside get null and the reason.
 *
 * @param read some points (ok rows), asked for in order
 * @param path key prefix of the tree
 */
export async function writeAssignment(store: Store, embeddings: EmbeddingsManifest, read: (first: number, count: number) => Promise<AssignedPoints>, path = 'clusters'): Promise<Part[]> {
  const parts: Part[] = [];
  let rows = emptyRows();
  let first = 0;
  const flush = async (): Promise<void> => {
    const bytes = encodeTable({
      cluster: { type: 'uint32', values: rows.cluster.subarray(0, rows.count), valid: rows.valid.subarray(0, rows.count) },
      distance: { type: 'float32', values: rows.distance.subarray(0, rows.count), valid: rows.valid.subarray(0, rows.count) },
      reason: { type: 'utf8', values: rows.reason },
    });
    parts.push(await writePart(store, `${path}/assignment`, parts, rows.count, bytes));
    rows = emptyRows();
  };
  for (const [p, part] of embeddings.parts.entries()) {
    const { status } = await readEmbeddingFacts(store, part);
    const { assignment, distance } = await read(first, embeddings.okRows[p]!);
    let point = 0;
    for (const reason of status) {
      const at = rows.count++;
      const c = reason === 'ok' ? assignment[point]! : NO_CLUSTER;
      if (c !== NO_CLUSTER) {
        rows.cluster[at] = c;
        rows.distance[at] = distance[point]!;
        rows.valid[at] = 1;
      }
      rows.reason.push(c !== NO_CLUSTER ? null : reason === 'ok' ? SET_ASIDE : reason);
      if (reason === 'ok') point++;
      if (rows.count === ASSIGNMENT_PART_ROWS) await flush();
    }
    first += embeddings.okRows[p]!;
  }
  if (rows.count > 0) await flush();
  return parts;
}

function emptyRows(): { count: number; cluster: Uint32Array; distance: Float32Array; valid: Uint8Array; reason: (string | null)[] } {
  const n = ASSIGNMENT_PART_ROWS;
  return { count: 0, cluster: new Uint32Array(n), distance: new Float32Array(n), valid: new Uint8Array(n), reason: [] };
}
