/**
 * `winnow index`: a faiss index file of a store's vectors, or of the centroids of one level. A search in it returns rows of
 * the pool, or clusters of the level: where some rows of the pool have no vector, the file maps places to rows.
 */
import { stat } from 'node:fs/promises';
import type { ClustersManifest } from '../cluster/tree.ts';
import { decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readEmbeddingFacts, readEmbeddingPart } from '../embed/embedding.ts';
import { requirePool } from '../embed/survivors.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { readPart, requireManifest, rowCountOf } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { type FlatIndexSource, openFlatIndex, writeFlatIndex } from '../vector/faiss-index.ts';
import { normaliseRows } from '../vector/matrix.ts';
import { openStoreToRead } from './session.ts';

export interface IndexFileRequest {
  readonly store: string;
  /** Path of the file to write; its folder has to be there. */
  readonly out: string;
  /** Level of the tree, 1 the finest; null for the vectors of the pool. */
  readonly level: number | null;
  /** `l2`: vectors as they are, squared distances. `cosine`: unit rows and inner products, as retrieval compares them. */
  readonly metric: 'l2' | 'cosine';
  readonly signal: AbortSignal;
}

export interface IndexFileOutcome {
  readonly text: string;
  readonly json: unknown;
}

/**
 * Holds one part of a table at a time.
 *
 * @throws {WinnowError} INPUT_MISSING when the stage is not done, CONFIG_INVALID when there is no such level, TOO_FEW_ROWS,
 *   STORE_DENIED or STORE_FULL at `out`, CHECKSUM_MISMATCH
 */
export async function indexFile({ store: root, out, level, metric, signal }: IndexFileRequest): Promise<IndexFileOutcome> {
  const store = await openStoreToRead(root);
  const source = level === null ? await poolVectors(store, signal) : await centroidVectors(store, level, signal);
  const { n, d, ids } = source;
  if (n === 0 || d === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected vectors in ${root} to write an index of, got none`);
  const vectors = metric === 'cosine' ? unitRows(source.vectors, d) : source.vectors;
  const bytes = await writeFlatIndex(out, { metric: metric === 'cosine' ? 'inner-product' : 'l2', n, d, vectors, ...(ids && { ids }) });
  const what = level === null ? 'images' : `clusters of level ${level}`;
  return {
    text: `${out}: index of ${n} ${what}, ${d} dimensions, ${metric === 'cosine' ? 'inner products of unit vectors' : 'squared L2'}, ${bytes} bytes\n`,
    json: { path: out, n, d, level, metric, mapped: ids !== undefined, bytes },
  };
}

/** What an index file is, for `winnow inspect`. Null where it is none: its first four bytes say so. */
export async function describeIndexFile(path: string, firstBytes: string): Promise<IndexFileOutcome | null> {
  if (!['IxF2', 'IxFI', 'IxMp'].includes(firstBytes.slice(0, 4))) return null;
  const { metric, n, d, mapped, close } = await openFlatIndex(path);
  await close();
  const { size } = await stat(path);
  return {
    text: `${path}: flat faiss index of ${n} vectors, ${d} dimensions, ${metric === 'l2' ? 'squared L2' : 'inner product'}${mapped ? ', with ids of its own' : ''}, ${size} bytes\n`,
    json: { path, kind: 'faiss-index', metric, n, d, mapped, bytes: size },
  };
}

type Source = Pick<FlatIndexSource, 'n' | 'd' | 'vectors' | 'ids'>;

async function poolVectors(store: Store, signal: AbortSignal): Promise<Source> {
  const { manifest } = await requirePool(store);
  const { parts, d, okRows } = manifest;
  const n = okRows.reduce((sum, count) => sum + count, 0);
  const whole = n === rowCountOf(parts);
  return { n, d, vectors: okVectors(store, manifest, signal), ...(!whole && { ids: okIds(store, manifest, signal) }) };
}

async function* okVectors(store: Store, { parts, d }: EmbeddingsManifest, signal: AbortSignal): AsyncIterable<Float32Array> {
  for (const part of parts) {
    throwIfAborted(signal);
    const { ok, vectors } = await readEmbeddingPart(store, part, d);
    let kept = 0;
    for (let i = 0; i < ok.length; i++) if (ok[i] === 1) vectors.copyWithin(kept++ * d, i * d, (i + 1) * d);
    yield vectors.subarray(0, kept * d);
  }
}

async function* okIds(store: Store, { parts }: EmbeddingsManifest, signal: AbortSignal): AsyncIterable<Float64Array> {
  for (const part of parts) {
    throwIfAborted(signal);
    const { status } = await readEmbeddingFacts(store, part);
    yield Float64Array.from(status.flatMap((one, i) => (one === 'ok' ? [part.firstRow + i] : [])));
  }
}

async function centroidVectors(store: Store, level: number, signal: AbortSignal): Promise<Source> {
  const { manifest } = await requireManifest<ClustersManifest>(store, 'clusters', 'cluster');
  const entry = manifest.levels[level - 1];
  if (entry === undefined) throw new WinnowError('CONFIG_INVALID', `Expected a level from 1 to ${manifest.levels.length} of the tree in ${store.uri}, got ${level}`);
  return { n: entry.k, d: manifest.d, vectors: centroids(store, entry, signal) };
}

async function* centroids(store: Store, { parts }: ClustersManifest['levels'][number], signal: AbortSignal): AsyncIterable<Float32Array> {
  for (const part of parts) {
    throwIfAborted(signal);
    yield decodeTable(await readPart(store, part), part.path).vector('centroid').values as Float32Array;
  }
}

async function* unitRows(blocks: AsyncIterable<Float32Array>, d: number): AsyncIterable<Float32Array> {
  for await (const block of blocks) {
    const unit = block.slice();
    normaliseRows(unit, unit.length / d, d);
    yield unit;
  }
}
