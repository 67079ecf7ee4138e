import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { type AppendedManifest, appendToTree } from '../../src/cluster/append.ts';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { type ClustersManifest, readCentroids, readTree } from '../../src/cluster/tree.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, readPart, writeManifest } from '../../src/run/manifest.ts';
import { publish } from '../../src/run/publish.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();

async function openContext(store: Store, blockRows = 1024): Promise<RunContext> {
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 2, blockRows, memoryBytes: 1 << 20 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  const context = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 5, resource: executor.resource };
  await context.resource('search', engineOf);
  return context;
}

/** Rows 0 … n − 1 of one endless pool: any two lengths of it begin alike. */
class Pool {
  readonly d: number;
  readonly dtype: 'float16' | 'float32';
  readonly values: Float32Array;
  constructor(rows: number, d: number, dtype: 'float16' | 'float32') {
    this.d = d;
    this.dtype = dtype;
    this.values = gaussianMixture(rows, d, 20, { zipf: 1, spread: 0.1 }).values;
  }
  isOk(row: number): boolean {
    return row % 11 !== 4;
  }
  write(store: Store, rows: number, partRows = rows > 10_000 ? 4096 : 500): Promise<StoredManifest<EmbeddingsManifest>> {
    const { d, dtype } = this;
    const rejected = new Set(Array.from({ length: rows }, (_, row) => row).filter((row) => !this.isOk(row)));
    return writeEmbeddings(store, 'embeddings', { vectors: this.values.slice(0, rows * d), d, dtype, rejected, partRows });
  }
  /** As it lies on disk. */
  vector(row: number): Float32Array {
    const values = this.values.slice(row * this.d, (row + 1) * this.d);
    return this.dtype === 'float16' ? decodeFloat16(encodeFloat16(values)) : values;
  }
}

const CONFIG = { levels: [40, 12, 4], iterations: 8 };

async function fit(pool: Pool, rows: number, config: object = CONFIG) {
  const root = await temporaryFolder('append');
  const store = await openFsStore(root);
  const embeddings = await pool.write(store, rows);
  const clusters = await buildTree(await openContext(store), embeddings, ClusterConfig.parse(config));
  return { root, store, clusters };
}

/** Appends up to `rows` rows, as the command does. */
async function appendTo(store: Store, pool: Pool, clusters: StoredManifest<ClustersManifest>, rows: number, blockRows?: number): Promise<StoredManifest<AppendedManifest>> {
  const embeddings = await pool.write(store, rows);
  const context = await openContext(store, blockRows);
  const sources = [{ name: 'all', firstRow: 0, rowCount: rows }];
  const { manifest, copies } = await appendToTree(context, { clusters, embeddings, judged: false, embeddingsAt: embeddings.manifest.parts, sources, staging: 'append/' });
  const stored = await writeManifest(store, 'append/manifest', manifest);
  await publish(store, 'append/', { copies, manifests: [{ from: 'append/manifest/manifest.json', to: 'clusters/manifest.json' }] });
  return { ...stored, path: 'clusters' };
}

async function readRows(store: Store, { parts }: ClustersManifest) {
  const rows = { cluster: [] as (number | null)[], distance: [] as (number | null)[], reason: [] as (string | null)[] };
  for (const part of parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    const valid = view.validity('cluster');
    const orNull = (values: ArrayLike<number>): (number | null)[] => Array.from(values, (value, i) => (valid === undefined || valid[i] === 1 ? value : null));
    rows.cluster.push(...orNull(view.numbers('cluster')));
    rows.distance.push(...orNull(view.numbers('distance')));
    rows.reason.push(...view.strings('reason'));
  }
  return rows;
}

/** Squared distance to each centroid in float64. */
function distancesTo(vector: Float32Array, centroids: Float32Array, k: number): number[] {
  return Array.from({ length: k }, (_, c) => vector.reduce((total, value, j) => total + (value - centroids[c * vector.length + j]!) ** 2, 0));
}

describe('appendToTree', () => {
  it.each(['float16', 'float32'] as const)('puts every new %s row at its nearest centroid and leaves the others where they were', async (dtype) => {
    const pool = new Pool(2600, 12, dtype);
    const { store, clusters } = await fit(pool, 1800);
    const [before, frozen] = [await readRows(store, clusters.manifest), await readCentroids(store, clusters.manifest, 1)];
    const { manifest } = await appendTo(store, pool, clusters, 2600);
    const after = await readRows(store, manifest);
    for (const column of ['cluster', 'distance', 'reason'] as const) expect(after[column].slice(0, 1800)).toEqual(before[column]);
    const { k } = manifest.levels[0]!;
    for (let row = 1800; row < 2600; row++) {
      if (!pool.isOk(row)) {
        expect([after.cluster[row], after.distance[row], after.reason[row]]).toEqual([null, null, 'corrupt']);
        continue;
      }
      const distances = distancesTo(pool.vector(row), frozen, k);
      const nearest = Math.min(...distances);
      expect(distances[after.cluster[row]!]!, `row ${row}`).toBeLessThanOrEqual(nearest * (1 + 1e-5) + 1e-7);
      expect(after.distance[row]!).toBe(Math.fround(distances[after.cluster[row]!]!));
      expect(after.reason[row]).toBe(null);
    }
  });

  it('keeps centroids and parents bit by bit, counts sizes anew at every level, and keeps the manifest of the fit', async () => {
    const pool = new Pool(2000, 12, 'float16');
    const { store, clusters } = await fit(pool, 1500);
    const frozen = [];
    for (const { level } of clusters.manifest.levels) frozen.push(await readCentroids(store, clusters.manifest, level));
    const { tree: before } = await readTree(store);
    const { manifest } = await appendTo(store, pool, clusters, 2000);
    const { tree } = await readTree(store); // checks that sizes add up level by level
    for (const { level } of manifest.levels) {
      expect(await readCentroids(store, manifest, level)).toEqual(frozen[level - 1]);
      expect(tree.levels[level - 1]!.parent).toEqual(before.levels[level - 1]!.parent);
    }
    const { cluster } = await readRows(store, manifest);
    tree.levels[0]!.size.forEach((size, c) => expect(size).toBe(cluster.filter((one) => one === c).length));
    const clustered = cluster.filter((one) => one !== null).length;
    expect(tree.levels.at(-1)!.size.reduce((total, size) => total + size, 0)).toBe(clustered);
    expect(manifest.stats).toMatchObject({ clustered, points: clustered });
    expect(manifest.append).toMatchObject({ fit: clusters.sha256, rowsAtFit: 1500, rows: 2000 });
    expect(manifest.stats.drift).toMatchObject({ fit: { images: 1500 - 136 }, appended: { images: clustered - (1500 - 136) }, sources: [{ name: 'all' }] });
    expect(await writeManifest(store, 'again', clusters.manifest)).toMatchObject({ sha256: clusters.sha256 });
    expect(await store.read('clusters/fit.json')).toEqual(await store.read('again/manifest.json'));
  });

  it('gives the same bytes in one step, in three, and with another block size', async () => {
    const pool = new Pool(2500, 8, 'float32');
    const one = await fit(pool, 1200);
    await appendTo(one.store, pool, one.clusters, 2500);
    const expected = await storeHashes(one.root, ['clusters']);
    expect(Object.keys(expected)).toContain('clusters/fit.json');
    for (const [steps, blockRows] of [[[1201, 1900, 2500], 1024], [[2500], 37]] as const) {
      const other = await fit(pool, 1200);
      let clusters: StoredManifest<ClustersManifest> = other.clusters;
      for (const rows of steps) clusters = await appendTo(other.store, pool, clusters, rows, blockRows);
      expect(await storeHashes(other.root, ['clusters']), steps.join()).toEqual(expected);
    }
  });

  it('goes on in the part that is not full, and leaves full ones alone', async () => {
    const pool = new Pool(66_500, 2, 'float32');
    const { store, clusters } = await fit(pool, 65_000, { levels: [8, 2], iterations: 1 });
    const first = await appendTo(store, pool, clusters, 66_000, 8192);
    expect(first.manifest.parts.map(({ firstRow, rowCount }) => [firstRow, rowCount])).toEqual([[0, 65_536], [65_536, 464]]);
    const { manifest } = await appendTo(store, pool, first, 66_500, 8192);
    expect(manifest.parts.map(({ rowCount }) => rowCount)).toEqual([65_536, 964]);
    expect(manifest.parts[0]).toEqual(first.manifest.parts[0]);
    const rows = await readRows(store, manifest);
    const centroids = await readCentroids(store, manifest, 1);
    for (const row of [65_000, 65_535, 65_536, 65_999, 66_000, 66_499]) {
      const distances = distancesTo(pool.vector(row), centroids, manifest.levels[0]!.k);
      expect(rows.cluster[row]).toBe(pool.isOk(row) ? distances.indexOf(Math.min(...distances)) : null);
    }
  });

  it('does not bring back what the fit set aside', async () => {
    const pool = new Pool(1000, 6, 'float32');
    const { store, clusters } = await fit(pool, 700, { ...CONFIG, levels: [150], outliers: { policy: 'set-aside', minSize: 3 } });
    const before = await readRows(store, clusters.manifest);
    expect(before.reason).toContain('set-aside');
    const { manifest } = await appendTo(store, pool, clusters, 1000);
    const after = await readRows(store, manifest);
    expect(after.reason.slice(0, 700)).toEqual(before.reason);
    expect(after.reason.slice(700)).not.toContain('set-aside');
  });
});
