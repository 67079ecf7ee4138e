/** Trees and pools for the tests of sampling: made up by fast-check, and written to a store as the cluster stage does. */
import * as fc from 'fast-check';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { type ClusterTree, type ClustersManifest, ASSIGNMENT_PART_ROWS, NO_CLUSTER, assertTree } from '../../src/cluster/tree.ts';
import { writeLevels } from '../../src/cluster/write.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';

export interface Pool {
  readonly tree: ClusterTree;
  /** Level-1 cluster by row, NO_CLUSTER where not clustered. */
  readonly leaf: Uint32Array;
  readonly distance: Float32Array;
}

/** A pool from the leaf of each row and the parent of each cluster, level 1 first, without the top's. */
export function poolOf(leaf: readonly number[], ks: readonly number[], parents: readonly (readonly number[])[], distance: readonly number[]): Pool {
  let size = new Float64Array(ks[0]!);
  for (const c of leaf) if (c !== NO_CLUSTER) size[c]!++;
  const levels = ks.map((k, l) => {
    const parent = l === ks.length - 1 ? new Uint32Array(k).fill(NO_CLUSTER) : Uint32Array.from(parents[l]!);
    const level = { k, parent, size };
    size = new Float64Array(ks[l + 1] ?? 0);
    if (l < ks.length - 1) level.size.forEach((images, c) => (size[parent[c]!]! += images));
    return level;
  });
  const tree = { d: 2, levels };
  assertTree(tree);
  return { tree, leaf: Uint32Array.from(leaf), distance: Float32Array.from(distance) };
}

/** Pools of 1 to `rowsMax` rows under 1 to 4 levels; some rows unclustered, some clusters empty, distances with ties. */
export function pools(rowsMax = 60): fc.Arbitrary<Pool> {
  return fc
    .array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 })
    .chain((ks) =>
      fc.tuple(
        fc.array(fc.tuple(fc.oneof({ weight: 8, arbitrary: fc.nat(ks[0]! - 1) }, { weight: 1, arbitrary: fc.constant(NO_CLUSTER) }), fc.nat(5)), { minLength: 1, maxLength: rowsMax }),
        fc.constant(ks),
        fc.tuple(...ks.slice(0, -1).map((k, l) => fc.array(fc.nat(ks[l + 1]! - 1), { minLength: k, maxLength: k }))),
      ),
    )
    .map(([rows, ks, parents]) => poolOf(rows.map(([c]) => c), ks, parents, rows.map(([, distance]) => distance / 4)));
}

/** Writes `clusters/` for a pool: centroid tables by the stage's own writer, assignment in parts of the format's size. */
export async function writeClusters(store: Store, { tree, leaf, distance }: Pool): Promise<StoredManifest<ClustersManifest>> {
  const levels = await writeLevels(store, tree, async (_level, _first, count) => new Float32Array(count * tree.d));
  const parts: Part[] = [];
  for (let firstRow = 0; firstRow < leaf.length; firstRow += ASSIGNMENT_PART_ROWS) {
    const cluster = leaf.slice(firstRow, firstRow + ASSIGNMENT_PART_ROWS);
    const valid = Uint8Array.from(cluster, (c) => (c === NO_CLUSTER ? 0 : 1));
    const bytes = encodeTable({
      cluster: { type: 'uint32', values: cluster, valid },
      distance: { type: 'float32', values: distance.slice(firstRow, firstRow + ASSIGNMENT_PART_ROWS), valid },
      reason: { type: 'utf8', values: Array.from(valid, (flag) => (flag === 1 ? null : 'corrupt')) },
    });
    const path = `clusters/assignment/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, bytes);
    parts.push({ path, firstRow, rowCount: cluster.length, bytes: sizeBytes, sha256 });
  }
  const manifest = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'cluster', inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test', levels, d: tree.d, draw: { depth: tree.levels.length, floor: 0 } } as const;
  return writeManifest<ClustersManifest>(store, 'clusters', manifest as ClustersManifest);
}
