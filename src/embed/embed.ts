/**
 * The embed stage: `images/` to `embeddings/`, one task a part. The manifest counts every status; a stage with more
 * rejected images than `maxDropRatio` fails and says which reasons there were.
 */
import { WinnowError } from '../errors.ts';
import { type ColourStats, type ImagesManifest, totalColours } from '../ingest/image.ts';
import { type Part, type StoredManifest, rowCountOf } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import type { EmbedConfig } from './config.ts';
import { EMBEDDING_PART_ROWS, EMBEDDING_STATUSES, type EmbeddingStatus, type EmbeddingsManifest, type Encoder } from './embedding.ts';
import { type EmbedPayload, type EmbedResult, embedPart } from './task.ts';

export interface EmbedRequest {
  /** Key prefix to write, such as `embeddings` or `seeds/flowers/embeddings`. */
  readonly path: string;
  readonly images: StoredManifest<ImagesManifest>;
  readonly config: EmbedConfig;
  /** Resolved model reference and its encoder, or null: images are only read, hashed and checked. */
  readonly model: { readonly reference: string; readonly encoder: Encoder } | null;
}

/**
 * The share of rejected images is checked each time, also when the table was made before: it decides no byte, so a new
 * `maxDropRatio` makes nothing again.
 *
 * @throws {WinnowError} TOO_MANY_DROPPED; the embedded parts stay for the next run
 */
export async function embed(context: RunContext, request: EmbedRequest): Promise<StoredManifest<EmbeddingsManifest>> {
  const { path, images, config, model } = request;
  const stored = await runStage<EmbeddingsManifest>(context, {
    path,
    stage: 'embed',
    config: decisiveConfig(config, model),
    inputs: [images],
    seeded: false,
    make: async () => {
      const payloads = planParts(path, images.manifest.parts, config, model);
      context.progress.begin(path, rowCountOf(images.manifest.parts), 'images');
      if (model !== null) context.log.info({ stage: 'embed' }, model.encoder.notice);
      const results = await context.executor.map(embedPart, payloads, path);
      const stats = summarise(results);
      throwIfTooManyDropped(stats, request);
      const reasons = describeStatuses(stats.statuses);
      context.progress.end(`${stats.statuses.ok ?? 0} of ${stats.rows} images${reasons === '' ? '' : `; rejected: ${reasons}`}`);
      return {
        parts: results.map(({ part }) => part),
        stats,
        d: model?.encoder.d ?? 0,
        encoder: model?.encoder.provenance ?? null,
        okRows: results.map(({ okRows }) => okRows),
        maxAbs: results.reduce((largest, { maxAbs }) => Math.max(largest, maxAbs), 0),
      };
    },
  });
  throwIfTooManyDropped(stored.manifest.stats as unknown as EmbedStats, request);
  return stored;
}

/** What decides the bytes of the table: neither where the model lies nor how it runs, and without one only the limits. */
function decisiveConfig({ model: _model, providers: _providers, batchSize: _batchSize, maxDropRatio: _ratio, ...decisive }: EmbedConfig, model: EmbedRequest['model']): object {
  return model === null ? { limits: decisive.limits, encoder: null } : { ...decisive, encoder: model.encoder.provenance };
}

interface EmbedStats extends Record<string, unknown> {
  readonly rows: number;
  readonly statuses: Readonly<Partial<Record<EmbeddingStatus, number>>>;
  readonly sizeBytes: number;
  /** Mean and deviation of the pixels of all tiles, when there are any. */
  readonly colours?: ColourStats;
}

function throwIfTooManyDropped({ rows, statuses }: EmbedStats, { images, config: { maxDropRatio } }: EmbedRequest): void {
  const dropped = rows - (statuses.ok ?? 0);
  if (dropped <= maxDropRatio * rows) return;
  const message = `Expected at most ${(maxDropRatio * 100).toFixed(1)} % of the images at ${images.path} to be rejected (embed.maxDropRatio), got ${dropped} of ${rows}: ${describeStatuses(statuses)}`;
  throw new WinnowError('TOO_MANY_DROPPED', message, { details: { statuses } });
}

/** Parts of EMBEDDING_PART_ROWS rows that do not cross a part of `images/`: pure, so the same for every executor. */
function planParts(path: string, images: readonly Part[], config: EmbedConfig, model: EmbedRequest['model']): EmbedPayload[] {
  const payloads: EmbedPayload[] = [];
  const { maxDropRatio: _ratio, model: _model, ...taskConfig } = config;
  for (const part of images) {
    for (let offset = 0; offset < part.rowCount; offset += EMBEDDING_PART_ROWS) {
      payloads.push({
        images: part,
        firstRow: part.firstRow + offset,
        rowCount: Math.min(EMBEDDING_PART_ROWS, part.rowCount - offset),
        out: `${path}/part-${String(payloads.length).padStart(5, '0')}.arrow`,
        config: taskConfig,
        model: model?.reference ?? null,
        encoder: model?.encoder.provenance ?? null,
      });
    }
  }
  return payloads;
}

/** `12 corrupt, 3 empty`: every reason but ok, in the order of the list of statuses. */
export function describeStatuses(statuses: Readonly<Partial<Record<EmbeddingStatus, number>>>): string {
  return EMBEDDING_STATUSES.filter((status) => status !== 'ok' && (statuses[status] ?? 0) > 0)
    .map((status) => `${statuses[status]} ${status}`)
    .join(', ');
}

function summarise(results: readonly EmbedResult[]): EmbedStats {
  const statuses: Partial<Record<EmbeddingStatus, number>> = {};
  let rows = 0;
  let sizeBytes = 0;
  for (const result of results) {
    rows += result.part.rowCount;
    sizeBytes += result.sizeBytes;
    for (const [status, count] of Object.entries(result.statuses) as [EmbeddingStatus, number][]) statuses[status] = (statuses[status] ?? 0) + count;
  }
  const colours = totalColours(results.map((result) => result.colours));
  return { rows, statuses, sizeBytes, ...(colours !== undefined && { colours }) };
}
