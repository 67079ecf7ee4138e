import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kmeans } from '../../src/cluster/kmeans.ts';
import { memoryPoints } from '../../src/cluster/points.ts';
import { openSearchEngine } from '../../src/vector/engine.ts';
import { createFaissEngine } from '../../src/vector/faiss.ts';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';
import { withoutFaiss } from './faiss-available.ts';
import { matrix } from './search-cases.ts';
import { testSearchEngine } from './search-conformance.ts';

const reason = await withoutFaiss();
if (reason !== null) process.stderr.write(`${reason}\n`);

describe('openSearchEngine', () => {
  it('opens ONNX Runtime', async () => {
    const engine = await openSearchEngine('onnxruntime', { threads: 1 });
    expect(engine.provenance).toMatchObject({ engine: 'onnxruntime', provider: 'cpu' });
    await engine.close();
  });

  it('says in one sentence how to get faiss where it is not there', async () => {
    const opening = createFaissEngine({ module: 'faiss-node-that-nobody-installed' });
    await expect(opening).rejects.toMatchObject({ code: 'PROVIDER_UNAVAILABLE', message: expect.stringMatching(/^Expected faiss-node-that-nobody-installed.*infra\/faiss\/build\.sh[^\n]*$/) });
  });
});

describe.skipIf(reason !== null)('faiss', () => {
  testSearchEngine('faiss', { create: (threads) => openSearchEngine('faiss', { threads }) });

  it('says its version, and leaves the environment as it was', async () => {
    const before = { ...process.env };
    const engine = await createFaissEngine({ threads: 1 });
    expect(engine.provenance).toMatchObject({ engine: 'faiss', version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
    expect({ ...process.env }).toEqual(before);
    await engine.close();
  });

  it('is exact where every candidate is closer than float32 can tell, in float64', async () => {
    const [k, d, n] = [400, 48, 60];
    // A tight cloud far from the origin: float32 products say nothing about it.
    const centroids = matrix(30, k, d).map((value) => 100 + value * 2 ** -8);
    const x = matrix(31, n, d).map((value) => 100 + value * 2 ** -8);
    const engine = await createFaissEngine();
    const search = await engine.nearest(centroids, k, d);
    const [index, distance, second] = [new Uint32Array(n), new Float32Array(n), new Float32Array(n)];
    await search.nearest(x, n, index, distance, second);
    for (let i = 0; i < n; i += 1) {
      const exact = Array.from({ length: k }, (_, j) => ({ j, distance: squaredDistance(x, i, centroids, j, d) })).sort((a, b) => a.distance - b.distance);
      expect(index[i]).toBe(exact[0]!.j);
      expect(distance[i]).toBeCloseTo(exact[0]!.distance, 10);
      expect(second[i]).toBeCloseTo(exact[1]!.distance, 10);
    }
    await search.close();
    await engine.close();
  });

  it('keeps what is not finite visible, and what overflows float32', async () => {
    const engine = await createFaissEngine();
    const search = await engine.nearest(matrix(1, 4, 8), 4, 8);
    const x = matrix(2, 3, 8);
    x[3] = NaN;
    x[9] = 1e30;
    const [index, distance] = [new Uint32Array(3), new Float32Array(3)];
    await search.nearest(x, 3, index, distance);
    expect(distance[0]).toBeNaN();
    expect(distance[1]).toBe(Infinity);
    expect(distance[2]).toBeGreaterThan(0);
    expect(Math.max(...index)).toBeLessThan(4);
    await engine.close();
  });

  it('leaves nothing in the temporary folder, and says so where that cannot be written', async () => {
    const folder = await temporaryFolder();
    const before = process.env.TMPDIR;
    try {
      process.env.TMPDIR = folder;
      const engine = await createFaissEngine();
      const search = await engine.nearest(matrix(1, 4, 8), 4, 8);
      await search.close();
      await engine.close();
      expect(await readdir(folder)).toEqual([]);
      process.env.TMPDIR = join(folder, 'none');
      const lost = await createFaissEngine();
      await expect(lost.nearest(matrix(1, 4, 8), 4, 8)).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.stringContaining('set TMPDIR') });
      await lost.close();
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
    }
  });

  it('lets the event loop turn while it searches', async () => {
    const [n, k, d] = [3000, 500, 64];
    const engine = await createFaissEngine();
    const search = await engine.nearest(matrix(3, k, d), k, d);
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 0);
    await search.nearest(matrix(4, n, d), n, new Uint32Array(n), new Float32Array(n));
    clearInterval(timer);
    expect(turns).toBeGreaterThanOrEqual(2);
    await search.close();
    await engine.close();
  });

  it('gives back the memory of what it searched', async () => {
    const [n, d] = [32_768, 256];
    const database = matrix(5, n, d);
    const engine = await createFaissEngine();
    const search = await engine.products(matrix(6, 2, d), 2, d, 3);
    const [index, product] = [new Uint32Array(6), new Float32Array(6)];
    await search.largest(database, n, index, product);
    const before = process.memoryUsage().rss;
    // 0.8 GB of indexes, of which at most 256 MB may wait to be collected.
    for (let block = 0; block < 24; block += 1) await search.largest(database, n, index, product);
    expect(process.memoryUsage().rss - before).toBeLessThan(450e6);
    await search.close();
    await engine.close();
  });

  it('clusters as ONNX Runtime does', async () => {
    const { values } = gaussianMixture(2000, 32, 40, { zipf: 1 });
    const points = memoryPoints(values, 2000, 32);
    const results = [];
    for (const engine of [await createFaissEngine(), await createOnnxEngine({ threads: 2 })]) {
      const found = await kmeans(points, values.slice(0, 60 * 32), { engine, iterations: 8, empty: 'split', blockRows: 512 });
      results.push(found);
      await engine.close();
    }
    expect(results[0]!.assignment).toEqual(results[1]!.assignment);
    expect(results[0]!.centroids).toEqual(results[1]!.centroids);
  });
});

function squaredDistance(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e += 1) sum += (a[i * d + e]! - b[j * d + e]!) ** 2;
  return sum;
}
