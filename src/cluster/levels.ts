/**
 * `levels: auto`: a tree and a dial that gain on long-tailed pools and do no harm on others (reference, section D: no fixed
 * depth wins everywhere, and deep trees on small pools select worse than random).
 *
 * The rule in three sentences. Leaves hold 5½ images on average, those of one or two images are merged into their
 * neighbours, and the target is shared evenly over half as many clusters above them: that is where balance is gained on
 * long tails and hardly lost anywhere else. Large clusters keep a floor of their proportional share, a small one in large
 * pools whose dense regions are much denser than the rest, and whose neighbours look as those of photographs do: elsewhere
 * density need not mean frequency, and the selection is as the pool. A pilot on a sample looks whether the
 * selection would crowd into few of many regions found without the tree, and if so raises the floor until it does not.
 */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { drawDistinct, randomStream } from '../random.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { SearchEngine } from '../vector/search.ts';
import type { ClusterConfig, LevelPlan } from './config.ts';
import { flatEvenness } from './evenness.ts';
import { kmeans } from './kmeans.ts';
import { searchEngine } from './level.ts';
import { buildPilot } from './pilot.ts';
import { type Points, memoryPoints, openEmbeddingPoints } from './points.ts';
import { type PoolShape, poolShape } from './spread.ts';
import { PROPORTIONAL } from './tree.ts';

/** Images that a cluster of level 2, where the target is shared, has on average. Level 1 has half of it. */
const IMAGES_PER_CLUSTER = 11;
/** Each level has half the clusters of the one below. */
const SHRINK = 2;
/** Levels of the tree, as in the paper; sampling starts lower. */
const LEVELS = 5;
const DEPTH = 2;
/** Up to here clusters grow with n; beyond, with √n, which keeps k-means affordable: 23,000 leaves at a million images. */
const LINEAR_IMAGES = 16_384;
const OUTLIERS = { policy: 'merge', minSize: 3 } as const;

/**
 * Floor of a healthy pool: 760 / n, at least 0.25 (from 3,040 images on). In a small pool rare and odd look alike, and
 * the number of images a concept happens to have is mostly chance: four kinds of 120 photographs lost 3 % at 0.64.
 */
const FLOOR_MIN = 0.25;
const FLOOR_CHANCE = 760;
/**
 * Where densities hardly differ (see spread.ts) there is little to balance, and even quotas only follow chance: the floor by
 * the spread, between these points in proportion to its logarithm. Pools of real photographs: evenly many of each class 1.5
 * to 1.95, long tails 1.9 to 3.1.
 */
const FLOOR_BY_SPREAD = [
  { spread: 1.8, floor: 2 },
  { spread: 2, floor: 0.45 },
  { spread: 2.5, floor: FLOOR_MIN },
] as const;
/**
 * Where even quotas have been seen to help and never to harm by more than 3 %: photographs of many concepts under the
 * model of the evaluation data. Outside (weak or few-dimensional vectors, mixtures of clouds, noise), a dense region can be a
 * concept that is merely tight: the same vectors, labelled by cloud, would want the opposite. There the selection is
 * proportional.
 */
const TRUSTED = { spread: [0, 3.5], dimension: [19, 28], contrast: [0.755, 0.9], hubness: [0.75, 1.05] } as const;
/** Copies make a cluster of each image they repeat, which even quotas would fill first. */
const COPIES_MAX = 0.05;
/**
 * From this floor on the selection is proportional: what even quotas could still gain is less than what chance takes from a
 * small pool, of which one pass along the tree leaves little. And it is of the leaves: a cluster of level 2 would split its
 * quota evenly over leaves of copies.
 */
const FLOOR_LEAVES = 2;
/** Floors to try on a suspect pool before it is drawn in proportion. */
const FLOORS = [0.5, 1] as const;
/**
 * Photographs measure 0.93 to 1.05, gaining or not; the pools that even quotas harm most 0.65 to 0.85 (70 pools, many made
 * to break the rule). It catches the worst, not all: a class that is merely diverse can look like many rare ones.
 */
const EVENNESS_SUSPECT = 0.9;
/** A suspect pool has to come this close to the pool's own evenness. */
const EVENNESS_SAFE = 0.985;

const PILOT_IMAGES = 4096;
const PILOT_IMAGES_PER_LEAF_MAX = 16;
const PILOT_ITERATIONS = 10;
const PILOT_SHARE = 0.2;
const FLAT_CLUSTERS = [5, 10, 20, 50];
const FLAT_DRAWS = 3;

/** @returns clusters of each level for n images, finest first: one to five levels, each at least 1 */
export function levelsFor(n: number): number[] {
  const grown = n <= LINEAR_IMAGES ? n : Math.sqrt(LINEAR_IMAGES * n);
  const levels = [Math.max(1, Math.round((grown * SHRINK) / IMAGES_PER_CLUSTER))];
  while (levels.length < LEVELS && levels.at(-1)! > 1) levels.push(Math.max(1, Math.round(grown / IMAGES_PER_CLUSTER / SHRINK ** (levels.length - 1))));
  return levels;
}

/** What a pilot saw: at floor f, how evenly the selection spreads over flat clusters; the pool itself is 1. */
export type EvennessOf = (floor: number) => number;

interface Choice {
  readonly floor: number;
  /** Why, for people. */
  readonly reason: string;
}

/**
 * The smallest floor that does no harm: the usual one for n images and the shape of the pool unless the pilot is
 * suspicious, and then the first that is as even as the pool to 1.5 %.
 *
 * @param shape as `poolShape` gives it
 * @param evennessOf increasing in the floor but for noise; asked only for the floors that are tried
 */
export function chooseFloor(n: number, shape: PoolShape | null, evennessOf: EvennessOf): Choice {
  const { floor: usual, reason } = usualFloor(n, shape);
  if (usual === PROPORTIONAL) return { floor: usual, reason };
  const evenness = evennessOf(usual);
  const seen = `${reason}, and a pilot's selection is ${Math.round(evenness * 100)} % as even over flat clusters as the pool`;
  if (evenness >= EVENNESS_SUSPECT) return { floor: usual, reason: `${seen}: large clusters keep the floor for such ${n} images, ${usual}` };
  const floor = FLOORS.find((one) => one > usual && evennessOf(one) >= EVENNESS_SAFE) ?? PROPORTIONAL;
  return { floor, reason: `${seen}, so even quotas would crowd it into sparse regions: ${floor === PROPORTIONAL ? 'the selection is as the pool' : `large clusters keep a floor of ${floor}`}` };
}

/** The floor that size and shape ask for. From PROPORTIONAL no pilot could raise it. */
function usualFloor(n: number, shape: PoolShape | null): Choice {
  const { least, why } = floorOfShape(shape);
  const floor = round(Math.max(least, FLOOR_CHANCE / n));
  if (floor !== PROPORTIONAL) return { floor, reason: why };
  return { floor, reason: `${why}${round(least) < PROPORTIONAL ? `, but ${n} images are too few to tell rare from odd` : ''}: the selection is as the pool` };
}

/** The floor of a large pool, and what speaks for it. */
function floorOfShape(shape: PoolShape | null): { least: number; why: string } {
  if (shape === null) return { least: PROPORTIONAL, why: 'too few different images to tell how densities differ' };
  const { spread, copies } = shape;
  if (copies > COPIES_MAX) return { least: PROPORTIONAL, why: `${Math.round(copies * 100)} % of the images have a copy (de-duplicate first)` };
  const odd = (Object.keys(TRUSTED) as (keyof typeof TRUSTED)[]).find((key) => shape[key] < TRUSTED[key][0] || shape[key] > TRUSTED[key][1]);
  const dense = `the densest tenth is ${Number(Math.exp(spread).toPrecision(2))} times as dense as the median`;
  if (odd !== undefined) return { least: PROPORTIONAL, why: `${dense}, but a ${odd} of ${shape[odd].toPrecision(2)} is unlike that of photographs, so density may not mean frequency` };
  const least = floorOfSpread(spread);
  return { least, why: least === PROPORTIONAL ? `${dense}, which leaves little to balance` : dense };
}

function floorOfSpread(spread: number): number {
  const above = FLOOR_BY_SPREAD.findIndex((point) => point.spread > spread);
  if (above === -1) return FLOOR_MIN;
  const [from, to] = [FLOOR_BY_SPREAD[above - 1], FLOOR_BY_SPREAD[above]!];
  return from === undefined ? PROPORTIONAL : from.floor * (to.floor / from.floor) ** ((spread - from.spread) / (to.spread - from.spread));
}

/** To two digits, and what is proportional in all but name to that. */
function round(floor: number): number {
  return floor >= FLOOR_LEAVES ? PROPORTIONAL : Math.round(floor * 100) / 100;
}

/**
 * Levels, floor and outlier policy for a pool, from its size and a pilot on at most 4,096 of its images. No labels are
 * looked at. Deterministic in the seed. The pilot costs one small tree, twelve flat k-means and the neighbours of 1,024 images, whatever n is.
 *
 * @param n usable images, at least one
 */
export async function chooseLevels(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig, n: number): Promise<Omit<LevelPlan, 'resampling'>> {
  const levels = levelsFor(n);
  const depth = Math.min(DEPTH, levels.length);
  const { policy, minSize } = config.outliers;
  const outliers = { policy: policy === 'auto' ? OUTLIERS.policy : policy, minSize: minSize === 'auto' ? OUTLIERS.minSize : minSize };
  const sample = await samplePoints(context, embeddings, n);
  const shape = await poolShape(sample, await searchEngine(context), randomStream(context.seed, 'cluster', 'pilot-spread'), context.signal);
  const usual = usualFloor(n, shape);
  const { floor, reason } = usual.floor === PROPORTIONAL ? usual : chooseFloor(n, shape, await runPilot(sample, n, levels.slice(0, depth), outliers, config, context));
  const draw = { depth: floor === PROPORTIONAL ? 1 : depth, floor };
  return { levels, draw, outliers, reasons: [`${levels.join(' / ')} clusters; the target is shared over level ${draw.depth}`, reason] };
}

/** Keyed sample of the pool, in memory. */
async function samplePoints({ store, seed }: RunContext, { manifest }: StoredManifest<EmbeddingsManifest>, n: number): Promise<Points> {
  const m = Math.min(n, PILOT_IMAGES);
  const all = await openEmbeddingPoints(store, manifest, 0);
  const values = new Float32Array(m * all.d);
  await all.gather(drawDistinct(randomStream(seed, 'cluster', 'pilot'), n, m), values);
  return memoryPoints(values, m, all.d);
}

/** A tree with as many images a leaf as the real one will have (16 at most), and flat clusterings to hold it against. */
async function runPilot(sample: Points, n: number, levels: readonly number[], outliers: LevelPlan['outliers'], config: ClusterConfig, context: RunContext): Promise<EvennessOf> {
  const engine = await searchEngine(context);
  const images = Math.min(n / levels[0]!, PILOT_IMAGES_PER_LEAF_MAX);
  const scaled = levels.map((_, l) => Math.max(1, Math.round(sample.n / images / SHRINK ** l)));
  const resampling = { rounds: 0, sampleSize: scaled.map(() => 1), strategy: 'closest' } as const;
  const { tree, leaf } = await buildPilot(sample, scaled, outliers, { engine, seed: context.seed, iterations: PILOT_ITERATIONS, empty: config.empty, resampling, signal: context.signal });
  const flats = await flatClusterings(sample, engine, context);
  return (floor) => flatEvenness(tree, leaf, flats, { share: PILOT_SHARE, floor });
}

/** Random first centroids, so that a flat cluster is a region with many images and no outlier is sought. */
async function flatClusterings(sample: Points, engine: SearchEngine, { seed, signal }: RunContext): Promise<Uint32Array[]> {
  const flats: Uint32Array[] = [];
  for (const k of FLAT_CLUSTERS) {
    if (k * 20 > sample.n) break;
    for (let draw = 0; draw < FLAT_DRAWS; draw++) {
      const first = new Float32Array(k * sample.d);
      await sample.gather(drawDistinct(randomStream(seed, 'cluster', 'pilot-flat', k, draw), sample.n, k), first);
      const { assignment } = await kmeans(sample, first, { engine, iterations: PILOT_ITERATIONS, empty: 'keep', blockRows: 8192, signal });
      flats.push(assignment);
    }
  }
  return flats;
}
