import { describe, expect, it } from 'vitest';
import { retrieve } from '../../pipelines/6-retrieve.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { buildTree } from '../../src/cluster/build.ts';
import { readAssignment, readCentroids, readTree } from '../../src/cluster/tree.ts';
import { SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { RetrieveConfig } from '../../src/retrieve/config.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { type SelectionManifest, readSelection } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const engine = sharedEngine();

async function openContext(pool: MadeVectors, seeds: MadeVectors, { blockRows = 8192, tasks = 1, memoryBytes = 1 << 24, seed = 0 } = {}): Promise<{ context: RunContext; store: Store }> {
  const store = await openFsStore(await temporaryFolder('clusters'));
  await writeEmbeddings(store, 'embeddings', pool);
  await writeEmbeddings(store, 'seeds/around/embeddings', seeds);
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 2, blockRows, memoryBytes };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  await executor.resource('search-onnxruntime', engine);
  return { context: { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed, resource: executor.resource }, store };
}

const request = (cluster: object): RetrieveConfig => RetrieveConfig.parse({ name: 'around', sources: [{ folder: './seeds' }], cluster });

interface Entry {
  readonly row: number;
  readonly query: number;
  readonly score: number;
}

async function readAll(store: Store, manifest: SelectionManifest): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const { row, query, score, copies } of readSelection(store, manifest)) {
    row.forEach((r, i) => entries.push({ row: r, query: query![i]!, score: score[i]! }));
    expect(copies.every((count) => count === 1)).toBe(true);
  }
  return entries;
}

const unit = (degrees: number): number[] => [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];

/*
 * Worked by hand. Three clumps on the unit circle, around 0°, 90° and 180°:
 *
 *   rows 0 … 4   0° −2° 1° −4° 3°      mean −0.4°   (row 0 lies 0.4° off, row 2 1.4°, row 1 1.6°, row 4 3.4°, row 3 3.6°)
 *   rows 5 … 7   90° 91° 95°           mean 92°     (row 6 1°, row 5 2°, row 7 3°)
 *   row  8       rejected
 *   rows 9 … 10  180° 182°             mean 181°
 *
 * Queries: four near 0° (1°, −3°, 2°, 0.5°), four near 90° (90°, 93°, 94°, 96°), three near 180°, one rejected.
 * More than 3: the first two clusters are kept, the third is hit by 3 and dropped.
 */
const HAND_POOL: MadeVectors = { vectors: Float32Array.from([0, -2, 1, -4, 3, 90, 91, 95, 0, 180, 182].flatMap(unit)), d: 2, rejected: new Set([8]), partRows: 4 };
const HAND_SEEDS: MadeVectors = { vectors: Float32Array.from([1, 90, -3, 93, 180, 2, 94, 0, 181, 0.5, 96, 182].flatMap(unit)), d: 2, rejected: new Set([7]), partRows: 5 };

describe('cluster-based retrieval', () => {
  it('is what the example worked by hand says', async () => {
    const { context, store } = await openContext(HAND_POOL, HAND_SEEDS);
    const all = await retrieve(context, request({ clusters: 3 }));
    expect(all.manifest).toMatchObject({
      stage: 'retrieve', part: 'around', kind: 'retrieved', requested: 20_000, selected: 8, unique: 8, shortfall: 19_992,
      stats: { seeds: 12, queries: 11, queriesKept: 8, k: 3, hit: 3, kept: 2, dropped: 1, candidates: 10, nominal: 20_000, available: 8 },
    });
    const entries = await readAll(store, all.manifest);
    // Each row and the query of its cluster nearest in angle: row 0 (0°) is 0.5° from query 9, row 6 (91°) 1° from query 1.
    expect(entries.map(({ row, query }) => [row, query])).toEqual([[0, 9], [1, 2], [2, 0], [3, 2], [4, 5], [5, 1], [6, 1], [7, 6]]);
    const apart = [0.5, 1, 0, 1, 1, 0, 1, 1];
    entries.forEach(({ score }, i) => expect(score).toBeCloseTo(Math.cos((apart[i]! * Math.PI) / 180), 6));

    const closest = await retrieve(context, request({ clusters: 3, images: 2, draw: 'closest' }));
    expect(closest.manifest).toMatchObject({ requested: 4, selected: 4, shortfall: 0, stats: { nominal: 4, available: 4 } });
    expect((await readAll(store, closest.manifest)).map(({ row }) => row)).toEqual([0, 2, 5, 6]);

    const capped = await retrieve(context, request({ clusters: 3, images: 3, cap: 2, draw: 'closest' }));
    expect(capped.manifest).toMatchObject({ requested: 2, selected: 2, shortfall: 0, stats: { nominal: 6, available: 6 } });
    expect((await readAll(store, capped.manifest)).map(({ row }) => row)).toEqual([0, 6]);

    const lower = await retrieve(context, request({ clusters: 3, hitsAbove: 2 }));
    expect(lower.manifest).toMatchObject({ selected: 10, stats: { kept: 3, dropped: 0, queriesKept: 11 } });
    await expect(retrieve(context, request({ clusters: 3, hitsAbove: 4 }))).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringMatching(/more than 4 seed images of around, the fullest of 3 has 4/) });
    // One fit for all of them.
    const fits: string[] = [];
    for await (const { key } of store.list('retrieval/')) if (key.endsWith('manifest.json')) fits.push(key);
    expect(fits).toEqual(['retrieval/clusters-3/manifest.json']);
  });

  it('takes a level of the tree: a query goes where its nearest leaf is', async () => {
    const { pool, seeds } = made();
    const { context, store } = await openContext(pool, seeds);
    await buildTree(context, (await requireVectors(store)), ClusterConfig.parse({ levels: [60, 12] }));
    const { manifest } = await retrieve(context, request({ level: 2, hitsAbove: 10, images: 40, cap: 150 }));
    expect(manifest.config).toMatchObject({ cluster: { level: 2, fitted: false, hitsAbove: 10 } });

    const { stored, tree } = await readTree(store);
    const centroids = await readCentroids(store, stored.manifest, 1);
    const [leaves, tops] = [tree.levels[0]!, tree.levels[1]!];
    const hits = new Array<number>(tops.k).fill(0);
    for (let q = 0; q < 300; q++) {
      if (seeds.rejected!.has(q)) continue;
      const distances = Array.from({ length: leaves.k }, (_, c) => D_AXES.reduce((sum, j) => sum + (seeds.vectors[q * D + j]! - centroids[c * D + j]!) ** 2, 0));
      hits[leaves.parent[distances.indexOf(Math.min(...distances))]!]!++;
    }
    const kept = new Set(hits.flatMap((count, c) => (count > 10 ? [c] : [])));
    expect(kept.size).toBeGreaterThan(2);
    expect(kept.size).toBeLessThan(tops.k);
    const topOf = new Map<number, number>();
    for await (const { firstRow, cluster } of readAssignment(store, stored.manifest)) cluster.forEach((leaf, i) => leaf !== 0xffffffff && topOf.set(firstRow + i, leaves.parent[leaf]!));
    const available = [...kept].reduce((sum, c) => sum + Math.min(40, tops.size[c]!), 0);
    expect(manifest).toMatchObject({ selected: Math.min(150, available), stats: { k: 12, kept: kept.size, hit: hits.filter((count) => count > 0).length, nominal: 40 * kept.size, available, queriesKept: [...kept].reduce((sum, c) => sum + hits[c]!, 0) } });
    const entries = await readAll(store, manifest);
    const perCluster = new Map<number, number>();
    for (const { row } of entries) perCluster.set(topOf.get(row)!, (perCluster.get(topOf.get(row)!) ?? 0) + 1);
    for (const [cluster, count] of perCluster) {
      expect(kept.has(cluster)).toBe(true);
      expect(count).toBeLessThanOrEqual(40);
    }
    await expect(retrieve(context, request({ level: 3 }))).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/from 1 to the levels of the tree \(2\), got 3/) });
  });

  it('gives the same bytes for any block size, memory and number of tasks; other bytes for another seed', async () => {
    const { pool, seeds } = made();
    const hashes: string[] = [];
    for (const options of [{}, { blockRows: 1024, memoryBytes: 1 << 17 }, { tasks: 3, blockRows: 3000 }]) {
      const { context } = await openContext(pool, seeds, options);
      hashes.push((await retrieve(context, request({ images: 30, hitsAbove: 1 }))).sha256);
    }
    expect(new Set(hashes).size).toBe(1);
    const { context } = await openContext(pool, seeds, { seed: 1 });
    expect((await retrieve(context, request({ images: 30, hitsAbove: 1 }))).sha256).not.toBe(hashes[0]);
  });

  it('fits 64 images a cluster where the pool is small, and says what cannot be', async () => {
    const { pool, seeds } = made();
    const { context, store } = await openContext(pool, seeds);
    const { manifest } = await retrieve(context, request({ hitsAbove: 1 }));
    expect(manifest.stats).toMatchObject({ k: Math.floor(2997 / 64), candidates: 2997 });
    expect((await store.head('retrieval/clusters-46/manifest.json')) !== null).toBe(true);
    await expect(retrieve(context, request({ clusters: 5000 }))).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringMatching(/asks for 5000, the pool has 2997 usable images/) });
    const other = await openContext(pool, { vectors: new Float32Array(40).fill(1), d: 4 });
    await expect(retrieve(other.context, request({}))).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH' });
    const none = await openContext(pool, { ...seeds, rejected: new Set(Array.from({ length: 300 }, (_, i) => i)) });
    await expect(retrieve(none.context, request({}))).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringMatching(/seed images with a vector.*got none/) });
  });
});

const D = 8;
const D_AXES = Array.from({ length: D }, (_, j) => j);

/** 3,000 rows in 30 clumps, and 300 seeds of which most lie in four of them. */
function made(): { pool: MadeVectors; seeds: MadeVectors & { rejected: Set<number> } } {
  const stream = randomStream(4, 'clumps');
  const centre = (clump: number, j: number): number => stream.normal(1_000_000 + clump * D + j);
  const points = (n: number, at: number, clumpOf: (i: number) => number): Float32Array => Float32Array.from({ length: n * D }, (_, i) => centre(clumpOf(Math.floor(i / D)), i % D) + 0.2 * stream.normal(at + i));
  return {
    pool: { vectors: points(3000, 0, (i) => i % 30), d: D, rejected: new Set([5, 6, 2999]), partRows: 700 },
    seeds: { vectors: points(300, 500_000, (i) => (i % 3 === 0 ? i % 30 : i % 4)), d: D, rejected: new Set([0, 299]) },
  };
}

async function requireVectors(store: Store) {
  const { requirePool } = await import('../../src/embed/survivors.ts');
  return requirePool(store);
}
