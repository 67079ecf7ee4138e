/** The end of a split level: the outlier policy, final numbers of the leaves, and the level's arrays as streams. */
import type { RunContext } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import type { Cells, CellsReference } from './cells.ts';
import type { FinishResult } from './finish.ts';
import { type LeavesReference, openLeaves } from './leaves.ts';
import { mergeSmall, scatterRows } from './settle.ts';
import { NO_CLUSTER } from './tree.ts';
import { bytesOf, readWords } from './words.ts';

export interface SplitOutliers {
  readonly policy: 'keep' | 'merge' | 'set-aside';
  readonly minSize: number;
}

export interface SplitEnd {
  /** Key prefix of the tree, such as `clusters`. */
  readonly path: string;
  readonly reference: CellsReference;
  readonly cells: Cells;
  readonly leaves: LeavesReference;
  readonly offsets: readonly number[];
  /** Key prefix of leaf and distance of the rows of each group. */
  readonly rows: string;
  readonly inertia: number;
  readonly probes: number;
  readonly empty: 'keep' | 'drop' | 'split';
  readonly outliers: SplitOutliers;
  readonly out: string;
}

type Finished = Pick<FinishResult, 'out' | 'k' | 'inertia' | 'outlierClusters' | 'outlierImages' | 'merged' | 'setAside'>;

/** Writes `centroids`, `assignment` and `distance` under `out`, as the rounds of an unsplit level do. */
export async function finishSplit(context: RunContext, end: SplitEnd): Promise<Finished> {
  const { executor, store } = context;
  const { reference, cells, leaves, offsets, probes, out } = end;
  const { base } = reference;
  const size = await countRows(store, cells, end.rows, offsets.at(-1)!);
  const { numbers, large, ...counted } = numberLeaves(size, end);
  let { rows, inertia } = end;
  let merged = 0;
  if (counted.merging) {
    await store.write(`${base}/large`, large);
    const results = await executor.map(mergeSmall, cells.groups.map((group) => ({ cells: reference, leaves, group, probes: Math.max(MERGE_PROBES_MIN, MERGE_PROBES * probes), large: `${base}/large`, rows, out: `${base}/merged` })), end.path);
    rows = `${base}/merged`;
    inertia = results.reduce((total, one) => total + one.inertia, 0);
    merged = results.reduce((total, one) => total + one.merged, 0);
  }
  await store.write(`${base}/numbers`, bytesOf(numbers));
  const scattered = `${base}/scattered`;
  await executor.map(scatterRows, cells.blocks.map((block) => ({ cells: reference, block, rows, numbers: `${base}/numbers`, k: numbers.length, out: scattered })), end.path);
  await store.write(`${out}/centroids`, keptCentroids(store, end, numbers));
  for (const [name, part] of [['assignment', 'leaf'], ['distance', 'distance']] as const) {
    await store.write(`${out}/${name}`, joined(store, cells.blocks.map(({ start, count }) => `${scattered}/${part}-${start}-${count}`)));
  }
  return { out, k: counted.k, inertia, outlierClusters: counted.outlierClusters, outlierImages: counted.outlierImages, merged, setAside: counted.setAside };
}

/** Rows to merge have lost the leaf they were found by, and are few: they look at more cells than others. */
const MERGE_PROBES = 4;
const MERGE_PROBES_MIN = 16;

async function countRows(store: Store, { groups, rowOffset }: Cells, prefix: string, k: number): Promise<Float64Array> {
  const size = new Float64Array(k);
  for (const { group, from, to } of groups) for (const leaf of new Uint32Array(await readWords(store, `${prefix}/${group}`, rowOffset[to]! - rowOffset[from]!, 0))) size[leaf]!++;
  return size;
}

/** Final numbers in cell order. As in outliers.ts, all leaves are kept when none is large; empty ones go unless they are to be kept. */
function numberLeaves(size: Float64Array, { outliers: { policy, minSize }, empty }: SplitEnd) {
  const numbers = new Uint32Array(size.length).fill(NO_CLUSTER);
  const large = Uint8Array.from(size, (count) => (count >= minSize ? 1 : 0));
  let [k, outlierClusters, outlierImages] = [0, 0, 0];
  size.forEach((count) => {
    if (count === 0 || count >= minSize) return;
    outlierClusters++;
    outlierImages += count;
  });
  const treat = policy !== 'keep' && outlierClusters > 0 && large.includes(1);
  size.forEach((count, leaf) => {
    const stays = count === 0 ? empty === 'keep' : !treat || count >= minSize;
    if (stays) numbers[leaf] = k++;
  });
  return { numbers, large, k, outlierClusters, outlierImages, merging: treat && policy === 'merge', setAside: treat && policy === 'set-aside' ? outlierImages : 0 };
}

/** Centroids of the leaves that have a number, in order. */
async function* keptCentroids(store: Store, { reference: { d }, cells, leaves: from }: SplitEnd, numbers: Uint32Array): AsyncIterable<Uint8Array> {
  const leaves = await openLeaves(store, from, cells, d, 0);
  for (const cell of leaves.cells) {
    const { centroids, leaf } = await leaves.load(cell);
    const kept = leaf.filter((one) => numbers[one] !== NO_CLUSTER);
    const values = new Float32Array(kept.length * d);
    kept.forEach((one, i) => values.set(centroids.subarray((one - leaf[0]!) * d, (one - leaf[0]! + 1) * d), i * d));
    yield bytesOf(values);
  }
}

async function* joined(store: Store, keys: readonly string[]): AsyncIterable<Uint8Array> {
  for (const key of keys) yield await store.read(key);
}
