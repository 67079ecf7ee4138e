/**
 * Made-up vectors for measuring, and stores that hold them. Unit vectors around centres whose shares fall as 1 / rank, as
 * photographs do and white noise does not: bounds and pruning gain on structure alone.
 */
import { open } from 'node:fs/promises';
import { encodeTable } from '../arrow/ipc.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { EMBEDDING_PART_ROWS } from '../embed/embedding.ts';
import { IMAGES_PART_ROWS, type ImagesManifest, imageColumns } from '../ingest/image.ts';
import { randomStream } from '../random.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest, writePart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { encodeFloat16 } from '../vector/float16.ts';
import { CREATED_BY } from '../version.ts';

const COMPONENTS = 3000;
const NOISE_LENGTH = 1 << 20;
const SPREAD = 0.3;

/** Rows of one mixture: a pure function of d and the row. */
export type MixtureRows = (firstRow: number, rowCount: number) => Float32Array;

/** Each centre and each row's noise is a window of one long list of keyed draws, so that a million rows take seconds. */
export function mixture(d: number): MixtureRows {
  const normal = randomStream(0, 'bench', 'normal');
  const noise = Float32Array.from({ length: NOISE_LENGTH }, (_, i) => normal.normal(i));
  const window = (label: string): ((i: number) => number) => {
    const stream = randomStream(0, 'bench', label);
    return (i) => stream.below(i, NOISE_LENGTH - d);
  };
  const [centreOf, firstOf, secondOf] = [window('centre'), window('first'), window('second')];
  const component = randomStream(0, 'bench', 'component');
  return (firstRow, rowCount) => {
    const values = new Float32Array(rowCount * d);
    for (let i = 0; i < rowCount; i++) {
      const row = firstRow + i;
      // Inverse of the log-uniform distribution function: shares fall as 1 / rank.
      const centre = centreOf(Math.floor(COMPONENTS ** component.uniform(row)));
      const [first, second] = [firstOf(row), secondOf(row)];
      let square = 0;
      for (let j = 0; j < d; j++) {
        const value = noise[centre + j]! + SPREAD * (noise[first + j]! + noise[second + j]!);
        values[i * d + j] = value;
        square += value * value;
      }
      const length = Math.sqrt(square);
      for (let j = i * d; j < (i + 1) * d; j++) values[j] = values[j]! / length;
    }
    return values;
  };
}

/** Writes n rows of a mixture as bare float32, row-major, for programs that read nothing else. */
export async function writeRaw(path: string, rows: MixtureRows, n: number): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (let first = 0; first < n; first += EMBEDDING_PART_ROWS) {
      const values = rows(first, Math.min(EMBEDDING_PART_ROWS, n - first));
      await file.write(new Uint8Array(values.buffer));
    }
  } finally {
    await file.close();
  }
}

/** Writes n × d vectors as the embed stage does. */
export async function writeEmbeddings(store: Store, rows: MixtureRows, { n, d, dtype }: { n: number; d: number; dtype: 'float16' | 'float32' }): Promise<StoredManifest<EmbeddingsManifest>> {
  const parts: Part[] = [];
  let maxAbs = 0;
  for (let first = 0; first < n; first += EMBEDDING_PART_ROWS) {
    const rowCount = Math.min(EMBEDDING_PART_ROWS, n - first);
    const values = rows(first, rowCount);
    for (const value of values) if (Math.abs(value) > maxAbs) maxAbs = Math.abs(value);
    const bytes = encodeTable({
      embedding: dtype === 'float16' ? { type: 'vector', element: 'float16', d, values: encodeFloat16(values) } : { type: 'vector', element: 'float32', d, values },
      status: { type: 'dictionary', values: new Array<string>(rowCount).fill('ok') },
      id: { type: 'utf8', values: Array.from({ length: rowCount }, (_, i) => idOf(first + i)) },
      width: { type: 'uint32', values: new Uint32Array(rowCount).fill(224) },
      height: { type: 'uint32', values: new Uint32Array(rowCount).fill(224) },
    });
    parts.push(await writePart(store, 'embeddings', parts, rowCount, bytes));
  }
  // float16 may round the largest component up by 2^-11 of it.
  return writeManifest<EmbeddingsManifest>(store, 'embeddings', { ...blank('embed'), parts, stats: { statuses: { ok: n } }, d, encoder: null, okRows: parts.map(({ rowCount }) => rowCount), maxAbs: maxAbs * (1 + 2 ** -11) });
}

/** Writes a listing of n images of a tar that need not exist: stages after embedding read its columns alone. */
export async function writeImages(store: Store, n: number): Promise<StoredManifest<ImagesManifest>> {
  const parts: Part[] = [];
  for (let first = 0; first < n; first += IMAGES_PART_ROWS) {
    const rowCount = Math.min(IMAGES_PART_ROWS, n - first);
    const tarOf = (i: number): string => `pool-${String(Math.floor((first + i) / 10_000)).padStart(5, '0')}.tar`;
    const columns = imageColumns(
      {
        rowCount,
        uri: Array.from({ length: rowCount }, (_, i) => `pool/${tarOf(i)}/${idOf(first + i).slice(-9)}.jpg`),
        path: Array.from({ length: rowCount }, (_, i) => tarOf(i)),
        source: new Array<string>(rowCount).fill('pool'),
        offset: Float64Array.from({ length: rowCount }, (_, i) => ((first + i) % 10_000) * 51_200 + 512),
        length: new Float64Array(rowCount).fill(50_000),
        size: new Float64Array(rowCount).fill(50_000),
        label: new Array<null>(rowCount).fill(null),
        caption: new Array<null>(rowCount).fill(null),
        meta: new Array<null>(rowCount).fill(null),
      },
      false,
    );
    parts.push(await writePart(store, 'images', parts, rowCount, encodeTable(columns)));
  }
  return writeManifest<ImagesManifest>(store, 'images', { ...blank('ingest'), parts, stats: { rows: n, sources: {} }, sources: [{ name: 'pool', kind: 'tars', firstRow: 0, rowCount: n }] });
}

function idOf(row: number): string {
  return row.toString(16).padStart(32, '0');
}

function blank(stage: string) {
  return { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage, inputs: [], config: {}, configHash: '', seed: 0, createdBy: CREATED_BY } as const;
}
