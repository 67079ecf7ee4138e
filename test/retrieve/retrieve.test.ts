import { describe, expect, it } from 'vitest';
import { retrieve } from '../../pipelines/6-retrieve.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { planSearches } from '../../src/retrieve/retrieve.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { type SelectionManifest, readSelection } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const engine = sharedEngine();
const D = 16;

interface Entry {
  readonly row: number;
  readonly query: number;
  readonly score: number;
}

/** Vectors of lengths from 0.1 to 10, so that cosine and inner product disagree. */
function made(seed: number, n: number, d = D): Float32Array {
  const stream = randomStream(seed, 'vectors');
  const lengths = randomStream(seed, 'lengths');
  return Float32Array.from({ length: n * d }, (_, i) => stream.normal(i) * 10 ** (2 * lengths.uniform(Math.floor(i / d)) - 1));
}

async function openContext(pool: MadeVectors | null, seeds: MadeVectors | null, { blockRows = 8192, tasks = 1 } = {}): Promise<{ context: RunContext; store: Store; warnings: string[] }> {
  const store = await openFsStore(await temporaryFolder('retrieve'));
  if (pool !== null) await writeEmbeddings(store, 'embeddings', pool);
  if (seeds !== null) await writeEmbeddings(store, 'seeds/around/embeddings', seeds);
  const warnings: string[] = [];
  const log = { ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, text: string) => warnings.push(text) } as unknown as Log;
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 2, blockRows, memoryBytes: 1 << 24 };
  const executor = createLocalExecutor({ store, signal, log, execution, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  await executor.resource('search', engine);
  return { context: { store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource }, store, warnings };
}

async function readAll(store: Store, manifest: SelectionManifest): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const { row, query, score } of readSelection(store, manifest)) row.forEach((r, i) => entries.push({ row: r, query: query![i]!, score: score[i]! }));
  return entries;
}

function cosine(a: Float32Array, i: number, b: Float32Array, j: number, d = D): number {
  let [product, left, right] = [0, 0, 0];
  for (let t = 0; t < d; t++) {
    product += a[i * d + t]! * b[j * d + t]!;
    left += a[i * d + t]! ** 2;
    right += b[j * d + t]! ** 2;
  }
  return product / Math.sqrt(left * right);
}

describe('the retrieve stage', () => {
  it('finds what brute force finds, over parts of pool and seeds, skipping rejected and zero vectors', async () => {
    const pool: MadeVectors = { vectors: made(1, 5000), d: D, rejected: new Set([0, 17, 4095, 4096, 4999]) };
    const seeds: MadeVectors = { vectors: made(2, 1100), d: D, rejected: new Set([3, 1024]) };
    pool.vectors.fill(0, 30 * D, 31 * D);
    seeds.vectors.fill(0, 8 * D, 9 * D);
    const { context, store } = await openContext(pool, seeds, { tasks: 2 });
    const { path, manifest } = await retrieve(context, { name: 'around', k: 4 });
    expect(path).toBe('selections/around');
    expect(manifest).toMatchObject({ stage: 'retrieve', part: 'around', kind: 'retrieved', requested: 4 * 1097, selected: 4 * 1097, shortfall: 0, stats: { seeds: 1100, queries: 1097, candidates: 4994 } });
    const entries = await readAll(store, manifest);
    expect(manifest.unique).toBe(new Set(entries.map(({ row }) => row)).size);
    expect(entries).toEqual(entries.toSorted((a, b) => a.row - b.row || a.query - b.query));

    const byQuery = groupByQuery(entries);
    expect([...byQuery.keys()].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1100 }, (_, i) => i).filter((i) => ![3, 8, 1024].includes(i)));
    const candidates = Array.from({ length: 5000 }, (_, r) => r).filter((r) => !pool.rejected!.has(r) && r !== 30);
    for (const query of [0, 1, 500, 1023, 1025, 1099]) {
      const ranked = candidates.map((row) => ({ row, similarity: cosine(seeds.vectors, query, pool.vectors, row) })).sort((a, b) => b.similarity - a.similarity);
      const got = byQuery.get(query)!.toSorted((a, b) => b.score - a.score);
      got.forEach(({ row, score }, place) => {
        expect(score).toBeCloseTo(ranked[place]!.similarity, 5);
        expect(cosine(seeds.vectors, query, pool.vectors, row)).toBeCloseTo(score, 5);
      });
    }
  });

  it('gives the same bytes for any block size and any number of tasks at once', async () => {
    const pool: MadeVectors = { vectors: made(5, 9000), d: D, dtype: 'float16', rejected: new Set([1, 2, 3]) };
    const seeds: MadeVectors = { vectors: made(6, 1500), d: D, dtype: 'float16' };
    // Copies far apart in the pool, so that ties cross blocks.
    for (const copy of [4000, 8500]) pool.vectors.copyWithin(copy * D, 100 * D, 140 * D);
    const manifests = [];
    for (const options of [{}, { blockRows: 1024 }, { blockRows: 3000, tasks: 2 }]) {
      const { context } = await openContext(pool, seeds, options);
      manifests.push((await retrieve(context, { name: 'around', k: 10 })).sha256);
    }
    expect(new Set(manifests).size).toBe(1);
  });

  it('breaks ties by the lower pool row', async () => {
    const vectors = new Float32Array(300 * D);
    for (let r = 0; r < 300; r++) vectors.set(made(9, 1), r * D);
    const { context, store } = await openContext({ vectors, d: D }, { vectors: made(9, 1), d: D });
    const entries = await readAll(store, (await retrieve(context, { name: 'around', k: 5 })).manifest);
    expect(entries.map(({ row }) => row)).toEqual([0, 1, 2, 3, 4]);
    for (const { score } of entries) expect(score).toBeCloseTo(1, 6);
  });

  it('counts what a pool of fewer than k images cannot give', async () => {
    const { context, warnings } = await openContext({ vectors: made(1, 3), d: D }, { vectors: made(2, 2), d: D });
    const { manifest } = await retrieve(context, { name: 'around', k: 5 });
    expect(manifest).toMatchObject({ requested: 10, selected: 6, unique: 3, shortfall: 4, stats: { collisions: 3, queriesMax: 2 } });
    expect(warnings).toEqual([expect.stringContaining('short by 4')]);
  });

  it('says what is wrong: no vectors, other dimensions, nothing to search around or in, not finite', async () => {
    const pool: MadeVectors = { vectors: made(1, 5), d: D };
    const all = new Set([0, 1, 2, 3, 4]);
    const infinite = { vectors: made(1, 5), d: D };
    infinite.vectors[40] = Infinity;
    const cases = [
      [null, pool, 'INPUT_MISSING'],
      [pool, null, 'INPUT_MISSING'],
      [pool, { vectors: made(2, 5, 8), d: 8 }, 'DIMENSION_MISMATCH'],
      [pool, { ...pool, rejected: all }, 'TOO_FEW_ROWS'],
      [{ ...pool, rejected: all }, pool, 'TOO_FEW_ROWS'],
      [pool, { vectors: new Float32Array(2 * D), d: D }, 'TOO_FEW_ROWS'],
      [infinite, pool, 'NOT_FINITE'],
    ] as const;
    for (const [poolVectors, seedVectors, code] of cases) {
      const { context, store } = await openContext(poolVectors, seedVectors);
      await expect(retrieve(context, { name: 'around', k: 2 })).rejects.toMatchObject({ code });
      expect(await store.head('selections/around/manifest.json')).toBeNull();
    }
  });
});

describe('planSearches', () => {
  it('covers every seed row once, at most 1,024 rows and about a million pairs a task', async () => {
    const store = await openFsStore(await temporaryFolder('plan'));
    const stored = await writeEmbeddings(store, 'embeddings', { vectors: made(1, 9000, 2), d: 2 });
    for (const [k, rowsMax] of [[4, 1024], [5000, 209]] as const) {
      const tasks = planSearches(stored, stored, { path: 'selections/x', k, engine: {} });
      let next = 0;
      for (const { part, firstRow, rowCount } of tasks) {
        expect(firstRow).toBe(next);
        expect(rowCount).toBeLessThanOrEqual(rowsMax);
        expect(firstRow >= part * 4096 && firstRow + rowCount <= (part + 1) * 4096).toBe(true);
        next += rowCount;
      }
      expect(next).toBe(9000);
    }
  });
});

function groupByQuery(entries: readonly Entry[]): Map<number, Entry[]> {
  const groups = new Map<number, Entry[]>();
  for (const entry of entries) groups.set(entry.query, [...(groups.get(entry.query) ?? []), entry]);
  return groups;
}
