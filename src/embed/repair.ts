/**
 * Tries rows of `embeddings/` again whose reason may pass, and no others: a part without such a row is used as it is, and in the others
 * every row that had come to its end keeps it. The result has the bytes that embedding the listing at once would give.
 */
import type { ImagesManifest } from '../ingest/image.ts';
import { isTransient } from '../download/status.ts';
import { throwIfAborted } from '../errors.ts';
import { MANIFEST_VERSION, type Part, type StoredManifest, hashOf, rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { CREATED_BY } from '../version.ts';
import type { EmbedConfig } from './config.ts';
import { type EmbeddingStatus, type EmbeddingsManifest, readEmbeddingFacts } from './embedding.ts';
import { type EmbedPayload, embedPart } from './task.ts';

export interface RepairRequest {
  readonly before: StoredManifest<EmbeddingsManifest>;
  /** The listing now: the same rows as before, some of them with bytes that were not there. */
  readonly images: StoredManifest<ImagesManifest>;
  /** Parts of the listing where they lie now. */
  readonly listed: readonly Part[];
  readonly config: EmbedConfig;
  /** Resolved model reference; null where images were only read and checked. */
  readonly model: string | null;
  /** Key prefix, ending in `/`, under which parts are written. */
  readonly staging: string;
}

export interface Repaired {
  /** The manifest as it is to be, its parts where they are to be. */
  readonly manifest: EmbeddingsManifest;
  /** The same parts where they lie now. */
  readonly at: readonly Part[];
  /** Rows that were tried and are `ok` now. */
  readonly gained: number;
}

type Counts = Partial<Record<EmbeddingStatus, number>>;

/** @throws {WinnowError} as embedding does */
export async function repairEmbeddings(context: RunContext, { before, images, listed, config, model, staging }: RepairRequest): Promise<Repaired> {
  const { manifest: old } = before;
  const { model: _model, maxDropRatio: _ratio, ...taskConfig } = config;
  const tiles = images.manifest.sources.filter(({ kind }) => kind === 'tiles');
  const payloads = new Map<number, EmbedPayload>();
  const counted = new Map<number, Counts>();
  for (const [p, part] of old.parts.entries()) {
    throwIfAborted(context.signal);
    if (old.okRows[p] === part.rowCount) continue;
    const { status } = await readEmbeddingFacts(context.store, part);
    // A tile is cut from a raster that could not be read: its colours are counted with all others, so the stage has to run.
    const isTile = (row: number): boolean => tiles.some(({ firstRow, rowCount }) => row >= firstRow && row < firstRow + rowCount);
    if (!status.some((one, i) => isTransient(one) && !isTile(part.firstRow + i))) continue;
    counted.set(p, countOf(status as EmbeddingStatus[]));
    const holder = listed.find(({ firstRow, rowCount }) => part.firstRow >= firstRow && part.firstRow < firstRow + rowCount)!;
    payloads.set(p, { images: holder, firstRow: part.firstRow, rowCount: part.rowCount, out: `${staging}${part.path}`, config: taskConfig, model, encoder: old.encoder, before: part });
  }
  context.progress.begin(`retry ${before.path}`, rowCountOf(old.parts) === 0 ? null : [...payloads.values()].reduce((sum, { rowCount }) => sum + rowCount, 0), 'images');
  const results = await context.executor.map(embedPart, [...payloads.values()], `${staging}${before.path}`);
  const at = [...old.parts];
  const okRows = [...old.okRows];
  const stats = old.stats as { statuses: Counts; sizeBytes: number };
  const statuses: Counts = { ...stats.statuses };
  let { sizeBytes } = stats;
  let { maxAbs } = old;
  [...payloads.keys()].forEach((p, r) => {
    const result = results[r]!;
    // The same bytes again: nothing was gained, and the part stays where it is.
    at[p] = result.part.sha256 === old.parts[p]!.sha256 ? old.parts[p]! : result.part;
    okRows[p] = result.okRows;
    maxAbs = Math.max(maxAbs, result.maxAbs);
    sizeBytes += result.sizeBytes;
    move(statuses, counted.get(p)!, -1);
    move(statuses, result.statuses, 1);
  });
  const gained = (statuses.ok ?? 0) - (stats.statuses.ok ?? 0);
  context.progress.end(`${gained} images more than before`);
  const inputs = [{ stage: images.manifest.stage, sha256: images.sha256 }];
  const { stage, config: decisive, seed } = old;
  const manifest: EmbeddingsManifest = {
    ...old, inputs, createdBy: CREATED_BY, okRows, maxAbs,
    parts: at.map((part, p) => ({ ...part, path: old.parts[p]!.path })),
    configHash: hashOf({ stage, config: decisive, inputs, seed, version: MANIFEST_VERSION, createdBy: CREATED_BY }),
    stats: { ...old.stats, statuses, sizeBytes },
  };
  return { manifest, at, gained };
}

function countOf(status: readonly EmbeddingStatus[]): Counts {
  const counts: Counts = {};
  for (const one of status) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
}

function move(counts: Counts, by: Counts, sign: 1 | -1): void {
  for (const [status, times] of Object.entries(by) as [EmbeddingStatus, number][]) {
    const count = (counts[status] ?? 0) + sign * times;
    if (count === 0) delete counts[status];
    else counts[status] = count;
  }
}
