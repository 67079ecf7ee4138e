/**
 * How far resampling flattens the share of leaves that each true concept gets, in one k-means a level and cell by cell.
 *
 *   node --import tsx test/bench/flatten.ts                 a Zipf mixture of 40 concepts, 30,000 × 16, 600 leaves
 *   node --import tsx test/bench/flatten.ts 60000 8 1200    other rows, dimensions and leaves
 *
 * The figure is the effective number of concepts over leaves: exp of the entropy of the concepts' shares of the leaves,
 * where a leaf counts for the concepts of its rows in proportion. 40 would be perfectly even.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { NO_CLUSTER, readAssignment } from '../../src/cluster/tree.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { requireManifest } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

export interface FlattenRun {
  readonly n: number;
  readonly d: number;
  readonly k: number;
  readonly concepts: number;
  readonly zipf: number;
  readonly spread: number;
  readonly rounds: number;
  readonly sampleSize: number;
  readonly iterations: number;
  readonly seed: number;
}

export const FLATTEN_RUN: FlattenRun = { n: 30_000, d: 16, k: 600, concepts: 40, zipf: 1, spread: 0.15, rounds: 4, sampleSize: 10, iterations: 10, seed: 0 };

/** Effective concepts over leaves: [plain, resampled] for one k-means and for a split level. */
export interface Flattened {
  readonly whole: readonly [number, number];
  readonly split: readonly [number, number];
  /** Of the rows themselves. */
  readonly rows: number;
}

/** Builds the four trees in a store under `root`. */
export async function measureFlattening(root: string, run: FlattenRun): Promise<Flattened> {
  const { n, d, concepts, zipf, spread, seed } = run;
  const { values, component } = gaussianMixture(n, d, concepts, { zipf, spread, seed });
  const store = await openFsStore(root);
  await writeEmbeddings(store, 'embeddings', { vectors: values, d });
  const of = (when: string, rounds: number): Promise<number> => effectiveOver(store, run, component, { when, rounds });
  return {
    whole: [await of('never', 0), await of('never', run.rounds)],
    split: [await of('always', 0), await of('always', run.rounds)],
    rows: effective(countsOf(component, concepts)),
  };
}

async function effectiveOver(store: Store, { k, concepts, sampleSize, iterations, seed }: FlattenRun, component: Uint32Array, { when, rounds }: { when: string; rounds: number }): Promise<number> {
  await store.remove('clusters/');
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 2, blockRows: 8192, memoryBytes: 2 ** 28 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
  const config = ClusterConfig.parse({ levels: [k], iterations, split: { when }, outliers: { policy: 'keep' }, resampling: { rounds, sampleSize } });
  const { manifest } = await buildTree({ store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed, resource: executor.resource }, embeddings, config);
  await executor.close();
  const leaves = manifest.levels[0]!.k;
  const members = new Float64Array(leaves * concepts);
  const size = new Float64Array(leaves);
  for await (const { firstRow, cluster } of readAssignment(store, manifest)) {
    cluster.forEach((c, i) => {
      if (c === NO_CLUSTER) return;
      members[c * concepts + component[firstRow + i]!]!++;
      size[c]!++;
    });
  }
  const share = new Float64Array(concepts);
  for (let c = 0; c < leaves; c++) if (size[c]! > 0) for (let concept = 0; concept < concepts; concept++) share[concept]! += members[c * concepts + concept]! / size[c]!;
  return effective(share);
}

function countsOf(component: Uint32Array, concepts: number): Float64Array {
  const counts = new Float64Array(concepts);
  for (const concept of component) counts[concept]!++;
  return counts;
}

function effective(weights: Float64Array): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Math.exp(-weights.reduce((sum, weight) => sum + (weight === 0 ? 0 : (weight / total) * Math.log(weight / total)), 0));
}

async function compare(n = '30000', d = '16', k = '600', settings = '{}'): Promise<void> {
  for (const seed of [0, 1, 2]) {
    const run = { ...FLATTEN_RUN, n: Number(n), d: Number(d), k: Number(k), seed, ...(JSON.parse(settings) as Partial<FlattenRun>) };
    const root = join(tmpdir(), `winnow-flatten-${process.pid}`);
    const { whole, split, rows } = await measureFlattening(root, run);
    await rm(root, { recursive: true, force: true });
    const text = ([plain, resampled]: readonly [number, number]): string => `${plain.toFixed(2)} plain, ${resampled.toFixed(2)} resampled`;
    process.stdout.write(`seed ${seed}: of ${run.concepts} concepts, rows ${rows.toFixed(2)}; one k-means ${text(whole)}; split ${text(split)}; split / whole after resampling ${(split[1] / whole[1]).toFixed(3)}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await compare(...(process.argv.slice(2) as string[]));
