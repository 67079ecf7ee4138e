import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ComponentsOptions, type EdgeBlock, components } from '../../src/dedup/components.ts';
import { randomStream } from '../../src/random.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

type Edge = readonly [number, number];

/** Labels by repeated minimum over all edges until nothing changes: slow and plainly right. */
function oracle(edges: readonly Edge[], n: number): number[] {
  const label = Array.from({ length: n }, (_, row) => row);
  for (let changed = true; changed; ) {
    changed = false;
    for (const [a, b] of edges) {
      const least = Math.min(label[a]!, label[b]!);
      if (label[a] !== least || label[b] !== least) changed = true;
      label[a] = least;
      label[b] = least;
    }
  }
  return label;
}

async function* blocksOf(edges: readonly Edge[], blockEdges: number): AsyncIterable<EdgeBlock> {
  for (let at = 0; at < edges.length; at += blockEdges) {
    const some = edges.slice(at, at + blockEdges);
    yield { a: Float64Array.from(some, ([a]) => a), b: Float64Array.from(some, ([, b]) => b) };
  }
}

async function labelsOf(edges: AsyncIterable<EdgeBlock>, n: number, options?: ComponentsOptions): Promise<number[]> {
  const labels: number[] = [];
  for await (const { firstRow, smallest } of components(edges, n, options)) {
    expect(firstRow).toBe(labels.length);
    labels.push(...smallest);
  }
  expect(labels.length).toBe(n);
  return labels;
}

async function keysOf(store: Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('')) keys.push(key);
  return keys;
}

/** Chains, stars, loops and repeats, in any order and direction. */
const graphs = fc.integer({ min: 1, max: 60 }).chain((n) => fc.record({ n: fc.constant(n), edges: fc.array(fc.tuple(fc.nat(n - 1), fc.nat(n - 1)), { maxLength: 90 }) }));

describe('components', () => {
  it('equals the oracle for any graph, edge order, block, window and buffer size, and leaves nothing behind', async () => {
    const store = await openFsStore(await temporaryFolder());
    await fc.assert(
      fc.asyncProperty(graphs, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 40 }), async ({ n, edges }, blockEdges, windowRows, edgesMax) => {
        const labels = await labelsOf(blocksOf(edges, blockEdges), n, { windowRows, edgesMax, spill: { store, prefix: 'work/graph' } });
        expect(labels).toEqual(oracle(edges, n));
        expect(await keysOf(store)).toEqual([]);
      }),
      { numRuns: 120 },
    );
  });

  it('gives the same answer for edges turned round and in another order', async () => {
    await fc.assert(
      fc.asyncProperty(graphs, fc.nat(), async ({ n, edges }, seed) => {
        const stream = randomStream(seed, 'shuffle');
        const shuffled = edges.map((edge, i) => ({ edge, key: stream.uniform(i) })).sort((a, b) => a.key - b.key);
        const turned = shuffled.map(({ edge: [a, b], key }): Edge => (key < 0.5 ? [a, b] : [b, a]));
        expect(await labelsOf(blocksOf(turned, 7), n)).toEqual(await labelsOf(blocksOf(edges, 90), n));
      }),
    );
  });

  it('only merges components when edges are added', async () => {
    await fc.assert(
      fc.asyncProperty(graphs, async ({ n, edges }) => {
        const some = await labelsOf(blocksOf(edges.slice(0, edges.length / 2), 8), n);
        const all = await labelsOf(blocksOf(edges, 8), n);
        for (let row = 0; row < n; row++) expect(all[row]).toBe(all[some[row]!]);
      }),
    );
  });

  it('follows a chain through every window', async () => {
    const n = 5000;
    const store = await openFsStore(await temporaryFolder());
    const chain = Array.from({ length: n - 1 }, (_, i): Edge => [((i * 2741) % (n - 1)) + 1, (i * 2741) % (n - 1)]);
    const labels = await labelsOf(blocksOf(chain, 100), n, { windowRows: 371, edgesMax: 512, spill: { store, prefix: 'work/chain' } });
    expect(labels.every((label) => label === 0)).toBe(true);
  });

  it('refuses an edge to a row that is not there', async () => {
    await expect(labelsOf(blocksOf([[0, 3]], 1), 3)).rejects.toThrow('Expected edges between rows 0 … 2, got 0 – 3');
  });

  it('joins 400,000 random edges in windows that hold an eighth of the rows as it does in one', async () => {
    const n = 800_000;
    const store = await openFsStore(await temporaryFolder());
    const edges = async function* (): AsyncIterable<EdgeBlock> {
      const words = new Uint32Array(4);
      const stream = randomStream(7, 'edges');
      for (let block = 0; block < 10; block++) {
        const [a, b] = [new Float64Array(40_000), new Float64Array(40_000)];
        for (let i = 0; i < a.length; i++) {
          stream.words(block * a.length + i, words);
          a[i] = words[0]! % n;
          b[i] = words[1]! % n;
        }
        yield { a, b };
      }
    };
    const digest = async (options: ComponentsOptions): Promise<{ sum: number; alone: number; largest: number }> => {
      const sizes = new Uint32Array(n);
      let sum = 0;
      for await (const { firstRow, smallest } of components(edges(), n, options)) {
        smallest.forEach((label, i) => {
          sizes[label]! += 1;
          sum = (sum * 31 + label + firstRow + i) % 1_000_000_007;
        });
      }
      return { sum, alone: sizes.filter((size) => size === 1).length, largest: sizes.reduce((most, size) => Math.max(most, size), 0) };
    };
    const whole = await digest({});
    expect(whole.alone).toBeGreaterThan(n / 4);
    expect(await digest({ windowRows: n / 8, edgesMax: 50_000, spill: { store, prefix: 'work/random' } })).toEqual(whole);
  });
});
