/** What the cluster stage will build: the recipe's levels as they are, or levels chosen from the data. */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { type ClusterConfig, type LevelPlan, atLevel } from './config.ts';
import { chooseLevels } from './levels.ts';
import type { LevelSplit } from './split-level.ts';

/** Where the recipe does not say: a leaf of one image is joined to its nearest neighbour (reference, section D). */
const LONELY = { policy: 'merge', minSize: 2 } as const;

/** A plan and, for each level, how it is split; null: one k-means, in one task. */
export interface TreePlan extends LevelPlan {
  readonly split: readonly (LevelSplit | null)[];
}

/** @param n usable images, at least one */
export async function planLevels(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig, n: number): Promise<TreePlan> {
  const { d } = embeddings.manifest;
  if (config.levels !== 'auto') return withSettings(config, n, d, { levels: config.levels, draw: { depth: config.levels.length, floor: 0 }, outliers: LONELY, reasons: [] });
  const chosen = await chooseLevels(context, embeddings, config, n);
  for (const reason of chosen.reasons) context.log.info({ stage: 'cluster' }, `levels: auto: ${reason}`);
  return withSettings(config, n, d, chosen);
}

/** What the recipe states wins over what was chosen. */
function withSettings(config: ClusterConfig, n: number, d: number, chosen: Omit<LevelPlan, 'resampling'>): TreePlan {
  const { policy, minSize } = config.outliers;
  const { rounds, sampleSize, strategy } = config.resampling;
  const { levels } = chosen;
  const L = levels.length;
  return {
    ...chosen,
    outliers: { policy: policy === 'auto' ? chosen.outliers.policy : policy, minSize: minSize === 'auto' ? chosen.outliers.minSize : minSize },
    resampling: { rounds: rounds === 'auto' ? 0 : rounds, sampleSize: levels.map((_, l) => atLevel(sampleSize, l + 1, L, 'cluster.resampling.sampleSize')), strategy },
    split: levels.map((k, l) => splitOf(config, { n: l === 0 ? n : levels[l - 1]!, d, k, splits: atLevel(config.splits, l + 1, L, 'cluster.splits') })),
  };
}

/** Work beyond which a level is split: about two minutes of products on a small machine. */
const SPLIT_FLOP = 3e13;
/** Centroids and sums of one k-means beyond which a level is split, in bytes. */
const SPLIT_BYTES = 4 * 2 ** 30;
/** Below so many clusters cells gain nothing. */
const SPLIT_CLUSTERS_MIN = 1024;

/** Rows that coarse cells are trained on: at least so many, and so many a cell. */
const SAMPLE_ROWS_MIN = 65_536;
const SAMPLE_PER_CELL = 128;
const COARSE_ITERATIONS = 10;
/** Rows on which recall is measured. */
const RECALL_ROWS = 20_000;

/** By arithmetic on the recipe and the pool, never on the machine: how a level is built decides its bytes. */
export function splitOf({ split, iterations }: ClusterConfig, { n, d, k, splits }: { n: number; d: number; k: number; splits: number }): LevelSplit | null {
  const flop = 2 * n * k * d * iterations;
  const large = k >= SPLIT_CLUSTERS_MIN && (flop > SPLIT_FLOP || k * d * 16 > SPLIT_BYTES);
  const wanted = split.cells !== 'auto' ? split.cells : splits > 1 ? Math.round(k / splits) : Math.round(Math.sqrt(k));
  const cells = Math.min(wanted, Math.floor(k / 2));
  if (cells < 2 || split.when === 'never' || (split.when === 'auto' && !large)) return null;
  const sampleRows = Math.max(SAMPLE_ROWS_MIN, SAMPLE_PER_CELL * cells);
  return { cells, sampleRows, coarseIterations: COARSE_ITERATIONS, share: split.share, updates: split.updates, recall: split.recall, excess: split.excess, recallRows: RECALL_ROWS };
}
