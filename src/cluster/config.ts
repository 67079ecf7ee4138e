/** Settings of the cluster stage. */
import { z } from 'zod';

const perLevel = (item: z.ZodInt): z.ZodUnion<readonly [z.ZodInt, z.ZodArray<z.ZodInt>]> => z.union([item, z.array(item).min(1)]);

export const ResamplingConfig = z.strictObject({
  rounds: z.union([z.literal('auto'), z.int().min(0).max(100)]).default('auto').describe('Re-samplings a level after its first k-means; auto: none. The published YAML value 10 means 9 here. More rounds flatten the density of centroids.'),
  sampleSize: perLevel(z.int().min(1)).default(2).describe('Members taken from each cluster a round; one number, or one a level. Rule of thumb: half the mean cluster size.'),
  strategy: z.enum(['closest', 'random']).default('closest').describe('Which members: the closest to the centroid, or a keyed random draw.'),
  start: z.enum(['fresh', 'warm']).default('fresh').describe('First centroids of a round: seeds from its sample (published behaviour), or the centroids of the round before, which is faster and flattens far less.'),
});

export const OutliersConfig = z.strictObject({
  policy: z.enum(['auto', 'keep', 'merge', 'set-aside']).default('auto').describe('What happens to clusters under `minSize` images: keep them (published behaviour), merge them into the nearest larger cluster, or set their images aside with a reason. auto: merge.'),
  minSize: z.union([z.literal('auto'), z.int().min(1)]).default('auto').describe('Images below which a level-1 cluster counts as an outlier; auto: 2, so only leaves of a single image.'),
});

export const SplitConfig = z.strictObject({
  when: z.enum(['auto', 'always', 'never']).default('auto').describe('Whether a level is built cell by cell: coarse cells, the rows of each clustered on their own, then assigned to the nearest cluster of all. auto: where one k-means would be too much work or state.'),
  cells: z.union([z.literal('auto'), z.int().min(2)]).default('auto').describe('Coarse cells of a split level; auto: the square root of its clusters.'),
  share: z.enum(['potential', 'size']).default('potential').describe('How many clusters a cell gets: as many as k-means++ over all points would put there, or in proportion to its points.'),
  updates: z.int().min(0).max(100).default(2).describe('Lloyd updates over all cells together, after those inside them. None follow resampling, whose clusters are means of a sample.'),
  recall: z.number().min(0).max(1).default(0.99).describe('Share of points that must get their exact nearest cluster, measured on a sample.'),
  excess: z.number().min(0).default(0.002).describe('Share by which the inertia may exceed that of exact nearest clusters, on the same sample.'),
});

export const ClusterConfig = z.strictObject({
  profile: z.enum(['default', 'reference']).default('default').describe('reference: the published method, whatever the settings below say: no tolerance, fresh rounds, greedy k-means++ on all points, empty clusters and outliers kept, no split levels.'),
  levels: z
    .union([z.literal('auto'), z.array(z.int().min(1)).min(1).max(16)])
    .default('auto')
    .describe('Clusters a level, finest first, such as [200000000, 8000000, 800000, 100000, 25000]; or auto: chosen from the data.'),
  iterations: z.int().min(1).max(1000).default(50).describe('Lloyd iterations at most. A level stops earlier when no assignment changes, which leaves the result as it is, or within `tolerance`.'),
  resampling: ResamplingConfig.prefault({}).describe('Hierarchical k-means with resampling.'),
  tolerance: z.union([z.literal('auto'), z.number().min(0).max(1)]).default('auto').describe('Share of the inertia that an iteration must take off for another to follow; 0: to the fixed point; auto: 0.0001.'),
  seeding: z.enum(['auto', 'greedy', 'cells']).default('auto').describe('First centroids: greedy k-means++, one seed after another; the same inside coarse cells, for many clusters; auto: cells above 1,024 clusters.'),
  seedingRows: z.int().min(2).default(32_768).describe('Points that k-means++ looks at, at most: a keyed sample when a level has more. At least 2 k are used where there are as many.'),
  empty: z.enum(['keep', 'drop', 'split']).default('split').describe('Empty clusters: keep the centroid (published behaviour), drop the cluster, or move it to split the largest.'),
  splits: perLevel(z.int().min(1)).default(1).describe('Children per cluster of a first, coarser k-means, one number or one a level; the k of the level is then coarse k × splits, shared out in proportion to size.'),
  split: SplitConfig.prefault({}).describe('How levels with very many points and clusters are built.'),
  engine: z.enum(['onnxruntime', 'faiss']).default('onnxruntime').describe('What searches for nearest centroids. faiss (slower) needs the optional faiss-node: infra/faiss/build.sh.'),
  outliers: OutliersConfig.prefault({}).describe('Policy for clusters of very few images.'),
  minSizeWarning: z.int().min(1).default(3).describe('Health: clusters under this size are counted as small.'),
});
export type ClusterConfig = z.infer<typeof ClusterConfig>;

/** Every choice that decides a tree, resolved; recorded in the manifest. */
export interface LevelPlan {
  /** Clusters wanted at each level, finest first. */
  readonly levels: readonly number[];
  /** Level that sampling starts from, and floor of large clusters there, where the recipe leaves them to auto. */
  readonly draw: { readonly depth: number; readonly floor: number };
  readonly outliers: { readonly policy: 'keep' | 'merge' | 'set-aside'; readonly minSize: number };
  readonly resampling: { readonly rounds: number; readonly sampleSize: readonly number[]; readonly strategy: 'closest' | 'random' };
  /** Why, in a sentence or two for people; empty for fixed levels. */
  readonly reasons: readonly string[];
}

/** A per-level setting as one value a level. @throws {RangeError} when a list has another length than L */
export function atLevel(setting: number | readonly number[], level: number, levels: number, name: string): number {
  if (typeof setting === 'number') return setting;
  if (setting.length !== levels) throw new RangeError(`Expected \`${name}\` to have one entry a level (${levels}), got ${setting.length}`);
  return setting[level - 1]!;
}
