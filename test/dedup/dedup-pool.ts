/** Pools made up for tests of duplicates: ids, sizes, vectors and texts of every row as a test wants them. */
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { encodeTable } from '../../src/arrow/ipc.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type ImagesManifest, imageColumns } from '../../src/ingest/image.ts';
import { SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest, writePart } from '../../src/run/manifest.ts';
import type { Execution, Executor, RunContext } from '../../src/run/stage.ts';
import type { Store } from '../../src/store/store.ts';
import { encodeFloat16 } from '../../src/vector/float16.ts';

export interface PoolRow {
  /** Rows with one name have the same bytes. */
  readonly file: string;
  readonly width?: number;
  readonly height?: number;
  readonly status?: string;
  readonly label?: string;
  readonly caption?: string;
  readonly meta?: string;
}

export interface MadePool {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
}

const BASE = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, inputs: [], config: {}, configHash: '', seed: 0, stats: {}, createdBy: 'test' } as const;

/** @param vectors n × d */
export async function writePool(store: Store, rows: readonly PoolRow[], vectors: Float32Array, { partRows = 50, dtype = 'float32' as 'float16' | 'float32', path = 'embeddings' } = {}): Promise<MadePool> {
  const d = vectors.length / rows.length;
  const parts: Part[] = [];
  const okRows: number[] = [];
  for (let first = 0; first < rows.length; first += partRows) {
    const some = rows.slice(first, first + partRows);
    const values = vectors.slice(first * d, (first + some.length) * d);
    const bytes = encodeTable({
      embedding: dtype === 'float16' ? { type: 'vector', element: 'float16', d, values: encodeFloat16(values) } : { type: 'vector', element: 'float32', d, values },
      status: { type: 'dictionary', values: some.map(({ status = 'ok' }) => status) },
      id: { type: 'utf8', values: some.map(({ file }) => idOf(file)) },
      width: { type: 'uint32', values: Uint32Array.from(some, ({ width = 8 }) => width) },
      height: { type: 'uint32', values: Uint32Array.from(some, ({ height = 8 }) => height) },
    });
    parts.push(await writePart(store, path, parts, some.length, bytes));
    okRows.push(some.filter(({ status = 'ok' }) => status === 'ok').length);
  }
  const embeddings = await writeManifest<EmbeddingsManifest>(store, path, { ...BASE, stage: 'embed', parts, d, encoder: null, okRows, maxAbs: 1 });
  return { images: await writeImages(store, rows), embeddings };
}

async function writeImages(store: Store, rows: readonly PoolRow[]): Promise<StoredManifest<ImagesManifest>> {
  const parts: Part[] = [];
  for (let first = 0; first < rows.length; first += 70) {
    const some = rows.slice(first, first + 70);
    const none = new Float64Array(some.length).fill(-1);
    const text = some.map((_, i) => `pool/${first + i}.png`);
    const columns = imageColumns({ rowCount: some.length, uri: text, path: text, source: some.map(() => 'pool'), offset: none, length: none, size: none, label: some.map(({ label = null }) => label), caption: some.map(({ caption = null }) => caption), meta: some.map(({ meta = null }) => meta) }, true);
    parts.push(await writePart(store, 'images', parts, some.length, encodeTable(columns)));
  }
  return writeManifest<ImagesManifest>(store, 'images', { ...BASE, stage: 'ingest', parts, sources: [] });
}

/** A hash-like id of a file's name: 128 bits, hex. */
export function idOf(file: string): string {
  const words = new Uint32Array(4);
  randomStream(0, 'id', file).words(0, words);
  return Array.from(words, (word) => word.toString(16).padStart(8, '0')).join('');
}

/** `groups` centres on the sphere with `size` rows near each, by group: row g × size + i. Unit vectors; a larger `spread` lies farther apart. */
export function clusteredVectors(groups: number, size: number, d: number, spread: number, seed = 1): Float32Array {
  const [centre, noise] = [randomStream(seed, 'centre'), randomStream(seed, 'noise')];
  const vectors = new Float32Array(groups * size * d);
  for (let row = 0; row < groups * size; row++) {
    const group = Math.floor(row / size);
    let square = 0;
    for (let j = 0; j < d; j++) {
      const value = centre.normal(group * d + j) + spread * noise.normal(row * d + j);
      vectors[row * d + j] = value;
      square += value * value;
    }
    for (let j = 0; j < d; j++) vectors[row * d + j]! /= Math.sqrt(square);
  }
  return vectors;
}

export interface ContextOptions {
  readonly tasks?: number;
  readonly memoryBytes?: number;
  readonly threads?: number;
  readonly wrap?: (executor: Executor) => Executor;
  readonly onWarn?: (message: string) => void;
}

/** A context like a run's, and what closes it. */
export function openContext(store: Store, { tasks = 1, memoryBytes = 2 ** 26, threads = 2, wrap = (executor) => executor, onWarn }: ContextOptions = {}): { context: RunContext; close(): Promise<void> } {
  const { signal } = new AbortController();
  const execution: Execution = { concurrency: 2, threads, blockRows: 1024, memoryBytes };
  const log = onWarn === undefined ? SILENT : ({ ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, message: string) => onWarn(message) } as unknown as typeof SILENT);
  const executor = createLocalExecutor({ store, signal, log, execution, locations: {}, tasks, onAdvance: () => {}, onNote: () => {} });
  return { context: { store, executor: wrap(executor), signal, log, progress: SILENT_PROGRESS, execution, seed: 5, resource: executor.resource }, close: () => executor.close() };
}
