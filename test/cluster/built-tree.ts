/** Trees built of made-up pools, and the laws that every one of them keeps. */
import { expect } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { NO_CLUSTER, type ClustersManifest, readCentroids, readTree } from '../../src/cluster/tree.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingStatus, EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, readPart } from '../../src/run/manifest.ts';
import type { Execution, RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { squaredNorms } from '../../src/vector/matrix.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const EXECUTION: Execution = { concurrency: 2, threads: 2, blockRows: 1024, memoryBytes: 1 << 20 };

const engineOf = sharedEngine();

export interface Opened {
  readonly context: RunContext;
  readonly warnings: string[];
  readonly stop: AbortController;
}

/** A context over a store, as the command line makes it. `onNote` hears of every iteration. */
export function openContext(store: Store, { execution = {}, seed = 0, onNote = () => {} }: { execution?: Partial<Execution>; seed?: number; onNote?: (text: string) => void } = {}): Opened {
  const warnings: string[] = [];
  const log = { ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, text: string) => warnings.push(text) } as unknown as Log;
  const stop = new AbortController();
  const { signal } = stop;
  const full = { ...EXECUTION, ...execution };
  const executor = createLocalExecutor({ store, signal, log, execution: full, locations: {}, tasks: 1, onAdvance: () => {}, onNote });
  return { context: { store, executor, signal, log, progress: SILENT_PROGRESS, execution: full, seed, resource: executor.resource }, warnings, stop };
}

/** Runs the stage with the file's engine, or one of its own where it is to have other threads. */
export async function build({ context }: Opened, embeddings: StoredManifest<EmbeddingsManifest>, config: object): Promise<StoredManifest<ClustersManifest>> {
  const shared = context.execution.threads === EXECUTION.threads;
  const engine = await context.resource('search', shared ? engineOf : () => createOnnxEngine({ threads: context.execution.threads }));
  try {
    return await buildTree(context, embeddings, ClusterConfig.parse(config));
  } finally {
    if (!shared) await engine.close();
  }
}

export interface Pool extends MadeVectors {
  readonly n: number;
  /** Status of each row. */
  readonly statuses: readonly EmbeddingStatus[];
}

/** A long-tailed mixture with rows rejected for three reasons all over it, in parts of uneven fill. */
export function mixturePool(n: number, d: number, dtype: 'float16' | 'float32', { seed = 1, copies = 1, partRows = 300 } = {}): Pool {
  const { values } = gaussianMixture(n, d, 25, { zipf: 1.2, seed });
  for (let i = 0; i < n; i++) if (i % copies !== 0) values.copyWithin(i * d, (i - (i % copies)) * d, (i - (i % copies) + 1) * d);
  const reasons: EmbeddingStatus[] = ['corrupt', 'empty', 'not-finite'];
  const rejected = new Map(Array.from({ length: n }, (_, row) => row).filter((row) => row % 17 === 3 || (row >= 300 && row < 640)).map((row) => [row, reasons[row % 3]!]));
  return { n, d, dtype, vectors: values, rejected, statuses: Array.from({ length: n }, (_, row) => rejected.get(row) ?? 'ok'), partRows };
}

/** Writes a pool into a store of its own. */
export async function openPool(pool: Pool) {
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
export async function expectLaws(store: Store, pool: Pool, manifest: ClustersManifest, { nearest = true } = {}): Promise<{ sizes: number[][]; rows: Awaited<ReturnType<typeof readRows>> }> {
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
