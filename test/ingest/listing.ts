/** Lists a source whole, and makes tars and folders to list. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type Header, pack } from 'tar-stream';
import { type NamedSource, SourceConfig } from '../../src/ingest/image.ts';
import { listSource, resolveSources } from '../../src/ingest/ingest.ts';
import { type ImageRow, rowAt } from '../../src/ingest/rows.ts';

export function sourceOf(config: Record<string, unknown>, baseDirectory: string): NamedSource {
  return resolveSources([SourceConfig.parse({ name: 'pool', ...config })], baseDirectory)[0]!;
}

export interface Listed {
  readonly rows: ImageRow[];
  readonly counts: Record<string, number>;
}

export async function listAll(config: Record<string, unknown>, baseDirectory: string): Promise<Listed> {
  const rows: ImageRow[] = [];
  const counts: Record<string, number> = {};
  const count = (reason: string, times = 1): void => {
    if (times > 0) counts[reason] = (counts[reason] ?? 0) + times;
  };
  for await (const batch of listSource(sourceOf(config, baseDirectory), { signal: undefined, count })) {
    for (let i = 0; i < batch.rowCount; i++) rows.push(rowAt(batch, i));
  }
  return { rows, counts };
}

/** Writes files given by relative path, making their folders. */
export async function writeTree(root: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), bytes);
  }
}

export type Entry = readonly [name: string, data: string | Uint8Array] | (Partial<Header> & { readonly name: string; readonly data?: string });

export async function packTar(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const entry of entries) {
    if ('name' in entry) {
      const { data, ...header } = entry;
      tar.entry({ mtime: new Date(0), ...header }, data ?? '');
    } else tar.entry({ name: entry[0], mtime: new Date(0) }, Buffer.from(entry[1]));
  }
  tar.finalize();
  return buffer(tar as unknown as AsyncIterable<Uint8Array>);
}
