import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { retrieve } from '../../pipelines/6-retrieve.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { SILENT } from '../../src/log.ts';
import { type SearchResult, encodePairs, readPairs } from '../../src/retrieve/pairs.ts';
import { topUp } from '../../src/retrieve/top-up.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type SelectionManifest, readSelection } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const engine = sharedEngine();
const { signal } = new AbortController();

/** Each query's neighbours, best first; every list is an order of the same pool. */
interface World {
  readonly pool: number;
  /** Rows of the seeds that ask, ascending, and their order of the pool. */
  readonly queries: readonly { readonly row: number; readonly order: readonly number[] }[];
}

const worlds: fc.Arbitrary<World> = fc.integer({ min: 1, max: 24 }).chain((pool) =>
  fc.record({
    pool: fc.constant(pool),
    queries: fc
      .uniqueArray(fc.nat(30), { minLength: 1, maxLength: 9 })
      .chain((rows) => fc.tuple(...rows.sort((a, b) => a - b).map((row) => fc.shuffledSubarray(Array.from({ length: pool }, (_, i) => i), { minLength: pool }).map((order) => ({ row, order }))))),
  }),
);

/** The rule written out: rank by rank, query by query. */
function oracle({ queries, pool }: World, k: number, ranks: number): { taken: { row: number; query: number; rank: number }[]; unique: number } {
  const has = new Set<number>();
  const taken: { row: number; query: number; rank: number }[] = [];
  for (let rank = 0; rank < Math.min(ranks, pool); rank++) {
    for (const { row: query, order } of queries) {
      const row = order[rank]!;
      if (has.has(row) || taken.filter((one) => one.query === query).length >= k) continue;
      has.add(row);
      taken.push({ row, query, rank });
    }
  }
  return { taken, unique: new Set(queries.flatMap(({ order }) => order.slice(0, k))).size };
}

describe('topUp', () => {
  it('gives what the rule gives, however the queries are cut into tables', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 40 }), fc.nat(10), async (world, k, more, cut) => {
        const ranks = k + more - 1;
        const store = await openFsStore(await temporaryFolder('top-up'));
        const expected = oracle(world, k, ranks);
        const searched: number[] = [];
        const search = async (depth: number, wanted: (query: number) => boolean): Promise<SearchResult[]> => {
          searched.push(depth);
          const groups = [world.queries.slice(0, cut), world.queries.slice(cut)].filter((group) => group.some(({ row }) => wanted(row)));
          return Promise.all(groups.map((group, i) => tableOf(store, `${depth}-${i}`, world.pool, group, depth)));
        };
        const { results, stats } = await topUp(store, search, { k, ranks, poolRows: world.pool, seedRows: 31, out: 'work/selections/x', signal });
        const got: { row: number; query: number; score: number }[] = [];
        for (const { pairs } of results) {
          if (pairs === null) continue;
          const { row, query, score } = await readPairs(store, pairs);
          row.forEach((r, i) => got.push({ row: r, query: query[i]!, score: score[i]! }));
        }
        expect(got).toEqual(expected.taken.map(({ row, query, rank }) => ({ row, query, score: -rank })));
        const short = world.queries.filter(({ row }) => expected.taken.filter(({ query }) => query === row).length < k).length;
        expect(stats).toEqual({ collisions: k * world.queries.length - expected.taken.filter(({ rank }) => rank < k).length, filled: expected.taken.filter(({ rank }) => rank >= k).length, rank: Math.max(...expected.taken.map(({ rank }) => rank)) + 1, short });
        // After rank k the different images of the published selection are taken, no more and no fewer.
        expect(expected.taken.filter(({ rank }) => rank < k)).toHaveLength(expected.unique);
        expect(results[0]).toMatchObject({ queries: world.queries.length, candidates: world.pool });
        expect(searched.every((depth) => depth <= ranks)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

async function tableOf(store: Store, name: string, pool: number, group: World['queries'], depth: number): Promise<SearchResult> {
  const found = Math.min(depth, pool);
  const flat = group.flatMap(({ row, order }) => order.slice(0, found).map((one, rank) => ({ row: one, query: row, score: -rank })));
  const path = `work/tables/${name}.arrow`;
  const { sizeBytes, sha256 } = await store.write(path, encodePairs({ row: Float64Array.from(flat, ({ row }) => row), query: Float64Array.from(flat, ({ query }) => query), score: Float32Array.from(flat, ({ score }) => score) }));
  return { queries: group.length, candidates: pool, pairs: { path, firstRow: 0, rowCount: flat.length, bytes: sizeBytes, sha256 } };
}

const unit = (degrees: number): number[] => [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];

async function around(pool: MadeVectors, seeds: MadeVectors, request: { k: number; topUp?: boolean | { ranks: number } }, { tasks = 1, blockRows = 8192 } = {}): Promise<{ manifest: SelectionManifest; sha256: string; entries: number[][] }> {
  const store = await openFsStore(await temporaryFolder('top-up'));
  await writeEmbeddings(store, 'embeddings', pool);
  await writeEmbeddings(store, 'seeds/around/embeddings', seeds);
  const execution = { concurrency: 2, threads: 2, blockRows, memoryBytes: 1 << 24 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  await executor.resource('search-onnxruntime', engine);
  const { manifest, sha256 } = await retrieve({ store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource }, { name: 'around', ...request });
  const entries: number[][] = [];
  for await (const { row, query } of readSelection(store, manifest)) row.forEach((r, i) => entries.push([r, query![i]!]));
  return { manifest, sha256, entries };
}

describe('the retrieve stage with topUp', () => {
  // Three queries at 0.1°, 0° and 1° among images at −9° … 10°: the first two want the same ones.
  const pool: MadeVectors = { vectors: Float32Array.from(Array.from({ length: 20 }, (_, i) => unit(i - 9)).flat()), d: 2, partRows: 7 };
  const seeds: MadeVectors = { vectors: Float32Array.from([0.1, 0, 1.1].flatMap(unit)), d: 2 };

  it('counts collisions without it and fills them up with it', async () => {
    const nominal = await around(pool, seeds, { k: 3 });
    // Query 0: 0° 1° −1°; query 1: 0° and ±1°; query 2: 1° 2° 0°. Rows are degrees + 9.
    expect(nominal.manifest).toMatchObject({ requested: 9, selected: 9, unique: 4, shortfall: 0, stats: { collisions: 5 } });
    const filled = await around(pool, seeds, { k: 3, topUp: true });
    expect(filled.manifest).toMatchObject({ requested: 9, selected: 9, unique: 9, shortfall: 0, config: { topUp: { ranks: 96 } }, stats: { collisions: 0, topUp: { collisions: 5, filled: 5, short: 0 } } });
    expect(filled.entries.map(([row]) => row)).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13]);
    // Query 0 has its nearest, 9 (0°); query 2 has 10 (1°) and 11 (2°), which nobody asked for before it.
    expect(filled.entries).toEqual(expect.arrayContaining([[9, 0], [10, 2], [11, 2]]));
    for (const query of [0, 1, 2]) expect(filled.entries.filter(([, q]) => q === query)).toHaveLength(3);
  });

  it('stops at the ranks it may look at, and at the end of the pool', async () => {
    const near = await around(pool, seeds, { k: 3, topUp: { ranks: 4 } });
    expect(near.manifest.selected).toBeLessThan(9);
    expect(near.manifest).toMatchObject({ shortfall: 9 - near.manifest.selected, unique: near.manifest.selected, stats: { topUp: { rank: 4 } } });
    const all = await around(pool, seeds, { k: 8, topUp: true });
    expect(all.manifest).toMatchObject({ requested: 24, selected: 20, unique: 20, shortfall: 4 });
  });

  it('gives the same bytes for any block size and number of tasks, and none of it without topUp', async () => {
    const hashes = new Set<string>();
    for (const options of [{}, { tasks: 3 }, { blockRows: 1024 }]) hashes.add((await around(pool, seeds, { k: 3, topUp: true }, options)).sha256);
    expect(hashes.size).toBe(1);
    expect((await around(pool, seeds, { k: 3 })).sha256).toBe((await around(pool, seeds, { k: 3, topUp: false })).sha256);
  });
});
