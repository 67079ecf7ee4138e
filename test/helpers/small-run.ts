/** A small corpus with seeds and a raw part, and a recipe over it, for tests of the whole road. */
import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { drawCorpus } from '../../src/demo/draw.ts';

export interface SmallRun {
  readonly folder: string;
  readonly recipePath: string;
}

/** Draws `images` pictures into `folder/pool`, copies some as seeds and raw images, and writes `folder/recipe.yaml`. */
export async function drawSmallRun(folder: string, images: number, overrides: Record<string, unknown> = {}): Promise<SmallRun> {
  await drawCorpus(join(folder, 'pool'), { images, concepts: 20 });
  const concepts = (await readdir(join(folder, 'pool'), { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  await copySome(join(folder, 'pool', concepts[0]!), join(folder, 'seeds'), 6);
  await copySome(join(folder, 'pool', concepts[1]!), join(folder, 'raw', concepts[1]!), 9);
  const recipe = {
    format: 'winnow-recipe/1', name: 'small', seed: 3,
    pool: [{ folder: './pool', label: 'parent' }],
    embed: { batchSize: 16 },
    cluster: { levels: [60, 30, 15, 8, 4], resampling: { rounds: 1, sampleSize: 2 } },
    sample: { target: 100 },
    retrieve: [{ name: 'around', sources: [{ folder: './seeds' }], k: 4 }],
    raw: [{ name: 'raw', sources: [{ folder: './raw' }] }],
    mix: { homogeneous: { part: 'raw', probability: 0.25 } },
    shard: { rows: 64 },
    batch: { size: 16 },
    ...overrides,
  };
  const recipePath = join(folder, 'recipe.yaml');
  await writeFile(recipePath, stringify(recipe));
  return { folder, recipePath };
}

async function copySome(from: string, to: string, count: number): Promise<void> {
  await mkdir(to, { recursive: true });
  const names = (await readdir(from)).filter((name) => name.endsWith('.jpg')).sort().slice(0, count);
  for (const name of names) await cp(join(from, name), join(to, name));
}
