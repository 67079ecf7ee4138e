/** The works `shard` and `batch`: a dataset from stored tables, and training batches from the dataset. */
import { join } from 'node:path';
import { batches } from '../../pipelines/9-batch.ts';
import { mix } from '../../pipelines/7-mix.ts';
import { sample } from '../../pipelines/5-sample.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { buildTree } from '../cluster/build.ts';
import { type Recipe, RECIPE_FORMAT, parseRecipe } from '../config.ts';
import { type Contest, timed } from './contest.ts';
import { mixture, writeEmbeddings, writeImages } from './data.ts';
import { openPeers } from './peer.ts';
import { type BenchContext, type Workbench, openContext } from './workbench.ts';

const ROWS = 200_000;
/** Few dimensions: these stages copy no vector, and clustering comes before the clock starts. */
const D = 16;
const BATCH = 1024;

/** One contest: half of the pool, by reference. */
export async function shardContests(bench: Workbench): Promise<(() => Promise<Contest>)[]> {
  const { context, recipe, rows } = await prepareDataset(bench, 'shard');
  const run = async (): Promise<{ sizeBytes: number }> => {
    await context.store.remove('dataset/');
    const { manifest } = await shard(context, recipe);
    return { sizeBytes: (manifest.stats as { sizeBytes: number }).sizeBytes };
  };
  return [async () => ({
    work: 'shard', what: `shards of ${rows} of ${2 * rows} images, references only`, unit: 'rows', settings: { rows, d: D },
    ours: { name: 'winnow', amount: rows, run: () => timed(run), close: () => context.close() },
    peers: [], missing: ['no packaged tool writes a dataset by reference'],
  })];
}

/** One contest: batches of 1,024 over the whole dataset once, as one rank would ask for them. Peer: torch's loader, ids only. */
export async function batchContests(bench: Workbench): Promise<(() => Promise<Contest>)[]> {
  const { context, recipe, rows } = await prepareDataset(bench, 'batch');
  await shard(context, recipe);
  const steps = Math.max(1, Math.floor(rows / BATCH));
  const run = async (): Promise<{ sizeBytes: number }> => {
    let sizeBytes = 0;
    for await (const bytes of batches(context.store, { steps, batchSize: BATCH })) sizeBytes += bytes.byteLength;
    return { sizeBytes };
  };
  return [async () => {
    const { contenders, missing } = await openPeers(bench.peers, [{ script: 'peers.py', settings: { work: 'batch', n: rows, batch: BATCH, steps }, amount: steps * BATCH }]);
    return {
      work: 'batch', what: `${steps} batches of ${BATCH} images of ${rows}, as an Arrow stream`, unit: 'rows', settings: { rows, steps, batch: BATCH },
      ours: { name: 'winnow', amount: steps * BATCH, run: () => timed(run), close: () => context.close() },
      peers: contenders, missing,
    };
  }];
}

/** A store with everything up to the mixture: `rows` images are selected, half of the pool. */
async function prepareDataset({ scratch, sizes, signal, note }: Workbench, name: string): Promise<{ context: BenchContext; recipe: Readonly<Recipe>; rows: number }> {
  const rows = sizes.n ?? ROWS;
  const n = 2 * rows;
  note(`${name}: making a store of ${n} images`);
  const recipe = parseRecipe({
    format: RECIPE_FORMAT, name: 'bench', pool: [{ folder: '.' }],
    cluster: { levels: [Math.min(500, n), Math.min(50, n)], iterations: 2 },
    sample: { target: rows },
  }, 'the recipe of the bench');
  const context = await openContext(join(scratch, `store-${name}`), { signal });
  await writeImages(context.store, n);
  await buildTree(context, await writeEmbeddings(context.store, mixture(D), { n, d: D, dtype: 'float16' }), recipe.cluster);
  await sample(context, recipe);
  await mix(context, recipe);
  return { context, recipe, rows };
}
