/**
 * Appending to `embeddings/`: the table of a longer listing, from the table of its first rows and that of the rows after
 * them. Parts that hold only old or only new rows are taken as they are; the part in between is joined. The result has the
 * bytes that embedding the whole listing at once would give.
 */
import assert from 'node:assert/strict';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type ColourStats, type ImagesManifest, totalColours } from '../ingest/image.ts';
import { MANIFEST_VERSION, type Part, type StoredManifest, hashOf, readPart, rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { CREATED_BY } from '../version.ts';
import type { EmbedConfig } from './config.ts';
import { describeStatuses } from './embed.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingStatus, type EmbeddingsManifest } from './embedding.ts';
import { type EmbeddingRows, rowColumns } from './rows.ts';

/**
 * Vectors of two models, or of one at two settings, must not meet in one table.
 *
 * @param encoder what the recipe's model is, as it would stand in a manifest
 * @throws {WinnowError} CONFIG_INVALID naming the settings that differ
 */
export function requireSameEmbedding(before: EmbeddingsManifest, config: EmbedConfig, encoder: Readonly<Record<string, unknown>>): void {
  const other = otherSettings(before, config, encoder);
  if (other.length === 0) return;
  const named = other.map((key) => `embed.${key}`).join(', ');
  throw new WinnowError('CONFIG_INVALID', `Expected the recipe to embed as the images of the fitted tree were, got another ${named}: set it back, or run \`winnow run\` to embed all images and fit a new tree`, { details: { other } });
}

/** Names of what a table was embedded with otherwise; none: new rows may join it. */
export function otherSettings(before: EmbeddingsManifest, config: EmbedConfig, encoder: Readonly<Record<string, unknown>>): string[] {
  const { encoder: _, ...settings } = before.config as Record<string, unknown>;
  const other = Object.keys(settings).filter((key) => hashOf({ value: settings[key] }) !== hashOf({ value: config[key as keyof EmbedConfig] }));
  const old = before.encoder ?? {};
  const facts = [...new Set([...Object.keys(old), ...Object.keys(encoder)])].filter((key) => hashOf({ value: old[key] }) !== hashOf({ value: encoder[key] }));
  return facts.length === 0 ? other : [`model (${facts.join(', ')})`, ...other];
}

export interface ExtendRequest {
  readonly before: StoredManifest<EmbeddingsManifest>;
  /** The rows after those of `before`, numbered from 0; null when there are none. */
  readonly added: EmbeddingsManifest | null;
  /** The longer listing. */
  readonly images: StoredManifest<ImagesManifest>;
  readonly maxDropRatio: number;
  /** Key prefix, ending in `/`, under which joined parts are written. */
  readonly staging: string;
}

export interface Extended {
  /** The manifest as it is to be, its parts where they are to be. */
  readonly manifest: EmbeddingsManifest;
  /** The same parts where they lie now. */
  readonly at: readonly Part[];
}

/**
 * Makes the manifest of the longer table, and the parts that hold old and new rows.
 *
 * @throws {WinnowError} TOO_MANY_DROPPED when more than `maxDropRatio` of all images, old and new, are rejected
 */
export async function extendEmbeddings({ store, signal }: RunContext, { before, added, images, maxDropRatio, staging }: ExtendRequest): Promise<Extended> {
  const old = before.manifest;
  if (added !== null) assert.deepEqual(added.config, old.config, 'Expected new rows to be embedded as the old ones were');
  const stats = sumStats(old.stats as unknown as EmbedStats, added?.stats as EmbedStats | undefined);
  requireFewDropped(stats, maxDropRatio);
  const first = rowCountOf(old.parts);
  const pieces: Piece[] = [...old.parts.map((part, p) => ({ part, ok: old.okRows[p]! })), ...(added?.parts ?? []).map((part, p) => ({ part: { ...part, firstRow: part.firstRow + first }, ok: added!.okRows[p]! }))];
  const byRows = new Map(pieces.map((piece) => [`${piece.part.firstRow} ${piece.part.rowCount}`, piece]));
  const at: Piece[] = [];
  for (const { firstRow, rowCount } of cutsOf(images.manifest.parts)) {
    throwIfAborted(signal);
    const path = `${before.path}/part-${String(at.length).padStart(5, '0')}.arrow`;
    at.push(byRows.get(`${firstRow} ${rowCount}`) ?? (await joinRows(store, pieces, firstRow, rowCount, old.d, `${staging}${path}`)));
  }
  const parts = at.map(({ part }, p) => ({ ...part, path: `${before.path}/part-${String(p).padStart(5, '0')}.arrow` }));
  const inputs = [{ stage: images.manifest.stage, sha256: images.sha256 }];
  const { format, version, stage, config, seed, d, encoder } = old;
  const manifest: EmbeddingsManifest = {
    format, version, stage, inputs, config, seed, createdBy: CREATED_BY, d, encoder, parts,
    configHash: hashOf({ stage, config, inputs, seed, version: MANIFEST_VERSION, createdBy: CREATED_BY }),
    stats: { ...stats },
    okRows: at.map(({ ok }) => ok),
    maxAbs: Math.max(old.maxAbs, added?.maxAbs ?? 0),
  };
  return { manifest, at: at.map(({ part }) => part) };
}

interface Piece {
  /** Rows as the longer table counts them. */
  readonly part: Part;
  /** Rows with status `ok`. */
  readonly ok: number;
}

/** The parts of a table of embeddings: they do not cross those of the listing. */
function cutsOf(images: readonly Part[]): { firstRow: number; rowCount: number }[] {
  return images.flatMap(({ firstRow, rowCount }) => Array.from({ length: Math.ceil(rowCount / EMBEDDING_PART_ROWS) }, (_, p) => ({ firstRow: firstRow + p * EMBEDDING_PART_ROWS, rowCount: Math.min(EMBEDDING_PART_ROWS, rowCount - p * EMBEDDING_PART_ROWS) })));
}

async function joinRows(store: Store, pieces: readonly Piece[], firstRow: number, rowCount: number, d: number, key: string): Promise<Piece> {
  const rows = { d, status: [] as EmbeddingStatus[], id: [] as (string | null)[], width: new Uint32Array(rowCount), height: new Uint32Array(rowCount), vectors: new Float32Array(0) as Float32Array | Uint16Array };
  for (const { part } of pieces) {
    const from = Math.max(firstRow, part.firstRow);
    const to = Math.min(firstRow + rowCount, part.firstRow + part.rowCount);
    if (from >= to) continue;
    const view = decodeTable(await readPart(store, part), part.path);
    const [a, b] = [from - part.firstRow, to - part.firstRow];
    const { element, values } = view.vector('embedding');
    if (rows.vectors.length === 0) rows.vectors = element === 'float16' ? new Uint16Array(rowCount * d) : new Float32Array(rowCount * d);
    rows.vectors.set(values.subarray(a * d, b * d), (from - firstRow) * d);
    rows.status.push(...(view.strings('status').slice(a, b) as EmbeddingStatus[]));
    rows.id.push(...view.strings('id').slice(a, b));
    rows.width.set((view.numbers('width') as Uint32Array).subarray(a, b), from - firstRow);
    rows.height.set((view.numbers('height') as Uint32Array).subarray(a, b), from - firstRow);
  }
  assert(rows.status.length === rowCount, `Expected ${rowCount} rows from ${firstRow} on, got ${rows.status.length}`);
  const { sizeBytes, sha256 } = await store.write(key, encodeTable(rowColumns(rows as unknown as EmbeddingRows)));
  return { part: { path: key, firstRow, rowCount, bytes: sizeBytes, sha256 }, ok: rows.status.filter((one) => one === 'ok').length };
}

/** What the embed stage counts. */
interface EmbedStats {
  readonly rows: number;
  readonly statuses: Readonly<Partial<Record<EmbeddingStatus, number>>>;
  readonly sizeBytes: number;
  readonly colours?: ColourStats;
}

function sumStats(old: EmbedStats, added: EmbedStats | undefined): EmbedStats {
  if (added === undefined) return old;
  const statuses: Partial<Record<EmbeddingStatus, number>> = { ...old.statuses };
  for (const [status, count] of Object.entries(added.statuses) as [EmbeddingStatus, number][]) statuses[status] = (statuses[status] ?? 0) + count;
  const colours = totalColours([old.colours, added.colours]);
  return { rows: old.rows + added.rows, statuses, sizeBytes: old.sizeBytes + added.sizeBytes, ...(colours !== undefined && { colours }) };
}

function requireFewDropped({ rows, statuses }: EmbedStats, maxDropRatio: number): void {
  const dropped = rows - (statuses.ok ?? 0);
  if (dropped <= maxDropRatio * rows) return;
  throw new WinnowError('TOO_MANY_DROPPED', `Expected at most ${(maxDropRatio * 100).toFixed(1)} % of the images, old and new, to be rejected (embed.maxDropRatio), got ${dropped} of ${rows}: ${describeStatuses(statuses)}`, { details: { statuses } });
}
