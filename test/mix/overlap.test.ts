import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { createIdTable } from '../../src/mix/id-table.ts';
import type { MixturePart, OverlapCount } from '../../src/mix/mixture.ts';
import { readManifest } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Toy, buildToy, exampleToy, idOf } from '../shard/toy-store.ts';

/** A toy whose raw parts share bytes with the pool and with each other. */
function overlappingToy(near: readonly number[], far: readonly number[], shared: readonly number[]): Toy {
  const toy = exampleToy();
  const ok = toy.pool.flatMap(({ status }, row) => (status === 'ok' ? [row] : []));
  const entries = (picks: readonly number[]) => [...picks].sort((a, b) => a - b).map((pick, i) => ({ row: ok[pick % ok.length]!, copies: 1, score: 1 - i / 100 })).sort((a, b) => a.row - b.row);
  const rawOf = (from: readonly number[]) => from.map((pick) => ({ ...toy.pool[ok[pick % ok.length]!]!, inTar: false }));
  return {
    ...toy,
    retrieved: { near: entries(near), far: entries(far) },
    raws: { whole: [...toy.raws.whole!, ...rawOf(shared)], twin: [...rawOf(shared.slice(1)), ...toy.raws.whole!.slice(0, 6), { ...toy.pool[0]!, bytes: Uint8Array.of(9, 9, 9, 9, 9), status: 'ok', inTar: false }] },
  };
}

interface Expected {
  /** Rows of each part in order, copies expanded, without what earlier parts have. */
  readonly rows: ReadonlyMap<string, number[]>;
  readonly counts: readonly OverlapCount[];
}

/** The policy written out with sets, one image at a time. */
function oracle(toy: Toy, first: boolean): Expected {
  const rows = new Map<string, number[]>();
  const counts: OverlapCount[] = [];
  const earlier: { name: string; rows: Set<number> | null; ids: Set<string> }[] = [];
  const parts = [
    { name: 'balanced', entries: toy.balanced, raw: null },
    ...Object.entries(toy.retrieved).map(([name, entries]) => ({ name, entries, raw: null })),
    ...Object.entries(toy.raws).map(([name, raw]) => ({ name, entries: raw.flatMap(({ status }, row) => (status === 'ok' ? [{ row, copies: 1 }] : [])), raw })),
  ];
  for (const { name, entries, raw } of parts) {
    const idAt = (row: number): string => idOf((raw ?? toy.pool)[row]!.bytes);
    const ownerOf = (row: number): string | undefined => earlier.find((other) => (raw === null ? other.rows!.has(row) : other.ids.has(idAt(row))))?.name;
    const lost = entries.filter(({ row }) => ownerOf(row) !== undefined);
    rows.set(name, entries.filter((entry) => !first || !lost.includes(entry)).flatMap(({ row, copies }) => new Array<number>(copies).fill(row)));
    const images = [...new Set(lost.map(({ row }) => row))];
    const shared: Record<string, number> = {};
    for (const row of images) shared[ownerOf(row)!] = (shared[ownerOf(row)!] ?? 0) + 1;
    if (name !== 'balanced') counts.push({ part: name, images: images.length, rows: lost.reduce((sum, { copies }) => sum + copies, 0), with: shared });
    earlier.push({ name, rows: raw === null ? new Set(entries.map(({ row }) => row)) : null, ids: new Set(entries.map(({ row }) => idAt(row))) });
  }
  return { rows, counts };
}

async function rowsOfShards(store: Store): Promise<Map<string, { rows: number[]; ids: string[]; scores: (number | null)[] }>> {
  const dataset = (await readManifest(store, 'dataset'))!.manifest as unknown as { parts: { name: string; shards: { path: string }[] }[] };
  const found = new Map<string, { rows: number[]; ids: string[]; scores: (number | null)[] }>();
  for (const { name, shards } of dataset.parts) {
    const part = { rows: [] as number[], ids: [] as string[], scores: [] as (number | null)[] };
    for (const { path } of shards) {
      const view = decodeTable(await store.read(path), path);
      const valid = view.validity('score');
      part.rows.push(...view.numbers('row'));
      part.ids.push(...(view.strings('id') as string[]));
      part.scores.push(...[...view.numbers('score')].map((score, i) => (valid === undefined || valid[i] === 1 ? score : null)));
    }
    found.set(name, part);
  }
  return found;
}

const picks = fc.array(fc.nat(40), { minLength: 1, maxLength: 25 });

describe('mix.overlap', () => {
  it('first: leaves each image to the first part that has it, in tables, shards, counts and funnel', async () => {
    await fc.assert(
      fc.asyncProperty(picks, picks, fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }), async (near, far, shared) => {
        const toy = overlappingToy(near, far, shared);
        const expected = oracle(toy, true);
        fc.pre([...expected.rows.values()].every((rows) => rows.length > 0));
        const { context, recipe, store } = await buildToy(toy, await temporaryFolder());
        const settled = recipe({ mix: { overlap: 'first' }, shard: { rows: 5 } });
        const { manifest } = await mix(context, settled);
        expect(manifest.stats.overlap).toEqual({ policy: 'first', parts: expected.counts });
        manifest.mixtureParts.forEach(({ name, rows, uniqueImages }: MixturePart) => expect([name, rows, uniqueImages]).toEqual([name, expected.rows.get(name)!.length, new Set(expected.rows.get(name)).size]));
        const stored = await shard(context, settled);
        const shards = await rowsOfShards(store);
        for (const [name, rows] of expected.rows) expect(shards.get(name)!.rows).toEqual(rows);
        // Nobody's image is in two parts; copies inside a part stay.
        const owner = new Map<string, string>();
        for (const [name, { ids }] of shards) {
          if (name === 'balanced' || name in toy.retrieved) continue;
          for (const id of ids) expect(owner.get(id) ?? name).toBe(name);
          for (const id of ids) owner.set(id, name);
        }
        expect(shards.get('whole')!.scores.every((score) => score === null)).toBe(true);
        const { funnel } = stored.manifest.lineage as { funnel: { parts: { name: string; overlap?: number }[] } };
        expect(funnel.parts.map(({ name, overlap }) => [name, overlap])).toEqual([['balanced', undefined], ...expected.counts.map(({ part, rows }) => [part, rows])]);
      }),
      { numRuns: 8 },
    );
  });

  it('keep: counts and changes no row; without it nothing is counted and the bytes are those of before', async () => {
    const toy = overlappingToy([1, 5, 9, 30], [5, 6, 30], [2, 3, 4]);
    const { context, recipe, store } = await buildToy(toy, await temporaryFolder());
    const plain = await mix(context, recipe({}));
    expect(plain.manifest.stats).toEqual({ rows: plain.manifest.stats.rows, unused: [] });
    expect(plain.manifest.config).not.toHaveProperty('overlap');
    const first = await mix(context, recipe({ mix: { overlap: 'first' } }));
    expect(first.manifest.mixtureParts.map(({ from }) => from)).toEqual([undefined, 'disjoint/near', 'disjoint/far', 'disjoint/whole', 'disjoint/twin']);
    const kept = await mix(context, recipe({ mix: { overlap: 'keep' } }));
    expect(kept.manifest.stats.overlap).toEqual({ policy: 'keep', parts: oracle(toy, false).counts });
    expect(kept.manifest.mixtureParts).toEqual(plain.manifest.mixtureParts);
    for await (const { key } of store.list('disjoint/')) expect(key).toBe('nothing is left of it');
    expect((await mix(context, recipe({}))).sha256).toBe(plain.sha256);
  });

  it('refuses a part of which nothing is left', async () => {
    const toy = exampleToy();
    const all = { ...toy, retrieved: { near: toy.balanced.slice(0, 4) } };
    const { context, recipe } = await buildToy(all, await temporaryFolder());
    await expect(mix(context, recipe({ mix: { overlap: 'first' } }))).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringMatching(/retrieved part "near" that no part before it has.*mix\.overlap to keep/) });
  });
});

describe('createIdTable', () => {
  it('is a set of ids', () => {
    const id = fc.array(fc.constantFrom('0', '1', 'f'), { minLength: 3, maxLength: 3 }).map((digits) => digits.join('').padEnd(32, digits[0]!));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), fc.array(id, { maxLength: 40 }), (added, asked) => {
        const table = createIdTable(40);
        const slots = new Map(added.map((one) => [one, table.add(one)]));
        expect(new Set(slots.values()).size).toBe(slots.size);
        for (const one of [...added, ...asked]) expect(table.find(one)).toBe(slots.get(one) ?? -1);
      }),
    );
  });
});
