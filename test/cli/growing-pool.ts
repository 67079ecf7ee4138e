/** A pool of drawn pictures that grows: later sources come after earlier ones; and the commands run on it as a user would. */
import { cp, mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { runAppend } from '../../src/cli/append.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { type ClustersManifest, readAssignment } from '../../src/cluster/tree.ts';
import { loadRecipe } from '../../src/config.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { openFsStore } from '../../src/store/fs.ts';

const QUIET = { progress: SILENT_PROGRESS, log: SILENT };

export interface GrowingPool {
  /** Writes `<name>.yaml`: a recipe whose pool is these folders in this order. */
  writeRecipe(name: string, sources: readonly string[], more?: object): Promise<void>;
  runIn(store: string, recipe: string, options?: { until?: 'embed' | 'dedup' | 'shard'; log?: Log }): ReturnType<typeof run>;
  appendIn(store: string, recipe: string, options?: { verify?: boolean; log?: Log }): ReturnType<typeof runAppend>;
  copyOf(store: string, name: string): Promise<string>;
}

/** Draws 360 pictures of 12 concepts: every second one of each into `first`, every fourth into `second` and `third` each. */
export async function drawSources(folder: string): Promise<void> {
  await drawCorpus(join(folder, 'all'), { images: 360, concepts: 12 });
  for (const concept of (await readdir(join(folder, 'all'), { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name)) {
    for (const [i, name] of (await readdir(join(folder, 'all', concept))).sort().entries()) {
      const source = ['first', 'second', 'first', 'third'][i % 4]!;
      await mkdir(join(folder, source, concept), { recursive: true });
      await rename(join(folder, 'all', concept, name), join(folder, source, concept, name));
    }
  }
}

/** Recipes and stores lie in the folder. */
export function openGrowingPool(folder: string): GrowingPool {
  const load = (recipe: string) => loadRecipe(join(folder, `${recipe}.yaml`));
  return {
    writeRecipe: async (name, sources, more = {}) => {
      const recipe = {
        format: 'winnow-recipe/1', name: 'growing', seed: 3,
        pool: sources.map((source) => ({ folder: `./${source}`, label: 'parent' })),
        embed: { batchSize: 16 },
        cluster: { levels: [40, 16, 6] },
        sample: { target: '30%' },
        shard: { rows: 64 }, batch: { size: 16 },
        ...more,
      };
      await writeFile(join(folder, `${name}.yaml`), stringify(recipe));
    },
    runIn: async (store, recipe, options = {}) => run({ loaded: await load(recipe), store, until: 'shard', force: [], signal: new AbortController().signal, ...QUIET, ...options }),
    appendIn: async (store, recipe, options = {}) => runAppend({ loaded: await load(recipe), store, verify: false, signal: new AbortController().signal, ...QUIET, ...options }),
    copyOf: async (store, name) => {
      await cp(store, join(folder, name), { recursive: true });
      return join(folder, name);
    },
  };
}

export async function manifestOf<M>(store: string, path: string): Promise<M> {
  return JSON.parse(await readFile(join(store, path, 'manifest.json'), 'utf8')) as M;
}

/** Cluster of every row. */
export async function clustersOf(root: string): Promise<number[]> {
  const rows: number[] = [];
  for await (const { cluster } of readAssignment(await openFsStore(root, { readOnly: true }), await manifestOf<ClustersManifest>(root, 'clusters'))) rows.push(...cluster);
  return rows;
}

/** A log that keeps what it is told. */
export function listen(): { log: Log; said: string[] } {
  const said: string[] = [];
  const hear = (_: unknown, text: string) => said.push(text);
  return { log: { debug: () => {}, info: hear, warn: hear, error: hear } as unknown as Log, said };
}
