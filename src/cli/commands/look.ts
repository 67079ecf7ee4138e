/** Commands that look and change nothing: what a depth would select, what a file is, index files, the schema. */
import { type Command, Option } from 'commander';
import { loadRecipe, recipeJsonSchema } from '../../config.ts';
import { inspect } from '../inspect.ts';
import { levels } from '../levels.ts';
import { type Common, collect, count, print, reportersOf, wholeNumber } from '../options.ts';
import type { AtlasFlags } from '../pages.ts';
import type { ReportFlags } from '../report.ts';
import { createCliLog } from '../session.ts';

/** Adds `levels`, `index`, `inspect`, `explain`, `diff`, `report`, `atlas` and `schema`. */
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
  addIndex(program, signal);
  program
    .command('inspect')
    .description('say what a file, a stage or a store is')
    .argument('<path>', 'an Arrow file, an image, a faiss index, a manifest, a stage or a store')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow inspect ./winnow-out/clusters\n')
    .action(async (path: string, options: { json?: boolean }) => print(await inspect(path), options.json));
  program
    .command('explain')
    .description('say why an image is in the dataset, or is not')
    .argument('<image>', 'its content id, its uri, the end of one, or row:N')
    .option('--store <folder>', 'the store; what is not finished is not told', './winnow-out')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow explain cat-0017.jpg --store ./winnow-out\n')
    .action(async (image: string, { store, json }: { store: string; json?: boolean }) => {
      const { explain } = await import('../explain.ts');
      print(await explain(store, image, signal), json);
    });
  program
    .command('diff')
    .description('say what changed between two datasets, and why')
    .argument('<a>', 'a store with a dataset')
    .argument('<b>', 'another')
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow diff ./before ./after\n')
    .action(async (a: string, b: string, { json }: { json?: boolean }) => {
      const { diff } = await import('../diff.ts');
      print(await diff(a, b, signal), json);
    });
  addReport(program, signal);
  addAtlas(program, signal);
  program
    .command('schema')
    .description('print the JSON Schema of recipes, for editors')
    .addHelpText('after', '\nExample:\n  winnow schema > recipe.schema.json\n')
    .action(() => print({ text: '', json: recipeJsonSchema() }, true));
}

function addIndex(program: Command, signal: AbortSignal): void {
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
}

function addReport(program: Command, signal: AbortSignal): void {
  program
    .command('report')
    .description('show what a run did to its images: one HTML file that opens offline')
    .argument('<store>', 'a store; the report has what is finished')
    .option('-o, --output <file>', 'the file to write', 'report.html')
    .option('--source <name=folder>', 'where a source lies now; may be repeated', collect, [])
    .option('--size-mb <n>', 'megabytes of the file at most: thumbnails are left out to keep it', count, 8)
    .option('--steps <n>', 'steps of the training run that is rehearsed', count, 100_000)
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow report ./winnow-out -o report.html\n')
    .action(async (store: string, { json, ...flags }: ReportFlags & { json?: boolean }) => {
      const { reportStore } = await import('../report.ts');
      print(await reportStore(store, flags, signal), json);
    });
}

function addAtlas(program: Command, signal: AbortSignal): void {
  program
    .command('atlas')
    .description('walk the tree in a browser, from the top clusters to the images, and curate it by hand; until stopped')
    .argument('<store>', 'a store with a finished tree')
    .option('--host <address>', 'address to listen on; another than loopback needs --token', '127.0.0.1')
    .option('--port <n>', 'port, 0 for any free one', wholeNumber, 8920)
    .option('--token <text>', 'what every request must bring, 16 characters or more; default: WINNOW_TOKEN')
    .option('--recipe <file>', 'the recipe of the run: names the model that dropped pictures are searched with')
    .option('--source <name=folder>', 'where a source lies now; may be repeated', collect, [])
    .option('--cache <folder>', 'where the tables of the atlas are kept; default: atlas/ in the store')
    .option('--cache-mb <n>', 'megabytes of tables kept in memory, and as many of thumbnails', count, 64)
    .option('--redis <url>', 'show what this queue does on the live page')
    .addHelpText('after', '\nExample:\n  winnow atlas ./winnow-out               # then open http://127.0.0.1:8920\n')
    .action(async (store: string, flags: AtlasFlags) => {
      const { serveAtlas } = await import('../pages.ts');
      await serveAtlas(store, flags, { log: createCliLog({ json: false, level: 'info' }), signal, onReady: (url) => process.stderr.write(`The atlas of ${store} is at ${url}\n`) });
    });
}
