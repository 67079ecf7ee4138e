/**
 * The top-level centroids on a plane: UMAP (McInnes et al. 2018) by umap-js with a keyed stream in the place of its dice,
 * so that a tree has one map. Made once a tree and kept beside the atlas's tables.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import { UMAP } from 'umap-js';
import { throwIfAborted } from '../errors.ts';
import { randomStream } from '../random.ts';
import type { Store } from '../store/store.ts';
import type { Atlas } from './atlas.ts';
import { prefixOf } from './open-atlas.ts';

export interface MapPoint {
  readonly cluster: number;
  /** 0 … 1. */
  readonly x: number;
  readonly y: number;
}

/** Clusters on the map at most, the largest first: a page with more links is of no use to anybody. */
export const MAP_POINTS_MAX = 1500;
const NEIGHBOURS = 15;
const EPOCHS = 300;
/** Fewer are no map: neighbours say nothing, and all of them fit on the page. */
const MAP_POINTS_MIN = 6;

/** @returns points by cluster, ascending; none where the level has fewer than six clusters. O(points²) once a tree: seconds at 1,500 points */
export async function mapTopLevel(atlas: Atlas, cache: Store, signal: AbortSignal): Promise<MapPoint[]> {
  const key = `${prefixOf(atlas.manifests.clusters)}map.json`;
  if ((await cache.head(key)) !== null) return JSON.parse(new TextDecoder().decode(await cache.read(key))) as MapPoint[];
  const { size } = atlas.tree.levels.at(-1)!;
  const clusters = [...size.keys()].filter((c) => size[c]! > 0).sort((a, b) => size[b]! - size[a]! || a - b).slice(0, MAP_POINTS_MAX).sort((a, b) => a - b);
  if (clusters.length < MAP_POINTS_MIN) return [];
  const vectors = await Promise.all(clusters.map(async (cluster) => [...(await atlas.tables.centroids.at(-1)!.vector('centroid', cluster))]));
  const points = scale(await project(vectors, signal)).map(([x, y], i) => ({ cluster: clusters[i]!, x, y }));
  await cache.write(key, new TextEncoder().encode(`${JSON.stringify(points)}\n`));
  return points;
}

async function project(vectors: number[][], signal: AbortSignal): Promise<number[][]> {
  const stream = randomStream(0, 'atlas', 'map');
  let draw = 0;
  const umap = new UMAP({ nComponents: 2, nNeighbors: Math.min(NEIGHBOURS, vectors.length - 1), minDist: 0.25, nEpochs: EPOCHS, random: () => stream.uniform(draw++) });
  const epochs = umap.initializeFit(vectors);
  for (let epoch = 0; epoch < epochs; epoch++) {
    throwIfAborted(signal);
    umap.step();
    if (epoch % 20 === 0) await breathe();
  }
  return umap.getEmbedding();
}

/** Into the unit square, both axes by the same factor, three decimals. */
function scale(points: readonly number[][]): [number, number][] {
  const range = (axis: number): { low: number; span: number } => {
    const values = points.map((point) => point[axis]!);
    const low = Math.min(...values);
    return { low, span: Math.max(...values) - low };
  };
  const [x, y] = [range(0), range(1)];
  const span = Math.max(x.span, y.span) || 1;
  const place = (value: number, own: { low: number; span: number }): number => Math.round((0.5 + (value - own.low - own.span / 2) / span) * 1000) / 1000;
  return points.map((point) => [place(point[0]!, x), place(point[1]!, y)]);
}
