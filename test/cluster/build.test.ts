import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { NO_CLUSTER, type ClustersManifest, readCentroids, readTree } from '../../src/cluster/tree.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingStatus, EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, readManifest, readPart } from '../../src/run/manifest.ts';
import type { Execution, RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { squaredNorms } from '../../src/vector/matrix.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const EXECUTION: Execution = { concurrency: 2, threads: 2, blockRows: 1024, memoryBytes: 1 << 20 };

const engineOf = sharedEngine();

interface Opened {
  readonly context: RunContext;
  readonly warnings: string[];
  readonly stop: AbortController;
}

/** A context over a store, as the command line makes it. `onNote` hears of every iteration. */
function openContext(store: Store, { execution = {}, seed = 0, onNote = () => {} }: { execution?: Partial<Execution>; seed?: number; onNote?: (text: string) => void } = {}): Opened {
  const warnings: string[] = [];
  const log = { ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, text: string) => warnings.push(text) } as unknown as Log;
  const stop = new AbortController();
  const { signal } = stop;
  const full = { ...EXECUTION, ...execution };
  const executor = createLocalExecutor({ store, signal, log, execution: full, locations: {}, tasks: 1, onAdvance: () => {}, onNote });
  return { context: { store, executor, signal, log, progress: SILENT_PROGRESS, execution: full, seed, resource: executor.resource }, warnings, stop };
}

/** Runs the stage with the file's engine, or one of its own where it is to have other threads. */
async function build({ context }: Opened, embeddings: StoredManifest<EmbeddingsManifest>, config: object): Promise<StoredManifest<ClustersManifest>> {
  const shared = context.execution.threads === EXECUTION.threads;
  const engine = await context.resource('search', shared ? engineOf : () => createOnnxEngine({ threads: context.execution.threads }));
  try {
    return await buildTree(context, embeddings, ClusterConfig.parse(config));
  } finally {
    if (!shared) await engine.close();
  }
}

interface Pool extends MadeVectors {
  readonly n: number;
  /** Status of each row. */
  readonly statuses: readonly EmbeddingStatus[];
}

/** A long-tailed mixture with rows rejected for three reasons all over it, in parts of uneven fill. */
function mixturePool(n: number, d: number, dtype: 'float16' | 'float32', { seed = 1, copies = 1, partRows = 300 } = {}): Pool {
  const { values } = gaussianMixture(n, d, 25, { zipf: 1.2, seed });
  for (let i = 0; i < n; i++) if (i % copies !== 0) values.copyWithin(i * d, (i - (i % copies)) * d, (i - (i % copies) + 1) * d);
  const reasons: EmbeddingStatus[] = ['corrupt', 'empty', 'not-finite'];
  const rejected = new Map(Array.from({ length: n }, (_, row) => row).filter((row) => row % 17 === 3 || (row >= 300 && row < 640)).map((row) => [row, reasons[row % 3]!]));
  return { n, d, dtype, vectors: values, rejected, statuses: Array.from({ length: n }, (_, row) => rejected.get(row) ?? 'ok'), partRows };
}

async function openPool(pool: Pool) {
  const root = await temporaryFolder('build');
  const store = await openFsStore(root);
  return { root, store, embeddings: await writeEmbeddings(store, 'embeddings', pool) };
}

/** The assignment table as it lies in the store. */
async function readRows(store: Store, { parts }: ClustersManifest) {
  const rows = { cluster: [] as (number | null)[], distance: [] as (number | null)[], reason: [] as (string | null)[] };
  for (const part of parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    const [cluster, distance] = [view.numbers('cluster'), view.numbers('distance')];
    const [valid, known] = [view.validity('cluster'), view.validity('distance')];
    for (let i = 0; i < part.rowCount; i++) {
      rows.cluster.push(valid?.[i] === 0 ? null : cluster[i]!);
      rows.distance.push(known?.[i] === 0 ? null : distance[i]!);
    }
    rows.reason.push(...view.strings('reason'));
  }
  return rows;
}

function squaredDistance(a: Float32Array, i: number, b: Float32Array, c: number, d: number): number {
  let sum = 0;
  for (let j = 0; j < d; j++) sum += (a[i * d + j]! - b[c * d + j]!) ** 2;
  return sum;
}

/** Point `i` is as near to its own centroid as to any, up to the noise of products. */
function expectNearest(values: Float32Array, i: number, centroids: Float32Array, own: number, d: number, noise: number): void {
  let least = Infinity;
  for (let c = 0; c < centroids.length / d; c++) least = Math.min(least, squaredDistance(values, i, centroids, c, d));
  expect(squaredDistance(values, i, centroids, own, d)).toBeLessThanOrEqual(least + noise);
}

/** Every law a tree in a store keeps, checked from its files and the vectors alone. */
async function expectLaws(store: Store, pool: Pool, manifest: ClustersManifest, { nearest = true } = {}): Promise<{ sizes: number[][]; rows: Awaited<ReturnType<typeof readRows>> }> {
  const { n, d, vectors, dtype, statuses } = pool;
  const stored = dtype === 'float16' ? decodeFloat16(encodeFloat16(vectors)) : vectors;
  const { tree } = await readTree(store);
  const rows = await readRows(store, manifest);
  const centroids = await Promise.all(tree.levels.map((_, l) => readCentroids(store, manifest, l + 1)));
  // What is near rests on float32 products; distances on float64 sums over points that were rounded to the grid, kept in float32.
  const square = Math.max(...squaredNorms(stored, n, d));
  expect([rows.cluster.length, rows.reason.length, manifest.d]).toEqual([n, n, d]);
  const counted = new Array<number>(tree.levels[0]!.k).fill(0);
  for (let row = 0; row < n; row++) {
    const c = rows.cluster[row]!;
    if (statuses[row] !== 'ok' || c === null) {
      expect([rows.cluster[row], rows.distance[row], rows.reason[row]]).toEqual([null, null, statuses[row] === 'ok' ? 'set-aside' : statuses[row]]);
      continue;
    }
    expect(rows.reason[row]).toBeNull();
    counted[c]!++;
    expect(Math.abs(rows.distance[row]! - squaredDistance(stored, row, centroids[0]!, c, d))).toBeLessThanOrEqual(2 ** -23 * rows.distance[row]! + 2 ** -24 * square);
    if (nearest) expectNearest(stored, row, centroids[0]!, c, d, 2 ** -18 * square);
  }
  let sizes = counted;
  const all: number[][] = [];
  tree.levels.forEach(({ k, parent, size }, l) => {
    expect([...size]).toEqual(sizes);
    expect(centroids[l]).toHaveLength(k * d);
    all.push(sizes);
    const above = tree.levels[l + 1];
    const sums = new Array<number>(above?.k ?? 0).fill(0);
    for (let c = 0; c < k; c++) {
      if (above === undefined) expect(parent[c]).toBe(NO_CLUSTER);
      else {
        sums[parent[c]!]! += sizes[c]!;
        if (nearest) expectNearest(centroids[l]!, c, centroids[l + 1]!, parent[c]!, d, 2 ** -18 * square);
      }
    }
    sizes = sums;
  });
  const clustered = rows.cluster.filter((c) => c !== null).length;
  for (const level of all) expect(level.reduce((sum, count) => sum + count, 0)).toBe(clustered);
  const ok = statuses.filter((status) => status === 'ok').length;
  expect(manifest.stats).toMatchObject({ points: ok, clustered, setAside: ok - clustered });
  expect(manifest.stats.rounds).toHaveLength(tree.levels.length);
  const keys: string[] = [];
  for await (const { key } of store.list('')) if (!key.startsWith('embeddings/')) keys.push(key);
  expect(keys).toEqual(['clusters/manifest.json', ...manifest.parts.map(({ path }) => path), ...manifest.levels.flatMap(({ parts }) => parts.map(({ path }) => path))].sort());
  return { sizes: all, rows };
}

describe('buildTree', () => {
  it.each(['float16', 'float32'] as const)('partitions the ok rows of a %s table at five levels, every row accounted for', async (dtype) => {
    const pool = mixturePool(1500, 10, dtype);
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store), embeddings, { levels: [60, 30, 15, 8, 4], outliers: { policy: 'keep' } });
    await expectLaws(store, pool, manifest);
    expect(manifest.levels.map(({ k }) => k)).toEqual([60, 30, 15, 8, 4]);
    const rounds = manifest.stats.rounds as { n: number; k: number; iterations: { inertia: number; changed: number }[] }[][];
    expect(rounds.map(([round]) => round!.n)).toEqual([pool.statuses.filter((status) => status === 'ok').length, 60, 30, 15, 8]);
    for (const [round] of rounds) {
      const inertias = round!.iterations.map(({ inertia }) => inertia);
      for (let i = 1; i < inertias.length; i++) expect(inertias[i]!).toBeLessThanOrEqual(inertias[i - 1]! * (1 + 1e-6));
    }
  });

  it.each(['float16', 'float32'] as const)('works in the units of the vectors (%s), whatever their length', async (dtype) => {
    const unit = mixturePool(600, 6, dtype);
    const inertiaOf = async (length: number): Promise<number> => {
      const pool = { ...unit, vectors: unit.vectors.map((value) => value * length) };
      const { store, embeddings } = await openPool(pool);
      const { manifest } = await build(openContext(store), embeddings, { levels: [20, 4] });
      const { rows } = await expectLaws(store, pool, manifest);
      const last = (manifest.stats.rounds as { inertia: number }[][])[0]!.at(-1)!.inertia;
      expect(rows.distance.reduce<number>((sum, value) => sum + (value ?? 0), 0) / last).toBeCloseTo(1, 4);
      return last;
    };
    const one = await inertiaOf(1);
    expect((await inertiaOf(16)) / one).toBeCloseTo(256, 6);
    expect((await inertiaOf(1 / 8)) / one).toBeCloseTo(1 / 64, 8);
    // 5 is no power of two, so vectors are rounded elsewhere and the tree may differ a little.
    expect((await inertiaOf(5)) / one / 25).toBeCloseTo(1, 1);
  });

  it('keeps, merges or sets aside the images of small clusters', async () => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const levels = [120, 20, 5];
    const small = (sizes: readonly number[]): number => sizes.filter((size) => size < 4).length;

    const kept = await build(openContext(store), embeddings, { levels, outliers: { policy: 'keep', minSize: 4 } });
    const { sizes } = await expectLaws(store, pool, kept.manifest);
    const images = sizes[0]!.filter((size) => size < 4).reduce((sum, size) => sum + size, 0);
    expect(small(sizes[0]!)).toBeGreaterThan(5);
    expect(kept.manifest.stats).toMatchObject({ merged: 0, setAside: 0, outlierClusters: small(sizes[0]!), outlierImages: images });

    const merged = await build(openContext(store), embeddings, { levels, outliers: { policy: 'merge', minSize: 4 } });
    const after = await expectLaws(store, pool, merged.manifest);
    expect(small(after.sizes[0]!)).toBe(0);
    expect(after.sizes[0]).toHaveLength(120 - small(sizes[0]!));
    expect(merged.manifest.stats).toMatchObject({ merged: images, setAside: 0, outlierClusters: small(sizes[0]!), outlierImages: images });

    const set = await build(openContext(store), embeddings, { levels, outliers: { policy: 'set-aside', minSize: 4 } });
    const left = await expectLaws(store, pool, set.manifest);
    expect(left.sizes[0]).toEqual(sizes[0]!.filter((size) => size >= 4));
    expect(left.rows.reason.filter((reason) => reason === 'set-aside')).toHaveLength(images);
    expect(set.manifest.stats).toMatchObject({ merged: 0, setAside: images });
  });

  it('builds a level with what the one below has left after merging, and says so', async () => {
    const pool = mixturePool(400, 6, 'float32');
    const { store, embeddings } = await openPool({ ...pool, partRows: 4096 });
    const opened = openContext(store);
    const { manifest } = await build(opened, embeddings, { levels: [60, 50], outliers: { policy: 'merge', minSize: 5 } });
    const { sizes } = await expectLaws(store, pool, manifest);
    expect(sizes[0]!.length).toBeLessThan(50);
    expect(sizes[1]).toHaveLength(sizes[0]!.length);
    expect(opened.warnings[0]).toContain(`level 2: 50 clusters wanted, the level below has ${sizes[0]!.length} left`);
  });

  it.each(['keep', 'drop', 'split'] as const)('treats empty clusters as told (%s) where rows repeat', async (empty) => {
    // 200 rows are copies of 20: of 50 clusters at least 30 have no row of their own to hold.
    const pool = mixturePool(200, 6, 'float32', { copies: 10 });
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store), embeddings, { levels: [50, 4], empty, outliers: { policy: 'keep' } });
    const { sizes } = await expectLaws(store, pool, manifest);
    expect(sizes[0]!.filter((size) => size > 0).length).toBeLessThanOrEqual(20);
    if (empty === 'keep') expect(sizes[0]).toHaveLength(50);
    else expect(sizes[0]!.every((size) => size > 0)).toBe(true);
  });

  it('splits a level into exactly k clusters through coarse cells', async () => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store, { execution: { memoryBytes: 20_000 } }), embeddings, { levels: [60, 12, 3], splits: [5, 2, 1], outliers: { policy: 'keep' } });
    const { sizes } = await expectLaws(store, pool, manifest, { nearest: false });
    expect(sizes.map((level) => level.length)).toEqual([60, 12, 3]);
    expect(sizes[0]!.every((size) => size > 0)).toBe(true);
  });

  it.each(['closest', 'random'] as const)('resamples: rounds on a sample (%s), all rows assigned after each', async (strategy) => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const levels = [50, 10];
    const plain = await build(openContext(store), embeddings, { levels });
    const flat = await expectLaws(store, pool, plain.manifest);
    const { manifest } = await build(openContext(store), embeddings, { levels, resampling: { rounds: 2, sampleSize: [3, 2], strategy } });
    const { sizes } = await expectLaws(store, pool, manifest);
    const rounds = manifest.stats.rounds as { n: number; sampled: number }[][];
    expect(rounds.map((ofLevel) => ofLevel.length)).toEqual([3, 3]);
    expect(rounds[0]![0]!.sampled).toBe(rounds[0]![0]!.n);
    for (const { sampled, n } of rounds[0]!.slice(1)) expect(sampled > 50 && sampled <= Math.min(n, 150)).toBe(true);
    expect(rounds[1]!.slice(1).every(({ sampled }) => sampled <= 20)).toBe(true);
    // Dense regions give as few points as sparse ones: the images then lie less evenly over the clusters.
    const squares = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count * count, 0);
    if (strategy === 'closest') expect(squares(sizes[0]!)).toBeGreaterThan(squares(flat.sizes[0]!));
  });

  it('refuses more clusters than usable images, and a pool without any, and writes nothing', async () => {
    const pool = mixturePool(40, 4, 'float32');
    const ok = pool.statuses.filter((status) => status === 'ok').length;
    const { store, embeddings } = await openPool(pool);
    await expect(build(openContext(store), embeddings, { levels: [ok + 1, 2] })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringContaining(`asks for ${ok + 1}, the pool has ${ok}`), details: { k: ok + 1, n: ok } });
    expect((await build(openContext(store), embeddings, { levels: [ok, 2] })).manifest.levels[0]!.k).toBe(ok);
    const none = await openPool({ ...pool, rejected: new Set(pool.statuses.keys()) });
    await expect(build(openContext(none.store), none.embeddings, { levels: [1] })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
    expect(await readManifest(none.store, 'clusters')).toBeNull();
  });
});

/** Everything at once: rejected rows, a split level, resampling, merging. */
const FULL = { levels: [90, 20, 5], splits: [3, 1, 1], resampling: { rounds: 1, sampleSize: 4 }, outliers: { policy: 'merge', minSize: 3 }, iterations: 8, seedingRows: 900 };

describe('the bytes of a tree', () => {
  it('do not depend on block size, threads or memory', async () => {
    const pool = mixturePool(4000, 12, 'float16');
    const { root, store, embeddings } = await openPool(pool);
    const first = await build(openContext(store), embeddings, FULL);
    await expectLaws(store, pool, first.manifest, { nearest: false });
    const hashes = await storeHashes(root, ['clusters']);
    const variants: Partial<Execution>[] = [
      { blockRows: 1777, threads: 1 },
      { blockRows: 1 << 20, memoryBytes: 1 << 30 },
      { blockRows: 5000, memoryBytes: 0 },
      { blockRows: 1024, memoryBytes: 30_000, threads: 3, concurrency: 7 },
    ];
    for (const execution of variants) {
      await store.remove('clusters/');
      await build(openContext(store, { execution }), embeddings, FULL);
      expect(await storeHashes(root, ['clusters']), JSON.stringify(execution)).toEqual(hashes);
    }
  });

  it('do not depend on where the embeddings are cut into parts', async () => {
    const parts = async (partRows: number) => {
      const { store, embeddings } = await openPool(mixturePool(2000, 8, 'float32', { partRows }));
      const { manifest } = await build(openContext(store), embeddings, FULL);
      return [...manifest.parts, ...manifest.levels.flatMap((level) => level.parts)].map(({ sha256 }) => sha256);
    };
    expect(await parts(4096)).toEqual(await parts(123));
  });

  it('depend on the seed', async () => {
    const { store, embeddings } = await openPool(mixturePool(800, 8, 'float32'));
    const hashOf = async (seed: number): Promise<string> => (await build(openContext(store, { seed }), embeddings, { levels: [30, 5] })).manifest.levels[0]!.parts[0]!.sha256;
    const one = await hashOf(1);
    expect(await hashOf(2)).not.toBe(one);
    expect(await hashOf(1)).toBe(one);
  });
});

describe('a build that was cut short', () => {
  /** The store dies at its m-th write: that write and all after it fail. */
  function dyingStore(store: Store, m: number): { store: Store; dead: () => boolean } {
    let writes = 0;
    return {
      dead: () => writes > m,
      store: {
        ...store,
        write: async (key, bytes) => {
          if (writes++ >= m) throw new Error('died');
          return store.write(key, bytes);
        },
      },
    };
  }

  it('goes on where it was, from a death at any write, and gives the same bytes', async () => {
    const pool = mixturePool(600, 6, 'float16');
    const config = { ...FULL, levels: [30, 6], splits: 1, iterations: 3 };
    const { root, store, embeddings } = await openPool(pool);
    const notes: string[] = [];
    await build(openContext(store, { onNote: (text) => notes.push(text) }), embeddings, config);
    const hashes = await storeHashes(root, ['clusters']);
    let m = 0;
    for (; ; m++) {
      await store.remove('clusters/');
      const dying = dyingStore(store, m);
      const died = await build(openContext(dying.store), embeddings, config).then(() => null, (error: unknown) => error);
      if (!dying.dead()) break;
      expect(died).toMatchObject({ message: 'died' });
      expect(await readManifest(store, 'clusters')).toBeNull();
      const again: string[] = [];
      await build(openContext(store, { onNote: (text) => again.push(text) }), embeddings, config);
      expect(await storeHashes(root, ['clusters']), `died at write ${m}`).toEqual(hashes);
      // A finished round is not run again: its notes are missing, and those there are the last ones of the first run.
      expect(again).toEqual(again.length === 0 ? [] : notes.slice(-again.length));
      if (m > 5 * 4) expect(again).toHaveLength(0);
    }
    // The attempt, then five tasks (two levels of two rounds, the outlier policy) with three arrays and a record each, three parts, the manifest.
    expect(m).toBe(1 + 5 * 4 + 3 + 1);
  });

  it('stops between blocks when told to, and goes on afterwards', async () => {
    const { root, store, embeddings } = await openPool(mixturePool(2500, 6, 'float32'));
    await build(openContext(store), embeddings, FULL);
    const hashes = await storeHashes(root, ['clusters']);
    await store.remove('clusters/');
    const opened: Opened = openContext(store, { onNote: (text) => text.startsWith('level 2, round 0') && opened.stop.abort() });
    await expect(build(opened, embeddings, FULL)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readManifest(store, 'clusters')).toBeNull();
    await build(openContext(store), embeddings, FULL);
    expect(await storeHashes(root, ['clusters'])).toEqual(hashes);
  });

  it('takes nothing from an attempt with other settings', async () => {
    const pool = mixturePool(700, 6, 'float16');
    const { root, store, embeddings } = await openPool(pool);
    const config = { levels: [40, 8], outliers: { policy: 'keep' } };
    await build(openContext(store), embeddings, config);
    const hashes = await storeHashes(root, ['clusters']);
    await store.remove('clusters/');
    // It dies writing the tables. The task of level 2 has left its record then, and nothing in it tells the attempts apart.
    await expect(build(openContext(dyingStore(store, 1 + 3 * 4).store), embeddings, { ...config, splits: [4, 1] })).rejects.toThrow('died');
    await build(openContext(store), embeddings, config);
    expect(await storeHashes(root, ['clusters'])).toEqual(hashes);
  });
});
