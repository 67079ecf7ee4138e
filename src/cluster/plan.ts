/** What the cluster stage will build: the recipe's levels as they are, or levels chosen from the data. */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { type ClusterConfig, type LevelPlan, atLevel } from './config.ts';
import { chooseLevels } from './levels.ts';

/** Where the recipe does not say: a leaf of one image is joined to its nearest neighbour (reference, section D). */
const LONELY = { policy: 'merge', minSize: 2 } as const;

/** @param n usable images, at least one */
export async function planLevels(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig, n: number): Promise<LevelPlan> {
  if (config.levels !== 'auto') return withSettings(config, { levels: config.levels, draw: { depth: config.levels.length, floor: 0 }, outliers: LONELY, reasons: [] });
  const chosen = await chooseLevels(context, embeddings, config, n);
  for (const reason of chosen.reasons) context.log.info({ stage: 'cluster' }, `levels: auto: ${reason}`);
  return withSettings(config, chosen);
}

/** What the recipe states wins over what was chosen. */
function withSettings(config: ClusterConfig, chosen: Omit<LevelPlan, 'resampling'>): LevelPlan {
  const { policy, minSize } = config.outliers;
  const { rounds, sampleSize, strategy } = config.resampling;
  const L = chosen.levels.length;
  return {
    ...chosen,
    outliers: { policy: policy === 'auto' ? chosen.outliers.policy : policy, minSize: minSize === 'auto' ? chosen.outliers.minSize : minSize },
    resampling: { rounds: rounds === 'auto' ? 0 : rounds, sampleSize: chosen.levels.map((_, l) => atLevel(sampleSize, l + 1, L, 'cluster.resampling.sampleSize')), strategy },
  };
}
