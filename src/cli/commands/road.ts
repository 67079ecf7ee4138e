/** Commands that make things: the whole recipe, one stage of it, more images, the demo. */
import type { Command } from 'commander';
import { STAGES, type StageName } from '../../../pipelines/curate.ts';
import { loadRecipe } from '../../config.ts';
import { runAppend } from '../append.ts';
import { demo } from '../demo.ts';
import { type Common, collect, count, print, reportersOf } from '../options.ts';
import { run } from '../run.ts';
import { redisOf } from './queue.ts';

const ABOUT: Record<StageName, string> = {
  download: 'fetch the pictures of URL lists',
  ingest: 'list the images of every source',
  embed: 'turn images into vectors',
  filter: 'take out images that the rules of `filters` reject',
  dedup: 'take out duplicates, and images of evaluation sets',
  cluster: 'build the cluster tree',
  sample: 'draw the balanced selection',
  retrieve: 'find pool images around the seed sets',
  mix: 'decide how batches draw from the parts',
  shard: 'write the dataset',
};

/** Adds `run`, a verb for each stage, `append` and `demo`. */
export function addRoad(program: Command, signal: AbortSignal): void {
  const withRun = (command: Command): Command =>
    withReports(command.argument('<recipe>', 'YAML recipe').option('--store <folder>', 'where everything is written', './winnow-out').option('--redis [url]', 'have `winnow worker` processes of this queue run the tasks; without a URL the queue of WINNOW_REDIS; default: this process runs them').option('--force <stage>', 'make this stage again even if it is done; may be repeated', collect, []));
  const runUntil = (until: StageName) => async (recipe: string, options: Common & { force: string[]; redis?: string | true }): Promise<void> => {
    print(await run({ loaded: await loadRecipe(recipe), until, store: options.store, redis: options.redis === true ? redisOf({}) : options.redis, force: options.force, ...reportersOf(options), signal }), options.json);
  };
  withRun(program.command('run').description('run a whole recipe: images in, dataset out')).addHelpText('after', '\nExample:\n  winnow run pipelines/recipes/folder.yaml --store ./my-dataset\n').action(runUntil('shard'));
  for (const stage of STAGES) {
    withRun(program.command(stage).description(`${ABOUT[stage]} (and what comes before, where it is not done)`)).addHelpText('after', `\nExample:\n  winnow ${stage} recipe.yaml --store ./my-dataset\n`).action(runUntil(stage));
  }
  withReports(
    program
      .command('append')
      .description('put the images of new sources into the tree that a run fitted, and make the dataset anew')
      .argument('<recipe>', 'YAML recipe: the one of the run, with new sources after the old ones in `pool`')
      .option('--store <folder>', 'where everything is written', './winnow-out')
      .option('--verify', 'read the old images again and compare their hashes, not just their names and sizes'),
  )
    .addHelpText('after', '\nExample:\n  winnow append recipe.yaml --store ./my-dataset\n')
    .action(async (recipe: string, options: Common & { verify?: boolean }) => {
      print(await runAppend({ loaded: await loadRecipe(recipe), store: options.store, verify: options.verify === true, ...reportersOf(options), signal }), options.json);
    });
  addDemo(program, signal);
}

function addDemo(program: Command, signal: AbortSignal): void {
  withReports(
    program
      .command('demo')
      .description('draw a corpus of 10,000 pictures, or take your own, and run the whole road')
      .option('--images <folder>', 'use the pictures of this folder instead')
      .option('--count <n>', 'pictures to draw', count, 10_000)
      .option('--store <folder>', 'where everything is written', './winnow-out'),
  )
    .addHelpText('after', '\nExample:\n  winnow demo --images ~/Pictures\n')
    .action(async (options: Common & { images?: string; count: number }) => {
      print(await demo({ images: options.images ?? null, count: options.count, store: options.store, ...reportersOf(options), signal }), options.json);
    });
}

function withReports(command: Command): Command {
  return command.option('--json', 'machine output on stdout').option('--quiet', 'no progress').option('--verbose', 'log every iteration');
}
