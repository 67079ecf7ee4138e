/**
 * The coarse cells of a split level: one k-means on a keyed sample of bounded size. Cells much larger than the mean are
 * split again on their part of the sample, since a cell's cost grows with the square of its size.
 */
import assert from 'node:assert/strict';
import { randomStream } from '../random.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type PointsReference, openPoints, searchEngine } from './level.ts';
import { type Clustering, type KmeansOptions, kmeans } from './kmeans.ts';
import { type Points, cached, storedPoints, subsetPoints } from './points.ts';
import { firstCentroids } from './seeding.ts';
import { groupByParent } from './tree.ts';
import { bytesOf } from './words.ts';

export interface CoarsePayload {
  readonly points: PointsReference;
  readonly level: number;
  /** Cells wanted. */
  readonly m: number;
  readonly sampleRows: number;
  readonly iterations: number;
  readonly seedingRows: number;
  readonly seed: number;
  readonly out: string;
}

export interface CoarseResult {
  /** Cells made. */
  readonly m: number;
  readonly n: number;
  readonly d: number;
  readonly scale: number;
  readonly sampled: number;
  /** Of the sample's first k-means, at its end, in scaled units. */
  readonly inertia: number;
}

/** Writes m × d scaled centroids to `out/centroids`. */
export const trainCells: TaskKind<CoarsePayload, CoarseResult> = {
  name: 'cluster-coarse',
  version: 1,
  run: async (payload, env) => {
    const { level, m, seed, out } = payload;
    const points = await openPoints(env, payload.points, 0);
    const { n, d, scale } = points;
    const rows = keyedSample(n, Math.min(n, payload.sampleRows), seed, ['coarse-sample', level]);
    const sample = await openSample(points, rows, `${out}/sample`, env);
    const options: KmeansOptions = { engine: await searchEngine(env), iterations: payload.iterations, empty: 'drop', blockRows: env.execution.blockRows, signal: env.signal };
    const train = async (some: Points, k: number, label: string | number): Promise<Clustering> =>
      kmeans(some, await firstCentroids(some, Math.min(k, some.n), { ...options, seedingRows: payload.seedingRows, seed, labels: [level, 'coarse', label] }), options);
    const found = await train(sample, Math.min(m, rows.length), 'all');
    const centroids = await splitLarge(sample, found, train, env);
    await env.store.write(`${out}/centroids`, bytesOf(centroids));
    return { m: centroids.length / d, n, d, scale, sampled: rows.length, inertia: found.iterations.at(-1)!.inertia };
  },
};

/** A keyed systematic sample, ascending: one draw from each of `count` equal runs of n points. */
export function keyedSample(n: number, count: number, seed: number, labels: readonly (string | number)[]): Uint32Array {
  assert(count >= 1 && count <= n, `Expected a sample of 1 to ${n} points, got ${count}`);
  const stream = randomStream(seed, 'cluster', ...labels);
  return Uint32Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * n) / count);
    return from + stream.below(i, Math.floor(((i + 1) * n) / count) - from);
  });
}

/** The sample in memory, or, where it takes more than half of that, gathered once into an object of its own. */
async function openSample(points: Points, rows: Uint32Array, key: string, env: TaskEnv): Promise<Points> {
  const { d, scale } = points;
  const sample = subsetPoints(points, rows);
  const held = await cached(sample, env.execution.memoryBytes / 2);
  if (held !== sample) return held;
  const { blockRows } = env.execution;
  async function* blocks(): AsyncIterable<Uint8Array> {
    for (let start = 0; start < rows.length; start += blockRows) {
      const values = new Float32Array(Math.min(blockRows, rows.length - start) * d);
      await sample.read(start, values.length / d, values);
      yield bytesOf(values);
    }
  }
  await env.store.write(key, blocks());
  return storedPoints(env.store, key, rows.length, d, scale);
}

/** Cells with more than so many times the mean are split into pieces of about the mean. */
const LARGE = 2;

async function splitLarge(sample: Points, { k, centroids, size, assignment }: Clustering, train: (some: Points, k: number, label: number) => Promise<Clustering>, env: TaskEnv): Promise<Float32Array> {
  const { d } = sample;
  const mean = sample.n / k;
  const members = groupByParent(assignment, k);
  const pieces: Float32Array[] = [];
  for (let c = 0; c < k; c++) {
    if (size[c]! <= LARGE * mean) {
      pieces.push(centroids.subarray(c * d, (c + 1) * d));
      continue;
    }
    const rows = members.child.subarray(members.offset[c], members.offset[c + 1]);
    const some = await cached(subsetPoints(sample, rows), env.execution.memoryBytes / 2);
    pieces.push((await train(some, Math.round(size[c]! / mean), c)).centroids);
  }
  const out = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
