/** Duplicates on the whole road: a recipe with `dedup` and one without. */
import { readFile, readdir, writeFile, cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lineageRecipe, parseRecipe } from '../../src/config.ts';
import { WinnowError } from '../../src/errors.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { winnow } from '../helpers/winnow.ts';

const MINIMAL = { format: 'winnow-recipe/1', name: 'x', pool: [{ folder: './x' }] };

describe('a recipe with dedup', () => {
  it('drops copies before clustering, says how many, and is as before once the key is gone', async () => {
    const { folder, recipePath } = await drawSmallRun(await temporaryFolder('dedup-road'), 160);
    const concept = (await readdir(join(folder, 'pool'), { withFileTypes: true })).find((entry) => entry.isDirectory())!.name;
    await mkdir(join(folder, 'pool', 'zz-copies'));
    const pictures = (await readdir(join(folder, 'pool', concept))).filter((name) => name.endsWith('.jpg')).sort().slice(0, 5);
    for (const name of pictures) await cp(join(folder, 'pool', concept, name), join(folder, 'pool', 'zz-copies', name));
    const run = async (store: string): Promise<{ funnel: { listed: number; rejected: Record<string, number>; notDrawn: number; setAside: number; selected: number }; stages: Record<string, unknown> }> =>
      JSON.parse((await winnow(['run', recipePath, '--store', store, '--json'])).stdout) as never;
    const without = await run(join(folder, 'without'));
    expect(without.funnel.rejected).not.toHaveProperty('exact-duplicate');
    const recipe = await readFile(recipePath, 'utf8');
    await writeFile(recipePath, `${recipe}\ndedup: { near: {} }\n`);
    const store = join(folder, 'with');
    const { funnel, stages } = await run(store);
    expect(funnel.rejected['exact-duplicate']).toBe(pictures.length);
    expect(Object.keys(stages)).toEqual(expect.arrayContaining(['duplicates', 'survivors']));
    expect(funnel.listed).toBe(Object.values(funnel.rejected).reduce((sum, count) => sum + count, 0) + funnel.setAside + funnel.notDrawn + funnel.selected);
    const clusters = JSON.parse(await readFile(join(store, 'clusters', 'manifest.json'), 'utf8')) as { stats: { clustered: number; setAside: number } };
    expect(clusters.stats.clustered + clusters.stats.setAside).toBe(funnel.listed - Object.values(funnel.rejected).reduce((sum, count) => sum + count, 0));
    // The key taken away again, over the same store: the bytes of a run that never had it.
    await writeFile(recipePath, recipe);
    await run(store);
    expect(await readdir(store)).not.toContain('duplicates');
    expect(await storeHashes(store)).toEqual(await storeHashes(join(folder, 'without')));
  });

  it('has a lineage without places, and none without the key', () => {
    expect(lineageRecipe(parseRecipe(MINIMAL, 'r'))).not.toHaveProperty('dedup');
    const lineage = lineageRecipe(parseRecipe({ ...MINIMAL, dedup: { near: { embed: { model: '/secret/sscd.onnx', providers: ['cuda', 'cpu'] } } } }, 'r'));
    expect(JSON.stringify(lineage)).not.toContain('secret');
    expect(JSON.stringify(lineage)).not.toContain('cuda');
    expect(lineage).toHaveProperty('dedup.near.embed.dtype', 'float16');
  });

  it('is refused in one sentence where it is wrong', () => {
    expect(() => parseRecipe({ ...MINIMAL, dedup: { near: { treshold: 0.9 } } }, 'r')).toThrow(/treshold.*did you mean "threshold"/);
    expect(() => parseRecipe({ ...MINIMAL, dedup: { near: { threshold: 1.5 } } }, 'r')).toThrow(WinnowError);
    expect(() => parseRecipe({ ...MINIMAL, dedupe: {} }, 'r')).toThrow(/did you mean "dedup"/);
  });
});
