import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergePairs } from '../../src/retrieve/merge.ts';
import { type Pairs, type SearchResult, encodePairs } from '../../src/retrieve/pairs.ts';
import type { Part } from '../../src/run/manifest.ts';
import { readSelection, type SelectionManifest } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const { signal } = new AbortController();

interface Pair {
  readonly row: number;
  readonly query: number;
  readonly score: number;
}

/** Distinct pairs with rows spread over several million, as chunks of ascending queries. */
const pairLists = fc
  .uniqueArray(fc.record({ row: fc.oneof(fc.nat(20), fc.integer({ min: 0, max: 5_000_000 })), query: fc.nat(15), score: fc.integer({ min: -4, max: 4 }).map((value) => value / 4) }), {
    minLength: 1,
    maxLength: 80,
    selector: ({ row, query }) => `${row} ${query}`,
  })
  .map((pairs) => pairs.sort((a, b) => a.query - b.query));

async function writeChunk(store: Store, name: string, pairs: readonly Pair[]): Promise<SearchResult> {
  const columns: Pairs = { row: Float64Array.from(pairs, ({ row }) => row), score: Float32Array.from(pairs, ({ score }) => score), query: Float64Array.from(pairs, ({ query }) => query) };
  const path = `work/${name}.arrow`;
  const { sizeBytes, sha256 } = await store.write(path, encodePairs(columns));
  return { queries: new Set(columns.query).size, candidates: 1000, pairs: { path, firstRow: 0, rowCount: pairs.length, bytes: sizeBytes, sha256 } };
}

async function readRows(store: Store, parts: readonly Part[]): Promise<Pair[]> {
  const rows: Pair[] = [];
  for await (const { row, query, score, copies } of readSelection(store, { parts } as SelectionManifest)) {
    row.forEach((r, i) => rows.push({ row: r, query: query![i]!, score: score[i]! }));
    expect(copies.every((count) => count === 1)).toBe(true);
  }
  return rows;
}

describe('mergePairs', () => {
  it('sorts by row, then query, with the same bytes whatever memory it has and however chunks are cut', async () => {
    await fc.assert(
      fc.asyncProperty(pairLists, fc.nat(80), async (pairs, cut) => {
        const store = await openFsStore(await temporaryFolder('merge'));
        const chunks = [pairs.slice(0, cut), pairs.slice(cut)].filter((chunk) => chunk.length > 0);
        const results = [];
        for (const [i, chunk] of chunks.entries()) results.push(await writeChunk(store, `chunk-${i}`, chunk));
        const whole = await mergePairs(store, results, { path: 'selections/whole', k: 9, signal });
        const ranged = await mergePairs(store, results.toReversed(), { path: 'selections/ranged', k: 9, signal, pairsMax: 7 });
        expect(await readRows(store, whole.parts)).toEqual(pairs.toSorted((a, b) => a.row - b.row || a.query - b.query));
        expect(ranged.parts.map(({ sha256 }) => sha256)).toEqual(whole.parts.map(({ sha256 }) => sha256));
        expect(ranged.stats).toEqual(whole.stats);
        const scores = pairs.map(({ score }) => score);
        const unique = new Set(pairs.map(({ row }) => row)).size;
        expect(whole).toMatchObject({ selected: pairs.length, unique, stats: { collisions: pairs.length - unique, similarity: { min: Math.min(...scores) + 0, max: Math.max(...scores) + 0 } } });
      }),
      { numRuns: 25 },
    );
  });

  it('counts nominal pairs, different rows and the most wanted row', async () => {
    const store = await openFsStore(await temporaryFolder('merge'));
    const first = await writeChunk(store, 'a', [{ row: 5, query: 0, score: 0.5 }, { row: 7, query: 0, score: 0.25 }]);
    const second = await writeChunk(store, 'b', [{ row: 5, query: 9, score: 0.75 }]);
    const nobody: SearchResult = { queries: 0, candidates: null, pairs: null };
    expect(await mergePairs(store, [first, nobody, second], { path: 'selections/x', k: 2, signal })).toMatchObject({
      requested: 4,
      selected: 3,
      unique: 2,
      shortfall: 1,
      stats: { queries: 2, candidates: 1000, collisions: 1, queriesMax: 2, similarity: { mean: 0.5, min: 0.25, max: 0.75 } },
    });
    await expect(mergePairs(store, [nobody], { path: 'selections/x', k: 2, signal })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
    await expect(mergePairs(store, [{ queries: 1, candidates: 0, pairs: null }], { path: 'selections/x', k: 2, signal })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
  });
});
