/** Which images a report shows: draws keyed by row, so that the same store shows the same images whatever order it is read in. */
import { type ClusterTree, NO_CLUSTER } from '../cluster/tree.ts';
import { drawDistinct, randomStream } from '../random.ts';
import type { LevelBalance } from './level-balance.ts';
import type { PoolRows } from './pool-rows.ts';

/** One cluster of a sheet: some of its images that were kept, and some that were left out. */
export interface ShownCluster {
  readonly level: number;
  readonly cluster: number;
  readonly images: number;
  readonly drawn: number;
  readonly kept: readonly number[];
  readonly leftOut: readonly number[];
}

export interface ClusterSheets {
  readonly largest: readonly ShownCluster[];
  readonly cut: readonly ShownCluster[];
  readonly whole: readonly ShownCluster[];
}

/** A random draw of the pool and one of the selection, each in the order of the tree. */
export interface BeforeAfter {
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** The fewest largest groups of the level where quotas start that hold half of the pool. */
  readonly groups: number;
  readonly groupsOf: number;
  /** Share of the pool and of the selection in them. */
  readonly poolShare: number;
  readonly selectionShare: number;
  /** 1 where a row is in one of them, by row. */
  readonly isCrowded: (row: number) => boolean;
}

const SHEET = 96;
const CLUSTERS = 10;
const KEPT = 6;
const LEFT_OUT = 10;

/** Cluster of a row at a level (1 is the finest), by level-1 cluster. O(k) memory. */
export function ancestors(tree: ClusterTree, level: number): Uint32Array {
  const up = Uint32Array.from({ length: tree.levels[0]!.k }, (_, c) => c);
  for (let l = 0; l < level - 1; l++) for (let c = 0; c < up.length; c++) up[c] = tree.levels[l]!.parent[up[c]!]!;
  return up;
}

/** @param up ancestors at the level of `balance` */
export function chooseBeforeAfter({ leaf, copies, n }: PoolRows, balance: LevelBalance, up: Uint32Array, seed: number): BeforeAfter {
  const { pool, selection, before, after } = balance;
  const bySize = Uint32Array.from(pool.keys()).sort((a, b) => pool[b]! - pool[a]! || a - b);
  const place = new Uint32Array(bySize.length);
  bySize.forEach((c, i) => (place[c] = i));
  let groups = 0;
  let [held, taken] = [0, 0];
  for (; groups < bySize.length && held < before.images / 2; groups++) {
    held += pool[bySize[groups]!]!;
    taken += selection[bySize[groups]!]!;
  }
  const rows = (kept: (row: number) => boolean): Uint32Array => Uint32Array.from({ length: n }, (_, row) => row).filter((row) => leaf[row] !== NO_CLUSTER && kept(row));
  const inTreeOrder = (a: number, b: number): number => place[up[leaf[a]!]!]! - place[up[leaf[b]!]!]! || leaf[a]! - leaf[b]! || a - b;
  const draw = (from: Uint32Array, label: string): number[] => Array.from(drawDistinct(randomStream(seed, 'report', label), from.length, SHEET, (i) => from[i]!), (i) => from[i]!).sort(inTreeOrder);
  return {
    before: draw(rows(() => true), 'before'),
    after: draw(rows((row) => copies[row] !== 0), 'after'),
    groups,
    groupsOf: before.used,
    poolShare: held / before.images,
    selectionShare: after.images === 0 ? 0 : taken / after.images,
    isCrowded: (row) => leaf[row] !== NO_CLUSTER && place[up[leaf[row]!]!]! < groups,
  };
}

/**
 * The largest clusters and the largest that were kept whole, of the level where quotas start; and the level-1 clusters, groups of
 * look-alikes, of which the least share was drawn, largest first.
 */
export function chooseClusters(rows: PoolRows, drawn: LevelBalance, finest: LevelBalance, up: Uint32Array, seed: number): ClusterSheets {
  const bySize = ({ pool }: LevelBalance) => (a: number, b: number): number => pool[b]! - pool[a]! || a - b;
  const used = ({ pool }: LevelBalance): Uint32Array => Uint32Array.from(pool.keys()).filter((c) => pool[c]! > 0);
  const share = ({ pool, selection }: LevelBalance, c: number): number => selection[c]! / pool[c]!;
  const largest = used(drawn).sort(bySize(drawn)).slice(0, CLUSTERS);
  const whole = used(drawn).filter((c) => drawn.pool[c]! >= 3 && share(drawn, c) >= 1).sort(bySize(drawn)).slice(0, CLUSTERS);
  const known = new Set(drawn.level === finest.level ? largest : []);
  const cut = used(finest).filter((c) => share(finest, c) < 1 && !known.has(c)).sort((a, b) => share(finest, a) - share(finest, b) || bySize(finest)(a, b)).slice(0, CLUSTERS);
  const leaves = Uint32Array.from(finest.pool.keys());
  return { largest: showClusters(rows, drawn, largest, up, seed), cut: showClusters(rows, finest, cut, leaves, seed), whole: showClusters(rows, drawn, whole, up, seed) };
}

function showClusters(rows: PoolRows, { level, pool, selection }: LevelBalance, clusters: Uint32Array, up: Uint32Array, seed: number): ShownCluster[] {
  const members = chooseMembers(rows, [...clusters], pool.length, up, seed);
  return Array.from(clusters, (cluster) => ({ level, cluster, images: pool[cluster]!, drawn: selection[cluster]!, ...members.get(cluster)! }));
}

/** Rows that are not in the tree, up to `rowsMax` of each reason. */
export function chooseRejected({ reason, reasons }: PoolRows, rowsMax: number, seed: number): ReadonlyMap<string, { readonly rows: readonly number[]; readonly count: number }> {
  const stream = randomStream(seed, 'report', 'rejected');
  const draws = reasons.map(() => smallest(rowsMax));
  const count = new Float64Array(reasons.length);
  for (let row = 0; row < reason.length; row++) {
    const code = reason[row]!;
    if (code === 0) continue;
    count[code]!++;
    draws[code]!.offer(row, stream.uniform(row));
  }
  return new Map(reasons.flatMap((name, code) => (count[code] === 0 ? [] : [[name, { rows: draws[code]!.rows(), count: count[code]! }] as const])));
}

/** The `count` values with the smallest keys that were offered. */
export function smallest(count: number): { offer(value: number, key: number): void; rows(): number[] } {
  const held: { value: number; key: number }[] = [];
  return {
    offer: (value, key) => {
      if (held.length === count && key >= held[count - 1]!.key) return;
      const at = held.findIndex((one) => key < one.key);
      held.splice(at < 0 ? held.length : at, 0, { value, key });
      if (held.length > count) held.pop();
    },
    rows: () => held.map(({ value }) => value),
  };
}

function chooseMembers({ leaf, copies, n }: PoolRows, clusters: readonly number[], k: number, up: Uint32Array, seed: number): Map<number, { kept: number[]; leftOut: number[] }> {
  const stream = randomStream(seed, 'report', 'members');
  const slot = new Int32Array(k).fill(-1);
  clusters.forEach((c, i) => (slot[c] = i));
  const draws = clusters.map(() => ({ kept: smallest(KEPT), leftOut: smallest(LEFT_OUT) }));
  for (let row = 0; row < n; row++) {
    if (leaf[row] === NO_CLUSTER) continue;
    const draw = draws[slot[up[leaf[row]!]!]!];
    if (draw !== undefined) (copies[row] === 0 ? draw.leftOut : draw.kept).offer(row, stream.uniform(row));
  }
  return new Map(clusters.map((c, i) => [c, { kept: draws[i]!.kept.rows(), leftOut: draws[i]!.leftOut.rows() }]));
}
