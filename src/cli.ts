#!/usr/bin/env node
/** The command line: parses, wires, prints, and is the only place that decides exit codes (0 done, 2 the user's, 1 else). */
import { once } from 'node:events';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { batches } from '../pipelines/9-batch.ts';
import { STAGES, type StageName } from '../pipelines/curate.ts';
import { hideProgress, writeAbove } from './cli/progress.ts';
import { createCliLog, createCliProgress, openStoreToRead } from './cli/session.ts';
import { demo } from './cli/demo.ts';
import { inspect } from './cli/inspect.ts';
import { levels } from './cli/levels.ts';
import { type RunRequest, run } from './cli/run.ts';
import { loadRecipe, recipeJsonSchema } from './config.ts';
import { WinnowError, isUserFault } from './errors.ts';
import { VERSION } from './version.ts';

interface Common {
  readonly store: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

const ABOUT: Record<StageName, string> = {
  ingest: 'list the images of every source',
  embed: 'turn images into vectors',
  cluster: 'build the cluster tree',
  sample: 'draw the balanced selection',
  retrieve: 'find pool images around the seed sets',
  mix: 'decide how batches draw from the parts',
  shard: 'write the dataset',
};

async function main(argv: readonly string[]): Promise<number> {
  const stop = new AbortController();
  let interrupts = 0;
  const interrupt = (signal: NodeJS.Signals): void => {
    if (++interrupts > 1) {
      hideProgress();
      process.exit(130);
    }
    writeAbove('Stopping after the work under way; press again to stop at once.\n');
    stop.abort(new Error(signal));
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  // A reader that has seen enough closes the pipe; that is an end, not a fault.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const program = commands(stop.signal);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    hideProgress();
    return report(error, stop.signal);
  }
}

function commands(signal: AbortSignal): Command {
  const program = new Command('winnow')
    .description('Curates image corpora for self-supervised pre-training.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replace(/\n/, ' ')}; try --help\n`) })
    .showSuggestionAfterError(true);
  const withRun = (command: Command): Command =>
    command
      .argument('<recipe>', 'YAML recipe')
      .option('--store <folder>', 'where everything is written', './winnow-out')
      .option('--force <stage>', 'make this stage again even if it is done; may be repeated', collect, [])
      .option('--json', 'machine output on stdout')
      .option('--quiet', 'no progress')
      .option('--verbose', 'log every iteration');
  const runUntil = (until: StageName) => async (recipe: string, options: Common & { force: string[] }): Promise<void> => {
    const outcome = await run({ loaded: await loadRecipe(recipe), until, store: options.store, force: options.force, ...reportersOf(options), signal });
    print(options.json === true ? JSON.stringify(outcome.json, null, 2) : outcome.text);
  };

  withRun(program.command('run').description('run a whole recipe: images in, dataset out')).addHelpText('after', '\nExample:\n  winnow run pipelines/recipes/folder.yaml --store ./my-dataset\n').action(runUntil('shard'));
  for (const stage of STAGES) {
    withRun(program.command(stage).description(`${ABOUT[stage]} (and what comes before, where it is not done)`)).addHelpText('after', `\nExample:\n  winnow ${stage} recipe.yaml --store ./my-dataset\n`).action(runUntil(stage));
  }
  addReaders(program, signal);
  program
    .command('demo')
    .description('draw a corpus of 10,000 pictures, or take your own, and run the whole road')
    .option('--images <folder>', 'use the pictures of this folder instead')
    .option('--count <n>', 'pictures to draw', count, 10_000)
    .option('--store <folder>', 'where everything is written', './winnow-out')
    .option('--json', 'machine output on stdout')
    .option('--quiet', 'no progress')
    .option('--verbose', 'log every iteration')
    .addHelpText('after', '\nExample:\n  winnow demo --images ~/Pictures\n')
    .action(async (options: Common & { images?: string; count: number }) => {
      const outcome = await demo({ images: options.images ?? null, count: options.count, store: options.store, ...reportersOf(options), signal });
      print(options.json === true ? JSON.stringify(outcome.json, null, 2) : outcome.text);
    });
  return program;
}

function addReaders(program: Command, signal: AbortSignal): void {
  program
    .command('levels')
    .description('show what each depth of the tree would select, before you pay for it')
    .argument('<recipe>', 'YAML recipe')
    .option('--store <folder>', 'where everything is written', './winnow-out')
    .option('--json', 'machine output on stdout')
    .option('--quiet', 'no progress')
    .option('--verbose', 'log every iteration')
    .addHelpText('after', '\nExample:\n  winnow levels recipe.yaml --store ./my-dataset\n')
    .action(async (recipe: string, options: Common) => {
      const outcome = await levels({ loaded: await loadRecipe(recipe), store: options.store, ...reportersOf(options), signal });
      print(options.json === true ? JSON.stringify(outcome.json, null, 2) : outcome.text);
    });
  program
    .command('batches')
    .description('stream training batches of one rank as Arrow IPC on stdout')
    .argument('<store>', 'a store with a finished dataset')
    .requiredOption('--steps <n>', 'steps to stream', count)
    .option('--from-step <n>', 'first step', wholeNumber, 0)
    .option('--rank <n>', 'rank of this process', wholeNumber, 0)
    .option('--world-size <n>', 'ranks in all', count, 1)
    .option('--batch-size <n>', 'images of the global batch; default: the recipe\'s', count)
    .option('--seed <n>', 'another order than the recipe\'s seed gives', wholeNumber)
    .addHelpText('after', '\nExample:\n  winnow batches ./winnow-out --steps 10 | python -c "import pyarrow.ipc, sys; print(pyarrow.ipc.open_stream(sys.stdin.buffer).read_next_batch())"\n')
    .action(async (store: string, options: { steps: number; fromStep: number; rank: number; worldSize: number; batchSize?: number; seed?: number }) => {
      await toStdout(batches(await openStoreToRead(store), { ...options, signal }));
    });
  program
    .command('inspect')
    .description('say what a file, a stage or a store is')
    .argument('<path>', 'an Arrow file, a manifest, a stage or a store')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow inspect ./winnow-out/clusters\n')
    .action(async (path: string, options: { json?: boolean }) => {
      const { text, json } = await inspect(path);
      print(options.json === true ? JSON.stringify(json, null, 2) : text);
    });
  program
    .command('schema')
    .description('print the JSON Schema of recipes, for editors')
    .action(() => print(JSON.stringify(recipeJsonSchema(), null, 2)));
}

/** One sentence on stderr, and the exit code. */
function report(error: unknown, signal: AbortSignal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (signal.aborted || (error instanceof WinnowError && error.code === 'ABORTED')) {
    process.stderr.write('Stopped. The next run goes on from here.\n');
    return 130;
  }
  if (error instanceof WinnowError) {
    process.stderr.write(`${error.code}: ${error.message}\n`);
    return isUserFault(error) ? 2 : 1;
  }
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

/** Where a command's events and progress go. */
function reportersOf({ json = false, quiet = false, verbose = false }: Pick<Common, 'json' | 'quiet' | 'verbose'>): Pick<RunRequest, 'log' | 'progress'> {
  const log = createCliLog({ json, level: verbose ? 'debug' : quiet ? 'warn' : 'info' });
  return { log, progress: createCliProgress({ json, quiet, log }) };
}

async function toStdout(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
}

function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function count(value: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || parsed < 1) throw new InvalidArgumentError(`expected a whole number from 1 up, got ${value}.`);
  return parsed;
}

function wholeNumber(value: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || parsed < 0) throw new InvalidArgumentError(`expected a whole number from 0 up, got ${value}.`);
  return parsed;
}

process.exitCode = await main(process.argv.slice(2));
