/** Cluster-based retrieval (reference section 3.4): clusters of the pool, the seed images in them, and what the kept ones give. */
import { assignRows } from '../src/cluster/assign.ts';
import { buildTree } from '../src/cluster/build.ts';
import { ClusterConfig } from '../src/cluster/config.ts';
import { searchEngine } from '../src/cluster/level.ts';
import { ASSIGNMENT_PART_ROWS, type ClustersManifest } from '../src/cluster/tree.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { WinnowError } from '../src/errors.ts';
import { drawClusters } from '../src/retrieve/cluster-draw.ts';
import { scoreRows } from '../src/retrieve/cluster-score.ts';
import type { ClusterRetrievalConfig } from '../src/retrieve/config.ts';
import { type Part, type StoredManifest, requireManifest, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';

/** Where the trees of one level lie that are fitted for retrieval, one for each number of clusters. */
export const RETRIEVAL_CLUSTERS = 'retrieval/';

/** The published number of clusters, and the images a cluster has on average at least where the pool is too small for it. */
const CLUSTERS = 100_000;
const IMAGES_A_CLUSTER = 64;

type Vectors = StoredManifest<EmbeddingsManifest>;

/** @throws {WinnowError} DIMENSION_MISMATCH, TOO_FEW_ROWS when no cluster is kept or more are asked for than there are images, CONFIG_INVALID without such a level */
export async function retrieveClusters(context: RunContext, name: string, config: ClusterRetrievalConfig, pool: Vectors, seeds: Vectors): Promise<StoredManifest<SelectionManifest>> {
  if (seeds.manifest.d !== pool.manifest.d) {
    throw new WinnowError('DIMENSION_MISMATCH', `Expected seed vectors in ${seeds.path} of the ${pool.manifest.d} dimensions of the pool's in ${pool.path}, got ${seeds.manifest.d}: embed both with the same model`, { details: { pool: pool.manifest.d, seeds: seeds.manifest.d } });
  }
  const tree = config.level !== undefined ? await requireManifest<ClustersManifest>(context.store, 'clusters', 'cluster') : await fitClusters(context, name, config, pool);
  const level = config.level ?? 1;
  const path = `selections/${name}`;
  const { provenance: engine } = await searchEngine(context);
  const { hitsAbove, images, cap, draw } = config;
  const settings = { hitsAbove, images, cap, draw };
  const seedRows = rowCountOf(seeds.manifest.parts);
  return runStage<SelectionManifest>(context, {
    path,
    stage: 'retrieve',
    config: { name, cluster: { ...settings, level, fitted: config.level === undefined }, engine },
    inputs: [seeds, pool, tree],
    make: async () => {
      const poolRows = rowCountOf(pool.manifest.parts);
      context.progress.begin(`retrieve ${name}`, seedRows + poolRows + Math.min(cap, poolRows), 'images');
      const queries = await assignQueries(context, path, tree.manifest, seeds.manifest);
      const [drawn] = await context.executor.map(drawClusters, [{ clusters: refer(tree), level, queries, config: settings, name, seed: context.seed, out: `work/${path}/drawn` }], path);
      const { rows, stats } = drawn!;
      const payloads = rows.map((part, i) => ({ pool: refer(pool), seeds: refer(seeds), rows: part, queries: drawn!.queries, out: `${path}/part-${String(i).padStart(5, '0')}.arrow` }));
      const scored = await context.executor.map(scoreRows, payloads, path);
      const selected = rowCountOf(rows);
      const requested = Math.min(cap, stats.nominal);
      context.progress.end(`${selected} images from ${stats.kept} of the ${stats.hit} clusters that ${stats.queries} ${name} queries fall in`);
      const similarity = { mean: scored.reduce((sum, one) => sum + one.similarity.sum, 0) / selected, min: Math.min(...scored.map((one) => one.similarity.min)), max: Math.max(...scored.map((one) => one.similarity.max)) };
      return { parts: scored.map(({ part }) => part), stats: { seeds: seedRows, ...stats, similarity }, part: name, kind: 'retrieved', requested, selected, unique: selected, shortfall: requested - selected };
    },
  });
}

/** One level over the whole pool, kept for every seed set that states the same number. */
async function fitClusters(context: RunContext, name: string, { clusters }: ClusterRetrievalConfig, pool: Vectors): Promise<StoredManifest<ClustersManifest>> {
  const n = pool.manifest.okRows.reduce((sum, count) => sum + count, 0);
  const k = clusters === 'auto' ? Math.min(CLUSTERS, Math.max(1, Math.floor(n / IMAGES_A_CLUSTER))) : clusters;
  if (k > n) throw new WinnowError('TOO_FEW_ROWS', `Expected at least as many images as clusters: cluster.clusters of ${name} asks for ${k}, the pool has ${n} usable images; use fewer, or auto`, { details: { k, n } });
  return buildTree(context, pool, ClusterConfig.parse({ levels: [k], outliers: { policy: 'keep' } }), `${RETRIEVAL_CLUSTERS}clusters-${k}`);
}

/** Each seed row at its nearest leaf, as the pool's own rows are. */
async function assignQueries({ executor }: RunContext, path: string, tree: ClustersManifest, seeds: EmbeddingsManifest): Promise<Part[]> {
  const leaves = tree.levels[0]!;
  const rows = rowCountOf(seeds.parts);
  const payloads = Array.from({ length: Math.ceil(rows / ASSIGNMENT_PART_ROWS) }, (_, i) => {
    const firstRow = i * ASSIGNMENT_PART_ROWS;
    const rowCount = Math.min(ASSIGNMENT_PART_ROWS, rows - firstRow);
    const embeddings = seeds.parts.filter((part) => part.firstRow < firstRow + rowCount && part.firstRow + part.rowCount > firstRow);
    return { centroids: leaves.parts, k: leaves.k, d: tree.d, embeddings, before: null, firstRow, rowCount, out: `work/${path}/queries/part-${String(i).padStart(5, '0')}.arrow` };
  });
  return executor.map(assignRows, payloads, path);
}

function refer({ path, sha256 }: StoredManifest): { path: string; sha256: string } {
  return { path, sha256 };
}
