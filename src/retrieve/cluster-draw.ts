/**
 * Cluster-based retrieval, first half (reference section 3.4): which clusters the seed images fall in, which of them are
 * kept, and which pool rows are taken from those. The second half (cluster-score.ts) says what each row looks like.
 */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { type ClusterTree, type ClustersManifest, NO_CLUSTER, readAssignment, readTree } from '../cluster/tree.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, readPart, rowCountOf } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { SELECTION_PART_ROWS } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import { type Chosen, createChooser } from './choose.ts';
import type { ClusterRetrievalConfig } from './config.ts';
import type { TableReference } from './unit-rows.ts';

export interface DrawPayload {
  /** The tree: the pool's own, or one level fitted for retrieval. */
  readonly clusters: TableReference;
  /** Level whose clusters are hit; 1 is the finest. */
  readonly level: number;
  /** Level-1 cluster of each seed row, by row, as `clusters/assignment` has it for the pool. */
  readonly queries: readonly Part[];
  readonly config: Pick<ClusterRetrievalConfig, 'hitsAbove' | 'images' | 'cap' | 'draw'>;
  readonly name: string;
  readonly seed: number;
  /** Key prefix for what is handed on, below `work/`. */
  readonly out: string;
}

export interface DrawResult {
  /** Tables `row, cluster`: chosen pool rows, ascending, in parts as the selection will have them. */
  readonly rows: readonly Part[];
  /** Tables `query, cluster`: seed rows in kept clusters, ascending. */
  readonly queries: readonly Part[];
  readonly stats: DrawStats;
}

export interface DrawStats {
  /** Clusters of the level. */
  readonly k: number;
  /** Clusters with a query; those with more than `hitsAbove`, and the others. */
  readonly hit: number;
  readonly kept: number;
  readonly dropped: number;
  /** Query images with a vector, and those of them in kept clusters. */
  readonly queries: number;
  readonly queriesKept: number;
  /** Pool images that are in a cluster. */
  readonly candidates: number;
  /** kept · `images`: the figure of the paper's table. */
  readonly nominal: number;
  /** Images the kept clusters can give before the cap: Σ min(`images`, size). */
  readonly available: number;
}

/**
 * One task. Holds 8 bytes a level-1 cluster, 4 a cluster of the level, 12 a query and what `createChooser` says; reads the
 * assignment part by part.
 *
 * @throws {WinnowError} TOO_FEW_ROWS when no cluster has enough queries; CONFIG_INVALID when the tree has no such level;
 *   CHECKSUM_MISMATCH when the tree is not the one the payload names
 */
export const drawClusters: TaskKind<DrawPayload, DrawResult> = { name: 'retrieve-draw', version: 1, run };

async function run(payload: DrawPayload, env: TaskEnv): Promise<DrawResult> {
  const { stored, tree } = await readTree(env.store, payload.clusters.path);
  if (stored.sha256 !== payload.clusters.sha256) {
    throw new WinnowError('CHECKSUM_MISMATCH', `Expected the clusters whose manifest has SHA-256 ${payload.clusters.sha256.slice(0, 12)}…, found ${stored.sha256.slice(0, 12)}… at ${payload.clusters.path}: run \`winnow retrieve\` again`);
  }
  const { k, ancestor } = clustersOfLevel(tree, payload.level);
  const queries = await readQueryClusters(env.store, payload.queries, ancestor);
  const hits = new Uint32Array(k);
  for (const cluster of queries.cluster) hits[cluster]!++;
  const { kept, stats } = keepClusters(hits, payload);
  const chosen = await choose(payload, env, stored.manifest, ancestor, kept, stats.kept);
  const inKept = queries.cluster.map((cluster) => kept[cluster]!);
  const pairs = { query: queries.query.filter((_, i) => inKept[i] === 1), cluster: queries.cluster.filter((_, i) => inKept[i] === 1) };
  return {
    rows: await writeTables(env.store, `${payload.out}/rows`, 'row', chosen.row, chosen.cluster),
    queries: await writeTables(env.store, `${payload.out}/queries`, 'query', pairs.query, pairs.cluster),
    stats: { k, ...stats, queries: queries.query.length, queriesKept: pairs.query.length, candidates: chosen.candidates, nominal: stats.kept * payload.config.images, available: chosen.available },
  };
}

/** @returns the cluster of the level above each level-1 cluster; null: level 1 itself */
function clustersOfLevel({ levels }: ClusterTree, level: number): { k: number; ancestor: (leaf: number) => number } {
  const L = levels.length;
  if (level > L) throw new WinnowError('CONFIG_INVALID', `Expected retrieve.cluster.level from 1 to the levels of the tree (${L}), got ${level}`, { details: { level, levels: L } });
  let above: Uint32Array | null = null;
  for (const { parent } of levels.slice(0, level - 1)) above = above === null ? parent : above.map((cluster) => parent[cluster]!);
  const { k } = levels[level - 1]!;
  return { k, ancestor: (leaf) => (above === null ? leaf : above[leaf]!) };
}

/** Seed rows that are in a cluster, ascending. */
async function readQueryClusters(store: Store, parts: readonly Part[], ancestor: (leaf: number) => number): Promise<{ query: Float64Array; cluster: Uint32Array }> {
  const query = new Float64Array(rowCountOf(parts));
  const cluster = new Uint32Array(query.length);
  let count = 0;
  for await (const block of readAssignment(store, { parts } as ClustersManifest)) {
    block.cluster.forEach((leaf, i) => {
      if (leaf === NO_CLUSTER) return;
      query[count] = block.firstRow + i;
      cluster[count++] = ancestor(leaf);
    });
  }
  return { query: query.slice(0, count), cluster: cluster.slice(0, count) };
}

function keepClusters(hits: Uint32Array, { config: { hitsAbove }, name }: DrawPayload): { kept: Uint8Array; stats: { hit: number; kept: number; dropped: number } } {
  const kept = Uint8Array.from(hits, (count) => (count > hitsAbove ? 1 : 0));
  const hit = hits.reduce((total, count) => total + (count > 0 ? 1 : 0), 0);
  const count = kept.reduce((total, one) => total + one, 0);
  if (count > 0) return { kept, stats: { hit, kept: count, dropped: hit - count } };
  const most = hits.reduce((largest, one) => Math.max(largest, one), 0);
  const message = hit === 0 ? `Expected seed images with a vector to retrieve ${name} around, got none` : `Expected a cluster with more than ${hitsAbove} seed images of ${name}, the fullest of ${hit} has ${most}: state fewer clusters or a higher level, or lower cluster.hitsAbove`;
  throw new WinnowError('TOO_FEW_ROWS', message, { details: { hit, most, hitsAbove } });
}

async function choose({ config, name, seed }: DrawPayload, env: TaskEnv, manifest: ClustersManifest, ancestor: (leaf: number) => number, kept: Uint8Array, clusters: number): Promise<Chosen & { candidates: number; available: number }> {
  const chooser = createChooser({ ...config, seed, name, clusters, rowsMax: rowCountOf(manifest.parts) });
  const size = new Map<number, number>();
  let candidates = 0;
  for await (const block of readAssignment(env.store, manifest)) {
    throwIfAborted(env.signal);
    for (let i = 0; i < block.cluster.length; i++) {
      if (block.cluster[i] === NO_CLUSTER) continue;
      candidates++;
      const cluster = ancestor(block.cluster[i]!);
      if (kept[cluster] === 0) continue;
      size.set(cluster, (size.get(cluster) ?? 0) + 1);
      chooser.add(block.firstRow + i, cluster, block.distance[i]!);
    }
    env.advance(block.cluster.length);
  }
  let available = 0;
  for (const count of size.values()) available += Math.min(count, config.images);
  return { ...chooser.end(), candidates, available };
}

async function writeTables(store: Store, folder: string, name: 'row' | 'query', numbers: Float64Array, cluster: Uint32Array): Promise<Part[]> {
  const parts: Part[] = [];
  for (let first = 0; first < numbers.length; first += SELECTION_PART_ROWS) {
    const values = numbers.slice(first, first + SELECTION_PART_ROWS);
    const bytes = encodeTable({ [name]: { type: 'uint64', values }, cluster: { type: 'uint32', values: cluster.slice(first, first + values.length) } });
    const path = `${folder}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, bytes);
    parts.push({ path, firstRow: first, rowCount: values.length, bytes: sizeBytes, sha256 });
  }
  return parts;
}

/** Reads what the draw handed on. */
export async function readDrawn(store: Store, part: Part, name: 'row' | 'query'): Promise<{ numbers: Float64Array; cluster: Uint32Array }> {
  const view = decodeTable(await readPart(store, part), part.path);
  return { numbers: view.numbers(name) as Float64Array, cluster: view.numbers('cluster') as Uint32Array };
}
