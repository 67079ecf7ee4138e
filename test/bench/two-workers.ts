/**
 * What a second worker brings to clustering: a split level of 200,000 × 384 over a queue, made by one worker that is held to one
 * core and by two workers on a core each, in turns; and whether both trees are the same. Embedding is measured the same way by hand:
 * `taskset -c 0 winnow worker …`. Run with `npx tsx test/bench/two-workers.ts [n] [k]`; needs /usr/bin/redis-server, two free cores.
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
import { openFsStore } from '../../src/store/fs.ts';
import { createQueueExecutor } from '../../workers/executor.ts';
import { kill, startWorker } from '../workers/processes.ts';
import { startRedis } from '../workers/redis-server.ts';

const [n = 200_000, k = 4096] = process.argv.slice(2).map(Number);
const D = 384;
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const { signal } = new AbortController();
const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'two-workers', pool: [{ folder: '.' }], cluster: { levels: [k], split: { when: 'always' } } }, 'two-workers');
const execution = { ...resolveExecution(recipe.execution), clusterEngine: recipe.cluster.engine };
const redis = await startRedis();
const folder = mkdtempSync(join(tmpdir(), 'winnow-two-'));
const store = await openFsStore(folder);

/** Seconds of the clustering, of each kind of task in it, and the tree. */
async function round(workerCount: number): Promise<{ seconds: number; sha256: string }> {
  await store.remove('clusters/');
  await store.remove('work/');
  const workers = Array.from({ length: workerCount }, (_, core) => startWorker({ redis: redis.url, concurrency: 1 }, ['taskset', '-c', String(core)]));
  await Promise.all(workers.map((worker) => worker.saw('serves')));
  const log: Log = SILENT;
  const executor = await createQueueExecutor({ redis: redis.url, store, signal, log, execution, settings: recipe.execution, recipe, locations: {}, onAdvance: () => undefined, onNote: () => undefined });
  try {
    const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
    const started = performance.now();
    const { sha256 } = await clusterImages({ store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed: recipe.seed, resource: executor.resource }, embeddings, recipe.cluster);
    return { seconds: (performance.now() - started) / 1000, sha256 };
  } finally {
    await executor.close('done');
    await Promise.all(workers.map(kill));
  }
}

try {
  await writeImages(store, n);
  await writeEmbeddings(store, mixture(D), { n, d: D, dtype: 'float16' });
  const rounds = [];
  for (let r = 0; r < 2; r++) {
    const one = await round(1);
    const two = await round(2);
    rounds.push(one, two);
    say(`${n} × ${D} into ${k}: one worker ${one.seconds.toFixed(1)} s, two ${two.seconds.toFixed(1)} s: ${(one.seconds / two.seconds).toFixed(2)} times (load ${loadavg()[0]!.toFixed(1)})`);
  }
  say(new Set(rounds.map(({ sha256 }) => sha256)).size === 1 ? 'the same tree' : 'OTHER TREES');
} finally {
  await redis.stop();
  await rm(folder, { recursive: true, force: true });
}
