/**
 * The choice of cluster-based retrieval (DINOv2, arXiv 2304.07193, appendix A; reference section 3.4), which the paper
 * leaves open: which images of a kept cluster, and which of them all under the cap.
 *
 * `random`: each row has one keyed uniform number; a cluster gives its rows with the smallest, and the cap keeps the
 * smallest of all. `closest`: a cluster gives its rows with the smallest distance to the centroid, ties by row, and the
 * cap keeps the first of every cluster, then the second of every cluster and so on, the last round by a keyed order of
 * the clusters. Either way a smaller figure is contained in a larger one.
 */
import { type RandomStream, randomStream } from '../random.ts';

export interface ChooseOptions {
  /** Rows of a cluster, and of all, at most. */
  readonly images: number;
  readonly cap: number;
  readonly draw: 'random' | 'closest';
  readonly seed: number;
  /** Name of the seed set: two sets draw different rows of a cluster they share. */
  readonly name: string;
  /** Kept clusters, and rows that may come at most: bounds the memory. */
  readonly clusters: number;
  readonly rowsMax: number;
}

export interface Chosen {
  /** Ascending. */
  readonly row: Float64Array;
  /** Number of the kept cluster of each row. */
  readonly cluster: Uint32Array;
}

export interface Chooser {
  /** @param cluster number of a kept cluster. @param distance of the row to its centroid. In any order, each row once */
  add(row: number, cluster: number, distance: number): void;
  end(): Chosen;
}

/**
 * Rows come one at a time and what can no longer be chosen is dropped, so it holds 28 bytes for each of
 * 2 · min(cap, clusters · images, rowsMax) + 65,536 rows. The result does not depend on the order of `add`: a row that is not
 * among the chosen of some rows is not among those of more rows either.
 */
export function createChooser({ images, cap, draw, seed, name, clusters, rowsMax }: ChooseOptions): Chooser {
  const kept = Math.min(cap, clusters * images, rowsMax);
  const held: Held = { row: new Float64Array(2 * kept + SPARE), key: new Float64Array(2 * kept + SPARE), cluster: new Uint32Array(2 * kept + SPARE), count: 0 };
  const rows = randomStream(seed, 'retrieve', name, 'row');
  const order = draw === 'random' ? null : randomStream(seed, 'retrieve', name, 'cluster');
  let bound = Number.POSITIVE_INFINITY; // random: once `cap` rows are held, no larger key gets in
  const prune = (): void => {
    const places = keepBest(held, images, cap, order);
    moveTo(held, places);
    if (order === null && held.count === cap) bound = held.key.subarray(0, cap).reduce((largest, key) => Math.max(largest, key), 0);
  };
  return {
    add: (row, cluster, distance) => {
      const key = order === null ? rows.uniform(row) : distance;
      if (key > bound) return;
      held.row[held.count] = row;
      held.key[held.count] = key;
      held.cluster[held.count++] = cluster;
      if (held.count === held.row.length) prune();
    },
    end: () => {
      prune();
      return { row: held.row.slice(0, held.count), cluster: held.cluster.slice(0, held.count) };
    },
  };
}

const SPARE = 65_536;

interface Held {
  readonly row: Float64Array;
  readonly key: Float64Array;
  readonly cluster: Uint32Array;
  count: number;
}

/** Places of the rows that stay, by ascending row. @param order of the clusters in a round; null: the cap goes by key */
function keepBest({ row, key, cluster, count }: Held, images: number, cap: number, order: RandomStream | null): Uint32Array {
  const places = Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => cluster[a]! - cluster[b]! || key[a]! - key[b]! || row[a]! - row[b]!);
  const rank = new Float64Array(count);
  let best = 0;
  places.forEach((place, i) => {
    rank[place] = i > 0 && cluster[places[i - 1]!] === cluster[place] ? rank[places[i - 1]!]! + 1 : 0;
    if (rank[place]! < images) places[best++] = place;
  });
  let kept = places.subarray(0, best);
  if (best > cap) {
    if (order === null) kept.sort((a, b) => key[a]! - key[b]! || row[a]! - row[b]!);
    else sortByTurn(kept, order, rank, cluster);
    kept = kept.subarray(0, cap);
  }
  return kept.sort((a, b) => row[a]! - row[b]!);
}

/** Round by round: rank, then the clusters' keyed order. */
function sortByTurn(places: Uint32Array, order: RandomStream, rank: Float64Array, cluster: Uint32Array): void {
  const turn = new Map<number, number>();
  for (const place of places) if (!turn.has(cluster[place]!)) turn.set(cluster[place]!, order.uniform(cluster[place]!));
  places.sort((a, b) => rank[a]! - rank[b]! || turn.get(cluster[a]!)! - turn.get(cluster[b]!)! || cluster[a]! - cluster[b]!);
}

/** Copies first: places ascend by row, not by place. */
function moveTo(held: Held, places: Uint32Array): void {
  const row = Float64Array.from(places, (place) => held.row[place]!);
  const key = Float64Array.from(places, (place) => held.key[place]!);
  const cluster = Uint32Array.from(places, (place) => held.cluster[place]!);
  held.row.set(row);
  held.key.set(key);
  held.cluster.set(cluster);
  held.count = places.length;
}
