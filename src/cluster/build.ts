/**
 * The cluster stage: hierarchical k-means with resampling (reference sections 0 and 1). Level 1 clusters the embeddings,
 * level l ≥ 2 the centroids of level l−1, unweighted. Departures from the published method are in the files of each step:
 * seed.ts, kmeans.ts, resample.ts, partition.ts, finish.ts.
 */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import type { StoredManifest } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { type ClusterConfig, atLevel } from './config.ts';
import { type ResolvedConfig, resolveProfile } from './profile.ts';
import { type FinishResult, finishLevel } from './finish.ts';
import { measureHealth, healthWarnings } from './health.ts';
import { type PointsReference, type RoundResult, clusterRound, comparisonsOf, searchEngine } from './level.ts';
import { type TreePlan, planLevels } from './plan.ts';
import { type SplitResult, buildSplitLevel, comparisonsOfSplit } from './split-level.ts';
import { type ClusterTree, type ClustersManifest, type TreeLevel, NO_CLUSTER, assertTree } from './tree.ts';
import { readWords } from './words.ts';
import { writeAssignment, writeLevels } from './write.ts';

/**
 * @param path key prefix of the tree: `clusters` for the one that sampling walks
 * @throws {WinnowError} TOO_FEW_ROWS when a level asks for more clusters than it has points
 */
export async function buildTree(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, recipe: ClusterConfig, path = 'clusters'): Promise<StoredManifest<ClustersManifest>> {
  const config = resolveProfile(recipe);
  const engine = await searchEngine(context);
  return runStage<ClustersManifest>(context, {
    path,
    stage: 'cluster',
    // Products may differ in the last bit between providers and instruction sets, so another one makes another tree.
    config: { ...recipe, engine: engine.provenance },
    inputs: [embeddings],
    make: async () => {
      const n = embeddings.manifest.okRows.reduce((sum, count) => sum + count, 0);
      if (n === 0) throw new WinnowError('TOO_FEW_ROWS', 'Expected images to cluster, got none: every image was rejected');
      const plan = await planLevels(context, embeddings, config, n);
      checkLevels(plan.levels, n);
      context.progress.begin(path === 'clusters' ? 'cluster' : `cluster ${path}`, comparisonsOfAll(n, plan, config.iterations), 'comparisons');
      const built = await buildLevels(context, path, embeddings, config, plan, n);
      return writeTree(context, path, embeddings.manifest, built, plan, config);
    },
  });
}

/** What the whole tree takes at most: nearly all of it is level 1. */
function comparisonsOfAll(n: number, { levels, resampling, split }: TreePlan, iterations: number): number {
  let total = 0;
  levels.forEach((k, l) => {
    const points = l === 0 ? n : levels[l - 1]!;
    const splitting = split[l]!;
    if (splitting !== null) {
      total += comparisonsOfSplit(points, k, splitting, iterations);
      return;
    }
    for (let round = 0; round <= resampling.rounds; round++) total += comparisonsOf(points, { k, round, iterations, sampleSize: resampling.sampleSize[l]! });
  });
  return total;
}

interface BuiltLevels {
  /** Each level as it ended, level 1 first. */
  readonly last: readonly RoundResult[];
  readonly finished: FinishResult;
  /** All rounds of each level. */
  readonly rounds: readonly (readonly (RoundResult & Partial<Pick<SplitResult, 'split'>>)[])[];
}

async function buildLevels(context: RunContext, path: string, embeddings: StoredManifest<EmbeddingsManifest>, config: ResolvedConfig, plan: TreePlan, n: number): Promise<BuiltLevels> {
  const rounds: RoundResult[][] = [];
  const last: RoundResult[] = [];
  let points: PointsReference = { kind: 'embeddings', path: embeddings.path, sha256: embeddings.sha256 };
  let finished: FinishResult | null = null;
  let available = n;
  for (let level = 1; level <= plan.levels.length; level++) {
    const wanted = plan.levels[level - 1]!;
    const k = Math.min(wanted, available);
    if (k < wanted) context.log.warn({ stage: 'cluster', treeLevel: level, wanted, k }, `level ${level}: ${wanted} clusters wanted, the level below has ${available} left after merging; built with ${k}`);
    const split = plan.split[level - 1]!;
    let result: RoundResult;
    if (split !== null && split.cells < k) {
      const { rounds: count, sampleSize, strategy } = plan.resampling;
      const { iterations, tolerance, empty, seeding, seedingRows } = config;
      const built = await buildSplitLevel(context, {
        path, points, n: available, level, k, split, iterations, tolerance, empty, seeding, seedingRows,
        resampling: { rounds: count, sampleSize: sampleSize[level - 1]!, strategy },
        outliers: level === 1 ? plan.outliers : { policy: 'keep', minSize: 1 },
      });
      if (level === 1) finished = built;
      rounds.push([built]);
      result = built;
    } else {
      const ofLevel = await buildRounds(context, path, points, { level, k }, config, plan);
      rounds.push(ofLevel);
      result = ofLevel.at(-1)!;
      if (level === 1) {
        const { policy, minSize } = plan.outliers;
        [finished] = (await context.executor.map(finishLevel, [{ path, points, last: result, policy, minSize }], path)) as [FinishResult];
        result = finished;
      }
    }
    last.push(result);
    points = { kind: 'centroids', from: result.out, k: result.k, d: result.d };
    available = result.k;
  }
  return { last, finished: finished!, rounds };
}

async function buildRounds(context: RunContext, path: string, points: PointsReference, { level, k }: { level: number; k: number }, config: ResolvedConfig, plan: TreePlan): Promise<RoundResult[]> {
  const ofLevel: RoundResult[] = [];
  for (let round = 0; round <= plan.resampling.rounds; round++) {
    const [result] = await context.executor.map(clusterRound, [{
      path, points, level, round, k, seed: context.seed,
      iterations: config.iterations, tolerance: config.tolerance, empty: config.empty,
      seeding: config.seeding, seedingRows: config.seedingRows, start: config.resampling.start,
      splits: atLevel(config.splits, level, plan.levels.length, 'cluster.splits'),
      sampleSize: plan.resampling.sampleSize[level - 1]!,
      strategy: plan.resampling.strategy,
      previous: ofLevel.at(-1) ?? null,
    }], path);
    ofLevel.push(result!);
  }
  return ofLevel;
}

async function writeTree(context: RunContext, path: string, embeddings: EmbeddingsManifest, { last, finished, rounds }: BuiltLevels, plan: TreePlan, config: ResolvedConfig) {
  const { store, log } = context;
  const { scale, d } = finished;
  const parents: Uint32Array[] = [];
  for (const { out, n } of last.slice(1)) parents.push(new Uint32Array(await readWords(store, `${out}/assignment`, n)));
  const tree = assembleTree(d, last.map(({ k }) => k), await countImages(store, finished), parents);
  assertTree(tree);
  const levels = await writeLevels(store, tree, async (level, first, count) => new Float32Array(await readWords(store, `${last[level - 1]!.out}/centroids`, count * d, first * d)).map((value) => value / scale), path);
  const parts = await writeAssignment(store, embeddings, async (first, count) => ({
    assignment: new Uint32Array(await readWords(store, `${finished.out}/assignment`, count, first)),
    distance: new Float32Array(await readWords(store, `${finished.out}/distance`, count, first)).map((value) => value / scale / scale),
  }), path);
  const health = measureHealth(tree.levels.map(({ size }) => size), config.minSizeWarning);
  const warnings = healthWarnings(health, { depth: plan.draw.depth, policy: plan.outliers.policy });
  for (const warning of warnings) log.warn({ stage: 'cluster' }, warning);
  const clustered = tree.levels[0]!.size.reduce((sum, count) => sum + count, 0);
  const stats = {
    points: finished.n, clustered, setAside: finished.setAside, merged: finished.merged,
    outlierClusters: finished.outlierClusters, outlierImages: finished.outlierImages,
    plan, health, warnings,
    rounds: rounds.map((ofLevel) => ofLevel.map((round) => statsOf(round, scale))),
  };
  context.progress.end(`${clustered} images in ${tree.levels.map(({ k }) => k).join(' / ')} clusters`);
  return { parts, files: levels.flatMap((level) => level.parts.map(({ path }) => path)), stats, levels, d, draw: plan.draw };
}

/** What the manifest says of a round, in the units of the vectors. */
function statsOf({ k, n, sampled, inertia, iterations, ended, split }: BuiltLevels['rounds'][number][number], scale: number) {
  const unscaled = (value: number): number => value / scale / scale;
  return {
    k, n, sampled, inertia: unscaled(inertia),
    iterations: iterations.map((one) => ({ ...one, inertia: unscaled(one.inertia) })),
    ...(ended && { ended }),
    ...(split && {
      split: { ...split, coarseInertia: unscaled(split.coarseInertia), cellInertia: unscaled(split.cellInertia), updates: split.updates.map((one) => ({ ...one, inertia: unscaled(one.inertia) })) },
    }),
  };
}

/** Rows of the assignment that are read at once. */
const COUNT_ROWS = 2 ** 20;

async function countImages(store: Store, { out, n, k }: RoundResult): Promise<Float64Array> {
  const size = new Float64Array(k);
  for (let first = 0; first < n; first += COUNT_ROWS) {
    for (const c of new Uint32Array(await readWords(store, `${out}/assignment`, Math.min(COUNT_ROWS, n - first), first))) if (c !== NO_CLUSTER) size[c]!++;
  }
  return size;
}

/**
 * Parents are the assignments of the level above; sizes add up from the images.
 *
 * @param size images of each cluster of level 1
 * @param parents of each level but the top
 */
function assembleTree(d: number, ks: readonly number[], size: Float64Array, parents: readonly Uint32Array[]): ClusterTree {
  const levels: TreeLevel[] = [];
  let below = size;
  ks.forEach((k, l) => {
    const own = l === 0 ? size : new Float64Array(k);
    if (l > 0) parents[l - 1]!.forEach((c, i) => (own[c]! += below[i]!));
    levels.push({ k, size: own, parent: parents[l] ?? new Uint32Array(k).fill(NO_CLUSTER) });
    below = own;
  });
  return { d, levels };
}

function checkLevels(levels: readonly number[], n: number): void {
  const first = levels[0]!;
  if (first > n) {
    throw new WinnowError('TOO_FEW_ROWS', `Expected at least as many images as level-1 clusters: cluster.levels asks for ${first}, the pool has ${n} usable images; use fewer clusters or \`levels: auto\``, {
      details: { k: first, n },
    });
  }
}
