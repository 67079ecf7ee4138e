/** Commands of a queue: serve its tasks, look at it, end runs, try failed tasks again. */
import { type Command, InvalidArgumentError } from 'commander';
import { WinnowError } from '../../errors.ts';
import { type Common, collect, count, positive, print, reportersOf } from '../options.ts';

interface WorkerFlags extends Common {
  readonly redis?: string;
  readonly stages?: readonly string[] | null;
  readonly concurrency: number;
  readonly providers?: readonly string[] | null;
  readonly allowStore: readonly string[];
  readonly location: readonly string[];
  readonly drain: number;
  readonly http?: string | null;
}

/** `worker`, `status`, `workers`, `cancel` and `retry`. */
export function addQueue(program: Command, signal: AbortSignal): void {
  withRedis(program.command('worker').description('run tasks of any run in a queue, until SIGTERM'))
    .option('--stages <names>', 'such as embed,cluster: stages by the names of their verbs; default: all of them', names)
    .option('--concurrency <n>', 'tasks of each stage at once', count, 1)
    .option('--providers <names>', 'webgpu, cuda, cpu: what models may run on here; default: what the recipe says', names)
    .option('--allow-store <uri>', 'a store, or what lies above it, that may be written; may be repeated; default: any', collect, [])
    .option('--location <name=folder>', 'where a source lies on this machine, if elsewhere; may be repeated', collect, [])
    .option('--drain <seconds>', 'time for tasks under way after SIGTERM', positive, 25)
    .option('--http <address>', '[host:]port of /health, /ready and /metrics; without a host: this machine alone')
    .option('--quiet', 'warnings only')
    .option('--verbose', 'log every task')
    .addHelpText('after', '\nExample:\n  winnow worker --redis redis://queue:6379 --stages embed,cluster --concurrency 4 --providers webgpu,cpu\n')
    .action(async ({ stages = null, providers = null, allowStore, location, drain, concurrency, http = null, ...options }: WorkerFlags) => {
      const { worker } = await import('../worker.ts');
      const { log } = reportersOf(options);
      print(await worker({ redis: redisOf(options), stages, providers, concurrency, stores: allowStore, locations: location, drainMs: drain * 1000, http, onHttp: (url) => log.info({ url }, `worker: /health, /ready and /metrics at ${url}`), log, signal }), options.json);
    });
  withRedis(program.command('status').description('show every run, stage and worker of a queue'))
    .addHelpText('after', '\nExample:\n  winnow status --redis redis://queue:6379\n')
    .action(async (options: RedisFlags) => print(await (await import('../status.ts')).status(redisOf(options)), options.json));
  withRedis(program.command('workers').description('show the workers of a queue and what each serves'))
    .addHelpText('after', '\nExample:\n  winnow workers --redis redis://queue:6379\n')
    .action(async (options: RedisFlags) => print(await (await import('../status.ts')).workers(redisOf(options)), options.json));
  withRedis(program.command('cancel').description('take a run out of a queue; what is done stays').argument('[run]', 'an id that `winnow status` shows; default: all runs'))
    .addHelpText('after', '\nExample:\n  winnow cancel run-0123456789abcdef --redis redis://queue:6379\n')
    .action(async (run: string | undefined, options: RedisFlags) => print(await (await import('../status.ts')).cancel(redisOf(options), run ?? null), options.json));
  addRetry(program, signal);
}

/** One verb for what failed: rows of a recipe whose reason may have passed, or tasks of a queue. */
function addRetry(program: Command, signal: AbortSignal): void {
  withRedis(program.command('retry').description('try again what failed: rows of a recipe that were not reached, or tasks of a queue').argument('[recipe or run]', 'a YAML recipe: its rows; an id that `winnow status` shows: its tasks; default: tasks of all runs'))
    .requiredOption('--failed', 'the failed ones: the only ones there are to retry')
    .option('--store <folder>', 'with a recipe: where everything is written', './winnow-out')
    .option('--quiet', 'no progress')
    .option('--verbose', 'log every task')
    .addHelpText('after', '\nExamples:\n  winnow retry --failed recipe.yaml --store ./my-dataset\n  winnow retry --failed --redis redis://queue:6379\n')
    .action(async (what: string | undefined, options: Common & RedisFlags) => {
      if (what === undefined || RUN_ID.test(what)) return print(await (await import('../status.ts')).retry(redisOf(options), what ?? null), options.json);
      const [{ retryRows }, { loadRecipe }] = await Promise.all([import('../retry.ts'), import('../../config.ts')]);
      print(await retryRows({ loaded: await loadRecipe(what), store: options.store, redis: options.redis, ...reportersOf(options), signal }), options.json);
    });
}

/** As `winnow status` shows runs. */
const RUN_ID = /^run-[0-9a-f]+$/;

interface RedisFlags {
  readonly redis?: string;
  readonly json?: boolean;
}

function withRedis(command: Command): Command {
  return command.option('--redis <url>', 'redis://[user:password@]host[:port][/db] or rediss://…; default: WINNOW_REDIS').option('--json', 'machine output on stdout');
}

/** From the environment where the command line has none: a password on a command line is for all to see. */
export function redisOf({ redis = process.env['WINNOW_REDIS'] }: { readonly redis?: string }): string {
  if (redis === undefined) throw new WinnowError('CONFIG_INVALID', 'Expected --redis or WINNOW_REDIS to say which queue, got neither');
  return redis;
}

function names(value: string): string[] {
  const parts = value.split(',').map((name) => name.trim());
  if (parts.includes('')) throw new InvalidArgumentError(`expected names with commas between them, got ${value}.`);
  return parts;
}
