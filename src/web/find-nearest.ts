/**
 * The images nearest to a vector, through the tree: a beam of the nearest clusters is followed from the top to the leaves,
 * and the members of those leaves are compared exactly (a tree-structured inverted file). Approximate, and of bounded cost
 * whatever the size of the pool; a pool of up to `CANDIDATES` images whose beam holds every leaf is searched whole.
 */
import { type Atlas, childrenOf, membersOf, sizeOf } from './atlas.ts';
import { squaredDistance } from './representatives.ts';

export interface Found {
  readonly row: number;
  /** Squared Euclidean distance. */
  readonly distance: number;
}

export interface Nearest {
  /** Nearest first, ties by row. */
  readonly found: readonly Found[];
  /** What was compared. */
  readonly images: number;
  readonly leaves: number;
}

/** Clusters of a level that are followed. */
const BEAM = 24;
/** Children of the beam that are compared at most, the largest first. */
const COMPARED_MAX = 4096;
/** Members compared at most. */
const CANDIDATES = 3000;

/** @param query of the tree's dimensions, scaled as the stored vectors are */
export async function findNearest(atlas: Atlas, query: Float32Array, count: number): Promise<Nearest> {
  const top = atlas.tree.levels.length;
  let beam = await nearestClusters(atlas, query, top, Uint32Array.from(atlas.tree.levels[top - 1]!.size.keys()));
  for (let level = top - 1; level >= 1; level--) {
    const below: number[] = [];
    for (const cluster of beam) below.push(...childrenOf(atlas, { level: level + 1, cluster }));
    beam = await nearestClusters(atlas, query, level, Uint32Array.from(below));
  }
  const rows: number[] = [];
  let leaves = 0;
  for (const cluster of beam) {
    if (rows.length >= CANDIDATES) break;
    rows.push(...(await membersOf(atlas, { level: 1, cluster }, 0, CANDIDATES - rows.length)));
    leaves++;
  }
  const found = await Promise.all(rows.map(async (row) => ({ row, distance: squaredDistance(query, await atlas.tables.embeddings.vector('embedding', row)) })));
  return { found: found.sort((a, b) => a.distance - b.distance || a.row - b.row).slice(0, count), images: rows.length, leaves };
}

async function nearestClusters(atlas: Atlas, query: Float32Array, level: number, clusters: Uint32Array): Promise<number[]> {
  const { size } = atlas.tree.levels[level - 1]!;
  let some = clusters.filter((cluster) => sizeOf(atlas, { level, cluster }) > 0);
  if (some.length > COMPARED_MAX) some = some.sort((a, b) => size[b]! - size[a]! || a - b).slice(0, COMPARED_MAX);
  const ranked = await Promise.all(Array.from(some, async (cluster) => ({ cluster, distance: squaredDistance(query, await atlas.tables.centroids[level - 1]!.vector('centroid', cluster)) })));
  return ranked.sort((a, b) => a.distance - b.distance || a.cluster - b.cluster).slice(0, BEAM).map(({ cluster }) => cluster);
}
