/** The part of calibration that clustering and retrieval consist of: products of vectors with centroids and queries. */
import { availableParallelism } from 'node:os';
import { kmeans } from '../cluster/kmeans.ts';
import { memoryPoints, toGrid } from '../cluster/points.ts';
import { type ScoreProducts, openScoreProducts } from '../cluster/products.ts';
import { seedCentroids } from '../cluster/seed.ts';
import { throwIfAborted } from '../errors.ts';
import { randomStream } from '../random.ts';
import { nearestRows } from '../retrieve/nearest.ts';
import { createOnnxEngine } from '../vector/onnx.ts';
import type { SearchEngine } from '../vector/search.ts';
import { mixture } from './data.ts';
import { bestRate } from './best-rate.ts';
import type { Rates } from './rates.ts';
import type { Workbench } from './workbench.ts';

const D = 384;
const CLUSTERS = [16, 128, 1024, 8192];
const KMEANS_CLUSTERS = [16, 128, 1024, 4096];
const ITERATIONS = 20;
/** Assignments before bounds hold (src/cluster/kmeans.ts), and memory for them. */
const FIRST = 2;
const BOUND_BYTES = 96 * 2 ** 20;
/** Rows of one call, as k-means reads them. */
const BLOCK_ROWS = 8192;
const SEEDS = 128;
const SEEDING_ROWS = 4096;
/** Narrow vectors are bound by what is done for each point, wide ones by memory. */
const SEEDING_DIMS = [64, 384, 1280];
/** Candidates of one product, however few are wanted. */
const CANDIDATES = 16;
const QUERIES = 512;
const TURNS = 3;

/** @param n vectors to measure with: k never passes half of them */
export async function measureProducts(n: number, { signal, note }: Workbench): Promise<Pick<Rates, 'assign' | 'kmeans' | 'seeding' | 'retrieval'>> {
  const x = mixture(D)(0, n).map(toGrid);
  const engine = await createOnnxEngine();
  const products = await openScoreProducts(availableParallelism());
  const at = (ks: readonly number[]): number[] => [...new Set(ks.map((k) => Math.min(k, n >> 1)))];
  try {
    const assign: Rates['assign'] = [];
    for (const k of at(CLUSTERS)) {
      throwIfAborted(signal);
      note(`calibrate: assignment to ${k} centroids`);
      assign.push({ k, flops: await flopsOf(2 * n * D * k, () => assignOnce(engine, x, n, k)) });
    }
    const means: Rates['kmeans'] = [];
    for (const k of at(KMEANS_CLUSTERS)) {
      throwIfAborted(signal);
      note(`calibrate: k-means into ${k} clusters`);
      means.push({ k, ...(await kmeansFlops(engine, products, x, n, k)) });
    }
    note('calibrate: seeding and retrieval');
    const seeding = await measureSeeding(engine, Math.min(n, SEEDING_ROWS));
    const q = Math.min(QUERIES, n);
    const retrieval = await flopsOf(2 * n * D * q, async () => {
      await nearestRows(engine, x.subarray(0, q * D), blocksOf(x, n), { k: 4, d: D, blockRowsMax: BLOCK_ROWS });
    });
    return { assign, kmeans: means, seeding, retrieval };
  } finally {
    await products.close();
    await engine.close();
  }
}

async function measureSeeding(engine: SearchEngine, m: number): Promise<Rates['seeding']> {
  const k = Math.min(SEEDS, m >> 1);
  const seeding: Rates['seeding'] = [];
  for (const d of SEEDING_DIMS) {
    const x = mixture(d)(0, m).map(toGrid);
    const flops = await flopsOf(2 * m * d * k * CANDIDATES, async () => {
      const distances = await engine.distances(x, m, d);
      await seedCentroids(x, m, d, k, { distances, stream: randomStream(0, 'bench', 'seed') });
      await distances.close();
    });
    seeding.push({ d, flops });
  }
  return seeding;
}

/** The best of several runs after a first: what else the machine does only ever adds to one. */
async function flopsOf(flop: number, run: () => Promise<void>): Promise<number> {
  await run();
  return bestRate(flop, run);
}

async function assignOnce(engine: SearchEngine, x: Float32Array, n: number, k: number): Promise<void> {
  const search = await engine.nearest(x.subarray(0, k * D), k, D);
  const index = new Uint32Array(BLOCK_ROWS);
  for (let first = 0; first < n; first += BLOCK_ROWS) {
    const count = Math.min(BLOCK_ROWS, n - first);
    await search.nearest(x.subarray(first * D, (first + count) * D), count, index, null);
  }
  await search.close();
}

/** Of k-means from the first k rows, which counts the assignments that it makes: the first two, and those after them. */
async function kmeansFlops(engine: SearchEngine, products: ScoreProducts, x: Float32Array, n: number, k: number): Promise<{ first: number; flops: number }> {
  const best = { first: 0, flops: 0 };
  for (let turn = 0; turn < TURNS; turn++) {
    const started = performance.now();
    const ends: number[] = [];
    await kmeans(memoryPoints(x, n, D), x.slice(0, k * D), {
      engine, iterations: ITERATIONS, empty: 'keep', blockRows: BLOCK_ROWS, bounds: { products, bytes: BOUND_BYTES }, onIteration: () => void ends.push(performance.now()),
    });
    const rate = (count: number, ms: number): number => (2 * n * D * k * count * 1000) / ms;
    const firsts = Math.min(FIRST, ends.length);
    best.first = Math.max(best.first, rate(firsts, ends[firsts - 1]! - started));
    best.flops = Math.max(best.flops, ends.length > FIRST ? rate(ends.length - FIRST, ends.at(-1)! - ends[FIRST - 1]!) : best.first);
  }
  return best;
}

async function* blocksOf(x: Float32Array, n: number): AsyncIterable<{ row: Float64Array; vectors: Float32Array }> {
  for (let first = 0; first < n; first += BLOCK_ROWS) {
    const count = Math.min(BLOCK_ROWS, n - first);
    yield { row: Float64Array.from({ length: count }, (_, i) => first + i), vectors: x.subarray(first * D, (first + count) * D) };
  }
}
