/** 20,000 vectors against brute force, and the pieces of the search. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDuplicates } from '../../pipelines/3-dedup.ts';
import { createCandidates } from '../../src/dedup/candidates.ts';
import { type EdgeBlock, components } from '../../src/dedup/components.ts';
import { DedupConfig } from '../../src/dedup/config.ts';
import { readDuplicates } from '../../src/dedup/duplicates.ts';
import { openPairScores, similarityOf } from '../../src/dedup/scores.ts';
import { keyedOrder, randomStream } from '../../src/random.ts';
import type { Executor } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { normaliseRows } from '../../src/vector/matrix.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { clusteredVectors, openContext, writePool } from './dedup-pool.ts';

describe('20,000 vectors', () => {
  const [n, d, threshold] = [20_000, 8, 0.97];
  const vectors = clusteredVectors(n / 5, 5, d, 0.15, 9);
  const unit = vectors.slice();
  normaliseRows(unit, n, d);
  const pairs = pairsAbove(unit, n, d, threshold);
  const truth = labelsByWalking(pairs, n);

  it('hang together as brute force says, for any order of edges and size of blocks and windows', async () => {
    expect(pairs.a.length).toBeGreaterThan(20_000);
    expect(new Set(truth).size).toBeLessThan(n - 2000);
    const store = await openFsStore(await temporaryFolder());
    for (const [seed, blockEdges, windowRows] of [[1, 1000, n], [2, 77, 3000], [3, 50_000, 999]] as const) {
      const order = keyedOrder(randomStream(seed, 'order'), pairs.a.length);
      const labels: number[] = [];
      for await (const { smallest } of components(blocksOf(pairs, order, blockEdges), n, { windowRows, edgesMax: 5000, spill: { store, prefix: 'work/labels' } })) labels.push(...smallest);
      expect(labels).toEqual(truth);
    }
  });

  it('are grouped by the whole stage as brute force says, where all cells are looked at', async () => {
    const store = await openFsStore(await temporaryFolder());
    const { images, embeddings } = await writePool(store, Array.from({ length: n }, (_, row) => ({ file: `f${row}` })), vectors, { partRows: 4096 });
    const { context, close } = openContext(store);
    const { manifest } = await findDuplicates(context, images, embeddings, DedupConfig.parse({ near: { threshold, k: 1024, cells: 12, probes: 12 }, keep: 'first', guard: n })).finally(close);
    const group: number[] = [];
    for (const part of manifest.parts) group.push(...(await readDuplicates(store, part)).group);
    const sizes = new Map<number, number>();
    for (const label of truth) sizes.set(label, (sizes.get(label) ?? 0) + 1);
    // The first of the pool is the smallest row.
    expect(group).toEqual(truth.map((label) => (sizes.get(label)! > 1 ? label : -1)));
    expect(manifest.stats.near).toMatchObject({ pairs: 2 * pairs.a.length, recall: null, comparisons: 1 });
  });
});

describe('searchPairs', () => {
  it('goes on where a run stopped, at any task, to the same bytes', async () => {
    const rows = Array.from({ length: 90 }, (_, row) => ({ file: `f${row % 85}` }));
    const vectors = clusteredVectors(30, 3, 8, 0.2);
    const config = DedupConfig.parse({ near: { threshold: 0.9, cells: 5, probes: 2 } });
    const attempt = async (root: string, stopAt: number): Promise<boolean> => {
      const store = await openFsStore(root);
      const { images, embeddings } = await writePool(store, rows, vectors, { partRows: 30 });
      let tasks = 0;
      const stopping = (executor: Executor): Executor => ({
        map: async (kind, payloads, scope) => {
          const results = [];
          for (const payload of payloads) {
            if (tasks++ === stopAt) throw new Error('the power is gone');
            results.push(...(await executor.map(kind, [payload], scope)));
          }
          return results;
        },
      });
      const { context, close } = openContext(store, { wrap: stopping });
      return findDuplicates(context, images, embeddings, config).then(() => true, (error: Error) => error.message !== 'the power is gone').finally(close);
    };
    const plain = await temporaryFolder();
    expect(await attempt(plain, -1)).toBe(true);
    const expected = await storeHashes(plain, ['duplicates']);
    for (let stopAt = 0; ; stopAt += 2) {
      const root = await temporaryFolder();
      const ended = await attempt(root, stopAt);
      if (!ended) expect(await attempt(root, -1)).toBe(true);
      expect(await storeHashes(root, ['duplicates'])).toEqual(expected);
      if (ended) break;
    }
  });
});

describe('createCandidates', () => {
  it('keeps the k nearest above the threshold, ties to the smallest row, whatever the order and the capacity', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(40), fc.integer({ min: 0, max: 8 }).map((eighth) => eighth / 8)), { maxLength: 200 }), fc.integer({ min: 1, max: 5 }), (drawn, k) => {
        const some = [...new Map(drawn.map((one) => [`${one[0]} ${one[1]}`, one])).values()];
        const candidates = createCandidates(4, k, 0.25, 8 * k);
        for (const [query, row, similarity] of some) candidates.add(query, row, similarity);
        const { query, row, similarity } = candidates.take();
        const found = Array.from(query, (q, i) => [q, row[i]!, similarity[i]!]);
        const expected = [0, 1, 2, 3].flatMap((q) => some.filter(([query, , s]) => query === q && s > 0.25).sort((a, b) => b[2] - a[2] || a[1] - b[1]).slice(0, k));
        expect(found).toEqual(expected);
        for (const [q, , s] of expected) expect(candidates.limits[q]).toBeLessThan(s);
      }),
    );
  });
});

describe('openPairScores', () => {
  it('names every pair above the limits and no other, for any numbers of rows', async () => {
    const scores = await openPairScores(2);
    for (const [q, n, d] of [[1, 1, 3], [5, 33, 8], [600, 70, 16], [3, 2100, 5]] as const) {
      const x = clusteredVectors(q, 1, d, 0, 3);
      const rows = clusteredVectors(Math.ceil(n / 4), 4, d, 0.5, 4).subarray(0, n * d);
      const limits = Float32Array.from({ length: q }, (_, i) => 0.2 + (i % 5) / 10);
      const found = new Set<number>();
      await scores.above(x, q, rows, n, d, limits, (query, row) => found.add(query * n + row));
      for (let i = 0; i < q; i++) {
        for (let j = 0; j < n; j++) {
          const gap = similarityOf(x, i * d, rows, j * d, d) - limits[i]!;
          if (Math.abs(gap) > 1e-5) expect(found.has(i * n + j)).toBe(gap > 0);
        }
      }
    }
    await scores.close();
  });
});

interface Pairs {
  readonly a: number[];
  readonly b: number[];
}

function pairsAbove(unit: Float32Array, n: number, d: number, threshold: number): Pairs {
  const pairs: Pairs = { a: [], b: [] };
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      let sum = 0;
      for (let at = 0; at < d; at++) sum += unit[i * d + at]! * unit[j * d + at]!;
      if (sum > threshold - 1e-4 && similarityOf(unit, i * d, unit, j * d, d) > threshold) {
        pairs.a.push(i);
        pairs.b.push(j);
      }
    }
  }
  return pairs;
}

/** The smallest row of each component, by walking from every row in turn. */
function labelsByWalking({ a, b }: Pairs, n: number): number[] {
  const near = Array.from({ length: n }, (): number[] => []);
  a.forEach((from, i) => {
    near[from]!.push(b[i]!);
    near[b[i]!]!.push(from);
  });
  const labels = new Array<number>(n).fill(-1);
  for (let row = 0; row < n; row++) {
    if (labels[row] !== -1) continue;
    const open = [row];
    labels[row] = row;
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const other of near[next]!) {
        if (labels[other] !== -1) continue;
        labels[other] = row;
        open.push(other);
      }
    }
  }
  return labels;
}

async function* blocksOf({ a, b }: Pairs, order: Uint32Array, blockEdges: number): AsyncIterable<EdgeBlock> {
  for (let at = 0; at < order.length; at += blockEdges) {
    const some = order.subarray(at, at + blockEdges);
    yield { a: Float64Array.from(some, (i) => a[i]!), b: Float64Array.from(some, (i) => b[i]!) };
  }
}
