import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cached, gridScale, memoryPoints, openEmbeddingPoints, subsetPoints, toGrid } from '../../src/cluster/points.ts';
import type { EmbeddingStatus } from '../../src/embed/embedding.ts';
import { randomStream } from '../../src/random.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const GRID = 2 ** 24;

describe('the grid', () => {
  it('holds the nearest multiple of 2^-24, and never −0', () => {
    fc.assert(
      fc.property(fc.double({ min: -1, max: 1, noNaN: true }), (value) => {
        const rounded = toGrid(value);
        expect(Number.isInteger(rounded * GRID)).toBe(true);
        expect(Math.abs(rounded - value)).toBeLessThanOrEqual(2 ** -25);
        expect(Object.is(rounded, -0)).toBe(false);
        expect(toGrid(rounded)).toBe(rounded);
      }),
    );
  });

  it('is reached by a power of two that brings the largest component into (1/2, 1]', () => {
    fc.assert(
      fc.property(fc.float({ min: 2 ** -140, noNaN: true, noDefaultInfinity: true }), (maxAbs) => {
        const scale = gridScale(maxAbs);
        expect(Number.isInteger(Math.log2(scale))).toBe(true);
        expect(maxAbs * scale > 0.5 && maxAbs * scale <= 1).toBe(true);
      }),
    );
    expect([0, 1, 0.5, 0.75, 3].map(gridScale)).toEqual([1, 1, 2, 1, 0.25]);
  });

  it('makes sums of points exact: no order or grouping changes a bit', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 2, maxLength: 50 }), fc.nat(49), (floats, cut) => {
        const values = floats.map(toGrid);
        const sum = (some: readonly number[]): number => some.reduce((total, value) => total + value, 0);
        const forward = sum(values);
        expect(sum(values.toReversed())).toBe(forward);
        expect(sum(values.slice(cut)) + sum(values.slice(0, cut))).toBe(forward);
        expect(forward - sum(values.slice(0, cut))).toBe(sum(values.slice(cut)));
      }),
    );
  });
});

const tables = fc.record({
  n: fc.integer({ min: 1, max: 90 }),
  d: fc.integer({ min: 1, max: 9 }),
  dtype: fc.constantFrom('float16' as const, 'float32' as const),
  partRows: fc.integer({ min: 8, max: 60 }),
  length: fc.constantFrom(0.02, 0.9, 1, 5, 700),
  bad: fc.array(fc.nat(89), { maxLength: 40 }),
  seed: fc.nat(1000),
});

/** A table in a store, with components of all magnitudes, and the points it should give: ok rows, as they are on disk, scaled and rounded. */
async function openTable({ n, d, dtype, partRows, length, bad, seed }: typeof tables extends fc.Arbitrary<infer T> ? T : never, memoryBytes: number) {
  const store = await openFsStore(await temporaryFolder('points'));
  const stream = randomStream(seed, 'values');
  const vectors = Float32Array.from({ length: n * d }, (_, i) => length * (2 * stream.uniform(i) - 1) ** 7);
  const statuses: EmbeddingStatus[] = ['corrupt', 'empty', 'not-an-image'];
  const rejected = new Map(bad.map((row, i) => [row, statuses[i % 3]!]));
  const { manifest } = await writeEmbeddings(store, 'embeddings', { vectors, d, dtype, partRows, rejected });
  const points = await openEmbeddingPoints(store, manifest, memoryBytes);
  const stored = dtype === 'float16' ? decodeFloat16(encodeFloat16(vectors)) : vectors;
  const rows = Array.from({ length: n }, (_, row) => row).filter((row) => !rejected.has(row));
  const expected = Float32Array.from(rows.flatMap((row) => [...stored.subarray(row * d, (row + 1) * d)]), (value) => Math.round(value * points.scale * GRID) / GRID);
  return { points, expected, rows, store, manifest };
}

describe('openEmbeddingPoints', () => {
  it('reads any range and gathers any ascending points of any table, in memory or not', async () => {
    await fc.assert(
      fc.asyncProperty(tables, fc.constantFrom(0, Infinity), fc.array(fc.tuple(fc.nat(89), fc.nat(89)), { maxLength: 6 }), async (table, memoryBytes, ranges) => {
        const { points, expected, rows } = await openTable(table, memoryBytes);
        const { n, d } = points;
        expect([n, d]).toEqual([rows.length, table.d]);
        expect(points.values === undefined).toBe(memoryBytes === 0 && n > 0);
        for (const [a, b] of ranges) {
          const start = Math.min(a, b, n);
          const count = Math.min(Math.abs(a - b), n - start);
          const out = new Float32Array(count * d + 1).fill(-7);
          await points.read(start, count, out);
          // −0 and 0 are the same point.
          expect(out.map((value) => value + 0)).toEqual(Float32Array.of(...expected.subarray(start * d, (start + count) * d).map((value) => value + 0), -7));
          const indices = Uint32Array.from(rows.keys()).filter((i) => (i * 7 + a) % 5 < 1 + (b % 3));
          const gathered = new Float32Array(indices.length * d);
          await points.gather(indices, gathered);
          indices.forEach((index, i) => expect([...gathered.subarray(i * d, (i + 1) * d)].map((value) => value + 0)).toEqual([...expected.subarray(index * d, (index + 1) * d)].map((value) => value + 0)));
        }
      }),
      { numRuns: 40 },
    );
  });

  const made = { n: 60, d: 4, dtype: 'float16', partRows: 16, length: 1, bad: [3], seed: 1 } as const;

  it('keeps a table that takes at most a sixth of the memory', async () => {
    const { store, manifest } = await openTable({ ...made, bad: [...made.bad] }, 0);
    const bytes = 59 * 4 * 4;
    expect((await openEmbeddingPoints(store, manifest, 6 * bytes)).values).toHaveLength(59 * 4);
    expect((await openEmbeddingPoints(store, manifest, 6 * bytes - 6)).values).toBeUndefined();
  });

  it('finds a part that was changed, and vectors of another length than the manifest says', async () => {
    const { store, manifest } = await openTable({ ...made, bad: [...made.bad] }, 0);
    const out = new Float32Array(59 * 4);
    await expect((await openEmbeddingPoints(store, { ...manifest, d: 5 }, 0)).read(0, 10, out)).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH' });
    const { path } = manifest.parts[2]!;
    const bytes = (await store.read(path)).slice();
    bytes[bytes.length >> 1]! ^= 1;
    await store.write(path, bytes);
    const points = await openEmbeddingPoints(store, manifest, 0);
    await points.read(0, 31, out);
    await expect(points.read(0, 59, out)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
    await expect(openEmbeddingPoints(store, manifest, Infinity)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
  });
});

describe('subsetPoints', () => {
  it('numbers some of the points anew, and some of those again', async () => {
    const base = memoryPoints(Float32Array.from({ length: 40 }, (_, i) => i), 20, 2, 0.5);
    const some = subsetPoints(base, Uint32Array.of(1, 4, 5, 9, 17));
    const fewer = subsetPoints(some, Uint32Array.of(0, 2, 4));
    expect([some.n, some.d, some.scale, fewer.n]).toEqual([5, 2, 0.5, 3]);
    const out = new Float32Array(4);
    await some.read(2, 2, out);
    expect([...out]).toEqual([10, 11, 18, 19]);
    await fewer.read(1, 2, out);
    expect([...out]).toEqual([10, 11, 34, 35]);
    await fewer.gather(Uint32Array.of(0, 2), out);
    expect([...out]).toEqual([2, 3, 34, 35]);
  });
});

describe('cached', () => {
  it('holds points that fit, without a second copy of those in memory', async () => {
    const base = memoryPoints(Float32Array.from({ length: 40 }, (_, i) => i), 20, 2, 0.5);
    expect(await cached(base, Infinity)).toBe(base);
    const some = subsetPoints(base, Uint32Array.of(2, 3));
    expect(await cached(some, 15)).toBe(some);
    const held = await cached(some, 16);
    expect([...held.values!]).toEqual([4, 5, 6, 7]);
    expect(held.scale).toBe(0.5);
  });
});
