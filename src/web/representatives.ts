/**
 * What stands for a node: of a leaf its members nearest to the centroid; of a node above, the like of the children whose
 * centroids lie nearest to its own. Centroids are read by range when a node is shown, and the order of its children is kept.
 */
import { type Atlas, type NodeName, childrenOf, membersOf, sizeOf } from './atlas.ts';

export interface Representatives {
  /** Up to `count` rows, the most typical first. */
  rowsOf(node: NodeName, count: number): Promise<number[]>;
}

/** Children that are compared; of nodes with more, the largest. */
const CHILDREN_MAX = 256;
const ORDERS_KEPT = 20_000;

/** Keeps the order of children of 20,000 nodes. */
export function createRepresentatives(atlas: Atlas): Representatives {
  const orders = new Map<string, Promise<Uint32Array>>();
  const orderOf = (node: NodeName): Promise<Uint32Array> => {
    const name = `${node.level}/${node.cluster}`;
    const known = orders.get(name);
    if (known !== undefined) return known;
    const order = orderChildren(atlas, node);
    orders.set(name, order);
    order.catch(() => orders.delete(name));
    if (orders.size > ORDERS_KEPT) orders.delete(orders.keys().next().value!);
    return order;
  };
  // As deep as the tree has levels.
  const rowsOf = async (node: NodeName, count: number): Promise<number[]> => {
    if (node.level === 1) return membersOf(atlas, node, 0, count);
    const order = (await orderOf(node)).slice(0, count);
    const each = Math.ceil(count / Math.max(1, order.length));
    const found = await Promise.all(Array.from(order, (cluster) => rowsOf({ level: node.level - 1, cluster }, each)));
    // The first of each child, then the second of each.
    return Array.from({ length: each }, (_, i) => found.flatMap((rows) => rows.slice(i, i + 1))).flat().slice(0, count);
  };
  return { rowsOf };
}

/** Children that hold images, nearest centroid first, ties by number. */
async function orderChildren(atlas: Atlas, node: NodeName): Promise<Uint32Array> {
  const level = node.level - 1;
  const filled = childrenOf(atlas, node).filter((cluster) => sizeOf(atlas, { level, cluster }) > 0);
  const { size } = atlas.tree.levels[level - 1]!;
  const some = filled.length <= CHILDREN_MAX ? filled : filled.slice().sort((a, b) => size[b]! - size[a]! || a - b).slice(0, CHILDREN_MAX);
  const centre = await atlas.tables.centroids[level]!.vector('centroid', node.cluster);
  const distance = new Map<number, number>();
  await Promise.all(Array.from(some, async (cluster) => distance.set(cluster, squaredDistance(centre, await atlas.tables.centroids[level - 1]!.vector('centroid', cluster)))));
  return some.slice().sort((a, b) => distance.get(a)! - distance.get(b)! || a - b);
}

/** In float64. */
export function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += (a[j]! - b[j]!) ** 2;
  return sum;
}
