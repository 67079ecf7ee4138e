/** Laws of the shards: whatever goes in comes out, at any size of shards and of the tables it is joined from. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { type StoredDataset, shard } from '../../pipelines/8-shard.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { readPart } from '../../src/run/manifest.ts';
import { openDataset } from '../../src/shard/read.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Toy, type ToyStore, buildToy, idOf } from '../shard/toy-store.ts';

/** A toy whose balanced part and raw part are any at all; the retrieved one repeats rows. */
const toys = fc
  .record({
    n: fc.integer({ min: 1, max: 40 }),
    sizes: fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 8 }),
    statuses: fc.array(fc.constantFrom('ok', 'ok', 'corrupt'), { minLength: 1, maxLength: 9 }),
    copies: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 7 }),
    partRows: fc.record({ images: fc.integer({ min: 6, max: 45 }), embeddings: fc.integer({ min: 4, max: 45 }), assignment: fc.integer({ min: 7, max: 45 }), selections: fc.integer({ min: 5, max: 45 }) }),
  })
  .map(({ n, sizes, statuses, copies, partRows }): Toy => {
    const images = (salt: number) =>
      Array.from({ length: n }, (_, i) => ({
        bytes: Uint8Array.from({ length: sizes[i % sizes.length]! }, (_, j) => (salt + i * 13 + j) & 255),
        status: i === 0 ? 'ok' : statuses[i % statuses.length]!,
        inTar: i % 2 === 0,
        label: null,
        caption: null,
      }));
    const pool = images(0);
    const usable = pool.flatMap(({ status }, row) => (status === 'ok' ? [row] : []));
    const drawn = usable.map((row, i) => ({ row, copies: copies[i % copies.length]!, score: row })).filter((entry) => entry.copies > 0);
    return {
      pool,
      cluster: pool.map(({ status }, i) => (status === 'ok' ? i % 3 : null)),
      parents: [[0, 1, 0]],
      topClusters: 2,
      balanced: drawn.length > 0 ? drawn : [{ row: usable[0]!, copies: 1, score: 0 }],
      retrieved: { near: usable.flatMap((row) => Array.from({ length: 1 + (row % 3) }, (_, i) => ({ row, copies: 1, score: -i }))) },
      raws: { whole: images(100) },
      withText: false,
      partRows,
    };
  });

const configs = fc.record({ rows: fc.integer({ min: 8, max: 130 }), withBytes: fc.boolean(), sizeBytesMax: fc.integer({ min: 1024, max: 4096 }) });

async function write(toy: Toy, config: object): Promise<{ built: ToyStore; dataset: StoredDataset }> {
  const built = await buildToy(toy, await temporaryFolder());
  const recipe = built.recipe({ shard: config });
  await mix(built.context, recipe);
  return { built, dataset: await shard(built.context, recipe) };
}

/** Ids of a part's rows in order, from the toy alone. */
function expectedIds(toy: Toy, name: string): string[] {
  const raw = toy.raws[name];
  if (raw !== undefined) return raw.filter(({ status }) => status === 'ok').map(({ bytes }) => idOf(bytes));
  return (toy.retrieved[name] ?? toy.balanced).flatMap(({ row, copies }) => new Array<string>(copies).fill(idOf(toy.pool[row]!.bytes)));
}

describe('shards', () => {
  it('hold every row of every part once, dense and in order, within their limits', async () => {
    await fc.assert(
      fc.asyncProperty(toys, configs, async (toy, config) => {
        const { built, dataset } = await write(toy, config);
        const reader = await openDataset(built.store);
        for (const { name, rows, uniqueImages, shards } of dataset.manifest.parts) {
          const expected = expectedIds(toy, name);
          expect(rows).toBe(expected.length);
          expect(uniqueImages).toBeLessThanOrEqual(rows);
          let next = 0;
          for (const part of shards) {
            expect(part.firstRow).toBe(next);
            expect(part.rowCount >= 1 && part.rowCount <= config.rows).toBe(true);
            next += part.rowCount;
            const view = decodeTable(await readPart(built.store, part), part.path);
            if (!config.withBytes) continue;
            const images = view.binaries('image');
            expect(images.map(idOf)).toEqual(view.strings('id'));
            expect(images.length === 1 || images.reduce((sum, { length }) => sum + length, 0) <= config.sizeBytesMax).toBe(true);
          }
          expect(next).toBe(rows);
          expect((await reader.rows(name, [...expected.keys()])).id).toEqual(expected);
        }
      }),
      { numRuns: 10 },
    );
  });

  it('read the same rows whatever their size', async () => {
    await fc.assert(
      fc.asyncProperty(toys, configs, configs, async (toy, one, other) => {
        const seen = [];
        for (const config of [one, other]) {
          const { built, dataset } = await write(toy, config);
          const reader = await openDataset(built.store, { rowsKept: 1 });
          seen.push(await Promise.all(dataset.manifest.parts.map(({ name, rows }) => reader.rows(name, Array.from({ length: rows }, (_, i) => rows - 1 - i)))));
        }
        expect(seen[1]).toEqual(seen[0]);
      }),
      { numRuns: 4 },
    );
  });

  it('show any flipped bit', async () => {
    const [toy] = fc.sample(toys, { numRuns: 1, seed: 11 });
    const { built, dataset } = await write(toy!, { rows: 10 });
    const parts = dataset.manifest.parts.flatMap(({ shards }) => shards);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...parts), fc.nat(), fc.integer({ min: 0, max: 7 }), async (part, at, bit) => {
        const flipped = await built.store.read(part.path);
        flipped[at % flipped.length]! ^= 1 << bit;
        await expect(readPart({ ...built.store, read: async () => flipped }, part)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' });
        await readPart(built.store, part);
      }),
      { numRuns: 100 },
    );
  });
});
