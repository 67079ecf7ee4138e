/**
 * Where a dataset comes from, for its manifest: the recipe, the model, the preprocessing, the code, and the funnel: how
 * many images there were at each step and why the others went. Reasons add up to the pool: nothing is lost silently.
 */
import assert from 'node:assert/strict';
import type { ClustersManifest } from '../cluster/tree.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { BALANCED_PART } from '../mix/mixture.ts';
import { type StoredManifest, rowCountOf } from '../run/manifest.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import { CREATED_BY } from '../version.ts';

/** The listing of a pool or of a raw part, and what became of each image of it. */
export interface ImageTables {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
}

/** Every table a dataset is made from. */
export interface DatasetTables extends ImageTables {
  readonly clusters: StoredManifest<ClustersManifest>;
  /** By name of the part. */
  readonly selections: ReadonlyMap<string, StoredManifest<SelectionManifest>>;
  readonly raws: ReadonlyMap<string, ImageTables>;
  /** What is left of a part where earlier parts hold some of its images; by name of the part. */
  readonly disjoint: ReadonlyMap<string, StoredManifest<SelectionManifest>>;
}

/** Counts of images by reason. */
type Counts = Readonly<Record<string, number>>;

/** @param recipe as `lineageRecipe` gives it */
export function describeLineage(recipe: unknown, tables: DatasetTables): Record<string, unknown> {
  const { encoder, ...preprocessing } = tables.embeddings.manifest.config as Record<string, unknown>;
  const parts = [...[...tables.selections.values()].map(selectionFunnel), ...[...tables.raws].map(rawFunnel)].map((part) => withOverlap(part, tables.disjoint));
  return { recipe, model: encoder ?? null, preprocessing, code: CREATED_BY, funnel: { pool: poolFunnel(tables), parts } };
}

/** Listed images are rejected, set aside, or clustered; clustered ones are drawn for the balanced part or not. */
function poolFunnel({ clusters, selections, ...pool }: DatasetTables): Record<string, unknown> {
  const { listed, skipped, rejected } = imagesFunnel(pool);
  const { setAside = 0, clustered } = clusters.manifest.stats as { setAside?: number; clustered: number };
  const drawn = selections.get(BALANCED_PART)?.manifest.unique ?? 0;
  const accounted = sum(rejected) + setAside + clustered;
  assert(accounted === listed, `Expected the ${listed} images of the pool to be rejected, set aside or clustered, ${accounted} are`);
  return { listed, skipped, rejected, setAside, clustered, drawn, notDrawn: clustered - drawn };
}

function selectionFunnel({ manifest }: StoredManifest<SelectionManifest>): { readonly name: unknown } & Record<string, unknown> {
  const { part, kind, requested, selected, unique, shortfall } = manifest;
  return { name: part, kind, requested, selected, unique, shortfall };
}

function rawFunnel([name, tables]: readonly [string, ImageTables]): { readonly name: unknown } & Record<string, unknown> {
  const { listed, skipped, rejected } = imagesFunnel(tables);
  return { name, kind: 'raw', listed, skipped, rejected, selected: listed - sum(rejected) };
}

/** Rows that an earlier part has and this one therefore leaves out. */
function withOverlap<T extends { readonly name: unknown }>(part: T, disjoint: DatasetTables['disjoint']): T & { readonly overlap?: number } {
  const left = disjoint.get(String(part.name))?.manifest;
  return left === undefined ? part : { ...part, overlap: left.requested - left.selected };
}

function imagesFunnel({ images, embeddings }: ImageTables): { listed: number; skipped: Counts; rejected: Counts } {
  const { statuses = {} } = embeddings.manifest.stats as { statuses?: Counts };
  const rejected = Object.fromEntries(Object.entries(statuses).filter(([status]) => status !== 'ok'));
  return { listed: rowCountOf(images.manifest.parts), skipped: skippedFiles(images.manifest), rejected };
}

/** What lay in the sources and is no row of the table, by reason. */
function skippedFiles({ stats }: ImagesManifest): Counts {
  const { sources = {} } = stats as { sources?: Record<string, { skipped?: Counts }> };
  const total: Record<string, number> = {};
  for (const { skipped = {} } of Object.values(sources)) for (const [reason, count] of Object.entries(skipped)) total[reason] = (total[reason] ?? 0) + count;
  return total;
}


function sum(counts: Counts): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
