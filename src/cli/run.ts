/** `winnow run` and the verb of each stage: the road up to that stage. */
import { STAGES, type StageName, curate, pathsOf, sourcesOf } from '../../pipelines/curate.ts';
import { type LoadedRecipe, suggest } from '../config.ts';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { ProgressSink } from '../run/stage.ts';
import { renderSummary, summarise } from '../report/summary.ts';
import { openSession } from './session.ts';

export interface RunRequest {
  readonly loaded: LoadedRecipe;
  readonly store: string;
  readonly until: StageName;
  readonly force: readonly string[];
  readonly progress: ProgressSink;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Redis whose workers run the tasks; absent: this process does. */
  readonly redis?: string | undefined;
}

export interface RunOutcome {
  readonly text: string;
  readonly json: unknown;
}

/** @throws {WinnowError} whatever ended the run; what was finished before stays */
export async function run(request: RunRequest): Promise<RunOutcome> {
  const { loaded, store, until, progress, log, signal } = request;
  const { recipe } = loaded;
  const forced = request.force.map(asStage);
  const { locations } = sourcesOf(loaded, store);
  const session = await openSession({ store, seed: recipe.seed, execution: recipe.execution, clusterEngine: recipe.cluster.engine, s3: recipe.s3, locations, signal, log, progress, command: `run until ${until}`, ...(request.redis !== undefined && { queue: { redis: request.redis, recipe } }) });
  let outcome = 'done';
  let message: string | undefined;
  try {
    for (const stage of forced) for (const path of pathsOf(stage, recipe)) await forget(session.context.store, path);
    const done = await curate(session.context, loaded, until);
    const summary = until === 'shard' ? await summarise(session.context.store) : null;
    const stages = Object.fromEntries([...done].map(([path, stored]) => [path, brief(stored)]));
    if (summary !== null) return { text: `${renderSummary(summary)}\n${session.context.store.uri}\n`, json: { ...summary, stages } };
    if (done.size === 0) return { text: 'Nothing to download: no source of the recipe has `urls`.\n', json: { store: session.context.store.uri, stages } };
    return { text: [...done].map(([path, { sha256 }]) => `${path}  ${sha256.slice(0, 12)}\n`).join(''), json: { store: session.context.store.uri, stages } };
  } catch (error) {
    outcome = error instanceof WinnowError ? error.code : 'failed';
    message = (error as Error).message;
    throw error;
  } finally {
    await session.close(outcome, message);
  }
}

function asStage(name: string): StageName {
  if ((STAGES as readonly string[]).includes(name)) return name as StageName;
  throw new WinnowError('CONFIG_INVALID', `Expected --force to name a stage, got "${name}"${suggest(name, STAGES)}; stages: ${STAGES.join(', ')}`);
}

async function forget(store: { remove(key: string): Promise<void> }, path: string): Promise<void> {
  await store.remove(path.endsWith('/') ? path : `${path}/manifest.json`);
  await store.remove(path.endsWith('/') ? `work/${path}` : `work/${path}/`);
}

function brief({ sha256, manifest }: StoredManifest): object {
  return { sha256, configHash: manifest.configHash, stats: manifest.stats };
}
