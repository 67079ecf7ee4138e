/** Writes a table of embeddings as the embed stage does, from vectors made up by a test. */
import { encodeTable } from '../../src/arrow/ipc.ts';
import type { VectorColumn } from '../../src/arrow/tables.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingStatus, type EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest, writePart } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';

export interface MadeVectors {
  /** n × d, row-major. */
  readonly vectors: Float32Array;
  readonly d: number;
  readonly dtype?: 'float16' | 'float32';
  /** Rows that are not `ok`: `corrupt`, or as the map says. Their vectors on disk are zeros, as the embed stage leaves them. */
  readonly rejected?: ReadonlySet<number> | ReadonlyMap<number, EmbeddingStatus>;
  readonly partRows?: number;
}

export function writeEmbeddings(store: Store, path: string, { vectors, d, rejected = new Set(), ...rest }: MadeVectors): Promise<StoredManifest<EmbeddingsManifest>> {
  return writeEmbeddingParts(store, path, {
    ...rest,
    n: vectors.length / d,
    d,
    vectorsOf: (firstRow, rowCount) => vectors.slice(firstRow * d, (firstRow + rowCount) * d),
    statusOf: (row) => (rejected instanceof Map ? (rejected.get(row) ?? 'ok') : rejected.has(row) ? 'corrupt' : 'ok'),
  });
}

export interface MadeParts {
  readonly n: number;
  readonly d: number;
  readonly dtype?: 'float16' | 'float32';
  readonly partRows?: number;
  /** rowCount × d of the rows firstRow …; an array of the caller's that may be written to. */
  vectorsOf(firstRow: number, rowCount: number): Float32Array;
  statusOf?(row: number): EmbeddingStatus;
}

/** Part by part, so that tables much larger than memory can be made. */
export async function writeEmbeddingParts(store: Store, path: string, made: MadeParts): Promise<StoredManifest<EmbeddingsManifest>> {
  const { n, d, dtype = 'float32', partRows = EMBEDDING_PART_ROWS, statusOf = () => 'ok' } = made;
  const parts: Part[] = [];
  const okRows: number[] = [];
  let maxAbs = 0;
  for (let firstRow = 0; firstRow < n; firstRow += partRows) {
    const rowCount = Math.min(partRows, n - firstRow);
    const values = made.vectorsOf(firstRow, rowCount);
    const status = Array.from({ length: rowCount }, (_, i) => statusOf(firstRow + i));
    status.forEach((one, i) => one !== 'ok' && values.fill(0, i * d, (i + 1) * d));
    const column = vectorColumn(values, d, dtype);
    for (const value of column.element === 'float16' ? decodeFloat16(column.values) : values) if (Math.abs(value) > maxAbs) maxAbs = Math.abs(value);
    const bytes = encodeTable({
      embedding: column,
      status: { type: 'dictionary', values: status },
      id: { type: 'utf8', values: status.map((_, i) => (firstRow + i).toString(16).padStart(32, '0')) },
      width: { type: 'uint32', values: new Uint32Array(rowCount).fill(8) },
      height: { type: 'uint32', values: new Uint32Array(rowCount).fill(8) },
    });
    parts.push(await writePart(store, path, parts, rowCount, bytes));
    okRows.push(status.filter((one) => one === 'ok').length);
  }
  const manifest: EmbeddingsManifest = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'embed', inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test', d, encoder: null, okRows, maxAbs };
  return writeManifest(store, path, manifest);
}

function vectorColumn(values: Float32Array, d: number, dtype: 'float16' | 'float32'): VectorColumn {
  return dtype === 'float16' ? { type: 'vector', element: 'float16', d, values: encodeFloat16(values) } : { type: 'vector', element: 'float32', d, values };
}
