/** Croissant 1.0 (MLCommons) beside an export: its files with their hashes, and the fields of a record. */
import { canonicalJson } from '../run/manifest.ts';
import type { DatasetManifest } from '../shard/shard.ts';

/** A file of the export, named from the folder of the Croissant file. */
export interface ExportedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly encodingFormat: string;
}

export interface ExportedField {
  readonly name: string;
  readonly dataType: 'sc:Text' | 'sc:Integer' | 'sc:ImageObject' | 'sc:Float';
  readonly description: string;
}

/** Canonical JSON. */
export function describeCroissant(manifest: DatasetManifest, files: readonly ExportedFile[], fields: readonly ExportedField[]): string {
  const recipe = (manifest.lineage['recipe'] ?? {}) as { name?: string };
  return canonicalJson({
    '@context': { '@language': 'en', '@vocab': 'https://schema.org/', sc: 'https://schema.org/', cr: 'http://mlcommons.org/croissant/', dct: 'http://purl.org/dc/terms/', conformsTo: 'dct:conformsTo', recordSet: 'cr:recordSet', field: 'cr:field', dataType: { '@id': 'cr:dataType', '@type': '@vocab' }, source: 'cr:source', fileSet: 'cr:fileSet', extract: 'cr:extract', column: 'cr:column' },
    '@type': 'sc:Dataset',
    conformsTo: 'http://mlcommons.org/croissant/1.0',
    name: recipe.name ?? 'dataset',
    description: `Curated by ${manifest.createdBy}: ${manifest.parts.map(({ name, rows, kind }) => `${rows} images in the ${kind} part "${name}"`).join(', ')}.`,
    distribution: files.map(({ name, sizeBytes, sha256, encodingFormat }) => ({ '@type': 'cr:FileObject', '@id': name, name, contentUrl: name, contentSize: `${sizeBytes} B`, encodingFormat, sha256 })),
    recordSet: [{ '@type': 'cr:RecordSet', '@id': 'images', name: 'images', field: fields.map(({ name, dataType, description }) => ({ '@type': 'cr:Field', '@id': `images/${name}`, name, dataType, description })) }],
  });
}
