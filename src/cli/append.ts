/** `winnow append`: new images into the tree that a run fitted, and the dataset made anew from it. */
import { type AppendOptions, append, renderDrift } from '../../pipelines/append.ts';
import { sourcesOf } from '../../pipelines/curate.ts';
import { isAppended } from '../cluster/append.ts';
import { WinnowError } from '../errors.ts';
import { renderSummary, summarise } from '../report/summary.ts';
import type { RunOutcome, RunRequest } from './run.ts';
import { openSession } from './session.ts';

export type AppendRequest = Omit<RunRequest, 'until' | 'force'> & AppendOptions;

/** @throws {WinnowError} whatever ended the run; the store is then as it was, or holds the appended tree whole */
export async function runAppend({ loaded, store, verify, progress, log, signal }: AppendRequest): Promise<RunOutcome> {
  const { recipe } = loaded;
  const { locations } = sourcesOf(loaded, store);
  const session = await openSession({ store, seed: recipe.seed, execution: recipe.execution, clusterEngine: recipe.cluster.engine, s3: recipe.s3, locations, signal, log, progress, command: 'append' });
  let outcome = 'done';
  try {
    const { added, clusters, done } = await append(session.context, loaded, { verify });
    const summary = (await summarise(session.context.store))!;
    const stages = Object.fromEntries([...done].map(([path, { sha256, manifest }]) => [path, { sha256, configHash: manifest.configHash, stats: manifest.stats }]));
    const drift = isAppended(clusters.manifest) ? clusters.manifest.stats.drift : null;
    return { text: `${renderSummary(summary)}\n${renderDrift(clusters)}\n${session.context.store.uri}\n`, json: { ...summary, appended: { images: added, drift }, stages } };
  } catch (error) {
    outcome = error instanceof WinnowError ? error.code : 'failed';
    throw error;
  } finally {
    await session.close(outcome);
  }
}
