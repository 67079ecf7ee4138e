/**
 * `winnow plan` against reality on this machine: rates are measured, then runs of different size are planned and made,
 * and each stage's time and bytes are set beside what the plan said.
 *
 *   node --import tsx test/bench/plan-reality.ts                       all cases that can be made here
 *   node --import tsx test/bench/plan-reality.ts demo synthetic        some of them
 *   node --import tsx test/bench/plan-reality.ts --rates FILE demo     with rates measured before
 *
 * Cases: `longtail` and `tars` (evaluation data, MobileNetV2), `demo` (10,000 drawn pictures, the built-in descriptor),
 * `filtered` (4,000 of them, with filters and the search for copies), `synthetic` (200,000 vectors of 384 dimensions, from
 * clustering on), `wide` (60,000 of 1,024), `split` (200,000 of 384 into 16,000 clusters, cell by cell). Each runs in a process
 * of its own, as `winnow run` does: its first stages pay for starting up. Only a quiet machine says anything.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { clusterImages } from '../../pipelines/4-cluster.ts';
import { sample } from '../../pipelines/5-sample.ts';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { calibrate } from '../../src/bench/calibrate.ts';
import { mixture, writeEmbeddings, writeImages } from '../../src/bench/data.ts';
import { type Rates, readRates } from '../../src/bench/rates.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { resolveExecution } from '../../src/cli/session.ts';
import { type LoadedRecipe, RECIPE_FORMAT, loadRecipe } from '../../src/config.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { planRecipe } from '../../src/plan/plan.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, requireManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';

const MODEL = join(sharedData, 'models', 'mobilenetv2_fp32_224.onnx');
const signal = new AbortController().signal;

/** What one stage took, in a run or in a plan. */
interface Taken {
  seconds: number;
  read: number;
  written: number;
}

interface Case {
  readonly name: string;
  readonly recipe: Record<string, unknown>;
  /** Makes the input and says what the plan has to know. */
  prepare(folder: string): Promise<void>;
  /** Vectors made up for it, where the run begins with clustering; null: the whole road. */
  readonly made: { readonly n: number; readonly d: number } | null;
}

const POOL = [{ folder: '.' }];
const draw = (images: number) => async (folder: string): Promise<void> => void (await drawCorpus(join(folder, 'corpus'), { images }));
const nothing = async (): Promise<void> => undefined;

const CASES: readonly Case[] = [
  { name: 'longtail', recipe: { pool: [{ folder: join(sharedData, 'longtail') }], embed: { model: MODEL } }, prepare: nothing, made: null },
  { name: 'tars', recipe: { pool: [{ tars: join(sharedData, 'pool-tars') }], embed: { model: MODEL } }, prepare: nothing, made: null },
  { name: 'demo', recipe: { pool: [{ folder: 'corpus' }] }, prepare: draw(10_000), made: null },
  {
    name: 'filtered', prepare: draw(4000), made: null,
    recipe: { pool: [{ folder: 'corpus' }], filters: [{ name: 'thin', size: { sideMin: 32 } }, { name: 'soft', blur: {} }], dedup: { near: {}, perceptual: {} } },
  },
  { name: 'synthetic', recipe: { pool: POOL, cluster: { levels: [4000, 1000, 250], iterations: 20 } }, prepare: nothing, made: { n: 200_000, d: 384 } },
  { name: 'wide', recipe: { pool: POOL, cluster: { levels: [900, 60] } }, prepare: nothing, made: { n: 60_000, d: 1024 } },
  { name: 'split', recipe: { pool: POOL, cluster: { levels: [16_000, 800] } }, prepare: nothing, made: { n: 200_000, d: 384 } },
];

async function runFromClusters(context: RunContext, { recipe }: LoadedRecipe): Promise<void> {
  await clusterImages(context, await requireManifest<EmbeddingsManifest>(context.store, 'embeddings', 'embed'), recipe.cluster);
  await sample(context, recipe);
  await mix(context, recipe);
  await shard(context, recipe);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { rates: { type: 'string' } } });
  const scratch = await mkdtemp(join(tmpdir(), 'winnow-reality-'));
  try {
    const model = existsSync(MODEL) ? MODEL : null;
    const path = values.rates ?? join(scratch, 'rates.json');
    if (values.rates === undefined) await calibrate({ out: path, model, scale: 1, signal, note: (text) => void process.stderr.write(`${text}\n`) });
    const [only, ...others] = CASES.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
    if (only === undefined) throw new Error(`Expected cases of ${CASES.map(({ name }) => name).join(', ')}, got ${positionals.join(', ')}`);
    if (others.length > 0) {
      for (const { name } of [only, ...others]) spawnSync(process.execPath, [...process.execArgv, process.argv[1]!, '--rates', path, name], { stdio: 'inherit' });
      return;
    }
    const missing = only.name === 'longtail' || only.name === 'tars' ? withoutSharedData() : null;
    process.stdout.write(`\n${only.name}${missing === null ? '' : `: ${missing}`}\n`);
    if (missing === null) await compare(only, join(scratch, only.name), await readRates(path));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function compare({ recipe, prepare, made, name }: Case, folder: string, rates: Rates): Promise<void> {
  const store = countStore(await openFsStore(join(folder, 'store')));
  await writeFile(join(folder, 'recipe.yaml'), stringify({ format: RECIPE_FORMAT, name, ...recipe }));
  await prepare(folder);
  const loaded = await loadRecipe(join(folder, 'recipe.yaml'));
  if (made !== null) {
    await writeImages(store, made.n);
    await writeEmbeddings(store, mixture(made.d), { ...made, dtype: 'float16' });
  }
  const taken = new Map<string, Taken>();
  store.take();
  const log = { ...SILENT, debug: (event: { event?: string; stage?: string; seconds?: number }) => event.event === 'stage' && addTo(taken, event.stage === 'survivors' ? (loaded.recipe.dedup === undefined ? 'filter' : 'dedup') : event.stage!, { seconds: event.seconds!, ...store.take() }) } as unknown as Log;
  const execution = resolveExecution(loaded.recipe.execution);
  const { locations } = made === null ? sourcesOf(loaded) : { locations: {} };
  const executor = createLocalExecutor({ store, signal, log, execution, locations, tasks: 1, onAdvance: () => undefined, onNote: () => undefined });
  const context: RunContext = { store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed: loaded.recipe.seed, resource: executor.resource };
  const load = loadavg()[0]!;
  if (made === null) await curate(context, loaded);
  else await runFromClusters(context, loaded);
  await executor.close();
  report(await plannedStages(store, loaded, rates, made === null), taken, `load average ${load.toFixed(1)} before, ${loadavg()[0]!.toFixed(1)} after, ${availableParallelism()} cores`);
}

/** The plan, told what a user would know: how many images, how large, how many dimensions. */
async function plannedStages(store: Store, loaded: LoadedRecipe, rates: Rates, isWhole: boolean): Promise<Map<string, Taken>> {
  const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
  const images = embeddings.manifest.okRows.reduce((sum, rows) => sum + rows, 0);
  const { sizeBytes = 0 } = embeddings.manifest.stats as { sizeBytes?: number };
  const { stages } = planRecipe({
    recipe: loaded.recipe, execution: resolveExecution(loaded.recipe.execution), images, d: embeddings.manifest.d, workers: 1, rates, watts: 1, pricePerHour: null, parts: {},
    imageBytes: isWhole ? Math.round(sizeBytes / images) : 50_000, textBytes: await textBytes(store, images),
  });
  const planned = new Map<string, Taken>();
  for (const { stage, hours, bytesRead, bytesWritten, steps } of stages) {
    // The bytes of images are read from their sources, not from the store.
    const looks = steps.filter((one) => one.name === 'hashes' || (stage === 'filter' && one.name === 'rules')).length;
    const outside = stage === 'embed' ? sizeBytes : stage === 'ingest' ? bytesRead : looks * sizeBytes;
    planned.set(stage, { seconds: hours * 3600, read: bytesRead - outside, written: bytesWritten });
  }
  return planned;
}

/** Text of a row of the listing: what its table has beyond the fixed columns. */
async function textBytes(store: Store, images: number): Promise<number> {
  const { manifest }: StoredManifest = await requireManifest(store, 'images', 'ingest');
  return Math.max(1, Math.round(manifest.parts.reduce((sum, part) => sum + part.bytes, 0) / images - 41));
}

function addTo(taken: Map<string, Taken>, stage: string, { seconds, read, written }: Taken): void {
  const before = taken.get(stage) ?? { seconds: 0, read: 0, written: 0 };
  taken.set(stage, { seconds: before.seconds + seconds, read: before.read + read, written: before.written + written });
}

function report(planned: Map<string, Taken>, taken: Map<string, Taken>, load: string): void {
  process.stdout.write(`${load}\n${['stage', 'plan s', 'took s', 'ratio', 'plan MB', 'moved MB', 'ratio'].map((cell) => cell.padStart(10)).join('')}\n`);
  for (const [stage, { seconds, read, written }] of taken) {
    const plan = planned.get(stage)!;
    const [bytes, said] = [read + written, plan.read + plan.written];
    const cells = [stage, plan.seconds.toFixed(2), seconds.toFixed(2), (plan.seconds / seconds).toFixed(2), (said / 1e6).toFixed(2), (bytes / 1e6).toFixed(2), (said / bytes).toFixed(2)];
    process.stdout.write(`${cells.map((cell) => cell.padStart(10)).join('')}\n`);
  }
}

/** A store that counts what goes through it. */
function countStore(store: Store): Store & { take(): { read: number; written: number } } {
  let counts = { read: 0, written: 0 };
  return {
    uri: store.uri,
    read: async (key, range) => {
      const bytes = await store.read(key, range);
      counts.read += bytes.byteLength;
      return bytes;
    },
    write: async (key, bytes) => {
      const written = await store.write(key, bytes);
      counts.written += written.sizeBytes;
      return written;
    },
    head: (key) => store.head(key),
    list: (prefix) => store.list(prefix),
    remove: (key) => store.remove(key),
    take: () => {
      const taken = counts;
      counts = { read: 0, written: 0 };
      return taken;
    },
  };
}

await main();
