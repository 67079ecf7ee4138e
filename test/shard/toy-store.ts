/**
 * A small store up to the selections, made by the real encoders from a plain description, so that a test can work out by
 * hand what the dataset must hold. Tables are cut into parts of a few rows, at different places, to meet every boundary.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import type { Columns } from '../../src/arrow/tables.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { type Recipe, parseRecipe } from '../../src/config.ts';
import { imageColumns } from '../../src/ingest/image.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Manifest, type Part, rowCountOf, writeManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';

export interface ToyImage {
  readonly bytes: Uint8Array;
  readonly status: string;
  readonly inTar: boolean;
  readonly label: string | null;
  readonly caption: string | null;
}

export interface ToyEntry {
  readonly row: number;
  readonly copies: number;
  readonly score: number;
}

export interface Toy {
  readonly pool: readonly ToyImage[];
  /** Level-1 cluster by row; null: none. */
  readonly cluster: readonly (number | null)[];
  /** Parents of each level but the top, level 1 first. */
  readonly parents: readonly (readonly number[])[];
  readonly topClusters: number;
  readonly balanced: readonly ToyEntry[];
  readonly retrieved: Readonly<Record<string, readonly ToyEntry[]>>;
  readonly raws: Readonly<Record<string, readonly ToyImage[]>>;
  readonly withText: boolean;
  /** Rows of a part of images, embeddings, assignment, selections. */
  readonly partRows: { readonly images: number; readonly embeddings: number; readonly assignment: number; readonly selections: number };
}

export interface ToyStore {
  readonly context: RunContext;
  readonly store: Store;
  /** Folder of each source. */
  readonly locations: Record<string, string>;
  recipe(overrides?: Record<string, unknown>): Readonly<Recipe>;
}

export const idOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 32);
export const pathOf = (image: ToyImage, i: number): string => (image.inTar ? 'pack.tar' : `image-${i}.bin`);

/** Call it in a test: it closes what the tasks opened when the test ends. @param tasks tasks at once; none of it may change a byte */
export async function buildToy(toy: Toy, folder: string, { tasks = 1, concurrency = 2, signal = new AbortController().signal } = {}): Promise<ToyStore> {
  const store = await openFsStore(join(folder, 'store'));
  const locations: Record<string, string> = {};
  await writeImages(store, folder, 'images', 'pool', toy.pool, toy, locations);
  for (const [name, images] of Object.entries(toy.raws)) await writeImages(store, folder, `raw/${name}/images`, name, images, toy, locations);
  await writeEmbeddings(store, 'embeddings', toy.pool, toy.partRows.embeddings);
  for (const [name, images] of Object.entries(toy.raws)) await writeEmbeddings(store, `raw/${name}/embeddings`, images, toy.partRows.embeddings);
  await writeClusters(store, toy);
  await writeSelection(store, 'balanced', 'balanced', toy.balanced, toy.partRows.selections);
  for (const [name, entries] of Object.entries(toy.retrieved)) await writeSelection(store, name, 'retrieved', entries, toy.partRows.selections);
  const execution = { concurrency, threads: 1, blockRows: 1024, memoryBytes: 1 << 20 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations, tasks, onAdvance: () => {}, onNote: () => {} });
  onTestFinished(() => executor.close());
  return {
    store,
    locations,
    context: { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource },
    recipe: (overrides = {}) =>
      parseRecipe(
        {
          format: 'winnow-recipe/1',
          name: 'toy',
          pool: [{ name: 'pool', folder: `${folder}/pool` }],
          retrieve: Object.keys(toy.retrieved).map((name) => ({ name, sources: [{ folder: `${folder}/${name}` }] })),
          raw: Object.keys(toy.raws).map((name) => ({ name, sources: [{ folder: `${folder}/${name}` }] })),
          ...overrides,
        },
        'toy',
      ),
  };
}

/** A toy of `n` pool images with everything a dataset can hold: repeats, pairs, rejects, set-aside rows, a raw part. */
export function exampleToy(n = 60): Toy {
  const image = (seed: number, i: number): ToyImage => ({
    bytes: Uint8Array.from({ length: 3 + ((i * 7) % 40) }, (_, j) => (seed * 31 + i * 17 + j * 5) & 255),
    status: i % 11 === 3 ? 'corrupt' : 'ok',
    inTar: i % 3 === 0,
    label: i % 4 === 0 ? null : `label-${i % 5}`,
    caption: i % 2 === 0 ? `caption ${i} é` : null,
  });
  const pool = Array.from({ length: n }, (_, i) => image(1, i));
  const usable = pool.flatMap(({ status }, i) => (status === 'ok' && i % 13 !== 5 ? [i] : []));
  return {
    pool,
    cluster: pool.map(({ status }, i) => (status === 'ok' && i % 13 !== 5 ? i % 6 : null)),
    parents: [[0, 1, 2, 0, 1, 2], [0, 1, 0]],
    topClusters: 2,
    balanced: usable.filter((_, i) => i % 2 === 0).map((row, i) => ({ row, copies: 1 + (i % 3), score: row / 8 })),
    retrieved: { near: pool.flatMap(({ status }, row) => (status !== 'ok' ? [] : Array.from({ length: row % 4 }, (_, q) => ({ row, copies: 1, score: 1 - q / 4 })))) },
    raws: { whole: Array.from({ length: 17 }, (_, i) => image(2, i)) },
    withText: true,
    partRows: { images: 16, embeddings: 7, assignment: 10, selections: 9 },
  };
}

function manifestOf(stage: string, config: unknown, parts: readonly Part[], stats: Record<string, unknown>): Manifest {
  return { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage, inputs: [], config, configHash: stage, seed: 0, parts, stats, createdBy: 'toy' };
}

async function writeParts(store: Store, path: string, n: number, partRows: number, columns: (from: number, to: number) => Columns): Promise<Part[]> {
  const parts: Part[] = [];
  for (let from = 0; from < n; from += partRows) {
    const to = Math.min(n, from + partRows);
    const key = `${path}/part-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(key, encodeTable(columns(from, to)));
    parts.push({ path: key, firstRow: from, rowCount: to - from, bytes: sizeBytes, sha256 });
  }
  return parts;
}

async function writeImages(store: Store, folder: string, path: string, source: string, images: readonly ToyImage[], { withText, partRows }: Toy, locations: Record<string, string>): Promise<void> {
  const root = join(folder, source);
  locations[source] = root;
  await mkdir(root, { recursive: true });
  const tar: Uint8Array[] = [];
  const offset = new Float64Array(images.length).fill(-1);
  const length = new Float64Array(images.length).fill(-1);
  let end = 0;
  for (const [i, image] of images.entries()) {
    if (!image.inTar) await writeFile(join(root, pathOf(image, i)), image.bytes);
    else {
      offset[i] = end;
      length[i] = image.bytes.length;
      tar.push(image.bytes);
      end += image.bytes.length;
    }
  }
  await writeFile(join(root, 'pack.tar'), Buffer.concat(tar));
  const parts = await writeParts(store, path, images.length, partRows.images, (from, to) => {
    const some = images.slice(from, to);
    return imageColumns(
      {
        rowCount: to - from,
        uri: some.map((image, i) => `${source}/${pathOf(image, from + i)}#${from + i}`),
        path: some.map((image, i) => pathOf(image, from + i)),
        source: some.map(() => source),
        offset: offset.slice(from, to),
        length: length.slice(from, to),
        size: Float64Array.from(some, ({ bytes }) => bytes.length),
        label: some.map(({ label }) => label),
        caption: some.map(({ caption }) => caption),
        meta: some.map(() => null),
      },
      withText,
    );
  });
  const stats = { rows: images.length, sources: { [source]: { rows: images.length, skipped: { hidden: 2 } } } };
  await writeManifest(store, path, { ...manifestOf('ingest', { source }, parts, stats), sources: [] } as Manifest);
}

async function writeEmbeddings(store: Store, path: string, images: readonly ToyImage[], partRows: number): Promise<void> {
  const parts = await writeParts(store, path, images.length, partRows, (from, to) => {
    const some = images.slice(from, to);
    return {
      status: { type: 'dictionary', values: some.map(({ status }) => status) },
      id: { type: 'utf8', values: some.map(({ bytes }) => idOf(bytes)) },
      width: { type: 'uint32', values: new Uint32Array(to - from) },
      height: { type: 'uint32', values: new Uint32Array(to - from) },
    };
  });
  const statuses: Record<string, number> = {};
  for (const { status } of images) statuses[status] = (statuses[status] ?? 0) + 1;
  const okRows = parts.map(({ firstRow, rowCount }) => images.slice(firstRow, firstRow + rowCount).filter(({ status }) => status === 'ok').length);
  const config = { normalize: true, dtype: 'float16', encoder: { name: 'toy', sha256: 'abc' } };
  await writeManifest(store, path, { ...manifestOf('embed', config, parts, { rows: images.length, statuses }), d: 0, encoder: { name: 'toy' }, okRows, maxAbs: 0 } as Manifest);
}

async function writeClusters(store: Store, { cluster, parents, topClusters, partRows, pool }: Toy): Promise<void> {
  let size = new Array<number>(parents[0]?.length ?? topClusters).fill(0);
  for (const c of cluster) if (c !== null) size[c]!++;
  const levels = [];
  for (let l = 0; l <= parents.length; l++) {
    const k = size.length;
    const parent = parents[l];
    const parts = await writeParts(store, `clusters/level-${l + 1}/centroids`, k, 4, (from, to) => ({
      centroid: { type: 'vector', element: 'float32', d: 1, values: new Float32Array(to - from) },
      parent: { type: 'uint32', values: Uint32Array.from({ length: to - from }, (_, i) => parent?.[from + i] ?? 0), valid: new Uint8Array(to - from).fill(parent === undefined ? 0 : 1) },
      size: { type: 'uint64', values: Float64Array.from(size.slice(from, to)) },
    }));
    levels.push({ level: l + 1, k, parts });
    const above = new Array<number>(l + 1 < parents.length ? parents[l + 1]!.length : topClusters).fill(0);
    size.forEach((images, c) => (above[parent?.[c] ?? 0]! += images));
    size = above;
  }
  const parts = await writeParts(store, 'clusters/assignment', cluster.length, partRows.assignment, (from, to) => ({
    cluster: { type: 'uint32', values: Uint32Array.from(cluster.slice(from, to), (c) => c ?? NO_CLUSTER), valid: Uint8Array.from(cluster.slice(from, to), (c) => (c === null ? 0 : 1)) },
    distance: { type: 'float32', values: new Float32Array(to - from) },
  }));
  const clustered = cluster.filter((c) => c !== null).length;
  const setAside = pool.filter(({ status }) => status === 'ok').length - clustered;
  await writeManifest(store, 'clusters', { ...manifestOf('cluster', {}, parts, { clustered, setAside }), levels, d: 1 } as Manifest);
}

async function writeSelection(store: Store, name: string, kind: string, entries: readonly ToyEntry[], partRows: number): Promise<void> {
  const parts = await writeParts(store, `selections/${name}`, entries.length, partRows, (from, to) => ({
    row: { type: 'uint64', values: Float64Array.from(entries.slice(from, to), ({ row }) => row) },
    copies: { type: 'uint16', values: Uint16Array.from(entries.slice(from, to), ({ copies }) => copies) },
    score: { type: 'float32', values: Float32Array.from(entries.slice(from, to), ({ score }) => score) },
  }));
  const selected = entries.reduce((sum, { copies }) => sum + copies, 0);
  const unique = new Set(entries.map(({ row }) => row)).size;
  const manifest = { ...manifestOf(kind === 'balanced' ? 'sample' : 'retrieve', { name }, parts, {}), part: name, kind, requested: selected + 2, selected, unique, shortfall: 2 };
  if (rowCountOf(parts) !== entries.length) throw new Error('toy selection is cut wrongly');
  await writeManifest(store, `selections/${name}`, manifest as Manifest);
}
