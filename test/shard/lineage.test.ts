import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { lineageRecipe, parseRecipe } from '../../src/config.ts';
import { CREATED_BY } from '../../src/version.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildToy, exampleToy } from './toy-store.ts';

interface Funnel {
  pool: { listed: number; skipped: object; rejected: Record<string, number>; setAside: number; clustered: number; drawn: number; notDrawn: number };
  parts: Record<string, unknown>[];
}

describe('the lineage of a dataset', () => {
  it('accounts for every image of the pool and of each part', async () => {
    const toy = exampleToy();
    const { context, recipe } = await buildToy(toy, await temporaryFolder());
    await mix(context, recipe());
    const { lineage } = (await shard(context, recipe())).manifest;
    expect(lineage).toMatchObject({ model: { name: 'toy', sha256: 'abc' }, preprocessing: { normalize: true, dtype: 'float16' }, code: CREATED_BY });
    const { pool, parts } = lineage['funnel'] as Funnel;
    const ok = toy.pool.filter(({ status }) => status === 'ok').length;
    const clustered = toy.cluster.filter((cluster) => cluster !== null).length;
    expect(pool).toEqual({ listed: 60, skipped: { hidden: 2 }, rejected: { corrupt: 60 - ok }, setAside: ok - clustered, clustered, drawn: toy.balanced.length, notDrawn: clustered - toy.balanced.length });
    expect(Object.values(pool.rejected).reduce((sum, count) => sum + count, 0) + pool.setAside + pool.drawn + pool.notDrawn).toBe(pool.listed);
    const copies = (entries: readonly { copies: number }[]): number => entries.reduce((sum, entry) => sum + entry.copies, 0);
    expect(parts).toEqual([
      { name: 'balanced', kind: 'balanced', requested: copies(toy.balanced) + 2, selected: copies(toy.balanced), unique: toy.balanced.length, shortfall: 2 },
      { name: 'near', kind: 'retrieved', requested: copies(toy.retrieved['near']!) + 2, selected: copies(toy.retrieved['near']!), unique: new Set(toy.retrieved['near']!.map(({ row }) => row)).size, shortfall: 2 },
      { name: 'whole', kind: 'raw', listed: 17, skipped: { hidden: 2 }, rejected: { corrupt: 2 }, selected: 15 },
    ]);
  });

  it('does not take a tree that leaves images unaccounted for', async () => {
    const toy = exampleToy();
    const { context, recipe, store } = await buildToy(toy, await temporaryFolder());
    await mix(context, recipe());
    const text = new TextDecoder().decode(await store.read('clusters/manifest.json')).replace(/"setAside": \d+/, '"setAside": 1');
    await store.write('clusters/manifest.json', new TextEncoder().encode(text));
    await expect(shard(context, recipe())).rejects.toThrow(/Expected the 60 images of the pool to be rejected, set aside or clustered, 56 are/);
  });
});

describe('lineageRecipe', () => {
  const recipe = (overrides: object) => parseRecipe({ format: 'winnow-recipe/1', name: 'x', pool: [{ name: 'a', folder: '/data/a' }], raw: [{ name: 'b', sources: [{ list: '/data/b.csv', root: '/data', label: { column: 'class' } }] }], ...overrides }, 'test');

  it('leaves out places and how the work is done, and keeps what decides the result', () => {
    const lineage = lineageRecipe(recipe({ embed: { model: '/models/m.onnx', batchSize: 7 } }));
    expect(JSON.stringify(lineage)).not.toMatch(/\/data|\/models|execution|batchSize|providers/);
    expect(lineage).toMatchObject({ name: 'x', seed: 0, pool: [{ name: 'a', kind: 'folder' }], raw: [{ name: 'b', sources: [{ kind: 'list', column: 'uri', label: { column: 'class' } }] }], batch: { size: 64 } });
  });

  it('is equal for recipes that differ in those alone, and differs for others', () => {
    const plain = lineageRecipe(recipe({}));
    expect(lineageRecipe(recipe({ execution: { threads: 1, blockRows: 4096 }, embed: { batchSize: 3, providers: ['webgpu', 'cpu'] }, pool: [{ name: 'a', folder: '/elsewhere' }] }))).toEqual(plain);
    expect(lineageRecipe(recipe({ seed: 1 }))).not.toEqual(plain);
    expect(lineageRecipe(recipe({ embed: { model: 'hf:owner/name' } }))).toMatchObject({ embed: { model: 'hf:owner/name' } });
  });
});
