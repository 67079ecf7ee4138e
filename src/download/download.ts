/**
 * URL list → `downloads/<source>/`: the bytes of every URL that has a picture, in tars, and a table with one end for each row. Unlike the
 * other stages, what is done is kept whatever changes elsewhere: the web would give other bytes, or none. Only a block of rows that
 * the list does not have any more goes, after all others are done.
 */
import { WinnowError } from '../errors.ts';
import { REMARKS, SKIP_REASONS, type NamedSource, type Remark, type SkipReason } from '../ingest/image.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, hashOf, readManifest, requireManifest, rowCountOf, writeManifest } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { CREATED_BY } from '../version.ts';
import { type BlockPayload, downloadBlock } from './block.ts';
import { DownloadConfig, decisiveSettings } from './config.ts';
import { type BlockRecord, type DownloadsManifest, type Tar, downloadsPath, readBlock } from './downloads.ts';
import { type DownloadStatus, isTransient } from './status.ts';
import { type PlannedBlock, planBlocks } from './plan.ts';

/**
 * Fetches what is not there yet. A run that was killed goes on with the blocks that are not done.
 *
 * @throws {WinnowError} INPUT_MISSING, INPUT_MALFORMED, INPUT_EMPTY for the list; STORE_FULL; ABORTED. A URL never throws
 */
export async function download(context: RunContext, source: NamedSource): Promise<StoredManifest<DownloadsManifest>> {
  const { store, signal, log, progress } = context;
  const path = downloadsPath(source.name);
  const config = DownloadConfig.parse(source.config.download ?? {});
  const counts: Counts = {};
  const blocks: PlannedBlock[] = [];
  const count = (reason: SkipReason | Remark, times = 1): void => void (times > 0 && (counts[reason] = (counts[reason] ?? 0) + times));
  for await (const block of planBlocks(store, source, config, { signal, count })) blocks.push(block);
  const total = rowCountOf(blocks.map(({ rows }) => rows));
  if (total === 0) throw new WinnowError('INPUT_EMPTY', `Expected URLs in column ${source.config.column} of ${source.entries[0]}, got none${counts.blank === undefined ? '' : `; passed over: ${counts.blank} blank`}`);
  const folders = blocks.map(({ folder }) => folder);
  const configHash = hashOf({ stage: 'download', config: manifestConfig(source, config), folders, counts, version: MANIFEST_VERSION });
  const existing = await readManifest<DownloadsManifest>(store, path);
  if (existing !== null && existing.manifest.configHash === configHash) {
    log.info({ stage: 'download', path }, `${path}: done before, kept`);
    return existing;
  }
  progress.begin(path, total, 'URLs');
  progress.advance(rowCountOf(blocks.map(({ rows }) => rows)) - openRows(blocks), true);
  const payloads = blocks.filter(({ isDone }) => !isDone).map(({ folder, rows }): BlockPayload => ({ rows, root: path, folder, config, ask: 'all' }));
  await context.executor.map(downloadBlock, payloads, path);
  const stored = await commit(context, source, folders, { config: manifestConfig(source, config), configHash, counts });
  progress.end(describeEnds(stored.manifest));
  if ((statusesOf(stored.manifest).ok ?? 0) === 0) log.warn({ stage: 'download', path }, `${path}: no URL gave a picture: ${describeEnds(stored.manifest)}`);
  return stored;
}

/**
 * Asks again for the rows whose reason is transient, and for no other. Bytes that are there stay where they are; what is gained goes
 * to tars of its own.
 *
 * @returns how many URLs were asked for and how many gave a picture
 * @throws {WinnowError} INPUT_MISSING before the first download; as `download`
 */
export async function retryDownload(context: RunContext, source: NamedSource): Promise<{ asked: number; gained: number; stored: StoredManifest<DownloadsManifest> }> {
  const { store, progress } = context;
  const path = downloadsPath(source.name);
  const { manifest } = await requireManifest<DownloadsManifest>(store, path, 'download');
  const config = DownloadConfig.parse(source.config.download ?? {});
  const failed = manifest.parts.filter((_, p) => manifest.transient[p]! > 0);
  progress.begin(`retry ${path}`, rowCountOfAll(failed), 'URLs');
  const payloads = failed.map((rows): BlockPayload => ({ rows, root: path, folder: folderOf(rows), config, ask: 'failed' }));
  const results = await context.executor.map(downloadBlock, payloads, path);
  const { skipped, remarks } = manifest.stats as { skipped: Counts; remarks: Counts };
  const stored = await commit(context, source, manifest.parts.map(folderOf), { config: manifest.config, configHash: manifest.configHash, counts: { ...skipped, ...remarks } });
  const sum = (key: 'asked' | 'gained'): number => results.reduce((total, result) => total + result[key], 0);
  progress.end(`${sum('gained')} of ${sum('asked')} URLs gave a picture this time`);
  return { asked: sum('asked'), gained: sum('gained'), stored };
}

type Counts = Partial<Record<SkipReason | Remark, number>>;

function manifestConfig({ name, config: { column, label } }: NamedSource, config: DownloadConfig): Record<string, unknown> {
  return { name, column, label, ...decisiveSettings(config) };
}

function openRows(blocks: readonly PlannedBlock[]): number {
  return rowCountOfAll(blocks.filter(({ isDone }) => !isDone).map(({ rows }) => rows));
}

function rowCountOfAll(parts: readonly Part[]): number {
  return parts.reduce((sum, { rowCount }) => sum + rowCount, 0);
}

function folderOf({ path }: Part): string {
  return path.slice(0, path.lastIndexOf('/'));
}

/** Writes the manifest from what the blocks left, and removes what no block of it owns. */
async function commit({ store }: RunContext, source: NamedSource, folders: readonly string[], { config, configHash, counts }: { config: unknown; configHash: string; counts: Counts }): Promise<StoredManifest<DownloadsManifest>> {
  const path = downloadsPath(source.name);
  const records: BlockRecord[] = [];
  for (let first = 0; first < folders.length; first += READS_AT_ONCE) records.push(...(await Promise.all(folders.slice(first, first + READS_AT_ONCE).map((folder) => requireBlock(store, folder)))));
  const statuses: Partial<Record<DownloadStatus, number>> = {};
  for (const record of records) for (const [status, times] of Object.entries(record.statuses) as [DownloadStatus, number][]) statuses[status] = (statuses[status] ?? 0) + times;
  const parts = records.map(({ rows }) => rows);
  const tars: Tar[] = records.flatMap((record) => record.tars);
  const pick = (names: readonly (SkipReason | Remark)[]): Counts => Object.fromEntries(names.filter((name) => counts[name] !== undefined).map((name) => [name, counts[name]]));
  const manifest: DownloadsManifest = {
    format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'download', inputs: [], config, configHash, seed: 0, parts,
    stats: { rows: rowCountOf(parts), statuses, sizeBytes: records.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), skipped: pick(SKIP_REASONS), remarks: pick(REMARKS) },
    createdBy: CREATED_BY,
    source: source.name,
    tars,
    transient: records.map((record) => Object.entries(record.statuses).reduce((sum, [status, times]) => sum + (isTransient(status) ? times : 0), 0)),
  };
  const stored = await writeManifest(store, path, manifest);
  const keep = new Set([`${path}/manifest.json`, ...parts.map((part) => part.path), ...tars.map((tar) => tar.path), ...folders.map((folder) => `${folder}/block.json`)]);
  const strays: string[] = [];
  for await (const { key } of store.list(`${path}/`)) if (!keep.has(key)) strays.push(key);
  for (const key of strays) await store.remove(key);
  await store.remove(`work/${path}/`);
  return stored;
}

const READS_AT_ONCE = 16;

async function requireBlock(store: Store, folder: string): Promise<BlockRecord> {
  const record = await readBlock(store, folder);
  if (record === null) throw new WinnowError('INPUT_MISSING', `Expected a finished block at ${folder} of ${store.uri}, found none: run \`winnow download --force download\``);
  return record;
}

function statusesOf({ stats }: DownloadsManifest): Partial<Record<DownloadStatus, number>> {
  return (stats as { statuses: Partial<Record<DownloadStatus, number>> }).statuses;
}

/** `900 of 1000 URLs; 80 not-found, 20 timed-out`: reasons by count. */
export function describeEnds(manifest: DownloadsManifest): string {
  const { ok = 0, ...others } = statusesOf(manifest);
  const reasons = Object.entries(others).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([reason, times]) => `${times} ${reason}`);
  return `${ok} of ${rowCountOf(manifest.parts)} URLs gave a picture${reasons.length === 0 ? '' : `; ${reasons.join(', ')}`}`;
}
