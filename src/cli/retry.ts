/** `winnow retry --failed RECIPE`: rows whose reason may have passed, asked for again. For tasks of a queue see `status.ts`. */
import { sourcesOf } from '../../pipelines/curate.ts';
import { retryFailed } from '../../pipelines/retry.ts';
import { WinnowError } from '../errors.ts';
import type { RunOutcome, RunRequest } from './run.ts';
import { openSession } from './session.ts';

/** @throws {WinnowError} whatever ended the retry; what was downloaded by then stays, tables are as they were or whole */
export async function retryRows({ loaded, store, redis, progress, log, signal }: Omit<RunRequest, 'until' | 'force'>): Promise<RunOutcome> {
  const { recipe } = loaded;
  const { locations } = sourcesOf(loaded, store);
  const session = await openSession({ store, seed: recipe.seed, execution: recipe.execution, clusterEngine: recipe.cluster.engine, s3: recipe.s3, locations, signal, log, progress, command: 'retry', ...(redis !== undefined && { queue: { redis, recipe } }) });
  let outcome = 'done';
  try {
    const done = await retryFailed(session.context, loaded);
    const lines = [
      ...(done.asked > 0 ? [`${done.downloaded} of ${done.asked} URLs gave a picture this time`] : []),
      `${done.images} images more than before${done.changed.length === 0 ? '; no table changed' : `; changed: ${done.changed.join(', ')}; \`winnow run\` goes on from there`}`,
    ];
    return { text: `${lines.join('\n')}\n`, json: done };
  } catch (error) {
    outcome = error instanceof WinnowError ? error.code : 'failed';
    throw error;
  } finally {
    await session.close(outcome);
  }
}
