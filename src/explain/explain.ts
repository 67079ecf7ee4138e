/**
 * Why an image is in a dataset, or is not: what every step of the run wrote down of its row, from the tables alone. Each row of
 * the pool has exactly one fate, and the fates add up to the pool (law 3 of the design: nothing is lost silently).
 */
import { type ClustersManifest, NO_CLUSTER, type ClusterTree, readTree } from '../cluster/tree.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { SURVIVORS } from '../embed/survivors.ts';
import { throwIfAborted } from '../errors.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Manifest, type StoredManifest, readManifest, requireManifest, rowCountOf } from '../run/manifest.ts';
import { SampleConfig } from '../sample/config.ts';
import { planQuotas } from '../sample/sample.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { DatasetManifest } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import { type Tables, openTables } from './tables.ts';

/** Where a row ended: refused with a reason, in a cluster set aside, in the tree but not drawn, drawn; or no step has come to it yet. */
export type Fate = { readonly fate: 'rejected'; readonly at: string; readonly reason: string } | { readonly fate: 'set-aside' | 'not-drawn' | 'drawn' | 'embedded' | 'listed' };

export interface Explanation {
  readonly row: number;
  readonly uri: string;
  /** Content id; null where the bytes could not be read, or nothing read them yet. */
  readonly id: string | null;
  readonly fate: Fate;
  /** Facts of the listing and of embedding. */
  readonly image: Readonly<Record<string, unknown>>;
  /** What filters, the search for duplicates and evaluation sets wrote of the row, by step; steps that did not run are left out. */
  readonly verdicts: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Level 1 first; null without a cluster. `quota`: images that the cluster gives, null above the level that shares the target. */
  readonly path: readonly { readonly level: number; readonly cluster: number; readonly size: number; readonly quota: number | null }[] | null;
  readonly distance: number | null;
  /** Every selection that has the row: copies and score, and the query's row in its own listing. */
  readonly selections: readonly { readonly part: string; readonly kind: string; readonly copies: number; readonly score: number; readonly query: number | null; readonly queryUri: string | null }[];
  /** Every place of the dataset that has the row. */
  readonly places: readonly { readonly part: string; readonly shard: string; readonly index: number }[];
}

export interface Explainer {
  readonly rows: number;
  explain(row: number): Promise<Explanation>;
  /** Rows whose uri or id is the text, or whose uri ends with `/` and it; at most `limit`. Reads the listing, and the ids where the text may be one. */
  find(text: string, limit: number, signal: AbortSignal): Promise<number[]>;
}

/** Steps between embedding and clustering that judge rows, in order, by the key prefix of their table. */
const JUDGES = ['filters', 'duplicates', 'contamination'] as const;

/** Holds the shape of the tree (12 bytes a cluster) and a few parts of tables. @throws {WinnowError} INPUT_MISSING without a listing */
export async function openExplainer(store: Store): Promise<Explainer> {
  const images = await requireManifest<ImagesManifest>(store, 'images', 'ingest');
  const [embeddings, survivors, clusters] = [await readManifest<EmbeddingsManifest>(store, 'embeddings'), await readManifest<EmbeddingsManifest>(store, SURVIVORS), await readManifest<ClustersManifest>(store, 'clusters')];
  const tree = clusters === null ? null : (await readTree(store)).tree;
  const selections = await readSelections(store);
  const run: Run = {
    store, images, embeddings, clusters, tree, selections,
    tables: openTables(store),
    judges: survivors === null ? [] : await readJudges(store),
    quotas: tree === null ? null : quotasOf(tree, clusters!, selections),
    dataset: (await readManifest(store, 'dataset'))?.manifest as unknown as DatasetManifest | undefined,
    seeds: new Map(),
  };
  return {
    rows: rowCountOf(images.manifest.parts),
    explain: (row) => explainRow(run, row),
    find: (text, limit, signal) => findRows(run, text, limit, signal),
  };
}

interface Run {
  readonly store: Store;
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest> | null;
  readonly clusters: StoredManifest<ClustersManifest> | null;
  readonly tree: ClusterTree | null;
  readonly selections: readonly StoredManifest<SelectionManifest>[];
  readonly tables: Tables;
  readonly judges: readonly StoredManifest[];
  /** Quotas of each level that takes part in the draw; null before it. */
  readonly quotas: readonly Float64Array[] | null;
  readonly dataset: DatasetManifest | undefined;
  readonly seeds: Map<string, ImagesManifest | null>;
}

async function readSelections(store: Store): Promise<StoredManifest<SelectionManifest>[]> {
  const found: StoredManifest<SelectionManifest>[] = [];
  for await (const { key } of store.list('selections/')) {
    if (!/^selections\/[^/]+\/manifest\.json$/.test(key)) continue;
    const stored = await readManifest<SelectionManifest>(store, key.slice(0, -'/manifest.json'.length));
    if (stored !== null) found.push(stored);
  }
  return found.sort((a, b) => Number(b.manifest.kind === 'balanced') - Number(a.manifest.kind === 'balanced'));
}

async function readJudges(store: Store): Promise<StoredManifest[]> {
  const found = await Promise.all(JUDGES.map((path) => readManifest<Manifest>(store, path)));
  return found.filter((stored) => stored !== null);
}

/** The quotas that the draw had: they follow from the sizes, so they are written nowhere. */
function quotasOf(tree: ClusterTree, clusters: StoredManifest<ClustersManifest>, selections: Run['selections']): Float64Array[] | null {
  const drawn = selections.find(({ manifest }) => manifest.kind === 'balanced')?.manifest;
  if (drawn === undefined || !drawn.inputs.some(({ sha256 }) => sha256 === clusters.sha256)) return null;
  const { overrides, ...config } = drawn.config as { overrides?: never };
  return planQuotas(tree, clusters, { config: SampleConfig.parse(config), overrides, seed: drawn.seed }).allocations.map(({ quota }) => quota);
}

async function explainRow(run: Run, row: number): Promise<Explanation> {
  const { tables } = run;
  const { uri, ...listed } = (await tables.row(run.images.manifest.parts, row))!;
  const { embedding: _, ...embedded } = run.embeddings === null ? {} : ((await tables.row(run.embeddings.manifest.parts, row)) ?? {}) as Record<string, unknown>;
  const verdicts: Record<string, Record<string, unknown>> = {};
  for (const { path, manifest } of run.judges) verdicts[path] = await verdictOf(run, path, manifest, row);
  const assigned = run.clusters === null ? null : await tables.row(run.clusters.manifest.parts, row);
  const selections = await selectionsOf(run, row);
  return {
    row, uri: String(uri), id: (embedded['id'] as string | null | undefined) ?? null,
    fate: fateOf(embedded['status'], verdicts, assigned, selections),
    image: { ...listed, ...embedded },
    verdicts,
    path: assigned === null || assigned['cluster'] === null ? null : pathOf(run, Number(assigned['cluster'])),
    distance: assigned === null || assigned['distance'] === null ? null : Number(assigned['distance']),
    selections,
    places: await placesOf(run, row),
  };
}

/** What a step wrote of the row; of a copy also which image stays for it. */
async function verdictOf({ tables, images }: Run, path: string, { parts }: Manifest, row: number): Promise<Record<string, unknown>> {
  const found = (await tables.row(parts, row)) ?? {};
  const keeper = path === 'duplicates' && typeof found['group'] === 'number' && found['group'] !== row ? await tables.row(images.manifest.parts, found['group']) : null;
  return keeper === null ? found : { ...found, of: keeper['uri'] };
}

function fateOf(status: unknown, verdicts: Explanation['verdicts'], assigned: Record<string, unknown> | null, selections: Explanation['selections']): Fate {
  if (status === undefined) return { fate: 'listed' };
  if (status !== 'ok') return { fate: 'rejected', at: 'embed', reason: String(status) };
  for (const [at, { reason }] of Object.entries(verdicts)) if (reason !== null && reason !== undefined) return { fate: 'rejected', at, reason: String(reason) };
  if (assigned === null) return { fate: 'embedded' };
  if (assigned['cluster'] === null) return { fate: 'set-aside' };
  return { fate: selections.some(({ kind }) => kind === 'balanced') ? 'drawn' : 'not-drawn' };
}

function pathOf({ tree, quotas }: Run, leaf: number): Explanation['path'] {
  const path = [];
  for (let l = 0, cluster = leaf; cluster !== NO_CLUSTER && l < tree!.levels.length; l++) {
    const { size, parent } = tree!.levels[l]!;
    path.push({ level: l + 1, cluster, size: size[cluster]!, quota: quotas?.[l]?.[cluster] ?? null });
    cluster = parent[cluster]!;
  }
  return path;
}

async function selectionsOf(run: Run, row: number): Promise<Explanation['selections']> {
  const found = [];
  for (const { manifest } of run.selections) {
    for (const { entry } of await run.tables.entries(manifest.parts, row)) {
      const query = entry['query'] === undefined || entry['query'] === null ? null : Number(entry['query']);
      found.push({ part: manifest.part, kind: manifest.kind, copies: Number(entry['copies'] ?? 1), score: Number(entry['score']), query, queryUri: query === null ? null : await queryUri(run, manifest.part, query) });
    }
  }
  return found;
}

async function queryUri(run: Run, part: string, query: number): Promise<string | null> {
  const path = `seeds/${part}/images`;
  const images = run.seeds.get(path) ?? (await readManifest<ImagesManifest>(run.store, path))?.manifest ?? null;
  run.seeds.set(path, images);
  if (images === null) return promptOf(run, part, query);
  const entry = await run.tables.row(images.parts, query);
  return entry === null ? null : String(entry['uri']);
}

/** A seed set of prompts has no images: the text of each lies beside its vector. */
async function promptOf({ store, tables }: Run, part: string, query: number): Promise<string | null> {
  const vectors = await readManifest<EmbeddingsManifest>(store, `seeds/${part}/embeddings`);
  const text = vectors === null ? undefined : (await tables.row(vectors.manifest.parts, query))?.['text'];
  return typeof text === 'string' ? `the prompt "${text}"` : null;
}

async function placesOf({ dataset, tables }: Run, row: number): Promise<Explanation['places']> {
  const places = [];
  for (const { name, kind, shards } of dataset?.parts ?? []) {
    // Rows of a raw part are of its own listing.
    if (kind === 'raw') continue;
    for (const { part, index } of await tables.entries(shards, row)) places.push({ part: name, shard: part.path, index });
  }
  return places;
}

async function findRows({ images, embeddings, tables }: Run, text: string, limit: number, signal: AbortSignal): Promise<number[]> {
  const rows: number[] = [];
  const look = async (parts: Manifest['parts'], column: string, isIt: (value: string) => boolean): Promise<void> => {
    for (const part of parts) {
      throwIfAborted(signal);
      const values = (await tables.view(part)).strings(column);
      for (let i = 0; i < values.length && rows.length < limit; i++) if (values[i] !== null && isIt(values[i]!)) rows.push(part.firstRow + i);
    }
  };
  if (/^[0-9a-f]{32}$/.test(text) && embeddings !== null) await look(embeddings.manifest.parts, 'id', (id) => id === text);
  if (rows.length === 0) await look(images.manifest.parts, 'uri', (uri) => uri === text);
  if (rows.length === 0) await look(images.manifest.parts, 'uri', (uri) => uri.endsWith(`/${text}`));
  return rows;
}
