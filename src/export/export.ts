/** `winnow export`: a dataset in the formats that other loaders read, each with a Croissant description beside it. */
import { WinnowError } from '../errors.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { requireManifest } from '../run/manifest.ts';
import { type DatasetManifest, type DatasetPart, hasDerived } from '../shard/shard.ts';
import type { Store, Written } from '../store/store.ts';
import { type ExportedField, type ExportedFile, describeCroissant } from './croissant.ts';
import { writeFlatIndex } from './faiss.ts';
import { encodeSortedIds } from './ids.ts';
import { type MdsShard, writeMdsIndex, writeMdsShard } from './mds.ts';
import { writeParquet } from './parquet.ts';
import { type ExportSource, readExportRows } from './rows.ts';
import { writeTar } from './webdataset.ts';

export const EXPORT_FORMATS = ['webdataset', 'parquet', 'mds', 'faiss', 'ids'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportOptions {
  /** `parquet`: add the bytes. The other formats of images always have them. */
  readonly withImages: boolean;
}

/**
 * Writes the export under the format's name in `out`, the Croissant file last.
 *
 * @returns the files, in order
 * @throws {WinnowError} CONFIG_INVALID when a part cannot be had in the format; INPUT_MISSING, CHECKSUM_MISMATCH
 */
export async function exportDataset(source: ExportSource, out: Store, format: ExportFormat, options: ExportOptions): Promise<ExportedFile[]> {
  const files = await WRITERS[format](source, out, options);
  const { manifest, parts } = source;
  const described = describeCroissant({ ...manifest, parts }, files, fieldsOf(manifest, format, options));
  await out.write(`${format}/croissant.json`, new TextEncoder().encode(described));
  return files;
}

type Writer = (source: ExportSource, out: Store, options: ExportOptions) => Promise<ExportedFile[]>;

const WRITERS: Record<ExportFormat, Writer> = {
  webdataset: async (source, out) => {
    const files: ExportedFile[] = [];
    for await (const rows of readExportRows(source)) {
      const name = `${rows.part.name}-${pad(rows.shard)}.tar`;
      files.push(describe(name, 'application/x-tar', await writeTar(out, `webdataset/${name}`, rows)));
    }
    return files;
  },
  parquet: async (source, out, { withImages }) => {
    const files: ExportedFile[] = [];
    for await (const rows of readExportRows(source)) {
      const name = `${rows.part.name}-${pad(rows.shard)}.parquet`;
      files.push(describe(name, 'application/vnd.apache.parquet', await writeParquet(out, `parquet/${name}`, rows, withImages)));
    }
    return files;
  },
  mds: async (source, out) => {
    const files: ExportedFile[] = [];
    const shards: MdsShard[] = [];
    for await (const rows of readExportRows(source)) {
      const { shard, written } = await writeMdsShard(out, 'mds', `shard.${String(shards.length).padStart(5, '0')}.mds`, rows);
      shards.push(shard);
      files.push(describe(shard.raw_data.basename, 'application/octet-stream', written));
    }
    files.push(describe('index.json', 'application/json', await writeMdsIndex(out, 'mds', shards)));
    return files;
  },
  faiss: async (source, out) => {
    const files: ExportedFile[] = [];
    const { manifest: embeddings } = await requireManifest<EmbeddingsManifest>(source.store, 'embeddings', 'embed');
    for (const part of source.parts) {
      if (part.kind === 'raw') continue; // raw parts have no embeddings
      const name = `${part.name}.index`;
      files.push(describe(name, 'application/octet-stream', await writeFlatIndex(source.store, out, `faiss/${name}`, part, embeddings, rowsOf(source, part))));
    }
    if (files.length === 0) throw new WinnowError('CONFIG_INVALID', `Expected a part with embeddings to export to faiss, got ${source.parts.map(({ name }) => `the raw part "${name}"`).join(', ')}`);
    return files;
  },
  ids: async (source, out) => {
    const ids = new Set<string>();
    for await (const { id } of readExportRows(source)) for (const one of id) ids.add(one);
    return [describe('ids.npy', 'application/x-npy', await out.write('ids/ids.npy', encodeSortedIds(ids)))];
  },
};

async function* rowsOf(source: ExportSource, part: DatasetPart): AsyncGenerator<readonly number[]> {
  for await (const { row } of readExportRows({ ...source, parts: [part] })) yield row;
}

function describe(name: string, encodingFormat: string, { sizeBytes, sha256 }: Written): ExportedFile {
  return { name, sizeBytes, sha256, encodingFormat };
}

function pad(ordinal: number): string {
  return String(ordinal).padStart(6, '0');
}

function fieldsOf(manifest: DatasetManifest, format: ExportFormat, { withImages }: ExportOptions): ExportedField[] {
  const fields = FIELDS.filter(({ only }) => only === undefined || only.includes(format)).map(({ only: _, ...field }) => field);
  if (!hasDerived(manifest) || !(['webdataset', 'mds'].includes(format) || (format === 'parquet' && withImages))) return fields;
  return [...fields.map((field) => (field.name === 'image' ? { ...field, description: 'The encoded bytes: derived from the original where `derivedId` is given, else the original.' } : field)), DERIVED];
}

const DERIVED: ExportedField = { name: 'derivedId', dataType: 'sc:Text', description: 'First 32 hex digits of the SHA-256 of the bytes of `image` where they are derived; `id` is that of the original.' };

const FIELDS: readonly (ExportedField & { readonly only?: readonly ExportFormat[] })[] = [
  { name: 'id', dataType: 'sc:Text', description: 'First 32 hex digits of the SHA-256 of the image\'s bytes.' },
  { name: 'image', dataType: 'sc:ImageObject', description: 'The original encoded bytes.', only: ['webdataset', 'parquet', 'mds'] },
  { name: 'uri', dataType: 'sc:Text', description: 'Where the image came from.', only: ['webdataset', 'parquet', 'mds'] },
  { name: 'part', dataType: 'sc:Text', description: 'Part of the dataset.', only: ['webdataset', 'parquet', 'mds'] },
  { name: 'label', dataType: 'sc:Text', description: 'Label, where the source has one.', only: ['webdataset', 'parquet', 'mds'] },
  { name: 'caption', dataType: 'sc:Text', description: 'Caption, where the source has one.', only: ['webdataset', 'parquet', 'mds'] },
  { name: 'embedding', dataType: 'sc:Float', description: 'Vector i is row i of the part.', only: ['faiss'] },
];
