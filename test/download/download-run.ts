/** The download of a list into a store of the test's own, and the rows it ended with. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { download, retryDownload } from '../../src/download/download.ts';
import { type DownloadsManifest, type DownloadRows, readDownloads } from '../../src/download/downloads.ts';
import { SourceConfig } from '../../src/ingest/image.ts';
import { resolveSources } from '../../src/ingest/ingest.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { StoredManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

export interface DownloadRun {
  readonly folder: string;
  readonly context: RunContext;
  run(): Promise<StoredManifest<DownloadsManifest>>;
  retry(): ReturnType<typeof retryDownload>;
  /** All rows of the table, as one. */
  rows(stored: StoredManifest<DownloadsManifest>): Promise<Row[]>;
}

export interface Row {
  readonly uri: string;
  readonly status: DownloadRows['status'][number];
  readonly http: number;
  readonly final: string | null;
  readonly type: string | null;
  readonly id: string | null;
  readonly path: string | null;
  readonly offset: number;
  readonly length: number;
}

/** Settings under which tests ask 127.0.0.2 and higher, impatiently; the server listens on `ports`. */
export function impatient(ports: readonly number[], settings: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ports, allowPrivate: ['127.0.0.2/32', '127.0.0.4/30', '127.0.1.0/24'], hostDelayMs: 0, hostConnections: 16, retries: 1, retryDelayMs: 10,
    connectTimeoutMs: 1500, headersTimeoutMs: 1500, idleTimeoutMs: 700, totalTimeoutMs: 2500, retryAfterMaxMs: 1500, sizeBytesMax: 300_000, ...settings,
  };
}

/** @param list the text of a CSV with a column `url`, or the URLs */
export async function openDownloadRun(list: string | readonly string[], settings: Record<string, unknown>, { folder, signal = new AbortController().signal }: { folder?: string; signal?: AbortSignal } = {}): Promise<DownloadRun> {
  const at = folder ?? (await temporaryFolder('download'));
  await writeFile(join(at, 'web.csv'), typeof list === 'string' ? list : `url\n${list.map(quoted).join('\n')}\n`);
  const [source] = resolveSources([SourceConfig.parse({ name: 'web', urls: 'web.csv', column: 'url', download: settings })], at, {}, join(at, 'store'));
  const store = await openFsStore(join(at, 'store'));
  const execution = { concurrency: 2, threads: 1, blockRows: 1024, memoryBytes: 2 ** 20 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: { web: source!.location }, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  onTestFinished(() => executor.close());
  const context: RunContext = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
  return {
    folder: at,
    context,
    run: () => download(context, source!),
    retry: () => retryDownload(context, source!),
    rows: async ({ manifest }) => {
      const found: Row[] = [];
      for (const part of manifest.parts) {
        const { rowCount, uri, status, http, final, type, id, path, offset, length } = await readDownloads(store, part);
        for (let i = 0; i < rowCount; i++) found.push({ uri: uri[i]!, status: status[i]!, http: http[i]!, final: final[i]!, type: type[i]!, id: id[i]!, path: path[i]!, offset: offset[i]!, length: length[i]! });
      }
      return found;
    },
  };
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
