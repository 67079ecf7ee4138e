/** Commands that measure: what a recipe will take, and what this machine does beside its peers. */
import type { Command } from 'commander';
import type { Sizes } from '../../bench/workbench.ts';
import { loadRecipe } from '../../config.ts';
import { collect, count, positive, print } from '../options.ts';
import { writeAbove } from '../progress.ts';

/** Adds `plan` and `bench`. */
export function addMeasure(program: Command, signal: AbortSignal): void {
  addPlan(program);
  addBench(program, signal);
}

function addPlan(program: Command): void {
  program
    .command('plan')
    .description('what a recipe will take at a number of images: tasks, operations, bytes, memory, hours, cost, energy')
    .argument('<recipe>', 'YAML recipe')
    .requiredOption('--images <n>', 'images of the pool, such as 17e9', count)
    .option('--dims <n>', 'dimensions of a vector; default: by the model\'s name', count)
    .option('--workers <n>', 'machines that work at once', count, 1)
    .option('--gpu <name>', 'each worker has one: V100, T4, A10, L4, L40S, A100, H100, H200, B200')
    .option('--price <amount>', 'of an hour of one worker', positive)
    .option('--rates <file>', 'rates of `winnow bench --calibrate`; default: where it leaves them')
    .option('--part <name=count>', 'images of a seed set or a raw part; may be repeated', collect, [])
    .option('--image-bytes <n>', 'bytes of an image file on average', count, 100_000)
    .option('--watts <n>', 'power of a worker; default: the GPU\'s, or 10 a core', positive)
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow plan pipelines/recipes/lvd-1689m.yaml --images 17e9 --dims 1024 --workers 64 --gpu H100\n')
    .action(async (recipe: string, { dims = null, gpu = null, price = null, rates = null, watts = null, part, json, ...options }: { images: number; dims?: number | null; workers: number; gpu?: string | null; price?: number | null; rates?: string | null; part: string[]; imageBytes: number; watts?: number | null; json?: boolean }) => {
      const { plan } = await import('../plan.ts');
      const outcome = await plan({ loaded: await loadRecipe(recipe), dims, gpu, price, rates, watts, parts: part, ...options });
      print(outcome, json);
    });
}

function addBench(program: Command, signal: AbortSignal): void {
  const note = (text: string): void => writeAbove(`${text}\n`);
  program
    .command('bench')
    .description('measure this machine at winnow\'s works, beside the peers that are installed')
    .argument('[works...]', 'assign, kmeans, tree, sample, decode, embed, shard, batch; default: all of them')
    .option('--rounds <n>', 'rounds, in turns; figures are medians', count, 5)
    .option('--n <n>', 'vectors, rows or leaves', count)
    .option('--d <n>', 'dimensions of a vector', count)
    .option('--k <n>', 'clusters; may be repeated', (value: string, before: number[] = []) => [...before, count(value)])
    .option('--iterations <n>', 'of k-means', count)
    .option('--images <n>', 'pictures to draw', count)
    .option('--calibrate', 'measure the rates that `winnow plan` uses, in a minute, and write them')
    .option('--out <file>', 'where --calibrate writes; default: winnow/rates.json in the cache folder')
    .option('--model <model>', 'an ONNX model that --calibrate measures too')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExamples:\n  winnow bench assign kmeans\n  winnow bench --calibrate --model ./dinov2-small/model.onnx\n')
    .action(async (works: string[], { rounds, calibrate, out = null, model = null, json, ...sizes }: { rounds: number; calibrate?: boolean; out?: string | null; model?: string | null; json?: boolean } & Sizes) => {
      // Loaded when asked for: every other command would wait for it.
      const { bench, calibrateRates } = await import('../bench.ts');
      const outcome = calibrate === true ? await calibrateRates({ out, model, signal, note }) : await bench({ works, rounds, sizes, signal, note });
      print(outcome, json);
    });
}
