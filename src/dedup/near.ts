/**
 * The steps of the search for near-duplicates, each a list of tasks: cells, an external shuffle of the vectors to them, the
 * brute-force pairs of a sample, as many probes as those need, and the search itself.
 */
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { StoredManifest } from '../run/manifest.ts';
import { rowCountOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import { bytesOf, float64Of, uint32Of } from './arrays.ts';
import { type CellGroup, type CellsReference, openCells, trainDedupCells } from './cells.ts';
import type { NearConfig } from './config.ts';
import type { NearStats } from './duplicates.ts';
import type { FactsResult, Span } from './facts.ts';
import { PAIR_WORDS, searchPairs } from './near-pairs.ts';
import { type Truth, chooseProbes, countFound, drawSample, findTruth, readTruth } from './recall.ts';
import { type RoutedSpan, gatherCells, routeSpan } from './route.ts';

export interface NearRequest {
  readonly vectors: StoredManifest<EmbeddingsManifest>;
  /** Parts are those of `vectors`. */
  readonly spans: readonly Span[];
  readonly facts: readonly FactsResult[];
  /** Key of each span's exact copies. */
  readonly exact: readonly string[];
  /** Rows that can be compared, exact copies left out. */
  readonly points: number;
  readonly config: NearConfig;
  readonly threshold: number;
  /** Key prefix of all that is written. */
  readonly base: string;
}

export interface NearResult {
  /** Keys of pairs × 3 numbers: a row, a neighbour, their similarity. */
  readonly pairs: readonly string[];
  readonly stats: NearStats;
}

/** Up to here brute force is no slower than cells. */
const BRUTE_FORCE_ROWS = 16_384;
/** Sampled rows for each cell that is trained, and in all. */
const SAMPLE_ROWS = 32;
const SAMPLE_ROWS_MAX = 2 ** 17;
const CELLS_MAX = 16_384;
/** A share of the memory goes to the vectors of a group of cells or of a search, as much to its candidates, two of 16 bytes a neighbour. */
const SHARE = 1 / 4;
const CANDIDATE_BYTES = 32;
const RUN_ROWS_MIN = 1024;

/** Finds the pairs. Results depend on the rows, their vectors, the settings and the seed alone. */
export async function findNear(context: RunContext, request: NearRequest): Promise<NearResult> {
  const { executor, store, seed } = context;
  const { points, config, threshold, base } = request;
  const { k } = config;
  const reference = await buildCells(context, request);
  const cells = await openCells(store, reference);
  const { m, d } = reference;
  const n = cells.offsets[m]!;
  const runs = runsOf(reference, cells.offsets, k, context.execution.memoryBytes);
  const sampleRows = Math.min(n, config.recallQueries);
  let truth: Truth | null = null;
  let probes = Math.min(m, config.probes ?? m);
  if (m > 1 && sampleRows > 0 && config.probes !== m) {
    const sample = `${base}/sample`;
    const positions = await drawSample(store, cells, n, sampleRows, seed, sample);
    context.progress.begin('duplicates: sample', n, 'vectors');
    const found = await executor.map(findTruth, runs.map((run) => ({ cells: reference, sample, q: sampleRows, ...run, k, threshold, out: `${base}/truth-${run.start}` })), 'duplicates');
    truth = await readTruth(store, found.map(({ pairs }) => pairs), positions, sample, k, threshold);
    probes = Math.min(m, config.probes ?? (await chooseProbes(context, cells, truth, config.recall)));
    context.progress.end(`${truth.row.length} pairs of ${sampleRows} images; looking at ${probes} of ${m} cells`);
  }
  context.progress.begin('duplicates: search', n, 'vectors');
  const searched = await executor.map(searchPairs, runs.map((run) => ({ cells: reference, ...run, k, threshold, probes, out: `${base}/pairs-${run.start}` })), 'duplicates');
  const pairs = searched.map((result) => result.pairs);
  const sum = (of: (one: (typeof searched)[number]) => number): number => searched.reduce((total, one) => total + of(one), 0);
  context.progress.end(`${sum(({ found }) => found)} near pairs among ${n} images`);
  const stats: NearStats = {
    threshold, k, points, cells: m, dimensions: d, probes,
    pairs: sum(({ found }) => found),
    comparisons: n === 0 ? 0 : sum(({ comparisons }) => comparisons) / (n * n),
    recall: truth === null ? null : { queries: truth.queries, pairs: truth.row.length, recall: await recallOf(context, truth, pairs) },
  };
  return { pairs, stats };
}

async function buildCells(context: RunContext, { vectors, spans, facts, exact, points, config, base }: NearRequest): Promise<CellsReference> {
  const { executor, store, seed, execution } = context;
  const { d } = vectors.manifest;
  const wanted = config.cells ?? (points <= BRUTE_FORCE_ROWS ? 1 : Math.min(CELLS_MAX, Math.round(4 * Math.sqrt(points))));
  const centroids = `${base}/centroids`;
  const sampleRows = Math.min(rowCountOf(vectors.manifest.parts), SAMPLE_ROWS_MAX, wanted * SAMPLE_ROWS);
  const [{ m }] = (await executor.map(trainDedupCells, [{ vectors: vectors.staged ?? { path: vectors.path, sha256: vectors.sha256 }, sampleRows, m: wanted, d, seed, out: centroids }], 'duplicates')) as [{ m: number }];
  context.progress.begin('duplicates: cells', 2 * spans.reduce((sum, { rowCount }) => sum + rowCount, 0), 'vectors');
  const routed = await executor.map(routeSpan, spans.map((span, s) => ({ span, facts: facts[s]!.facts, exact: exact[s]!, centroids, m, d, out: `${base}/routed-${s}` })), 'duplicates');
  // What is out already, or a copy, is read but goes into no cell.
  context.progress.advance(routed.reduce((left, { count }, s) => left + spans[s]!.rowCount - count, 0));
  const offsets = new Float64Array(m + 1);
  for (const { out } of routed) {
    const counts = uint32Of(await store.read(`${out}/counts`));
    for (let c = 0; c < m; c++) offsets[c + 1]! += counts[c]!;
  }
  for (let c = 0; c < m; c++) offsets[c + 1]! += offsets[c]!;
  await store.write(`${base}/offsets`, bytesOf(offsets));
  const groups = groupCells(offsets, { d, routed, base, memoryBytes: execution.memoryBytes });
  await executor.map(gatherCells, groups.map(({ out, from, to, element }) => ({ spans: routed, from, to, d, element, out })), 'duplicates');
  // The counts stay: a run that goes on from here reads them again.
  for (const { out } of routed) for (const name of ['vectors', 'rows']) await store.remove(`${out}/${name}`);
  context.progress.end(`${offsets[m]} vectors in ${m} cells`);
  return { centroids, m, d, offsets: `${base}/offsets`, groups };
}

/** Neighbouring cells together, as many as the memory takes: where they lie changes no answer. */
function groupCells(offsets: Float64Array, { d, routed, base, memoryBytes }: { d: number; routed: readonly RoutedSpan[]; base: string; memoryBytes: number }): CellGroup[] {
  const m = offsets.length - 1;
  const rowsMax = Math.max(RUN_ROWS_MIN, (SHARE * memoryBytes) / (d * 4));
  const element = routed.every((span) => span.element === 'float16') ? 'float16' : 'float32';
  const groups: CellGroup[] = [];
  for (let from = 0, to = 0; from < m; from = to) {
    for (to = from + 1; to < m && offsets[to + 1]! - offsets[from]! <= rowsMax; ) to++;
    groups.push({ out: `${base}/cells-${groups.length}`, from, to, element });
  }
  return groups;
}

/** Runs of positions, none over the end of a group, each one search task. */
function runsOf({ d, groups }: CellsReference, offsets: Float64Array, k: number, memoryBytes: number): { start: number; count: number }[] {
  const rowsMax = Math.max(RUN_ROWS_MIN, Math.floor((SHARE * memoryBytes) / Math.max(d * 4, k * CANDIDATE_BYTES)));
  return groups.flatMap(({ from, to }) => {
    const [first, end] = [offsets[from]!, offsets[to]!];
    const count = Math.ceil((end - first) / rowsMax);
    return Array.from({ length: count }, (_, i) => ({ start: first + i * rowsMax, count: Math.min(rowsMax, end - first - i * rowsMax) }));
  });
}

/** Measured on what was found, not on what the probes promised. */
async function recallOf({ store }: RunContext, truth: Truth, keys: readonly string[]): Promise<number | null> {
  if (truth.row.length === 0) return null;
  const count = countFound(truth);
  for (const key of keys) {
    const pairs = float64Of(await store.read(key));
    for (let i = 0; i < pairs.length; i += PAIR_WORDS) count.add(pairs[i]!, pairs[i + 1]!);
  }
  return count.found() / truth.row.length;
}
