import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import type { SplitStats } from '../../src/cluster/split-level.ts';
import { NO_CLUSTER, type ClustersManifest, readAssignment, readCentroids, readTree } from '../../src/cluster/tree.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor, taskId } from '../../src/run/local.ts';
import { type StoredManifest, readManifest } from '../../src/run/manifest.ts';
import type { Execution, Executor, RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const EXECUTION: Execution = { concurrency: 2, threads: 2, blockRows: 1024, memoryBytes: 1 << 20 };
const D = 8;

async function openPool(n: number, dtype: 'float16' | 'float32' = 'float32', { spread = 0.1 } = {}) {
  const { values } = gaussianMixture(n, D, 30, { zipf: 1, seed: 4, spread });
  const root = await temporaryFolder('split');
  const store = await openFsStore(root);
  const rejected = new Set(Array.from({ length: n }, (_, row) => row).filter((row) => row % 13 === 5));
  const embeddings = await writeEmbeddings(store, 'embeddings', { vectors: values, d: D, dtype, rejected, partRows: 700 });
  const kept = dtype === 'float16' ? decodeFloat16(encodeFloat16(values)) : values;
  return { root, store, embeddings, values: kept, rejected, n, ok: n - rejected.size };
}

async function contextOf(store: Store, { execution = {}, wrap = (executor: Executor): Executor => executor, tasks = 1 }: { execution?: Partial<Execution>; wrap?: (executor: Executor) => Executor; tasks?: number } = {}): Promise<RunContext> {
  const { signal } = new AbortController();
  const full = { ...EXECUTION, ...execution };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution: full, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  await executor.resource('search', engineOf);
  return { store, executor: wrap(executor), signal, log: SILENT, progress: SILENT_PROGRESS, execution: full, seed: 0, resource: executor.resource };
}

const build = (context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: object) => buildTree(context, embeddings, ClusterConfig.parse(config));

const SPLIT = { levels: [120, 20, 5], iterations: 6, split: { when: 'always', cells: 9 } };

/** Runs tasks one by one in an order of its own. */
function shuffled(executor: Executor, order: (n: number) => number[]): Executor {
  return {
    map: async (kind, payloads, scope) => {
      const results = new Array(payloads.length);
      for (const i of order(payloads.length)) [results[i]] = await executor.map(kind, [payloads[i]!], scope);
      return results;
    },
  };
}

async function readLevel(store: Store, { manifest }: StoredManifest<ClustersManifest>) {
  const centroids = await readCentroids(store, manifest, 1);
  const cluster: number[] = [];
  const distance: number[] = [];
  for await (const block of readAssignment(store, manifest)) {
    cluster.push(...block.cluster);
    distance.push(...block.distance);
  }
  return { centroids, cluster, distance, k: centroids.length / D };
}

function squaredDistance(a: Float32Array, i: number, b: Float32Array, c: number): number {
  let sum = 0;
  for (let j = 0; j < D; j++) sum += (a[i * D + j]! - b[c * D + j]!) ** 2;
  return sum;
}

function nearestOf(values: Float32Array, row: number, centroids: Float32Array): number {
  let least = Infinity;
  for (let c = 0; c < centroids.length / D; c++) least = Math.min(least, squaredDistance(values, row, centroids, c));
  return least;
}

const splitStats = ({ manifest }: StoredManifest<ClustersManifest>, level = 1): SplitStats => (manifest.stats.rounds as { split: SplitStats }[][])[level - 1]![0]!.split;

describe('a split level', () => {
  it.each(['float16', 'float32'] as const)('has the clusters asked for, every row in one of them, at the recall and inertia promised (%s)', async (dtype) => {
    const pool = await openPool(5000, dtype);
    const stored = await build(await contextOf(pool.store), pool.embeddings, { ...SPLIT, outliers: { policy: 'keep' } });
    const { tree } = await readTree(pool.store);
    const { centroids, cluster, distance, k } = await readLevel(pool.store, stored);
    expect(tree.levels.map((level) => level.k)).toEqual([120, 20, 5]);
    expect(cluster).toHaveLength(pool.n);
    const size = new Float64Array(k);
    let [found, own, exact] = [0, 0, 0];
    for (let row = 0; row < pool.n; row++) {
      if (pool.rejected.has(row)) {
        expect(cluster[row]).toBe(NO_CLUSTER);
        continue;
      }
      size[cluster[row]!]!++;
      const far = squaredDistance(pool.values, row, centroids, cluster[row]!);
      expect(Math.abs(distance[row]! - far)).toBeLessThan(1e-5);
      const least = nearestOf(pool.values, row, centroids);
      if (far <= least + 1e-6) found++;
      own += far;
      exact += least;
    }
    expect(size).toEqual(tree.levels[0]!.size);
    expect(found / pool.ok).toBeGreaterThan(0.985);
    expect(own / exact).toBeLessThan(1.002);
    const { recall, cells, updates } = splitStats(stored);
    expect(recall.rows).toBe(pool.ok);
    expect(recall.recall).toBeCloseTo(found / pool.ok, 2);
    expect(cells).toBeGreaterThanOrEqual(9);
    expect(updates).toHaveLength(2);
    expect(updates[1]!.inertia).toBeLessThan(updates[0]!.inertia);
    for await (const { key } of pool.store.list('work/')) expect(key).toBe('nothing is left');
  });

  it('is no worse than one k-means on the same points by more than 5 %', async () => {
    const pool = await openPool(6000);
    const inertiaOf = async (split: object): Promise<number> => {
      const { manifest } = await build(await contextOf(pool.store), pool.embeddings, { levels: [300], iterations: 10, split, outliers: { policy: 'keep' } });
      return (manifest.stats.rounds as { inertia: number }[][])[0]!.at(-1)!.inertia;
    };
    const whole = await inertiaOf({ when: 'never' });
    expect((await inertiaOf({ when: 'always' })) / whole).toBeLessThan(1.05);
  });

  it('splits levels above the first, and merges or sets aside small leaves', async () => {
    const pool = await openPool(4000);
    const levels = { ...SPLIT, levels: [600, 60, 6] };
    const kept = await build(await contextOf(pool.store), pool.embeddings, { ...levels, outliers: { policy: 'keep', minSize: 4 } });
    const sizes = [...(await readTree(pool.store)).tree.levels[0]!.size];
    const small = sizes.filter((size) => size < 4);
    const images = small.reduce((sum, size) => sum + size, 0);
    expect(small.length).toBeGreaterThan(10);
    expect(kept.manifest.stats).toMatchObject({ merged: 0, setAside: 0, outlierClusters: small.length, outlierImages: images });
    expect(splitStats(kept, 2).cells).toBeGreaterThanOrEqual(9);

    const merged = await build(await contextOf(pool.store), pool.embeddings, { ...levels, outliers: { policy: 'merge', minSize: 4 } });
    const after = await readTree(pool.store);
    expect(after.tree.levels[0]!.k).toBe(sizes.length - small.length);
    expect(after.tree.levels[0]!.size.reduce((sum, size) => sum + size, 0)).toBe(pool.ok);
    expect(after.tree.levels[0]!.size.every((size) => size >= 4)).toBe(true);
    expect(merged.manifest.stats).toMatchObject({ merged: images, setAside: 0, outlierClusters: small.length });
    const level = await readLevel(pool.store, merged);
    let [own, exact] = [0, 0];
    level.cluster.forEach((c, row) => {
      if (c === NO_CLUSTER) return;
      own += level.distance[row]!;
      exact += nearestOf(pool.values, row, level.centroids);
    });
    expect(own / exact).toBeLessThan(1.01);

    const aside = await build(await contextOf(pool.store), pool.embeddings, { ...levels, outliers: { policy: 'set-aside', minSize: 4 } });
    const left = await readTree(pool.store);
    expect([...left.tree.levels[0]!.size]).toEqual(sizes.filter((size) => size >= 4));
    expect(aside.manifest.stats).toMatchObject({ merged: 0, setAside: images, clustered: pool.ok - images });
  });

  it.each([{ rounds: 1 }, { rounds: 2, strategy: 'random' }])('resamples inside cells (%o)', async (resampling) => {
    const pool = await openPool(4000);
    const stored = await build(await contextOf(pool.store), pool.embeddings, { ...SPLIT, outliers: { policy: 'keep' }, resampling: { sampleSize: 5, ...resampling } });
    const [round] = (stored.manifest.stats.rounds as { sampled: number; split: SplitStats }[][])[0]!;
    expect(round!.sampled).toBeLessThanOrEqual(120 * 5);
    expect(round!.split.updates).toEqual([]);
    expect((await readTree(pool.store)).tree.levels[0]!.k).toBe(120);
  });

  it('takes rows that repeat and cells without rows', async () => {
    const { store } = await openPool(10);
    const values = new Float32Array(900 * D);
    for (let row = 0; row < 900; row++) for (let j = 0; j < D; j++) values[row * D + j] = ((row % 20) * (j + 1)) / 200;
    const embeddings = await writeEmbeddings(store, 'embeddings', { vectors: values, d: D });
    for (const empty of ['keep', 'drop', 'split']) {
      await build(await contextOf(store), embeddings, { levels: [50, 4], empty, split: { when: 'always', cells: 12 }, outliers: { policy: 'keep' } });
      const { tree } = await readTree(store);
      expect(tree.levels[0]!.size.reduce((sum, size) => sum + size, 0)).toBe(900);
      expect(tree.levels[0]!.size.filter((size) => size > 0).length).toBeLessThanOrEqual(20);
    }
  });
});

/** Everything at once: a split level 1 and 2, an unsplit third, merging, updates. */
const FULL = { levels: [90, 20, 5], split: { when: 'always', cells: 7 }, outliers: { policy: 'merge', minSize: 4 }, iterations: 4, seedingRows: 900 };

describe('the bytes of a split tree', () => {
  it('do not depend on blocks, memory, threads, tasks at once or the order they end in', async () => {
    const pool = await openPool(4000, 'float16');
    await build(await contextOf(pool.store), pool.embeddings, FULL);
    const hashes = await storeHashes(pool.root, ['clusters']);
    const variants: Parameters<typeof contextOf>[1][] = [
      { execution: { blockRows: 1777, memoryBytes: 1 << 30 }, tasks: 3 },
      { execution: { blockRows: 1 << 20, memoryBytes: 0 } },
      { execution: { memoryBytes: 40_000 }, tasks: 2 },
      { wrap: (executor) => shuffled(executor, (n) => Array.from({ length: n }, (_, i) => n - 1 - i)) },
      { wrap: (executor) => shuffled(executor, (n) => Array.from({ length: n }, (_, i) => i).sort((a, b) => ((a * 7) % 11) - ((b * 7) % 11) || a - b)) },
    ];
    for (const variant of variants) {
      await pool.store.remove('clusters/');
      await build(await contextOf(pool.store, variant), pool.embeddings, FULL);
      expect(await storeHashes(pool.root, ['clusters']), JSON.stringify(variant)).toEqual(hashes);
    }
  });

  it('do not depend on where a run was killed, even when it goes on with other settings of the machine', async () => {
    const pool = await openPool(1500, 'float16');
    const config = { ...FULL, levels: [40, 5], iterations: 2 };
    const ran: string[] = [];
    const counting = (executor: Executor): Executor => ({
      map: (kind, payloads, scope) => {
        const run: typeof kind.run = (payload, env) => {
          ran.push(taskId(kind, payload));
          return kind.run(payload, env);
        };
        return executor.map({ ...kind, run }, payloads, scope);
      },
    });
    let writes = 0;
    const counted: Store = {
      ...pool.store,
      write: async (key, bytes) => {
        writes++;
        return pool.store.write(key, bytes);
      },
    };
    await build(await contextOf(counted, { wrap: counting }), pool.embeddings, config);
    const hashes = await storeHashes(pool.root, ['clusters']);
    expect(new Set(ran).size).toBe(ran.length);
    ran.splice(0);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: writes - 1 }), fc.constantFrom(1 << 20, 0), async (death, memoryBytes) => {
        await pool.store.remove('clusters/');
        await pool.store.remove('work/');
        let left = death;
        const dying: Store = {
          ...pool.store,
          write: async (key, bytes) => {
            if (left-- <= 0) throw new Error('died');
            return pool.store.write(key, bytes);
          },
        };
        await expect(build(await contextOf(dying, { wrap: counting }), pool.embeddings, config)).rejects.toThrow('died');
        expect(await readManifest(pool.store, 'clusters')).toBeNull();
        const before = ran.splice(0);
        await build(await contextOf(pool.store, { wrap: counting, execution: { memoryBytes } }), pool.embeddings, config);
        expect(await storeHashes(pool.root, ['clusters'])).toEqual(hashes);
        // A task that had ended is not run again: only the one that died is.
        if (memoryBytes === 1 << 20) expect(ran.filter((id) => before.slice(0, -1).includes(id))).toEqual([]);
        ran.splice(0);
      }),
      { numRuns: 6 },
    );
  });
});
