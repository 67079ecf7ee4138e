/** Commands that look and change nothing: what a depth would select, what a file is, index files, the schema. */
import { type Command, Option } from 'commander';
import { loadRecipe, recipeJsonSchema } from '../../config.ts';
import { inspect } from '../inspect.ts';
import { levels } from '../levels.ts';
import { type Common, count, print, reportersOf } from '../options.ts';

/** Adds `levels`, `index`, `inspect` and `schema`. */
export function addLook(program: Command, signal: AbortSignal): void {
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
      print(await levels({ loaded: await loadRecipe(recipe), store: options.store, ...reportersOf(options), signal }), options.json);
    });
  program
    .command('index')
    .description('write a faiss index file of the vectors, or of the centroids of a level')
    .argument('<store>', 'a store with embeddings, or with a tree')
    .requiredOption('--out <file>', 'the file to write')
    .option('--level <l>', 'centroids of this level, 1 the finest; default: the vectors of the pool', count)
    .addOption(new Option('--metric <metric>', 'squared L2, or inner products of unit vectors').choices(['l2', 'cosine']).default('l2'))
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow index ./winnow-out --level 1 --out leaves.index && python3 -c "import faiss; print(faiss.read_index(\'leaves.index\').ntotal)"\n')
    .action(async (store: string, { level = null, json, ...options }: { out: string; level?: number | null; metric: 'l2' | 'cosine'; json?: boolean }) => {
      const { indexFile } = await import('../index-file.ts');
      print(await indexFile({ store, level, ...options, signal }), json);
    });
  program
    .command('inspect')
    .description('say what a file, a stage or a store is')
    .argument('<path>', 'an Arrow file, a faiss index, a manifest, a stage or a store')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow inspect ./winnow-out/clusters\n')
    .action(async (path: string, options: { json?: boolean }) => print(await inspect(path), options.json));
  program
    .command('schema')
    .description('print the JSON Schema of recipes, for editors')
    .addHelpText('after', '\nExample:\n  winnow schema > recipe.schema.json\n')
    .action(() => print({ text: '', json: recipeJsonSchema() }, true));
}
