/**
 * The noun of the cluster stage: a tree of L levels over the rows of the pool. Level 1 is the finest; level l ≥ 2
 * clusters the centroids of level l−1; the top level has no parent. Sizes count images, so that each level's sizes sum
 * to the clustered rows and a parent's size is the sum of its children's.
 */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { type Manifest, type Part, type StoredManifest, readPart, requireManifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** Marks "no cluster" in an assignment and "no parent" at the top, in memory; null on disk. */
export const NO_CLUSTER = 0xffffffff;
/** Reason of a row that was in the pool when the tree was fitted and is in no cluster of it. */
export const SET_ASIDE = 'set-aside';
/** The end of the dial of floors: the selection is as the pool (see sample/proportional.ts). */
export const PROPORTIONAL = 100;

/** Rows of one part of the assignment and centroid tables; constants of the format. */
export const ASSIGNMENT_PART_ROWS = 65_536;
export const CENTROID_PART_ROWS = 65_536;

export interface TreeLevel {
  /** Clusters of this level. */
  readonly k: number;
  /** Cluster of the next level, length k; NO_CLUSTER at the top. */
  readonly parent: Uint32Array;
  /** Images under each cluster, length k. */
  readonly size: Float64Array;
}

export interface ClusterTree {
  readonly d: number;
  /** Level 1 first, top last. */
  readonly levels: readonly TreeLevel[];
}

export interface ClustersManifest extends Manifest {
  /** `parts` of the manifest are the assignment's; these are the centroid tables', level 1 first. */
  readonly levels: readonly { readonly level: number; readonly k: number; readonly parts: readonly Part[] }[];
  readonly d: number;
  /** How sampling draws from this tree where its recipe says auto: level to start from, and floor (see sample/floor.ts). */
  readonly draw: { readonly depth: number; readonly floor: number };
}

/** Children of one level grouped by parent: children of cluster p are `child[offset[p] … offset[p+1])`, ascending. */
export interface Grouping {
  readonly offset: Float64Array;
  readonly child: Uint32Array;
}

/** Counting sort of children by parent; children of NO_CLUSTER are left out. O(n + k). */
export function groupByParent(parent: Uint32Array, k: number): Grouping {
  const offset = new Float64Array(k + 1);
  for (let i = 0; i < parent.length; i++) if (parent[i] !== NO_CLUSTER) offset[parent[i]! + 1]!++;
  for (let p = 0; p < k; p++) offset[p + 1]! += offset[p]!;
  const next = offset.slice(0, k);
  const child = new Uint32Array(offset[k]!);
  for (let i = 0; i < parent.length; i++) {
    const p = parent[i]!;
    if (p !== NO_CLUSTER) child[next[p]!++] = i;
  }
  return { offset, child };
}

/** @throws {AssertionError} naming the first broken invariant: parents in range, sizes that add up level by level */
export function assertTree(tree: ClusterTree): void {
  tree.levels.forEach((level, l) => {
    const above = tree.levels[l + 1];
    assert(level.parent.length === level.k && level.size.length === level.k, `Expected level ${l + 1} to have ${level.k} parents and sizes`);
    const sums = new Float64Array(above?.k ?? 0);
    for (let i = 0; i < level.k; i++) {
      const p = level.parent[i]!;
      if (above === undefined) assert(p === NO_CLUSTER, `Expected no parent at the top level, cluster ${i} has ${p}`);
      else {
        assert(p < above.k, `Expected the parent of cluster ${i} of level ${l + 1} below ${above.k}, got ${p}`);
        sums[p]! += level.size[i]!;
      }
    }
    above?.size.forEach((size, p) => assert(size === sums[p], `Expected cluster ${p} of level ${l + 2} to hold ${sums[p]} images, got ${size}`));
  });
}

/** The tree without the levels above `depth` (1 is the finest): its top is then level `depth`. */
export function truncateTree(tree: ClusterTree, depth: number): ClusterTree {
  assert(depth >= 1 && depth <= tree.levels.length, `Expected a depth from 1 to ${tree.levels.length}, got ${depth}`);
  const levels = tree.levels.slice(0, depth);
  const top = levels.at(-1)!;
  return { d: tree.d, levels: [...levels.slice(0, -1), { ...top, parent: new Uint32Array(top.k).fill(NO_CLUSTER) }] };
}

/** The tree's shape from the store, without centroids. O(Σ k) memory. @param path its key prefix */
export async function readTree(store: Store, path = 'clusters'): Promise<{ stored: StoredManifest<ClustersManifest>; tree: ClusterTree }> {
  const stored = await requireManifest<ClustersManifest>(store, path, 'cluster');
  const levels: TreeLevel[] = [];
  for (const { k, parts } of stored.manifest.levels) {
    const parent = new Uint32Array(k).fill(NO_CLUSTER);
    const size = new Float64Array(k);
    for (const part of parts) {
      const view = decodeTable(await readPart(store, part), part.path);
      const valid = view.validity('parent');
      const parents = view.numbers('parent');
      for (let i = 0; i < part.rowCount; i++) if (valid === undefined || valid[i] === 1) parent[part.firstRow + i] = parents[i]!;
      size.set(view.numbers('size'), part.firstRow);
    }
    levels.push({ k, parent, size });
  }
  const tree = { d: stored.manifest.d, levels };
  assertTree(tree);
  return { stored, tree };
}

/** Centroids of one level (1 is the finest), k × d row-major. */
export async function readCentroids(store: Store, manifest: ClustersManifest, level: number): Promise<Float32Array> {
  const entry = manifest.levels[level - 1];
  assert(entry !== undefined, `Expected a level from 1 to ${manifest.levels.length}, got ${level}`);
  const centroids = new Float32Array(entry.k * manifest.d);
  for (const part of entry.parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    centroids.set(view.vector('centroid').values as Float32Array, part.firstRow * manifest.d);
  }
  return centroids;
}

/** One part of the assignment: level-1 cluster and distance of rows firstRow … firstRow + cluster.length − 1. */
export interface AssignmentBlock {
  readonly firstRow: number;
  /** NO_CLUSTER for rows that were not clustered (rejected, duplicates, set aside). */
  readonly cluster: Uint32Array;
  /** Euclidean distance squared to the centroid; 0 where there is no cluster. */
  readonly distance: Float32Array;
}

/** Streams the assignment in row order, one part in memory at a time. */
export async function* readAssignment(store: Store, manifest: ClustersManifest): AsyncIterable<AssignmentBlock> {
  for (const part of manifest.parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    const valid = view.validity('cluster');
    const cluster = Uint32Array.from(view.numbers('cluster') as Uint32Array);
    if (valid !== undefined) for (let i = 0; i < cluster.length; i++) if (valid[i] === 0) cluster[i] = NO_CLUSTER;
    yield { firstRow: part.firstRow, cluster, distance: view.numbers('distance') as Float32Array };
  }
}
