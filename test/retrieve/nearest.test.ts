import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type VectorBlock, nearestRows } from '../../src/retrieve/nearest.ts';
import { sharedEngine } from '../helpers/engine.ts';

const engine = sharedEngine();
const D = 3;

/** Small integers have exact products, so order and ties are those of whole numbers. */
const vector = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: D, maxLength: D });
const rows = (max: number) => fc.array(vector, { minLength: 1, maxLength: max });

/** Gaps between row numbers, as rejected rows leave them. */
const rowNumber = (i: number): number => 3 * i + (i % 2);

async function* blocksOf(database: readonly (readonly number[])[], cuts: readonly number[]): AsyncIterable<VectorBlock> {
  const bounds = [...new Set([0, ...cuts.map((cut) => cut % (database.length + 1)), database.length])].sort((a, b) => a - b);
  for (let b = 1; b < bounds.length; b++) {
    const [from, to] = [bounds[b - 1]!, bounds[b]!];
    const vectors = Float32Array.from(database.slice(from, to).flat());
    yield { row: Float64Array.from({ length: to - from }, (_, i) => rowNumber(from + i)), vectors };
  }
}

function bruteForce(query: readonly number[], database: readonly (readonly number[])[], k: number): { row: number; similarity: number }[] {
  return database
    .map((one, i) => ({ row: rowNumber(i), similarity: one.reduce((total, value, j) => total + value * query[j]!, 0) }))
    .sort((a, b) => b.similarity - a.similarity || a.row - b.row)
    .slice(0, k);
}

describe('nearestRows', () => {
  it('equals brute force, ties by row, however the database is cut', async () => {
    const opened = await engine();
    await fc.assert(
      fc.asyncProperty(rows(5), rows(60), fc.integer({ min: 1, max: 12 }), fc.array(fc.nat(100), { maxLength: 6 }), async (queries, database, k, cuts) => {
        const found = await nearestRows(opened, Float32Array.from(queries.flat()), blocksOf(database, cuts), { k, d: D, blockRowsMax: 64 });
        expect(found.found).toBe(Math.min(k, database.length));
        queries.forEach((query, i) => {
          const got = Array.from({ length: found.found }, (_, place) => ({ row: found.row[i * k + place]!, similarity: found.similarity[i * k + place]! + 0 }));
          expect(got).toEqual(bruteForce(query, database, k).map(({ row, similarity }) => ({ row, similarity: similarity + 0 })));
        });
      }),
      { numRuns: 60 },
    );
  });

  it('wants more neighbours than a block has rows', async () => {
    const database = Array.from({ length: 40 }, (_, i) => [i, 1, 0]);
    const found = await nearestRows(await engine(), Float32Array.of(1, 0, 0), blocksOf(database, [7, 14, 21, 28, 35]), { k: 30, d: D, blockRowsMax: 7 });
    expect([...found.row.subarray(0, 30)]).toEqual(Array.from({ length: 30 }, (_, i) => rowNumber(39 - i)));
  });

  it('finds nothing in an empty database', async () => {
    const found = await nearestRows(await engine(), Float32Array.of(1, 0, 0), blocksOf([], []), { k: 2, d: D, blockRowsMax: 8 });
    expect(found.found).toBe(0);
  });
});
