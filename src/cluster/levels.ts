/**
 * `levels: auto`: a tree and a dial that gain on long-tailed pools and do no harm on others (reference, section D: no fixed
 * depth wins everywhere, and deep trees on small pools select worse than random).
 */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { ClusterConfig, LevelPlan } from './config.ts';

/** Images a level-1 cluster has on average. */
const IMAGES_PER_LEAF = 4;
/** Each level has half the clusters of the one below. */
const SHRINK = 2;
/** Levels of the tree, as in the paper; sampling starts lower. */
const LEVELS = 5;
const DEPTH = 2;
const FLOOR = 0.5;

/** @param n usable images */
export async function chooseLevels(_context: RunContext, _embeddings: StoredManifest<EmbeddingsManifest>, _config: ClusterConfig, n: number): Promise<Omit<LevelPlan, 'resampling'>> {
  const levels: number[] = [];
  for (let k = Math.max(1, Math.round(n / IMAGES_PER_LEAF)); levels.length < LEVELS && (k > 1 || levels.length === 0); k = Math.round(k / SHRINK)) levels.push(k);
  const depth = Math.min(DEPTH, levels.length);
  return { levels, draw: { depth, floor: FLOOR }, outliers: { policy: 'merge', minSize: 2 }, reasons: [`${levels.join(' / ')} clusters; the target is shared over level ${depth}`] };
}
