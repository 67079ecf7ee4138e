/** `winnow export STORE --to FORMAT`: the dataset in another loader's format. */
import { EXPORT_FORMATS, type ExportFormat, exportDataset } from '../export/export.ts';
import type { ExportedFile } from '../export/croissant.ts';
import { suggest } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { openDataset } from '../shard/read.ts';
import { sourceLocations } from './batches.ts';
import { openStore } from '../store/open.ts';
import { openStoreToRead } from './session.ts';

export interface ExportFlags {
  readonly to: string;
  readonly out: string;
  /** Names of parts; none: all. */
  readonly part: readonly string[];
  /** `name=folder`, where images lie outside the shards. */
  readonly source: readonly string[];
  readonly withImages?: boolean;
}

export interface ExportOutcome {
  readonly text: string;
  readonly json: { readonly format: ExportFormat; readonly files: readonly ExportedFile[] };
}

/** @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING, CHECKSUM_MISMATCH, ABORTED */
export async function exportStore(path: string, { to, out, part, source, withImages = false }: ExportFlags, signal: AbortSignal): Promise<ExportOutcome> {
  const format = EXPORT_FORMATS.find((one) => one === to);
  if (format === undefined) throw new WinnowError('CONFIG_INVALID', `Expected --to to be one of ${EXPORT_FORMATS.join(', ')}, got "${to}"${suggest(to, EXPORT_FORMATS)}`);
  const store = await openStoreToRead(path);
  const { manifest } = await openDataset(store);
  const names = manifest.parts.map(({ name }) => name);
  for (const name of part) if (!names.includes(name)) throw new WinnowError('CONFIG_INVALID', `Expected --part to name a part of the dataset (${names.join(', ')}), got "${name}"${suggest(name, names)}`);
  const parts = part.length === 0 ? manifest.parts : manifest.parts.filter(({ name }) => part.includes(name));
  const files = await exportDataset({ store, manifest, parts, locations: await sourceLocations(path, source), signal }, await openStore(out), format, { withImages });
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  return { text: `${files.length} files, ${sizeBytes} bytes in ${out}/${format}\n`, json: { format, files } };
}
