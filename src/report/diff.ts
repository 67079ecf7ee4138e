/**
 * What changed between two datasets, image by image (content id) and setting by setting. An image that is in one of them only
 * has a reason: how its row ended in the other's pool, or that the other's pool does not have it.
 *
 * Ids are compared a range of their first digits at a time, so memory is bounded whatever the datasets hold; each range reads the
 * shards of both, and the tables of the pool of each, once.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { type ClustersManifest, NO_CLUSTER, readAssignment } from '../cluster/tree.ts';
import { type EmbeddingPart, type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { SURVIVORS } from '../embed/survivors.ts';
import { throwIfAborted } from '../errors.ts';
import { type Manifest, readManifest, readPart, requireManifest } from '../run/manifest.ts';
import type { DatasetManifest } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';

/** Images of one dataset that the other lacks, by what became of them there. */
export interface OneSided {
  readonly images: number;
  /** Most frequent first, then by name; `uris`: the first few. */
  readonly reasons: readonly { readonly reason: string; readonly images: number; readonly uris: readonly string[] }[];
}

export interface DatasetDiff {
  /** Different images of each dataset, and of both. */
  readonly images: { readonly a: number; readonly b: number; readonly both: number };
  readonly onlyA: OneSided;
  readonly onlyB: OneSided;
  /** Rows of each part; null where there is no such part. */
  readonly parts: readonly { readonly name: string; readonly a: number | null; readonly b: number | null }[];
  /** Settings, model and code that differ, by path; undefined where one has none. */
  readonly settings: readonly { readonly path: string; readonly a: unknown; readonly b: unknown }[];
}

export interface DiffOptions {
  readonly signal: AbortSignal;
  /** Ids held at a time, some 150 bytes each. */
  readonly idsMax?: number;
}

/** @throws {WinnowError} INPUT_MISSING when a store has no finished dataset */
export async function diffDatasets(a: Store, b: Store, { signal, idsMax = 2 ** 21 }: DiffOptions): Promise<DatasetDiff> {
  const [manifestA, manifestB] = await Promise.all([a, b].map(async (store) => (await requireManifest<Manifest>(store, 'dataset', 'shard')).manifest as unknown as DatasetManifest));
  const rows = [manifestA!, manifestB!].reduce((sum, { parts }) => sum + parts.reduce((all, part) => all + part.rows, 0), 0);
  const ranges = Math.max(1, Math.ceil(rows / idsMax));
  const images = { a: 0, b: 0, both: 0 };
  const [onlyA, onlyB] = [createTally(), createTally()];
  for (let range = 0; range < ranges; range++) {
    throwIfAborted(signal);
    const inRange = (id: string): boolean => Math.floor((Number.parseInt(id.slice(0, 8), 16) * ranges) / 2 ** 32) === range;
    const [ofA, ofB] = [await readIds(a, manifestA!, inRange, signal), await readIds(b, manifestB!, inRange, signal)];
    images.a += ofA.size;
    images.b += ofB.size;
    for (const id of [...ofA.keys()].filter((one) => ofB.has(one))) {
      images.both += 1;
      ofA.delete(id);
      ofB.delete(id);
    }
    await tallyFates(ofA, b, onlyA, signal);
    await tallyFates(ofB, a, onlyB, signal);
  }
  return { images, onlyA: onlyA.done(), onlyB: onlyB.done(), parts: compareParts(manifestA!, manifestB!), settings: compareSettings(manifestA!.lineage, manifestB!.lineage) };
}

const URIS_SHOWN = 3;
const NOT_IN_POOL = 'not in the pool';
/** What a row that came through the whole road ended as, best last: of several rows with one id the best one counts. */
const ENDS = ['set aside', 'not drawn'] as const;

/** Uri by id. */
async function readIds(store: Store, { parts }: DatasetManifest, inRange: (id: string) => boolean, signal: AbortSignal): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const shard of parts.flatMap((part) => part.shards)) {
    throwIfAborted(signal);
    const view = decodeTable(await readPart(store, shard), shard.path);
    const [ids, uris] = [view.strings('id') as string[], view.strings('uri') as string[]];
    for (let i = 0; i < ids.length; i++) if (inRange(ids[i]!) && !found.has(ids[i]!)) found.set(ids[i]!, uris[i]!);
  }
  return found;
}

async function tallyFates(images: ReadonlyMap<string, string>, other: Store, tally: Tally, signal: AbortSignal): Promise<void> {
  if (images.size === 0) return;
  const fates = await findFates(images, other, signal);
  for (const [id, uri] of images) tally.add(fates.get(id) ?? NOT_IN_POOL, uri);
}

/** How the rows with these ids ended in a store's pool, by id; those of other ids are left out. */
async function findFates(ids: ReadonlyMap<string, string>, store: Store, signal: AbortSignal): Promise<Map<string, string>> {
  const fates = new Map<string, string>();
  const pool = (await readManifest<EmbeddingsManifest>(store, SURVIVORS)) ?? (await readManifest<EmbeddingsManifest>(store, 'embeddings'));
  const clusters = await readManifest<ClustersManifest>(store, 'clusters');
  for (const part of pool?.manifest.parts ?? []) {
    throwIfAborted(signal);
    const passed = await settleRejected(store, part, ids, fates);
    if (clusters !== null && passed.length > 0) await settleClustered(store, clusters.manifest, passed, fates);
  }
  // What a raw part rejects says more than that the pool does not have it.
  for await (const { key } of store.list('raw/')) {
    if (!/^raw\/[^/]+\/embeddings\/manifest\.json$/.test(key)) continue;
    const raw = await readManifest<EmbeddingsManifest>(store, key.slice(0, -'/manifest.json'.length));
    for (const part of raw?.manifest.parts ?? []) await settleRejected(store, part, ids, fates);
  }
  return fates;
}

/** @returns rows of the part with one of the ids that nothing rejected, ascending */
async function settleRejected(store: Store, part: EmbeddingPart, ids: ReadonlyMap<string, string>, fates: Map<string, string>): Promise<[row: number, id: string][]> {
  const { id, status } = await readEmbeddingFacts(store, part);
  const passed: [row: number, id: string][] = [];
  id.forEach((one, i) => {
    if (one === null || !ids.has(one)) return;
    if (status[i] === 'ok') passed.push([part.firstRow + i, one]);
    else if (!fates.has(one)) fates.set(one, status[i]!);
  });
  return passed;
}

/** @param rows ascending */
async function settleClustered(store: Store, clusters: ClustersManifest, rows: readonly [row: number, id: string][], fates: Map<string, string>): Promise<void> {
  const [first, last] = [rows[0]![0], rows.at(-1)![0]];
  const parts = clusters.parts.filter(({ firstRow, rowCount }) => firstRow <= last && firstRow + rowCount > first);
  let next = 0;
  for await (const { firstRow, cluster } of readAssignment(store, { ...clusters, parts })) {
    for (; next < rows.length && rows[next]![0] < firstRow + cluster.length; next++) {
      const [row, id] = rows[next]!;
      const end = cluster[row - firstRow] === NO_CLUSTER ? ENDS[0] : ENDS[1];
      if (end === ENDS[1] || fates.get(id) !== ENDS[1]) fates.set(id, end);
    }
  }
}

interface Tally {
  add(reason: string, uri: string): void;
  done(): OneSided;
}

function createTally(): Tally {
  const reasons = new Map<string, { images: number; uris: string[] }>();
  let images = 0;
  return {
    add: (reason, uri) => {
      const one = reasons.get(reason) ?? { images: 0, uris: [] };
      one.images += 1;
      images += 1;
      // The first by name, so that neither order nor ranges show.
      one.uris = [...one.uris, uri].sort().slice(0, URIS_SHOWN);
      reasons.set(reason, one);
    },
    done: () => ({ images, reasons: [...reasons].map(([reason, one]) => ({ reason, ...one })).sort((x, y) => y.images - x.images || (x.reason < y.reason ? -1 : 1)) }),
  };
}

function compareParts(a: DatasetManifest, b: DatasetManifest): DatasetDiff['parts'] {
  const rows = ({ parts }: DatasetManifest, name: string): number | null => parts.find((part) => part.name === name)?.rows ?? null;
  return [...new Set([...a.parts, ...b.parts].map(({ name }) => name))].map((name) => ({ name, a: rows(a, name), b: rows(b, name) }));
}

/** Leaves of the lineage that differ; what the funnel counts follows from the rest. */
function compareSettings({ funnel: _a, ...a }: DatasetManifest['lineage'], { funnel: _b, ...b }: DatasetManifest['lineage']): DatasetDiff['settings'] {
  const [left, right] = [new Map(leavesOf(a, '')), new Map(leavesOf(b, ''))];
  return [...new Set([...left.keys(), ...right.keys()])]
    .sort()
    .filter((path) => JSON.stringify(left.get(path)) !== JSON.stringify(right.get(path)))
    .map((path) => ({ path, a: left.get(path), b: right.get(path) }));
}

function leavesOf(value: unknown, path: string): [string, unknown][] {
  if (value === null || typeof value !== 'object' || Object.keys(value).length === 0) return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => leavesOf(inner, path === '' ? key : `${path}.${key}`));
}
