/**
 * The tasks that build one level. A round is one k-means: round 0 on all points of the level, round r ≥ 1 fresh on a
 * sample of round r−1's clusters with all points assigned afterwards. Each round leaves its arrays under `work/`, so a
 * run that was killed goes on at the round it was in.
 */
import assert from 'node:assert/strict';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { readManifest } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import type { SearchEngine } from '../vector/search.ts';
import { openSearchEngine } from '../vector/engine.ts';
import { type Clustering, type IterationStats, assignAll } from './kmeans.ts';
import { type PartitionOptions, partition } from './partition.ts';
import { type Points, cached, openEmbeddingPoints, storedPoints, subsetPoints } from './points.ts';
import { type ScoreProducts, openScoreProducts } from './products.ts';
import { resample } from './resample.ts';
import { bytesOf, readWords } from './words.ts';

/** Where the points of a level are: the ok rows of an embeddings table, or the centroids a finished level left. */
export type PointsReference =
  | { readonly kind: 'embeddings'; readonly path: string; readonly sha256: string }
  | { readonly kind: 'centroids'; readonly from: string; readonly k: number; readonly d: number };

export interface RoundPayload {
  /** Key prefix of the tree, such as `clusters`. */
  readonly path: string;
  readonly points: PointsReference;
  readonly level: number;
  readonly round: number;
  readonly k: number;
  readonly iterations: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly splits: number;
  /** See kmeans.ts and seeding.ts. */
  readonly tolerance: number;
  readonly seeding: 'auto' | 'greedy' | 'cells';
  readonly seedingRows: number;
  /** Of rounds after the first: seeds from the sample, or the centroids of the round before. */
  readonly start: 'fresh' | 'warm';
  readonly sampleSize: number;
  readonly strategy: 'closest' | 'random';
  readonly seed: number;
  /** The round before; null for round 0. */
  readonly previous: RoundResult | null;
}

export interface RoundResult {
  /** Key prefix of this round's arrays. */
  readonly out: string;
  readonly n: number;
  readonly d: number;
  readonly k: number;
  /** Power of two the points were multiplied with. */
  readonly scale: number;
  readonly sampled: number;
  readonly iterations: readonly IterationStats[];
  /** Why the k-means ended. */
  readonly ended?: Clustering['ended'];
  /** Of all points under the centroids of this round. */
  readonly inertia: number;
}

/** One k-means of one level. */
export const clusterRound: TaskKind<RoundPayload, RoundResult> = {
  name: 'cluster-round',
  version: 1,
  run: async (payload, env) => {
    const points = await openPoints(env, payload.points);
    const engine = await searchEngine(env);
    const { path, level, round, previous } = payload;
    const progress = roundProgress(payload, points.n, env);
    const options = { ...partitionOptions(payload, engine, env), bounds: { products: await scoreProducts(env), bytes: env.execution.memoryBytes / 4 }, onIteration: progress.onIteration };
    const out = `work/${path}/level-${level}/round-${round}`;
    if (previous === null) {
      const found = await partition(points, options);
      progress.end();
      return save(env.store, out, points, found, found, points.n);
    }
    const before = await readRound(env.store, previous);
    const drawn = resample(before.assignment, before.distance, previous.k, payload);
    const sample = await cached(subsetPoints(points, drawn), env.execution.memoryBytes);
    const warm = payload.start === 'warm' && payload.splits === 1 && previous.k <= sample.n;
    const found = await partition(sample, warm ? { ...options, initial: before.centroids } : options);
    const all = await assignAll(points, found.centroids, options);
    progress.end();
    return save(env.store, out, points, all, { ...found, iterations: [...found.iterations, ...all.iterations] }, drawn.length);
  },
};

/** Comparisons of points with centroids that a round makes at most; k-means that ends early makes fewer. */
export function comparisonsOf(n: number, { k, round, iterations, sampleSize }: Pick<RoundPayload, 'k' | 'round' | 'iterations' | 'sampleSize'>): number {
  return round === 0 ? n * k * iterations : Math.min(n, k * sampleSize) * k * iterations + n * k;
}

/** Arrays of a finished round: scaled centroids k × d, and cluster and squared distance of each point. */
export async function readRound(store: Store, { out, n, k, d }: RoundResult): Promise<{ centroids: Float32Array; assignment: Uint32Array; distance: Float32Array }> {
  const [centroids, assignment, distance] = await Promise.all([
    readWords(store, `${out}/centroids`, k * d),
    readWords(store, `${out}/assignment`, n),
    readWords(store, `${out}/distance`, n),
  ]);
  return { centroids: new Float32Array(centroids), assignment: new Uint32Array(assignment), distance: new Float32Array(distance) };
}

/**
 * Opens the points a reference names. Embeddings are checked to be those the stage was planned with.
 *
 * @param holdBytes points that take more are streamed from the store
 */
export async function openPoints(env: Pick<TaskEnv, 'store' | 'execution'>, reference: PointsReference, holdBytes = env.execution.memoryBytes): Promise<Points> {
  if (reference.kind === 'centroids') {
    const { from, k, d } = reference;
    return cached(storedPoints(env.store, `${from}/centroids`, k, d), holdBytes);
  }
  const stored = await readManifest<EmbeddingsManifest>(env.store, reference.path);
  assert(stored !== null && stored.sha256 === reference.sha256, `Expected the embeddings at ${reference.path} that the task was planned with`);
  return openEmbeddingPoints(env.store, stored.manifest, holdBytes);
}

/** The process's one search engine. */
export function searchEngine(env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<SearchEngine> {
  const { threads, clusterEngine = 'onnxruntime' } = env.execution;
  return env.resource(`search-${clusterEngine}`, () => openSearchEngine(clusterEngine, { threads }));
}

/** What a bounded k-means multiplies with, once a process. */
function scoreProducts(env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<ScoreProducts> {
  return env.resource('products', () => openScoreProducts(env.execution.threads));
}

function partitionOptions(payload: RoundPayload, engine: SearchEngine, env: TaskEnv): PartitionOptions {
  const { k, iterations, tolerance, empty, splits, seeding, seedingRows, seed, level, round } = payload;
  return {
    k,
    iterations,
    tolerance,
    empty,
    splits,
    seeding,
    seedingRows,
    seed,
    engine,
    labels: [level, round],
    blockRows: env.execution.blockRows,
    cacheBytes: env.execution.memoryBytes,
    signal: env.signal,
  };
}

/** Tells each iteration, and counts its comparisons up to the round's bound; the end of the round counts the rest. */
function roundProgress(payload: RoundPayload, n: number, env: TaskEnv): { onIteration(stats: IterationStats, iteration: number): void; end(): void } {
  const { level, round, k, iterations, splits } = payload;
  let left = comparisonsOf(n, payload);
  // A split level runs k-means in every cell: how much of the round one of them is cannot be said here.
  const each = splits === 1 ? (round === 0 ? n * k : Math.floor((left - n * k) / iterations)) : 0;
  const advance = (comparisons: number): void => {
    left -= comparisons;
    env.advance(comparisons);
  };
  return {
    onIteration: (stats, iteration) => {
      advance(Math.min(each, left));
      env.note(`level ${level}, round ${round}, iteration ${iteration}: inertia ${stats.inertia.toPrecision(6)}, ${stats.changed} moved, ${stats.empty} empty`);
      env.observe?.({ of: 'inertia', level, inertia: stats.inertia });
      env.log.debug({ stage: 'cluster', treeLevel: level, round, iteration, ...stats }, 'iteration');
    },
    end: () => advance(left),
  };
}

async function save(store: Store, out: string, points: Points, found: Clustering, { iterations, ended }: Pick<Clustering, 'iterations' | 'ended'>, sampled: number): Promise<RoundResult> {
  await store.write(`${out}/centroids`, bytesOf(found.centroids));
  await store.write(`${out}/assignment`, bytesOf(found.assignment));
  await store.write(`${out}/distance`, bytesOf(found.distance));
  const inertia = found.distance.reduce((sum, value) => sum + value, 0);
  return { out, n: points.n, d: points.d, k: found.k, scale: points.scale, sampled, iterations, ...(ended && { ended }), inertia };
}
