/** The embed stage over a source, with a store and an executor of its own. */
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { decodeTable, type TableView } from '../../src/arrow/ipc.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { embed } from '../../src/embed/embed.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { openEncoder } from '../../src/embed/task.ts';
import { type ImagesManifest, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor, type LocalExecutor } from '../../src/run/local.ts';
import { type StoredManifest, readPart } from '../../src/run/manifest.ts';
import type { Execution, RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

export interface EmbedRun {
  readonly images: StoredManifest<ImagesManifest>;
  readonly context: RunContext;
  readonly executor: LocalExecutor;
  /** @param model as `createEncoder` takes it; null: check only */
  embed(model: string | null, config?: Record<string, unknown>, path?: string): Promise<StoredManifest<EmbeddingsManifest>>;
  /** The one part of a table. */
  table(stored: StoredManifest<EmbeddingsManifest>): Promise<TableView>;
}

export interface EmbedRunOptions {
  readonly execution?: Partial<Execution>;
  readonly signal?: AbortSignal;
  /** A store to go on in. */
  readonly store?: string;
  readonly onAdvance?: (units: number, kept: boolean) => void;
}

/** Lists `source` (as a recipe gives it, without a name) into a store. */
export async function openEmbedRun(source: Record<string, unknown>, options: EmbedRunOptions = {}): Promise<EmbedRun> {
  const { signal = new AbortController().signal, onAdvance = () => {} } = options;
  const sources = resolveSources([SourceConfig.parse({ name: 'pool', ...source })], '/');
  const store = await openFsStore(options.store ?? join(await temporaryFolder('embed'), 'store'));
  const execution = { concurrency: 2, threads: 1, blockRows: 1024, memoryBytes: 2 ** 20, ...options.execution };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: { pool: sources[0]!.location }, tasks: 1, onAdvance, onNote: () => {} });
  onTestFinished(() => executor.close());
  const context: RunContext = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
  const images = await ingest(context, { path: 'images', sources });
  return {
    images,
    context,
    executor,
    embed: async (model, settings = {}, path = 'embeddings') => {
      const config = EmbedConfig.parse({ model: model ?? 'descriptor', maxDropRatio: 1, ...settings });
      return embed(context, { path, images, config, model: model === null ? null : { reference: model, encoder: await openEncoder(model, config, context) } });
    },
    table: async ({ manifest: { parts } }) => decodeTable(await readPart(store, parts[0]!), parts[0]!.path),
  };
}
