/**
 * `winnow contaminated`: is a test set in a finished dataset? The folder is embedded with the model that made the store's vectors,
 * in a temporary store; the dataset is only read. Images whose bytes are in the dataset are found in all parts, near ones in
 * those drawn from the pool, since raw parts have no vectors.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ingestImages } from '../../pipelines/1-ingest.ts';
import { embedImages } from '../../pipelines/2-embed.ts';
import { DEDUP_EMBEDDINGS } from '../../pipelines/3-dedup.ts';
import { decodeTable } from '../arrow/ipc.ts';
import { ExecutionConfig } from '../config.ts';
import { contaminationThreshold } from '../dedup/contamination.ts';
import { pairScores } from '../dedup/near-pairs.ts';
import { HIT_WORDS, searchReferences } from '../dedup/search-references.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { type NamedSource, SourceConfig } from '../ingest/image.ts';
import { resolveSources } from '../ingest/ingest.ts';
import type { Log } from '../log.ts';
import { type Manifest, type StoredManifest, readPart, requireManifest, rowCountOf } from '../run/manifest.ts';
import type { ProgressSink, RunContext } from '../run/stage.ts';
import type { DatasetManifest } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import { type StoreModel, encoderOf, modelOf } from './store-model.ts';
import { openSession, openStoreToRead } from './session.ts';

export interface ContaminatedRequest {
  /** A store with a finished dataset. */
  readonly dataset: string;
  /** A folder of images. */
  readonly against: string;
  /** Cosine similarity; null: by the embedding. */
  readonly threshold: number | null;
  /** Where the model lies, when the store does not say. */
  readonly model: string | null;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: ProgressSink;
}

/** An image of the folder that is in the dataset. */
export interface ContaminatedPair {
  readonly image: string;
  /** The nearest image of the dataset, and the parts it is in. */
  readonly uri: string;
  readonly parts: readonly string[];
  /** Row in the pool; null for an image of a raw part. */
  readonly row: number | null;
  readonly similarity: number;
  readonly sameBytes: boolean;
}

export interface ContaminatedOutcome {
  readonly text: string;
  readonly json: { readonly images: number; readonly compared: number; readonly matched: number; readonly sameBytes: number; readonly pairs: readonly ContaminatedPair[] } & Readonly<Record<string, unknown>>;
}

/** Pairs that the text shows. */
const SHOWN = 20;

/**
 * Holds a byte a row of the pool, the ids of the folder, and a part of vectors.
 *
 * @throws {WinnowError} INPUT_MISSING without a dataset, a folder or a model; MODEL_INVALID when the model is another one
 */
export async function contaminated(request: ContaminatedRequest): Promise<ContaminatedOutcome> {
  const { dataset, against, signal, log, progress } = request;
  const store = await openStoreToRead(dataset);
  const { manifest } = (await requireManifest<Manifest>(store, 'dataset', 'shard')) as unknown as { manifest: DatasetManifest };
  const own = usesOwnEmbedding(manifest);
  const pool = await requireManifest<EmbeddingsManifest>(store, own ? DEDUP_EMBEDDINGS : 'embeddings', 'embed');
  const sources = resolveSources([SourceConfig.parse({ folder: against, name: 'against' })], process.cwd());
  const threshold = request.threshold ?? contaminationThreshold(own, pool.manifest.encoder);
  const model = modelOf(pool, manifest, { own, given: request.model });
  const folder = await mkdtemp(join(tmpdir(), 'winnow-contaminated-'));
  try {
    const session = await openSession({ store: folder, seed: 0, execution: ExecutionConfig.parse({}), clusterEngine: 'onnxruntime', locations: { against: resolve(against) }, signal, log, progress, command: 'contaminated' });
    try {
      const found = await find(session.context, store, { pool, manifest, model, sources, threshold });
      return describe({ dataset, against, threshold }, manifest, found);
    } finally {
      await session.close('done');
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The gate of `--fail`. @throws {WinnowError} CONTAMINATED */
export function requireNoMatch({ json: { matched, images, pairs } }: ContaminatedOutcome, { dataset, against }: Pick<ContaminatedRequest, 'dataset' | 'against'>): void {
  if (matched > 0) throw new WinnowError('CONTAMINATED', `Expected no image of ${against} in the dataset at ${dataset}, got ${matched} of ${images}, such as ${pairs[0]!.image}`);
}

function usesOwnEmbedding({ lineage }: DatasetManifest): boolean {
  const near = (lineage.recipe as { dedup?: { near?: false | { embed?: unknown } } }).dedup?.near;
  return typeof near === 'object' && near.embed !== undefined;
}

interface Search {
  readonly pool: StoredManifest<EmbeddingsManifest>;
  readonly manifest: DatasetManifest;
  readonly model: StoreModel;
  readonly sources: readonly NamedSource[];
  readonly threshold: number;
}

interface Found {
  readonly images: number;
  readonly compared: number;
  readonly pairs: ContaminatedPair[];
}

async function find(context: RunContext, store: Store, { pool, manifest, model, sources, threshold }: Search): Promise<Found> {
  await encoderOf(model, pool, context);
  const images = await ingestImages(context, 'images', sources);
  const vectors = await embedImages(context, 'embeddings', images, model.config, model.reference);
  const folder = await readFolder(context.store, images, vectors);
  const only = new Uint8Array(rowCountOf(pool.manifest.parts));
  const same = new Map<number, DatasetRow>();
  context.progress.begin('dataset', manifest.parts.reduce((sum, { rows }) => sum + rows, 0), 'images');
  for await (const row of datasetRows(store, manifest)) {
    if (row.kind !== 'raw') only[row.row] = 1;
    for (const image of folder.byId.get(row.id) ?? []) if (!same.has(image)) same.set(image, row);
    context.progress.advance(1);
  }
  const { parts, d } = pool.manifest;
  const scores = await pairScores(context);
  const near = new Map<number, { row: number; similarity: number }>();
  for (const part of parts) {
    if (!only.subarray(part.firstRow, part.firstRow + part.rowCount).includes(1)) continue;
    const span = { parts: [part], verdicts: [[]], only };
    const hits = await searchReferences(scores, store, { span, sets: [{ parts: vectors.manifest.parts, threshold }], d, memoryBytes: context.execution.memoryBytes / 4, references: context.store }, context.signal);
    for (let at = 0; at < hits.references.length; at += HIT_WORDS) {
      const [row, image, similarity] = [hits.references[at + 1]!, hits.references[at + 2]!, hits.references[at + 3]!];
      if (similarity > (near.get(image)?.similarity ?? -1)) near.set(image, { row, similarity });
    }
  }
  const pairs = await namePairs(store, manifest, folder.uris, near, same);
  context.progress.end(`${pairs.length} of ${folder.uris.length} images found`);
  return { images: folder.uris.length, compared: vectors.manifest.okRows.reduce((sum, count) => sum + count, 0), pairs };
}

/** Uris of the folder's images as paths in it, and their positions by id. */
async function readFolder(store: Store, images: StoredManifest, vectors: StoredManifest<EmbeddingsManifest>): Promise<{ uris: string[]; byId: Map<string, number[]> }> {
  const uris: string[] = [];
  for (const part of images.manifest.parts) uris.push(...(decodeTable(await readPart(store, part), part.path).strings('path') as string[]));
  const byId = new Map<string, number[]>();
  for (const part of vectors.manifest.parts) {
    const { id } = await readEmbeddingFacts(store, part);
    id.forEach((one, i) => one !== null && byId.set(one, [...(byId.get(one) ?? []), part.firstRow + i]));
  }
  return { uris, byId };
}

interface DatasetRow {
  readonly part: string;
  readonly kind: 'balanced' | 'retrieved' | 'raw';
  readonly row: number;
  readonly id: string;
  readonly uri: string;
}

/** Shard after shard. */
async function* datasetRows(store: Store, { parts }: DatasetManifest): AsyncIterable<DatasetRow> {
  for (const { name, kind, shards } of parts) {
    for (const shard of shards) {
      const view = decodeTable(await readPart(store, shard), shard.path);
      const [row, id, uri] = [view.numbers('row'), view.strings('id'), view.strings('uri')];
      for (let i = 0; i < view.rowCount; i++) yield { part: name, kind, row: row[i]!, id: id[i]!, uri: uri[i]! };
    }
  }
}

/** Same bytes first, then by similarity, then as listed. */
async function namePairs(store: Store, manifest: DatasetManifest, uris: readonly string[], near: ReadonlyMap<number, { row: number; similarity: number }>, same: ReadonlyMap<number, DatasetRow>): Promise<ContaminatedPair[]> {
  const names = new Map<number, { uri: string; parts: string[] }>([...near.values()].map(({ row }) => [row, { uri: '', parts: [] }]));
  for (const { row, kind } of same.values()) if (kind !== 'raw') names.set(row, { uri: '', parts: [] });
  for await (const { part, kind, row, uri } of datasetRows(store, manifest)) {
    const name = kind === 'raw' ? undefined : names.get(row);
    if (name === undefined) continue;
    name.uri = uri;
    if (!name.parts.includes(part)) name.parts.push(part);
  }
  const pairs: ContaminatedPair[] = [];
  for (const [i, image] of uris.entries()) {
    const copy = same.get(i);
    const found = near.get(i);
    if (copy !== undefined) pairs.push({ image, ...(copy.kind === 'raw' ? { uri: copy.uri, parts: [copy.part], row: null } : { ...names.get(copy.row)!, row: copy.row }), similarity: 1, sameBytes: true });
    else if (found !== undefined) pairs.push({ image, ...names.get(found.row)!, row: found.row, similarity: found.similarity, sameBytes: false });
  }
  return pairs.sort((a, b) => Number(b.sameBytes) - Number(a.sameBytes) || b.similarity - a.similarity);
}

function describe(asked: { dataset: string; against: string; threshold: number }, manifest: DatasetManifest, { images, compared, pairs }: Found): ContaminatedOutcome {
  const sameBytes = pairs.filter((pair) => pair.sameBytes).length;
  const raws = manifest.parts.filter(({ kind }) => kind === 'raw').map(({ name }) => name);
  const lines = [`${pairs.length} of ${images} images of ${asked.against} are in the dataset at ${asked.dataset}: ${sameBytes} with the same bytes, ${pairs.length - sameBytes} with a similarity above ${asked.threshold}`];
  if (compared < images) lines.push(`${images - compared} images of the folder could not be decoded, so that only their bytes were compared`);
  if (raws.length > 0) lines.push(`raw parts (${raws.join(', ')}) have no vectors, so that only bytes were compared with them`);
  for (const { image, uri, parts, similarity, sameBytes: same } of pairs.slice(0, SHOWN)) lines.push(`  ${same ? 'bytes' : similarity.toFixed(3)}  ${image}  ${uri}  (${parts.join(', ')})`);
  if (pairs.length > SHOWN) lines.push(`  … and ${pairs.length - SHOWN} more: --json lists all`);
  return { text: `${lines.join('\n')}\n`, json: { ...asked, images, compared, matched: pairs.length, sameBytes, comparedByBytesOnly: raws, pairs } };
}
