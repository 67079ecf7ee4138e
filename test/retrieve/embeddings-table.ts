/** Writes a table of embeddings as the embed stage does, from vectors made up by a test. */
import { encodeTable } from '../../src/arrow/ipc.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { encodeFloat16 } from '../../src/vector/float16.ts';

export interface MadeVectors {
  /** n × d, row-major. */
  readonly vectors: Float32Array;
  readonly d: number;
  readonly dtype?: 'float16' | 'float32';
  /** Rows that are not `ok`. */
  readonly rejected?: ReadonlySet<number>;
}

export async function writeEmbeddings(store: Store, path: string, { vectors, d, dtype = 'float32', rejected = new Set() }: MadeVectors): Promise<StoredManifest<EmbeddingsManifest>> {
  const n = vectors.length / d;
  const parts: Part[] = [];
  const okRows: number[] = [];
  for (let firstRow = 0; firstRow < n; firstRow += EMBEDDING_PART_ROWS) {
    const rowCount = Math.min(EMBEDDING_PART_ROWS, n - firstRow);
    const values = vectors.slice(firstRow * d, (firstRow + rowCount) * d);
    const status = Array.from({ length: rowCount }, (_, i) => (rejected.has(firstRow + i) ? 'corrupt' : 'ok'));
    const bytes = encodeTable({
      embedding: dtype === 'float16' ? { type: 'vector', element: 'float16', d, values: encodeFloat16(values) } : { type: 'vector', element: 'float32', d, values },
      status: { type: 'dictionary', values: status },
      id: { type: 'utf8', values: status.map((_, i) => String(firstRow + i)) },
      width: { type: 'uint32', values: new Uint32Array(rowCount).fill(8) },
      height: { type: 'uint32', values: new Uint32Array(rowCount).fill(8) },
    });
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(key, bytes);
    parts.push({ path: key, firstRow, rowCount, bytes: sizeBytes, sha256 });
    okRows.push(status.filter((one) => one === 'ok').length);
  }
  const manifest: EmbeddingsManifest = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'embed', inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test', d, encoder: null, okRows, maxAbs: 1 };
  return writeManifest(store, path, manifest);
}
