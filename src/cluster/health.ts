/**
 * Health of a tree, level by level. On small pools a deep tree degenerates: k-means++ on centroids seeks lonely leaves, so
 * that one top cluster holds nearly everything and the others a few images each (reference, section D). These figures
 * show it, and each warning names the remedy.
 */

export interface LevelHealth {
  readonly level: number;
  readonly k: number;
  /** exp(entropy of the size shares): the number of equal clusters that would be as even; k is the best there is. */
  readonly effective: number;
  /** Share of all images in the largest cluster. */
  readonly largestShare: number;
  /** Clusters under `minSize` images, empty ones included, and the share of images in them. */
  readonly small: number;
  readonly smallShare: number;
  readonly empty: number;
}

export interface TreeHealth {
  readonly minSize: number;
  readonly levels: readonly LevelHealth[];
}

/** @param sizes images under each cluster, one array a level, level 1 (finest) first */
export function measureHealth(sizes: readonly Float64Array[], minSize: number): TreeHealth {
  return { minSize, levels: sizes.map((size, l) => measureLevel(size, l + 1, minSize)) };
}

/** Below this part of k, most clusters of a level hold next to nothing. */
const EFFECTIVE_LOW = 0.3;
/** A top cluster with more than this share of the images takes their balance with it. */
const LARGEST_HIGH = 0.3;
const SMALL_HIGH = 0.3;

/**
 * One sentence for each thing that will unbalance a selection, with the remedy.
 *
 * @param draw the level that sampling starts from (1 is the finest) and the outlier policy in force
 */
export function healthWarnings(health: TreeHealth, draw: { depth: number; policy: 'keep' | 'merge' | 'set-aside' }): string[] {
  const warnings: string[] = [];
  const top = health.levels[draw.depth - 1];
  const leaves = health.levels[0];
  if (top === undefined || leaves === undefined) return warnings;
  if (top.k > 1 && top.effective < EFFECTIVE_LOW * top.k && top.largestShare > LARGEST_HIGH) {
    warnings.push(
      `level ${top.level}, where quotas start, is degenerate: ${percent(top.largestShare)} of the images are in one of ${top.k} clusters and get 1/${top.k} of the target; use levels: auto, fewer levels, a larger top level, or sample.depth below ${top.level}`,
    );
  }
  if (leaves.small > SMALL_HIGH * leaves.k && draw.policy === 'keep') {
    warnings.push(`${leaves.small} of ${leaves.k} level-1 clusters have fewer than ${health.minSize} images, so outliers are drawn before common images; use outliers: {policy: merge}, or fewer level-1 clusters`);
  }
  return warnings;
}

function measureLevel(size: Float64Array, level: number, minSize: number): LevelHealth {
  const total = size.reduce((sum, count) => sum + count, 0);
  let entropy = 0;
  let largest = 0;
  let small = 0;
  let smallImages = 0;
  let empty = 0;
  for (const count of size) {
    if (count === 0) empty++;
    else entropy -= (count / total) * Math.log(count / total);
    if (count > largest) largest = count;
    if (count < minSize) {
      small++;
      smallImages += count;
    }
  }
  return { level, k: size.length, effective: Math.exp(entropy), largestShare: total === 0 ? 0 : largest / total, small, smallShare: total === 0 ? 0 : smallImages / total, empty };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
