/**
 * What a second worker brings to clustering: a split level of 200,000 × 384 over a queue, made by one worker that is held to one
 * core and by two workers on a core each, in turns; and whether both trees are the same. Told of the whole stage, of assignment
 * (every pass that looks up the nearest leaf of all rows, from when the driver begins to queue its tasks until it has the last one's
 * record), and of each kind of task. Embedding is measured the same way by hand: `taskset -c 0 winnow worker …`.
 * Run with `npx tsx test/bench/two-workers.ts [n] [k] [rounds]`; needs /usr/bin/redis-server, two free cores.
 */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { clusterImages } from '../../pipelines/4-cluster.ts';
import { mixture, writeEmbeddings, writeImages } from '../../src/bench/data.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { resolveExecution } from '../../src/cli/session.ts';
import { parseRecipe } from '../../src/config.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { requireManifest } from '../../src/run/manifest.ts';
import type { Executor } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { createQueueExecutor } from '../../workers/executor.ts';
import { odd } from '../workers/odd-tasks.ts';
import { ODD_TASKS, kill, startWorker } from '../workers/processes.ts';
import { startRedis } from '../workers/redis-server.ts';

const [n = 200_000, k = 4096, rounds = 2] = process.argv.slice(2).map(Number);
const D = 384;
/** Whose queue all tasks go through. */
const STAGE = 'cluster';
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const { signal } = new AbortController();
const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'two-workers', pool: [{ folder: '.' }], cluster: { levels: [k], split: { when: 'always' } } }, 'two-workers');
const execution = { ...resolveExecution(recipe.execution), clusterEngine: recipe.cluster.engine };
const redis = await startRedis();
const folder = mkdtempSync(join(tmpdir(), 'winnow-two-'));
const store = await openFsStore(folder);

/** Seconds by kind of task: `cluster-reassign sums` are the passes of the updates, `cluster-reassign rows` is the last. */
type Steps = Map<string, { readonly seconds: number; readonly passes: number; readonly tasks: number }>;
const isAssignment = (name: string): boolean => name.startsWith('cluster-reassign');

/** The same executor, with a clock at each list of tasks. */
function clocked(executor: Executor, steps: Steps): Executor {
  return {
    map: async (kind, payloads, scope) => {
      const started = performance.now();
      const results = await executor.map(kind, payloads, scope);
      const { leave } = payloads[0] as { leave?: string };
      const name = leave === undefined ? kind.name : `${kind.name} ${leave}`;
      const { seconds = 0, passes = 0 } = steps.get(name) ?? {};
      steps.set(name, { seconds: seconds + (performance.now() - started) / 1000, passes: passes + 1, tasks: payloads.length });
      return results;
    },
  };
}

/** Seconds of the clustering, of each kind of task in it, and the tree. */
async function round(workerCount: number): Promise<{ seconds: number; sha256: string; steps: Steps }> {
  await store.remove('clusters/');
  await store.remove('work/');
  const workers = Array.from({ length: workerCount }, (_, core) => startWorker({ redis: redis.url, stages: [STAGE], concurrency: 1, taskModules: [ODD_TASKS] }, ['taskset', '-c', String(core)]));
  await Promise.all(workers.map((worker) => worker.saw('serves')));
  const log: Log = SILENT;
  const executor = await createQueueExecutor({ redis: redis.url, store, signal, log, execution, settings: recipe.execution, recipe, locations: {}, stageOf: () => STAGE, onAdvance: () => undefined, onNote: () => undefined });
  try {
    const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
    // Each worker gets one of these and has a task process from then on, as a worker has that has been there for a while.
    await executor.map(odd, workers.map((_, number) => ({ number, way: 'rest', ms: 5_000, counted: false })), 'clusters');
    const steps: Steps = new Map();
    const started = performance.now();
    const { sha256 } = await clusterImages({ store, executor: clocked(executor, steps), signal, log, progress: SILENT_PROGRESS, execution, seed: recipe.seed, resource: executor.resource }, embeddings, recipe.cluster);
    return { seconds: (performance.now() - started) / 1000, sha256, steps };
  } finally {
    await executor.close('done');
    await Promise.all(workers.map(kill));
  }
}

type Measured = Awaited<ReturnType<typeof round>>;

function tell(one: Measured, two: Measured): void {
  const load = `load ${loadavg()[0]!.toFixed(1)}`;
  say(`${n} × ${D} into ${k}, the stage: one worker ${one.seconds.toFixed(1)} s, two ${two.seconds.toFixed(1)} s: ${(one.seconds / two.seconds).toFixed(2)} times (${load})`);
  const total = ({ steps }: Measured): { seconds: number; rows: number } => {
    const passes = [...steps].filter(([name]) => isAssignment(name)).map(([, step]) => step);
    return { seconds: passes.reduce((sum, { seconds }) => sum + seconds, 0), rows: n * passes.reduce((sum, { passes: count }) => sum + count, 0) };
  };
  const rate = (measured: Measured): number => total(measured).rows / total(measured).seconds;
  say(`  assignment: one worker ${rate(one).toFixed(0)} rows/s, two ${rate(two).toFixed(0)} rows/s: ${(rate(two) / rate(one)).toFixed(2)} times`);
  for (const [name, { seconds, passes, tasks }] of one.steps) {
    const both = two.steps.get(name)!.seconds;
    say(`  ${name}: ${passes} × ${tasks} tasks, ${seconds.toFixed(2)} s and ${both.toFixed(2)} s: ${(seconds / both).toFixed(2)} times`);
  }
}

try {
  await writeImages(store, n);
  await writeEmbeddings(store, mixture(D), { n, d: D, dtype: 'float16' });
  const trees = new Set<string>();
  for (let r = 0; r < rounds; r++) {
    const one = await round(1);
    const two = await round(2);
    for (const { sha256 } of [one, two]) trees.add(sha256);
    tell(one, two);
  }
  say(trees.size === 1 ? `the same tree, ${[...trees][0]!.slice(0, 12)}` : 'OTHER TREES');
} finally {
  await redis.stop();
  await rm(folder, { recursive: true, force: true });
}
