/** Program: a driver as `winnow run --redis` is: the whole road of a recipe over a queue. */
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { resolveExecution } from '../../src/cli/session.ts';
import { loadRecipe } from '../../src/config.ts';
import { WinnowError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { createQueueExecutor } from '../../workers/executor.ts';

const [recipePath, folder, redis, settingsText = '{}'] = process.argv.slice(2) as [string, string, string, string?];
const log = createLog({ level: 'info' });
const { signal } = new AbortController();
const loaded = await loadRecipe(recipePath);
const { recipe } = loaded;
const store = await openFsStore(folder);
const execution = { ...resolveExecution(recipe.execution), clusterEngine: recipe.cluster.engine };
let outcome = 'failed';
const executor = await createQueueExecutor({
  redis, store, signal, log, execution, settings: recipe.execution, recipe,
  locations: sourcesOf(loaded, store.uri).locations,
  onAdvance: () => undefined,
  onNote: () => undefined,
  lookEveryMs: 1_000,
  ...(JSON.parse(settingsText) as { redisTimeoutMs?: number; version?: string }),
});
try {
  await curate({ store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed: recipe.seed, resource: executor.resource }, loaded);
  outcome = 'done';
} catch (error) {
  process.stderr.write(`${error instanceof WinnowError ? `${error.code}: ${error.message}` : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await executor.close(outcome);
}
