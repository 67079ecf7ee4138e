/** `winnow demo`: the whole road on a corpus it draws itself, or on a folder of the user's pictures. */
import { basename, join, resolve } from 'node:path';
import { sourcesOf } from '../../pipelines/curate.ts';
import { type LoadedRecipe, loadRecipe } from '../config.ts';
import { CONCEPTS } from '../demo/concepts.ts';
import { drawCorpus } from '../demo/draw.ts';
import { WinnowError } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { Log } from '../log.ts';
import { drawRunSheets } from '../report/sheets.ts';
import type { ProgressSink } from '../run/stage.ts';
import { packageRoot } from './package-root.ts';
import { reportStore } from './report.ts';
import { type RunOutcome, run } from './run.ts';
import { openStore, storeFolder } from '../store/open.ts';

export interface DemoRequest {
  /** A folder of pictures, or null: draw a corpus. */
  readonly images: string | null;
  /** Pictures to draw. */
  readonly count: number;
  readonly store: string;
  readonly progress: ProgressSink;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** @throws {WinnowError} whatever ended the run; a second call goes on where it was */
export async function demo(request: DemoRequest): Promise<RunOutcome> {
  const { store, progress, log, signal } = request;
  const root = storeFolder(store);
  const pictures = request.images ?? (await draw(request, join(root, 'corpus')));
  const loaded = await recipeFor(request.images === null ? 'demo' : 'folder', pictures);
  const { text, json } = await run({ loaded, store, until: 'shard', force: [], progress, log, signal });
  const sheets = await drawSheets(loaded, root);
  const report = await reportStore(root, { output: join(root, 'report.html'), source: [], sizeMb: 8, steps: 100_000 }, signal);
  return { text: `${text}${sheets.map((path) => `${path}\n`).join('')}\nOpen this to see what happened: ${report.json.path}\n\nEmbedding: the built-in descriptor (colour, gradients, layout; no download). For semantic clusters set\nembed.model to an ONNX model: a file, or hf:owner/name.\n`, json };
}

async function draw({ count, progress, signal }: DemoRequest, folder: string): Promise<string> {
  progress.begin('draw', count, 'pictures');
  let done = 0;
  const summary = await drawCorpus(folder, {
    images: count,
    concepts: Math.min(count, CONCEPTS.length),
    signal,
    onProgress: (now) => {
      progress.advance(now - done);
      done = now;
    },
  });
  progress.end(`${summary.images} pictures of ${summary.concepts.length} concepts in ${folder}`);
  return folder;
}

/** Pictures of the result, beside the store's tables. @returns their paths */
async function drawSheets(loaded: LoadedRecipe, root: string): Promise<string[]> {
  const { recipe } = loaded;
  const reader = openByteReader(sourcesOf(loaded, root).locations);
  try {
    const keys = await drawRunSheets(await openStore(root), { reader, limits: recipe.embed.limits, seed: recipe.seed });
    return keys.map((key) => join(root, key));
  } finally {
    await reader.close();
  }
}

/** The recipe as it lies in the package, with the folder put in its pool. */
async function recipeFor(name: 'demo' | 'folder', pictures: string): Promise<LoadedRecipe> {
  const { recipe } = await loadRecipe(join(packageRoot(), 'pipelines', 'recipes', `${name}.yaml`));
  const source = recipe.pool[0];
  if (source === undefined) throw new WinnowError('CONFIG_INVALID', `Expected ${name}.yaml to have a source`);
  return { recipe: { ...recipe, pool: [{ ...source, name: sourceName(pictures), folder: resolve(pictures) }] }, baseDirectory: process.cwd() };
}

/** A folder's own name where it is a valid source name. */
function sourceName(folder: string): string {
  const name = basename(resolve(folder)).replaceAll(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return name === '' ? 'images' : name;
}
