/** The filter stage over a folder of images: listed, embedded, and judged by the rules that a test gives. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { filterImages } from '../../pipelines/3-filter.ts';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { DEFAULT_DECODE_LIMITS, type EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type EmbeddingRows, rowColumns } from '../../src/embed/rows.ts';
import { FilterConfig } from '../../src/filter/config.ts';
import type { FiltersManifest } from '../../src/filter/filter.ts';
import { type Part, type StoredManifest, readPart, writeManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { type EmbedRun, type EmbedRunOptions, openEmbedRun } from '../embed/embed-run.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

export interface FilterRun {
  readonly run: EmbedRun;
  readonly context: RunContext;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** @param folder that relative paths of the rules start from */
  filter(rules: readonly object[], more?: { readonly seed?: number; readonly folder?: string; readonly embeddings?: StoredManifest<EmbeddingsManifest> }): Promise<Filtered>;
}

export interface Filtered {
  readonly stored: StoredManifest<FiltersManifest>;
  /** By uri; null where the image stays. */
  readonly reason: Readonly<Record<string, string | null>>;
  readonly detail: Readonly<Record<string, string | null>>;
  score(name: string): Readonly<Record<string, number | null>>;
}

/** @param source as a recipe gives it */
export async function openFilterRun(source: Record<string, unknown>, options: EmbedRunOptions = {}, embed: Record<string, unknown> = {}): Promise<FilterRun> {
  const run = await openEmbedRun(source, options);
  const { model = 'descriptor', ...config } = embed;
  const embeddings = await run.embed(model as string, config);
  return {
    run,
    context: run.context,
    embeddings,
    filter: async (rules, { seed = 0, folder = '/', embeddings: other = embeddings } = {}) => {
      const filters = z.array(FilterConfig).parse(rules);
      const stored = await filterImages({ ...run.context, seed }, { images: run.images, embeddings: other, filters, folder, limits: DEFAULT_DECODE_LIMITS });
      return readFiltered(run, stored!);
    },
  };
}

async function readFiltered({ context: { store }, images }: EmbedRun, stored: StoredManifest<FiltersManifest>): Promise<Filtered> {
  const column = async <T>(parts: readonly Part[], read: (view: ReturnType<typeof decodeTable>) => T[]): Promise<T[]> => {
    const values: T[] = [];
    for (const part of parts) values.push(...read(decodeTable(await readPart(store, part), part.path)));
    return values;
  };
  const uris = (await column(images.manifest.parts, (view) => view.strings('uri'))) as string[];
  const { parts } = stored.manifest;
  const byUri = <T>(values: T[]): Record<string, T> => Object.fromEntries(values.map((value, row) => [uris[row]!, value]));
  const views = await column(parts, (view) => [view]);
  const scores = (name: string): (number | null)[] => views.flatMap((view) => Array.from(view.numbers(`score.${name}`), (value, i) => (view.validity(`score.${name}`)?.[i] === 0 ? null : value)));
  return {
    stored,
    reason: byUri(views.flatMap((view) => view.strings('reason'))),
    detail: byUri(views.flatMap((view) => view.strings('detail'))),
    score: (name) => byUri(scores(name)),
  };
}

/** The same table in parts of so many rows. */
export async function splitEmbeddings({ context: { store }, embeddings }: FilterRun, partRows: number): Promise<StoredManifest<EmbeddingsManifest>> {
  const { d } = embeddings.manifest;
  const parts: Part[] = [];
  for (const part of embeddings.manifest.parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    for (let from = 0; from < part.rowCount; from += partRows) {
      const to = Math.min(part.rowCount, from + partRows);
      const rows = {
        d,
        status: view.strings('status').slice(from, to),
        id: view.strings('id').slice(from, to),
        width: view.numbers('width').slice(from, to),
        height: view.numbers('height').slice(from, to),
        vectors: view.vector('embedding').values.slice(from * d, to * d),
      } as unknown as EmbeddingRows;
      const path = `split/part-${String(parts.length).padStart(5, '0')}.arrow`;
      const { sizeBytes, sha256 } = await store.write(path, encodeTable(rowColumns(rows)));
      parts.push({ path, firstRow: part.firstRow + from, rowCount: to - from, bytes: sizeBytes, sha256 });
    }
  }
  return writeManifest<EmbeddingsManifest>(store, 'split', { ...embeddings.manifest, parts, okRows: parts.map(() => 0) });
}

/** Writes files into a new folder. */
export async function folderOf(files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  const folder = await temporaryFolder('filter');
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
  return folder;
}
