/**
 * Append: new images go down the frozen tree. Each gets its nearest level-1 centroid, exactly; the clusters above are that
 * leaf's parents. No centroid moves, and rows that had a cluster keep it. What comes out is a pure function of the fit and of
 * the rows now there, so appending in steps or at once gives the same bytes.
 *
 * Where filters or dedup judge the pool, new images can take old ones out of it, and even bring some back. The assignment of
 * the fit is then kept beside the tree, and every assignment is made from it and from the verdicts as they are now.
 *
 * Vectors and centroids are compared in the units they are stored in: the scale that k-means works in depends on the
 * whole pool, and a frozen tree must not.
 */
import assert from 'node:assert/strict';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Manifest, MANIFEST_VERSION, type Part, type StoredManifest, hashOf, readPart, rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { CREATED_BY } from '../version.ts';
import { type AssignPayload, assignRows } from './assign.ts';
import { type Drift, type RefitAdvice, adviseRefit, measureDrift } from './drift.ts';
import { healthWarnings, measureHealth } from './health.ts';
import { searchEngine } from './level.ts';
import { ASSIGNMENT_PART_ROWS, type AssignmentBlock, type ClusterTree, type ClustersManifest, NO_CLUSTER, type TreeLevel, assertTree, readAssignment, readTree } from './tree.ts';

/** What a tree's manifest says once images were appended. Its `config` and `seed` are still those of the fit. */
export interface AppendedManifest extends ClustersManifest {
  readonly append: {
    /** SHA-256 of the fit's manifest, kept as `clusters/fit.json`. */
    readonly fit: string;
    /** Rows of the pool, rejected ones too, when the tree was fitted, and now. */
    readonly rowsAtFit: number;
    readonly rows: number;
    /** Search engine that assigned the appended images. */
    readonly engine: Readonly<Record<string, unknown>>;
    /** Filters or dedup have judged the pool: the assignment of the fit is kept under `clusters/fit/assignment/`. */
    readonly judged?: true;
  };
  readonly stats: Manifest['stats'] & { readonly drift: Drift & { readonly advice: RefitAdvice } };
}

/** Where the manifest of the fit is kept once images were appended. */
export const FIT_KEY = 'clusters/fit.json';
/** Where the assignment of the fit is kept once the pool was judged anew. */
const FIT_ASSIGNMENT = 'clusters/fit/assignment';

export interface AppendRequest {
  /** The tree as it stands: fitted, or appended to before. */
  readonly clusters: StoredManifest<ClustersManifest>;
  /** The longer table of embeddings, or of those that are still in the pool: rows of the tree's table first. */
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** The parts of `embeddings` where they lie now. */
  readonly embeddingsAt: readonly Part[];
  /** Rows of the fit may have left the pool since, or have come back. */
  readonly judged: boolean;
  readonly sources: readonly { readonly name: string; readonly firstRow: number; readonly rowCount: number }[];
  /** Key prefix, ending in `/`, under which every new table is written; `clusters/` itself stays as it is. */
  readonly staging: string;
}

export interface Appended {
  readonly manifest: AppendedManifest;
  /** Keys under `staging` and where they go, before the manifest does. */
  readonly copies: readonly { readonly from: string; readonly to: string }[];
}

/** True for the manifest of a tree that images were appended to. */
export function isAppended(manifest: ClustersManifest): manifest is AppendedManifest {
  return (manifest as Partial<AppendedManifest>).append !== undefined;
}

/** Assigns rows that the tree does not have yet and writes its tables anew, with the new sizes, under `staging`. */
export async function appendToTree(context: RunContext, request: AppendRequest): Promise<Appended> {
  const { store } = context;
  const { clusters, embeddings, staging } = request;
  const { stored, tree } = await readTree(store);
  assert(stored.sha256 === clusters.sha256, 'Expected the tree in the store to be the one that is appended to');
  const { provenance: engine } = await searchEngine(context);
  warnOfEngine(context, clusters.manifest, engine);
  const fitted = await openFit(context, request);
  const assignment = fitted === null ? await assignNew(context, request) : await assignJudged(context, request, fitted.parts);
  const blocks = (): AsyncIterable<AssignmentBlock> => readAssignment(store, { ...clusters.manifest, parts: assignment.at });
  const grown = await resize(tree, blocks);
  const levels = await writeSizes(context, clusters.manifest, grown, staging);
  const fit = isAppended(clusters.manifest) ? clusters.manifest.append : { fit: clusters.sha256, rowsAtFit: rowCountOf(clusters.manifest.parts) };
  if (!isAppended(clusters.manifest)) await store.write(`${staging}${FIT_KEY}`, await store.read('clusters/manifest.json'));
  const drift = await measureDrift(blocks, { fitRows: fit.rowsAtFit, top: topOf(grown), topK: grown.levels.at(-1)!.k, sources: request.sources });
  const inputs = [{ stage: embeddings.manifest.stage, sha256: embeddings.sha256 }];
  const { config, seed, format, version, stage, d, draw } = clusters.manifest;
  const manifest: AppendedManifest = {
    format, version, stage, config, seed, d, draw, inputs, levels,
    configHash: hashOf({ stage, append: fit.fit, engine, config, inputs, seed, version: MANIFEST_VERSION, createdBy: CREATED_BY }),
    parts: assignment.parts,
    stats: { ...describe(clusters.manifest, embeddings.manifest, grown), drift: { ...drift, advice: adviseRefit(drift) } },
    createdBy: CREATED_BY,
    append: { fit: fit.fit, rowsAtFit: fit.rowsAtFit, rows: rowCountOf(assignment.parts), engine, ...(fitted !== null && { judged: true }) },
  };
  const staged = [...assignment.at.filter(({ path }) => path.startsWith(staging)), ...levels.flatMap(({ parts }) => parts.map(({ path }) => ({ path: `${staging}${path}` })))].map(({ path }) => path);
  if (!isAppended(clusters.manifest)) staged.push(`${staging}${FIT_KEY}`, ...(fitted?.staged ?? []));
  return { manifest, copies: staged.map((from) => ({ from, to: from.slice(staging.length) })) };
}

/** Another engine may settle a near tie in another way: no fault, but no longer the same bytes on every machine. */
function warnOfEngine({ log }: RunContext, manifest: ClustersManifest, engine: Readonly<Record<string, unknown>>): void {
  const before = isAppended(manifest) ? manifest.append.engine : (manifest.config as { engine?: unknown }).engine;
  if (before !== undefined && hashOf({ engine: before }) !== hashOf({ engine })) log.warn({ stage: 'append', before, engine }, 'append: another search engine than the tree was made with; images that lie between two clusters may go to the other one');
}

/**
 * The assignment of the fit, where the pool was judged anew: the tree's own before the first append, and the one kept since.
 *
 * @returns parts where they lie, and the copies that were staged to be kept; null where rows stay in the pool for good
 * @throws {WinnowError} CONFIG_INVALID when the tree was appended to without verdicts, so that none was kept
 */
async function openFit({ store }: RunContext, { clusters: { manifest }, judged, staging }: AppendRequest): Promise<{ parts: readonly Part[]; staged: readonly string[] } | null> {
  const kept = (part: Part): string => part.path.replace('clusters/assignment', FIT_ASSIGNMENT);
  if (!isAppended(manifest)) {
    if (!judged) return null;
    const staged: string[] = [];
    for (const part of manifest.parts) {
      await store.write(`${staging}${kept(part)}`, await readPart(store, part));
      staged.push(`${staging}${kept(part)}`);
    }
    return { parts: manifest.parts, staged };
  }
  if (manifest.append.judged === true) {
    const fit = JSON.parse(new TextDecoder().decode(await store.read(FIT_KEY))) as ClustersManifest;
    return { parts: fit.parts.map((part) => ({ ...part, path: kept(part) })), staged: [] };
  }
  if (!judged) return null;
  throw new WinnowError('CONFIG_INVALID', `Expected the pool to be judged as when images were first appended to the tree in ${store.uri}, by no \`filters\`, \`dedup\` or \`decontaminate\`, got some: \`winnow run\` fits a new tree`);
}

/** Every part is made from that of the fit and the verdicts on its rows. */
async function assignJudged(context: RunContext, { clusters: { manifest }, embeddings, embeddingsAt, staging }: AppendRequest, fit: readonly Part[]): Promise<{ parts: Part[]; at: Part[] }> {
  const rows = rowCountOf(embeddings.manifest.parts);
  const holding = rangeFinder(embeddingsAt);
  const before = new Map(fit.map((part) => [part.firstRow, part]));
  const { k, parts: centroids } = manifest.levels[0]!;
  const payloads = Array.from({ length: Math.ceil(rows / ASSIGNMENT_PART_ROWS) }, (_, p): AssignPayload => {
    const firstRow = p * ASSIGNMENT_PART_ROWS;
    const rowCount = Math.min(ASSIGNMENT_PART_ROWS, rows - firstRow);
    return { centroids, k, d: manifest.d, embeddings: holding(firstRow, firstRow + rowCount), before: before.get(firstRow) ?? null, judged: true, firstRow, rowCount, out: `${staging}${partKey(p)}` };
  });
  return assignAll(context, payloads, rows - rowCountOf(fit), k, staging);
}

function partKey(p: number): string {
  return `clusters/assignment/part-${String(p).padStart(5, '0')}.arrow`;
}

/** Parts that are full stay as they are; the last is written anew with what it had first, the rest follows. */
async function assignNew(context: RunContext, { clusters: { manifest }, embeddings, embeddingsAt, staging }: AppendRequest): Promise<{ parts: Part[]; at: Part[] }> {
  const rows = rowCountOf(embeddings.manifest.parts);
  const last = manifest.parts.at(-1);
  const open = last !== undefined && last.rowCount < ASSIGNMENT_PART_ROWS && rowCountOf(manifest.parts) < rows ? last : null;
  const kept = open === null ? manifest.parts : manifest.parts.slice(0, -1);
  const payloads: AssignPayload[] = [];
  const holding = rangeFinder(embeddingsAt);
  for (let firstRow = rowCountOf(kept); firstRow < rows; firstRow += ASSIGNMENT_PART_ROWS) {
    const rowCount = Math.min(ASSIGNMENT_PART_ROWS, rows - firstRow);
    const before = firstRow === open?.firstRow ? open : null;
    payloads.push({
      centroids: manifest.levels[0]!.parts,
      k: manifest.levels[0]!.k,
      d: manifest.d,
      embeddings: holding(firstRow + (before?.rowCount ?? 0), firstRow + rowCount),
      before,
      firstRow,
      rowCount,
      out: `${staging}${partKey(kept.length + payloads.length)}`,
    });
  }
  const made = await assignAll(context, payloads, rows - rowCountOf(manifest.parts), manifest.levels[0]!.k, staging);
  return { parts: [...kept, ...made.parts], at: [...kept, ...made.at] };
}

/** @param rows that are new to the tree */
async function assignAll({ executor, progress }: RunContext, payloads: readonly AssignPayload[], rows: number, k: number, staging: string): Promise<{ parts: Part[]; at: Part[] }> {
  progress.begin('append', rows, 'images');
  const at = await executor.map(assignRows, payloads, `${staging}clusters`);
  progress.end(`${rows} images put into ${k} clusters`);
  return { parts: at.map((part) => ({ ...part, path: part.path.slice(staging.length) })), at };
}

/** @returns the parts that hold rows from … to − 1, for ranges that ascend */
function rangeFinder(parts: readonly Part[]): (from: number, to: number) => Part[] {
  let first = 0;
  return (from, to) => {
    while (first < parts.length && parts[first]!.firstRow + parts[first]!.rowCount <= from) first++;
    let end = first;
    while (end < parts.length && parts[end]!.firstRow < to) end++;
    return parts.slice(first, end);
  };
}

/** The same tree with the images of a longer assignment in it. */
async function resize(tree: ClusterTree, blocks: () => AsyncIterable<AssignmentBlock>): Promise<ClusterTree> {
  let size = new Float64Array(tree.levels[0]!.k);
  for await (const { cluster } of blocks()) for (const c of cluster) if (c !== NO_CLUSTER) size[c]!++;
  const levels: TreeLevel[] = [];
  for (const { k, parent } of tree.levels) {
    levels.push({ k, parent, size });
    const above = new Float64Array(tree.levels[levels.length]?.k ?? 0);
    if (above.length > 0) for (let c = 0; c < k; c++) above[parent[c]!]! += size[c]!;
    size = above;
  }
  const grown = { d: tree.d, levels };
  assertTree(grown);
  return grown;
}

/** The tables of centroids as they are but for the sizes, one part in memory at a time. */
async function writeSizes({ store, signal }: RunContext, { levels, d }: ClustersManifest, tree: ClusterTree, staging: string): Promise<ClustersManifest['levels']> {
  const written: ClustersManifest['levels'][number][] = [];
  for (const [l, level] of levels.entries()) {
    const parts: Part[] = [];
    for (const part of level.parts) {
      throwIfAborted(signal);
      const bytes = await withSizes(await readPart(store, part), part, d, tree.levels[l]!.size.slice(part.firstRow, part.firstRow + part.rowCount));
      const { sizeBytes, sha256 } = await store.write(`${staging}${part.path}`, bytes);
      parts.push({ ...part, bytes: sizeBytes, sha256 });
    }
    written.push({ ...level, parts });
  }
  return written;
}

async function withSizes(bytes: Uint8Array, { path }: Part, d: number, size: Float64Array): Promise<Uint8Array> {
  const view = decodeTable(bytes, path);
  assert(view.names.join() === 'centroid,parent,size', `Expected the columns centroid, parent and size in ${path}, got ${view.names.join(', ')}`);
  const parents = view.numbers('parent') as Uint32Array;
  return encodeTable({
    centroid: { type: 'vector', element: 'float32', d, values: view.vector('centroid').values as Float32Array },
    parent: { type: 'uint32', values: parents, valid: view.validity('parent') ?? new Uint8Array(parents.length).fill(1) },
    size: { type: 'uint64', values: size },
  });
}

/** Top-level cluster of each level-1 cluster. */
function topOf({ levels }: ClusterTree): Uint32Array {
  let top = Uint32Array.from({ length: levels.at(-1)!.k }, (_, c) => c);
  for (const { parent } of levels.slice(0, -1).reverse()) {
    const above = top;
    top = parent.map((p) => above[p]!);
  }
  return top;
}

/** The fit's own figures stay; those of the images under the tree are counted anew. */
function describe({ stats, draw }: ClustersManifest, { okRows }: EmbeddingsManifest, { levels }: ClusterTree): Record<string, unknown> {
  const { plan, health: before } = stats as { plan: { outliers: { policy: 'keep' | 'merge' | 'set-aside' } }; health: { minSize: number } };
  const health = measureHealth(levels.map(({ size }) => size), before.minSize);
  const warnings = healthWarnings(health, { depth: draw.depth, policy: plan.outliers.policy });
  return { ...stats, points: okRows.reduce((total, count) => total + count, 0), clustered: levels[0]!.size.reduce((total, count) => total + count, 0), health, warnings };
}
