/**
 * The task of the download: the URLs of one block of rows, each to one end. Bodies are spooled while requests end in any order; tars are
 * written in the order of rows, so the same bytes from the web give the same files at any concurrency.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { Part } from '../run/manifest.ts';
import type { DownloadConfig } from './config.ts';
import { type BlockRecord, type DownloadRows, encodeRows, readBlock, readDownloads } from './downloads.ts';
import { type Fetched, type Fetcher, createFetcher } from './fetch-image.ts';
import { type Spool, createSpool } from './spool.ts';
import { type DownloadStatus, isTransient } from './status.ts';
import { type Sample, writeTars } from './tars.ts';
import { parseEntry } from './url.ts';

export interface BlockPayload {
  /** The rows as they stand: those of the list with status `unasked`, or those of a finished block. */
  readonly rows: Part;
  /** Key prefix that tars are named from: `downloads/<source>`. */
  readonly root: string;
  /** Key prefix of the block. */
  readonly folder: string;
  readonly config: DownloadConfig;
  /** `all`: unless the block is finished. `failed`: of a finished block, rows with a transient reason. */
  readonly ask: 'all' | 'failed';
}

export interface BlockResult {
  /** URLs asked for by this task. */
  readonly asked: number;
  /** Rows that are `ok` now and were not before. */
  readonly gained: number;
}

/** Several at a time in one process: the last URLs of one block are slow, and their waiting is no work. */
const BLOCKS_AT_ONCE = 4;

export const downloadBlock: TaskKind<BlockPayload, BlockResult> = {
  name: 'download-block',
  version: 1,
  atOnce: BLOCKS_AT_ONCE,
  run: async (payload, env) => {
    const { folder, config, ask } = payload;
    const before = await readBlock(env.store, folder);
    if (ask === 'all' && before !== null) {
      env.advance(before.rows.rowCount);
      return { asked: 0, gained: 0 };
    }
    const part = ask === 'failed' && before !== null ? before.rows : payload.rows; // what an earlier try gained stays
    const rows = await readDownloads(env.store, part);
    const wanted = rows.status.map((status) => (ask === 'all' ? status === 'unasked' : isTransient(status)));
    const fetcher = await env.resource(`fetcher ${JSON.stringify(config)}`, async () => createFetcher(config));
    const spool = createSpool();
    try {
      const fetched = await fetchRows(rows, wanted, fetcher, spool, env);
      const record = await writeBlock(payload, rows, fetched, before, env);
      await env.store.write(`${folder}/block.json`, new TextEncoder().encode(`${JSON.stringify(record)}\n`));
      return { asked: fetched.size, gained: (record.statuses.ok ?? 0) - (before?.statuses.ok ?? 0) };
    } finally {
      await spool.close();
    }
  },
};

/** By row of the block. Rows with one URL share one fetch. */
async function fetchRows({ uri, rowCount }: DownloadRows, wanted: readonly boolean[], fetcher: Fetcher, spool: Spool, env: TaskEnv): Promise<Map<number, Fetched>> {
  const fetched = new Map<number, Fetched>();
  const byUrl = new Map<string, Promise<Fetched>>();
  const stop = new AbortController();
  const stopped = AbortSignal.any([env.signal, stop.signal]);
  setMaxListeners(0, stopped); // every URL of the block hears it
  const fetchRow = async (row: number): Promise<void> => {
    const parsed = parseEntry(uri[row]!);
    if ('reason' in parsed) fetched.set(row, { status: parsed.reason, http: null, final: null, type: null, picture: null });
    else {
      const { href } = parsed.url;
      let fetching = byUrl.get(href);
      if (fetching === undefined) byUrl.set(href, (fetching = fetcher.fetch(parsed.url, spool, stopped)));
      fetched.set(row, await fetching);
    }
    env.advance(1);
  };
  const rows = Array.from({ length: rowCount }, (_, row) => row).filter((row) => wanted[row]);
  env.advance(rowCount - rows.length);
  // All at once: the gate has each wait its turn. The first fault of this machine ends the others.
  const ends = await Promise.allSettled(
    rows.map((row) =>
      fetchRow(row).catch((error: unknown) => {
        stop.abort(error);
        throw error;
      }),
    ),
  );
  if (stop.signal.aborted) throw stop.signal.reason;
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return fetched;
}

async function writeBlock({ rows: part, root, folder, config }: BlockPayload, before: DownloadRows, fetched: ReadonlyMap<number, Fetched>, record: BlockRecord | null, env: TaskEnv): Promise<BlockRecord> {
  const samples: Sample[] = [];
  /** Sample of each picture: rows with one URL share its bytes, under the key of the first of them. */
  const sampleOf = new Map<Fetched['picture'], number>();
  for (const [row, { picture, final, type }] of [...fetched].sort(([a], [b]) => a - b)) {
    if (picture === null || sampleOf.has(picture)) continue;
    sampleOf.set(picture, samples.length);
    samples.push({ row: part.firstRow + row, ...picture, json: describe(before, row, picture.sha256, final, type), caption: before.caption[row] ?? null });
  }
  const { tars, places } = await writeTars(env.store, root, folder, samples, config.shardBytesMax, env.signal);
  const after = {
    ...before,
    status: [...before.status], http: before.http.slice(), final: [...before.final], type: [...before.type],
    id: [...before.id], path: [...before.path], offset: before.offset.slice(), length: before.length.slice(),
  };
  for (const [row, { status, http, final, type, picture }] of fetched) {
    after.status[row] = status;
    after.http[row] = http ?? 0;
    after.final[row] = final;
    after.type[row] = type === null ? null : printable(type);
    const place = picture === null ? null : places[sampleOf.get(picture)!]!;
    after.id[row] = picture === null ? null : picture.sha256.slice(0, ID_LENGTH);
    after.path[row] = place?.path ?? null;
    after.offset[row] = place?.offset ?? -1;
    after.length[row] = place?.length ?? -1;
  }
  const bytes = encodeRows(after);
  const statuses: Partial<Record<DownloadStatus, number>> = {};
  for (const status of after.status) statuses[status] = (statuses[status] ?? 0) + 1;
  const rows = await writeRows(env, folder, part, bytes);
  return { rows, tars: [...(record?.tars ?? []), ...tars], statuses, sizeBytes: (record?.sizeBytes ?? 0) + samples.reduce((sum, { body }) => sum + body.sizeBytes, 0) };
}

/** Under the name of their hash: a reader of the table before finds it whole until the manifest names this one. */
async function writeRows({ store }: TaskEnv, folder: string, { firstRow, rowCount }: Part, bytes: Uint8Array): Promise<Part> {
  const path = `${folder}/rows-${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}.arrow`;
  const { sizeBytes, sha256 } = await store.write(path, bytes);
  return { path, firstRow, rowCount, bytes: sizeBytes, sha256 };
}

/** The `.json` beside a picture. The list's own JSON goes in as it is, so that long numbers keep their digits. */
function describe({ uri, label, meta }: DownloadRows, row: number, sha256: string, final: string | null, type: string | null): string {
  const facts = { url: uri[row], ...(final !== null && { final }), sha256, ...(type !== null && { type: printable(type) }), ...(label[row] !== null && { label: label[row] }) };
  const text = JSON.stringify(facts);
  return meta[row] === null ? text : `${text.slice(0, -1)},"meta":${meta[row]}}`;
}

/** Headers are bytes: only ASCII of them is told. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

const ID_LENGTH = 32;
