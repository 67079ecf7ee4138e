/**
 * A flat inner-product index of a part's embeddings, as Python's faiss reads it (`IndexFlatIP`, format of faiss 1.7): vector
 * i is row i of the part. Written vector by vector from the embeddings table, which is in the order of the part's rows.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { WinnowError } from '../errors.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { readPart } from '../run/manifest.ts';
import type { DatasetPart } from '../shard/shard.ts';
import type { Store, Written } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';

/** @param rows of the embeddings table, ascending, by part of the dataset; holds one part of the table */
export function writeFlatIndex(store: Store, out: Store, key: string, { name, rows: n }: DatasetPart, { d, parts }: EmbeddingsManifest, rows: AsyncIterable<readonly number[]>): Promise<Written> {
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    yield header(n, d);
    let next = -1;
    let held: { readonly firstRow: number; readonly rowCount: number; readonly values: Float32Array } = { firstRow: 0, rowCount: 0, values: new Float32Array(0) };
    for await (const run of rows) {
      const vectors = new Float32Array(run.length * d);
      for (const [i, row] of run.entries()) {
        while (row >= held.firstRow + held.rowCount) {
          const part = parts[++next];
          if (part === undefined) throw new WinnowError('INPUT_MALFORMED', `Expected an embedding of row ${row} for part "${name}", the table ends before it`);
          if (row >= part.firstRow + part.rowCount) continue;
          const column = decodeTable(await readPart(store, part), part.path).vector('embedding');
          held = { firstRow: part.firstRow, rowCount: part.rowCount, values: column.element === 'float16' ? decodeFloat16(column.values as Uint16Array) : (column.values as Float32Array) };
        }
        vectors.set(held.values.subarray((row - held.firstRow) * d, (row - held.firstRow + 1) * d), i * d);
      }
      yield new Uint8Array(vectors.buffer);
    }
  };
  return out.write(key, chunks());
}

/** `IxFI`, d, ntotal, two fillers, trained, metric 0 (inner product), and the number of bytes or floats that follow. */
function header(n: number, d: number): Uint8Array {
  const bytes = new Uint8Array(45);
  const data = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('IxFI'), 0);
  data.setInt32(4, d, true);
  data.setBigInt64(8, BigInt(n), true);
  data.setBigInt64(16, 1n << 20n, true);
  data.setBigInt64(24, 1n << 20n, true);
  bytes[32] = 1;
  data.setInt32(33, 0, true);
  data.setBigUint64(37, BigInt(n) * BigInt(d), true);
  return bytes;
}
