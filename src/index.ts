/**
 * Winnow as a library: load a recipe, run it into a store, read what came out. What is not exported here is internal and
 * may change without notice.
 */
export { batches } from '../pipelines/9-batch.ts';
export { SILENT_PROGRESS } from './cli/progress.ts';
export { type RunOutcome, type RunRequest, run } from './cli/run.ts';
export { type LoadedRecipe, type Recipe, loadRecipe, parseRecipe, recipeJsonSchema } from './config.ts';
export { ERROR_CODES, type ErrorCode, WinnowError } from './errors.ts';
export { createLog, SILENT } from './log.ts';
export { summarise, type Summary } from './report/summary.ts';
export { openFsStore } from './store/fs.ts';
export type { Store } from './store/store.ts';
export { createSampler } from './batch/sampler.ts';
export { openDataset } from './shard/read.ts';
