/** The command that asks a finished dataset whether a test set is in it. */
import { type Command, InvalidArgumentError } from 'commander';
import { type Common, print, reportersOf } from '../options.ts';

type Flags = Pick<Common, 'json' | 'quiet' | 'verbose'> & { readonly dataset: string; readonly against: string; readonly threshold?: number; readonly model?: string; readonly fail?: boolean };

/** Adds `contaminated`. */
export function addContaminated(program: Command, signal: AbortSignal): void {
  program
    .command('contaminated')
    .description('is my test set in there? compare a folder of images with a finished dataset')
    .requiredOption('--dataset <store>', 'a store with a finished dataset; it is only read')
    .requiredOption('--against <folder>', 'the images to look for')
    .option('--threshold <similarity>', 'cosine similarity above which two images are the same picture; default: 0.9, 0.99 for the descriptor, or 0.45 where the recipe has dedup.near.embed', similarity)
    .option('--model <path>', 'where the model of the dataset lies, when its recipe named it by a path')
    .option('--fail', 'exit with 2 when there is a match')
    .option('--json', 'machine output on stdout, with all pairs')
    .option('--quiet', 'no progress')
    .addHelpText('after', '\nExample:\n  winnow contaminated --dataset ./my-dataset --against ./test-set --fail\n')
    .action(async ({ dataset, against, threshold, model, fail = false, json = false, ...flags }: Flags) => {
      const { contaminated, requireNoMatch } = await import('../contaminated.ts');
      const outcome = await contaminated({ dataset, against, threshold: threshold ?? null, model: model ?? null, signal, ...reportersOf({ json, ...flags }) });
      print(outcome, json);
      if (fail) requireNoMatch(outcome, { dataset, against });
    });
}

function similarity(value: string): number {
  const parsed = Number(value);
  if (!(parsed > 0 && parsed < 1)) throw new InvalidArgumentError(`expected a number between 0 and 1, got ${value}.`);
  return parsed;
}
