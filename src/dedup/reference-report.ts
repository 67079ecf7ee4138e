/** The other side of decontamination: for each image of an evaluation set, the image of the pool that is nearest to it. */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Part, type StoredManifest, readPart, rowCountOf } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { float64Of } from './arrays.ts';
import { CONTAMINATION, type ContaminationPair, type ContaminationSet } from './contamination.ts';
import { HIT_WORDS, type ReferenceResult } from './search-references.ts';

export interface ReferencesRequest {
  /** Of the set among those that were searched. */
  readonly index: number;
  readonly name: string;
  readonly threshold: number;
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** Rows of the pool above the threshold. */
  readonly rows: number;
  readonly pool: StoredManifest<ImagesManifest>;
}

/** Pairs that the manifest names. */
const TOP = 20;

/** Writes `contamination/<set>/`: `row` and `similarity`, null where the image is not in the pool. Holds 12 bytes an image of the set. */
export async function writeReferences(store: Store, results: readonly ReferenceResult[], { index, name, threshold, images, embeddings, rows, pool }: ReferencesRequest): Promise<ContaminationSet> {
  const n = rowCountOf(images.manifest.parts);
  const row = new Float64Array(n).fill(-1);
  const similarity = new Float32Array(n);
  // Tasks come in row order, so that the first of equals is kept.
  for (const { references } of results) {
    const values = float64Of(await store.read(references));
    for (let at = 0; at < values.length; at += HIT_WORDS) {
      const [reference, value] = [values[at + 2]!, values[at + 3]!];
      if (values[at] !== index || (row[reference]! >= 0 && value <= similarity[reference]!)) continue;
      row[reference] = values[at + 1]!;
      similarity[reference] = value;
    }
  }
  const parts: Part[] = [];
  for (const { firstRow, rowCount } of embeddings.manifest.parts) {
    const end = firstRow + rowCount;
    const valid = Uint8Array.from(row.subarray(firstRow, end), (found) => (found < 0 ? 0 : 1));
    const bytes = encodeTable({
      row: { type: 'uint64', values: row.slice(firstRow, end).map((found) => Math.max(0, found)), valid },
      similarity: { type: 'float32', values: similarity.slice(firstRow, end), valid },
    });
    const path = `${CONTAMINATION}/${name}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, bytes);
    parts.push({ path, firstRow, rowCount, bytes: sizeBytes, sha256 });
  }
  const found = Uint32Array.from({ length: n }, (_, i) => i).filter((i) => row[i]! >= 0);
  const matched = found.length;
  const best = found.sort((a, b) => similarity[b]! - similarity[a]! || a - b).subarray(0, TOP);
  const top = await namePairs(store, Array.from(best, (reference) => ({ reference, row: row[reference]!, similarity: similarity[reference]! })), images.manifest.parts, pool.manifest.parts);
  const compared = embeddings.manifest.okRows.reduce((sum, count) => sum + count, 0);
  return { name, threshold, images: n, compared, matched, rows, top, references: parts };
}

type Pair = Pick<ContaminationPair, 'reference' | 'row' | 'similarity'>;

async function namePairs(store: Store, pairs: readonly Pair[], images: readonly Part[], pool: readonly Part[]): Promise<ContaminationPair[]> {
  const referenceUris = await readUris(store, images, pairs.map(({ reference }) => reference));
  const uris = await readUris(store, pool, pairs.map(({ row }) => row));
  return pairs.map((pair) => ({ ...pair, referenceUri: referenceUris.get(pair.reference)!, uri: uris.get(pair.row)! }));
}

/** Uris of some rows; reads each part of `images/` that holds one of them once. */
export async function readUris(store: Store, parts: readonly Part[], rows: readonly number[]): Promise<Map<number, string>> {
  const uris = new Map<number, string>();
  for (const part of parts) {
    const wanted = rows.filter((row) => row >= part.firstRow && row < part.firstRow + part.rowCount);
    if (wanted.length === 0) continue;
    const all = decodeTable(await readPart(store, part), part.path).strings('uri');
    for (const row of wanted) uris.set(row, all[row - part.firstRow]!);
  }
  return uris;
}
