/**
 * The cluster stage: hierarchical k-means with resampling (reference sections 0 and 1). Level 1 clusters the embeddings,
 * level l ≥ 2 the centroids of level l−1, unweighted. Departures from the published method are in the files of each step:
 * seed.ts, kmeans.ts, resample.ts, partition.ts, finish.ts.
 */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import type { StoredManifest } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import { type ClusterConfig, type LevelPlan, atLevel } from './config.ts';
import { type FinishResult, finishLevel } from './finish.ts';
import { measureHealth, healthWarnings } from './health.ts';
import { type PointsReference, type RoundResult, clusterRound, comparisonsOf, readRound, searchEngine } from './level.ts';
import { planLevels } from './plan.ts';
import { type ClusterTree, type ClustersManifest, type TreeLevel, NO_CLUSTER, assertTree } from './tree.ts';
import { writeAssignment, writeLevels } from './write.ts';

/** @throws {WinnowError} TOO_FEW_ROWS when a level asks for more clusters than it has points */
export async function buildTree(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig): Promise<StoredManifest<ClustersManifest>> {
  const engine = await searchEngine(context);
  return runStage<ClustersManifest>(context, {
    path: 'clusters',
    stage: 'cluster',
    // Products may differ in the last bit between providers and instruction sets, so another one makes another tree.
    config: { ...config, engine: engine.provenance },
    inputs: [embeddings],
    make: async () => {
      const n = embeddings.manifest.okRows.reduce((sum, count) => sum + count, 0);
      if (n === 0) throw new WinnowError('TOO_FEW_ROWS', 'Expected images to cluster, got none: every image was rejected');
      const plan = await planLevels(context, embeddings, config, n);
      checkLevels(plan.levels, n);
      context.progress.begin('cluster', comparisonsOfAll(n, plan, config.iterations), 'comparisons');
      const rounds = await buildLevels(context, embeddings, config, plan);
      return writeTree(context, embeddings.manifest, rounds, plan, config);
    },
  });
}

/** What the whole tree takes at most: nearly all of it is level 1. */
function comparisonsOfAll(n: number, { levels, resampling }: LevelPlan, iterations: number): number {
  let total = 0;
  levels.forEach((k, l) => {
    const points = l === 0 ? n : levels[l - 1]!;
    for (let round = 0; round <= resampling.rounds; round++) total += comparisonsOf(points, { k, round, iterations, sampleSize: resampling.sampleSize[l]! });
  });
  return total;
}

interface BuiltLevels {
  readonly finished: FinishResult;
  /** All rounds of each level, level 1 first. */
  readonly rounds: readonly (readonly RoundResult[])[];
}

async function buildLevels(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig, plan: LevelPlan): Promise<BuiltLevels> {
  const L = plan.levels.length;
  const rounds: RoundResult[][] = [];
  const pool: PointsReference = { kind: 'embeddings', path: embeddings.path, sha256: embeddings.sha256 };
  let points: PointsReference = pool;
  let finished: FinishResult | null = null;
  let available = Infinity;
  for (let level = 1; level <= L; level++) {
    const wanted = plan.levels[level - 1]!;
    const k = Math.min(wanted, available);
    if (k < wanted) context.log.warn({ stage: 'cluster', treeLevel: level, wanted, k }, `level ${level}: ${wanted} clusters wanted, the level below has ${available} left after merging; built with ${k}`);
    const ofLevel: RoundResult[] = [];
    for (let round = 0; round <= plan.resampling.rounds; round++) {
      const [result] = await context.executor.map(clusterRound, [{
        points, level, round, k, seed: context.seed,
        iterations: config.iterations, empty: config.empty, seedingRows: config.seedingRows,
        splits: atLevel(config.splits, level, L, 'cluster.splits'),
        sampleSize: plan.resampling.sampleSize[level - 1]!,
        strategy: plan.resampling.strategy,
        previous: ofLevel.at(-1) ?? null,
      }], 'clusters');
      ofLevel.push(result!);
    }
    let last = ofLevel.at(-1)!;
    if (level === 1) {
      [finished] = (await context.executor.map(finishLevel, [{ points: pool, last, policy: plan.outliers.policy, minSize: plan.outliers.minSize }], 'clusters')) as [FinishResult];
      last = finished;
    }
    rounds.push(ofLevel);
    points = { kind: 'centroids', from: last.out, k: last.k, d: last.d };
    available = last.k;
  }
  return { finished: finished!, rounds };
}

async function writeTree(context: RunContext, embeddings: EmbeddingsManifest, { finished, rounds }: BuiltLevels, plan: LevelPlan, config: ClusterConfig) {
  const { store, log } = context;
  const last = rounds.map((ofLevel, l) => (l === 0 ? finished : ofLevel.at(-1)!));
  const arrays = [];
  for (const round of last) arrays.push(await readRound(store, round));
  const scale = finished.scale;
  const centroids = arrays.map((array) => array.centroids.map((value) => value / scale));
  const tree = assembleTree(finished.d, last.map(({ k }) => k), arrays.map(({ assignment }) => assignment));
  assertTree(tree);
  const levels = await writeLevels(store, tree, centroids);
  const parts = await writeAssignment(store, embeddings, arrays[0]!.assignment, arrays[0]!.distance.map((value) => value / scale / scale));
  const health = measureHealth(tree.levels.map(({ size }) => size), config.minSizeWarning);
  const warnings = healthWarnings(health, { depth: plan.draw.depth, policy: plan.outliers.policy });
  for (const warning of warnings) log.warn({ stage: 'cluster' }, warning);
  const clustered = tree.levels[0]!.size.reduce((sum, count) => sum + count, 0);
  const stats = {
    points: finished.n, clustered, setAside: finished.setAside, merged: finished.merged,
    outlierClusters: finished.outlierClusters, outlierImages: finished.outlierImages,
    plan, health, warnings,
    rounds: rounds.map((ofLevel) => ofLevel.map(({ k, n, sampled, inertia, iterations }) => ({
      k, n, sampled, inertia: inertia / scale / scale,
      iterations: iterations.map((one) => ({ ...one, inertia: one.inertia / scale / scale })),
    }))),
  };
  context.progress.end(`${clustered} images in ${tree.levels.map(({ k }) => k).join(' / ')} clusters`);
  return { parts, files: levels.flatMap((level) => level.parts.map(({ path }) => path)), stats, levels, d: finished.d, draw: plan.draw };
}

/** Parents are the assignments of the level above; sizes add up from the images. */
function assembleTree(d: number, ks: readonly number[], assignments: readonly Uint32Array[]): ClusterTree {
  const levels: TreeLevel[] = [];
  let below: Float64Array | null = null;
  ks.forEach((k, l) => {
    const size = new Float64Array(k);
    const assignment = assignments[l]!;
    for (let i = 0; i < assignment.length; i++) if (assignment[i] !== NO_CLUSTER) size[assignment[i]!]! += below === null ? 1 : below[i]!;
    levels.push({ k, size, parent: assignments[l + 1] ?? new Uint32Array(k).fill(NO_CLUSTER) });
    below = size;
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
