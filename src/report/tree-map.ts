/**
 * The tree as a map that a page can hold: the largest clusters of every branch, bounded in number, each with its size, what was
 * drawn of it, a name and a picture. Branches are opened largest first.
 */
import { type ClusterTree, type Grouping, NO_CLUSTER, groupByParent } from '../cluster/tree.ts';
import type { LevelBalance } from './level-balance.ts';
import type { PoolRows } from './pool-rows.ts';
import { NO_LABEL } from './scan-images.ts';

/** Short names: the map is written into the page as JSON. */
export interface MapNode {
  /** Index of the parent; −1 for the root. */
  readonly p: number;
  /** Level (1 is the finest) and cluster; the root is a level above the top. */
  readonly l: number;
  readonly c: number;
  /** Images, and how many are drawn. */
  readonly n: number;
  readonly d: number;
  /** Row of its representative; −1 for none. */
  readonly r: number;
  /** Children that are not in the map: how many, their images, and how many are drawn. */
  rest?: readonly [number, number, number];
}

const NODES_MAX = 2000;
/** Children of the root, and of other nodes. */
const TOP_MAX = 400;
const CHILDREN_MAX = 60;

/** The root first, parents before children, children by size descending. O(Σ k). */
export function buildTreeMap(tree: ClusterTree, levels: readonly LevelBalance[], { closest }: PoolRows): MapNode[] {
  const L = levels.length;
  const top = levels[L - 1]!;
  const children: readonly Grouping[] = levels.slice(1).map(({ k }, l) => groupByParent(tree.levels[l]!.parent, k));
  const representative = representatives(tree, closest);
  const nodes: MapNode[] = [{ p: -1, l: L + 1, c: 0, n: top.before.images, d: top.after.images, r: -1 }];
  // Nodes whose children are not in yet; each turn opens the largest.
  const closed: number[] = [0];
  while (closed.length > 0 && nodes.length < NODES_MAX) {
    let largest = 0;
    for (let i = 1; i < closed.length; i++) if (nodes[closed[i]!]!.n > nodes[closed[largest]!]!.n) largest = i;
    const at = closed.splice(largest, 1)[0]!;
    const node = nodes[at]!;
    const level = node.l - 1;
    if (level < 1) continue;
    const { pool, selection } = levels[level - 1]!;
    const group = children[level - 1];
    const own = node.p < 0 ? Uint32Array.from(pool.keys()) : group!.child.slice(group!.offset[node.c]!, group!.offset[node.c + 1]!);
    const sorted = own.filter((c) => pool[c]! > 0).sort((a, b) => pool[b]! - pool[a]! || a - b);
    const shown = sorted.subarray(0, node.p < 0 ? TOP_MAX : CHILDREN_MAX);
    for (const c of shown) {
      closed.push(nodes.length);
      nodes.push({ p: at, l: level, c, n: pool[c]!, d: selection[c]!, r: representative[level - 1]![c]! });
    }
    if (sorted.length > shown.length) {
      const others = sorted.subarray(shown.length);
      node.rest = [others.length, others.reduce((sum, c) => sum + pool[c]!, 0), others.reduce((sum, c) => sum + selection[c]!, 0)];
    }
  }
  return nodes;
}

/**
 * The most frequent label of each wanted cluster, with its share of the labelled images there.
 *
 * @param wanted clusters by level, level 1 first
 * @returns by level and cluster, `level:cluster`. O(n · L) time; memory by wanted clusters and their labels
 */
export function nameClusters(tree: ClusterTree, { leaf }: PoolRows, labelOf: Uint32Array, labels: readonly string[], wanted: readonly ReadonlySet<number>[]): Map<string, string> {
  const up = new Uint32Array(tree.levels[0]!.k).map((_, c) => c);
  const names = new Map<string, string>();
  wanted.forEach((clusters, l) => {
    const slot = new Int32Array(tree.levels[l]!.k).fill(-1);
    const list = [...clusters];
    list.forEach((c, i) => (slot[c] = i));
    const counts = list.map(() => new Map<number, number>());
    for (let row = 0; row < leaf.length; row++) {
      if (leaf[row] === NO_CLUSTER || labelOf[row] === NO_LABEL) continue;
      const count = counts[slot[up[leaf[row]!]!]!];
      if (count !== undefined) count.set(labelOf[row]!, (count.get(labelOf[row]!) ?? 0) + 1);
    }
    list.forEach((c, i) => {
      const best = [...counts[i]!].reduce<[number, number] | null>((a, b) => (a === null || b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a), null);
      if (best !== null) names.set(`${l + 1}:${c}`, labels[best[0]]!);
    });
    for (let c = 0; c < up.length; c++) up[c] = tree.levels[l]!.parent[up[c]!] ?? NO_CLUSTER;
  });
  return names;
}

/** Row that stands for each cluster, level 1 first: of a leaf its closest image, of a cluster that of its largest child. */
function representatives(tree: ClusterTree, closest: Uint32Array): Int32Array[] {
  const levels: Int32Array[] = [Int32Array.from(closest, (row) => (row === NO_CLUSTER ? -1 : row))];
  for (let l = 1; l < tree.levels.length; l++) {
    const { k } = tree.levels[l]!;
    const below = tree.levels[l - 1]!;
    const best = new Float64Array(k).fill(-1);
    const row = new Int32Array(k).fill(-1);
    below.size.forEach((size, c) => {
      const p = below.parent[c]!;
      if (levels[l - 1]![c]! < 0 || size <= best[p]!) return;
      best[p] = size;
      row[p] = levels[l - 1]![c]!;
    });
    levels.push(row);
  }
  return levels;
}
