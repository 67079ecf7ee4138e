/**
 * Drift: how far the images appended to a tree lie from its leaves, against the images it was fitted on. Quantiles are
 * exact and need no sort: bits of non-negative floats order as the floats do, so one pass counts the upper 16 bits of
 * every distance and a second the lower 16 of the few buckets that hold a quantile.
 *
 * An image pulls the centroid it helped to make towards itself, so new images of the very same kind already lie farther
 * out, by a third with eight images a leaf. What to expect of them is therefore taken from the fit with each image left
 * out: from the mean of the others in a leaf of m it is m / (m − 1) times as far. Where centroids are no means of their
 * images (resampling, merged outliers) this expects too much, so that small drift goes unseen.
 */
import { type AssignmentBlock, NO_CLUSTER } from './tree.ts';

/** Distances of a group of images, squared Euclidean, as in the assignment table: order statistics of rank ⌈q · n⌉. */
export interface DistanceQuantiles {
  readonly images: number;
  /** Null when there are no images. */
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
}

/** How far out a group of appended images lies. */
export interface GroupDrift {
  readonly images: number;
  /** Images farther out than `fit.p99`. */
  readonly beyond: number;
  /**
   * 0 … 1: the largest lead of the distribution of distances at fit time, each image left out, over that of the group
   * (one-sided Kolmogorov–Smirnov, on bins less than 1 % wide). 0: nothing lies farther out; 1: everything does.
   */
  readonly shift: number;
}

export interface Drift {
  readonly fit: DistanceQuantiles;
  readonly appended: DistanceQuantiles;
  /** All appended images. */
  readonly all: GroupDrift;
  /** Share beyond `fit.p99`; 0 when nothing was appended. */
  readonly beyondShare: number;
  /** The same, to be expected of new images like those of the fit; at least 0.01. */
  readonly expectedShare: number;
  /** Top-level clusters that got images: images at fit and those of them beyond `fit.p99`, and the same of appended ones. */
  readonly top: readonly { readonly cluster: number; readonly fitImages: number; readonly fitBeyond: number; readonly images: number; readonly beyond: number }[];
  /** Sources with appended images, in row order. */
  readonly sources: readonly ({ readonly name: string } & GroupDrift)[];
}

export interface DriftRequest {
  /** Rows 0 … fitRows − 1 were there when the tree was fitted. */
  readonly fitRows: number;
  /** Top-level cluster of each level-1 cluster, and how many there are. */
  readonly top: Uint32Array;
  readonly topK: number;
  /** Row ranges by name, ascending. */
  readonly sources: readonly { readonly name: string; readonly firstRow: number; readonly rowCount: number }[];
}

/** @param blocks streams the whole assignment, anew at each call; called three times. O(k) memory and half a megabyte a source. */
export async function measureDrift(blocks: () => AsyncIterable<AssignmentBlock>, request: DriftRequest): Promise<Drift> {
  const coarse = await countCoarse(blocks, request);
  const fine = await countFine(blocks, request, coarse);
  const [fit, appended] = ([0, 1] as const).map((group) => quantilesOf(coarse.histograms[group], fine.buckets[group])) as [DistanceQuantiles, DistanceQuantiles];
  const p99 = fit.p99 ?? Infinity;
  const beyond = await countBeyond(blocks, request, p99);
  const driftOf = (histogram: Float64Array, farther: number): GroupDrift => ({ images: sum(histogram), beyond: farther, shift: largestLead(fine.leftOut, histogram) });
  const all = driftOf(coarse.histograms[1], sum(beyond.top.beyond));
  return {
    fit,
    appended,
    all,
    beyondShare: share(all.beyond, all.images),
    expectedShare: Math.max(0.01, share(countAbove(fine.leftOut, p99), sum(fine.leftOut))),
    top: Array.from({ length: request.topK }, (_, cluster) => ({ cluster, fitImages: beyond.top.fit[cluster]!, fitBeyond: beyond.top.fitBeyond[cluster]!, images: beyond.top.images[cluster]!, beyond: beyond.top.beyond[cluster]! })).filter(({ images }) => images > 0),
    sources: request.sources.map(({ name }, s) => ({ name, ...driftOf(coarse.sources[s]!, beyond.sources[s]!) })).filter(({ images }) => images > 0),
  };
}

/** Photographs like those of the fit measure 0.03 to 0.16, of classes that the fit has not seen 0.22 to 0.25, of another kind 0.4 to 0.6. */
const SHIFT_HIGH = 0.2;
/** A tail is too heavy from this share of images past the fit's 99th percentile on, if it is also this many times what is to be expected. */
const SHARE_HIGH = 0.03;
const EXPECTED_TIMES = 2;
/** Chance reaches these once in a thousand times: of a shift times √(n m / (n + m)), and in standard deviations of a share. */
const SHIFT_CHANCE = 1.86;
const SHARE_CHANCE = 3.1;
/** A tree that has to hold this many images for each it was fitted on has too few leaves, drifted or not. */
const GROWTH_HIGH = 0.5;

export interface RefitAdvice {
  readonly refit: boolean;
  /** One sentence. */
  readonly sentence: string;
}

/**
 * Refit when the appended images, or those of one source, are shifted outwards by more than 0.2, or more than 3 % of them
 * and more than twice what is to be expected lie past the fit's 99th percentile, both by more than chance explains; or
 * when more than half as many images were appended as the tree was fitted on.
 */
export function adviseRefit(drift: Drift): RefitAdvice {
  const { fit, all, sources } = drift;
  const groups = [{ whose: 'the appended images', ...all }, ...sources.map(({ name, ...source }) => ({ whose: `the images of source ${name}`, ...source }))];
  const drifted = groups.filter((group) => isDrifted(group, drift));
  // A source that is shifted more than the whole says more.
  const worst = drifted.sort((a, b) => b.shift - a.shift)[0];
  if (worst !== undefined) {
    return { refit: true, sentence: `${capital(worst.whose)} lie farther from their clusters than those of the fit (shift ${worst.shift.toFixed(2)}, ${percent(share(worst.beyond, worst.images))} beyond its 99 %): refit with \`winnow run\`.` };
  }
  if (all.images > GROWTH_HIGH * fit.images) return { refit: true, sentence: `The appended images lie where those of the fit lie, but ${all.images} were appended to ${fit.images}, more than half as many: refit with \`winnow run\` when that is affordable.` };
  if (all.images === 0) return { refit: false, sentence: 'No images were appended since the tree was fitted.' };
  return { refit: false, sentence: `The appended images lie where those of the fit lie (shift ${all.shift.toFixed(2)}, ${percent(drift.beyondShare)} beyond its 99 %): no need to refit.` };
}

function isDrifted({ images, beyond, shift }: GroupDrift, { fit, expectedShare }: Drift): boolean {
  const isShifted = shift > SHIFT_HIGH && shift > SHIFT_CHANCE * Math.sqrt(1 / images + 1 / fit.images);
  const expected = expectedShare * images;
  const isHeavy = beyond > SHARE_HIGH * images && beyond > EXPECTED_TIMES * expected && beyond > expected + SHARE_CHANCE * Math.sqrt(expected * (1 - expectedShare));
  return isShifted || isHeavy;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`;
}

function capital(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}

const BUCKETS = 65_536;
/** Of the fit, and of what was appended. */
type Pair<T> = readonly [T, T];

interface CoarseCounts {
  /** Counts of the upper 16 bits of every distance. */
  readonly histograms: Pair<Float64Array>;
  /** The same of each source's appended images. */
  readonly sources: readonly Float64Array[];
  /** Images of each leaf at fit time. */
  readonly leafSize: Float64Array;
}

async function countCoarse(blocks: () => AsyncIterable<AssignmentBlock>, { fitRows, top, sources }: DriftRequest): Promise<CoarseCounts> {
  const histograms: Pair<Float64Array> = [new Float64Array(BUCKETS), new Float64Array(BUCKETS)];
  const bySource = sources.map(({ firstRow, rowCount }) => new Float64Array(firstRow + rowCount > fitRows ? BUCKETS : 0));
  const leafSize = new Float64Array(top.length);
  const sourceOf = sourceFinder(sources);
  for await (const { firstRow, cluster, distance } of blocks()) {
    const bits = bitsOf(distance);
    for (let i = 0; i < cluster.length; i++) {
      if (cluster[i] === NO_CLUSTER) continue;
      const bucket = bits[i]! >>> 16;
      if (firstRow + i < fitRows) {
        histograms[0][bucket]!++;
        leafSize[cluster[i]!]!++;
      } else {
        histograms[1][bucket]!++;
        bySource[sourceOf(firstRow + i)]![bucket]!++;
      }
    }
  }
  return { histograms, sources: bySource, leafSize };
}

const PERCENTS = [50, 90, 99] as const;

interface FineCounts {
  /** Counts of the lower 16 bits in the buckets that hold a quantile, by bucket. */
  readonly buckets: Pair<ReadonlyMap<number, Float64Array>>;
  /** Counts of the upper 16 bits of the distances at fit time, each image left out; leaves of a single image have none. */
  readonly leftOut: Float64Array;
}

async function countFine(blocks: () => AsyncIterable<AssignmentBlock>, { fitRows }: DriftRequest, { histograms, leafSize }: CoarseCounts): Promise<FineCounts> {
  const bucketsOf = (histogram: Float64Array): Map<number, Float64Array> => new Map(PERCENTS.flatMap((percentage) => locate(histogram, percentage)?.bucket ?? []).map((bucket) => [bucket, new Float64Array(BUCKETS)]));
  const buckets = [bucketsOf(histograms[0]), bucketsOf(histograms[1])] as const;
  const leftOut = new Float64Array(BUCKETS);
  const word = new Float32Array(1);
  const wordBits = bitsOf(word);
  for await (const { firstRow, cluster, distance } of blocks()) {
    const bits = bitsOf(distance);
    for (let i = 0; i < cluster.length; i++) {
      if (cluster[i] === NO_CLUSTER) continue;
      const isFit = firstRow + i < fitRows;
      const counts = buckets[isFit ? 0 : 1].get(bits[i]! >>> 16);
      if (counts !== undefined) counts[bits[i]! & 0xffff]!++;
      const m = leafSize[cluster[i]!]!;
      if (!isFit || m < 2) continue;
      word[0] = distance[i]! * (m / (m - 1)) ** 2;
      leftOut[wordBits[0]! >>> 16]!++;
    }
  }
  return { buckets, leftOut };
}

function quantilesOf(histogram: Float64Array, fine: ReadonlyMap<number, Float64Array>): DistanceQuantiles {
  const [p50, p90, p99] = PERCENTS.map((percentage) => {
    const found = locate(histogram, percentage);
    return found === null ? null : floatOf(found.bucket * BUCKETS + bucketAt(fine.get(found.bucket)!, found.rank).bucket);
  });
  return { images: sum(histogram), p50: p50!, p90: p90!, p99: p99! };
}

/** Where a value lies: in `bucket`, at this rank (from 1) among the values of the bucket. */
interface Place {
  readonly bucket: number;
  readonly rank: number;
}

function locate(histogram: Float64Array, percentage: number): Place | null {
  const n = sum(histogram);
  return n === 0 ? null : bucketAt(histogram, Math.ceil((n * percentage) / 100));
}

function bucketAt(histogram: Float64Array, rank: number): Place {
  let before = 0;
  let bucket = 0;
  while (before + histogram[bucket]! < rank) before += histogram[bucket++]!;
  return { bucket, rank: rank - before };
}

interface BeyondCounts {
  readonly top: { readonly fit: Float64Array; readonly fitBeyond: Float64Array; readonly images: Float64Array; readonly beyond: Float64Array };
  readonly sources: Float64Array;
}

async function countBeyond(blocks: () => AsyncIterable<AssignmentBlock>, { fitRows, top, topK, sources }: DriftRequest, p99: number): Promise<BeyondCounts> {
  const counts = { fit: new Float64Array(topK), fitBeyond: new Float64Array(topK), images: new Float64Array(topK), beyond: new Float64Array(topK) };
  const bySource = new Float64Array(sources.length);
  const sourceOf = sourceFinder(sources);
  for await (const { firstRow, cluster, distance } of blocks()) {
    for (let i = 0; i < cluster.length; i++) {
      const c = cluster[i]!;
      if (c === NO_CLUSTER) continue;
      const isFit = firstRow + i < fitRows;
      const isBeyond = distance[i]! > p99 ? 1 : 0;
      (isFit ? counts.fit : counts.images)[top[c]!]!++;
      (isFit ? counts.fitBeyond : counts.beyond)[top[c]!]! += isBeyond;
      if (!isFit) bySource[sourceOf(firstRow + i)]! += isBeyond;
    }
  }
  return { top: counts, sources: bySource };
}

/** @returns the source of a row, for rows that ascend */
function sourceFinder(sources: DriftRequest['sources']): (row: number) => number {
  let source = 0;
  return (row) => {
    while (source < sources.length - 1 && row >= sources[source + 1]!.firstRow) source++;
    return source;
  };
}

/** The largest amount by which the first distribution function is above the second. */
function largestLead(first: Float64Array, second: Float64Array): number {
  const [n, m] = [sum(first), sum(second)];
  if (n === 0 || m === 0) return 0;
  let [below, belowSecond, largest] = [0, 0, 0];
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    below += first[bucket]!;
    belowSecond += second[bucket]!;
    largest = Math.max(largest, below / n - belowSecond / m);
  }
  return largest;
}

/** Values in buckets above that of `value`. */
function countAbove(histogram: Float64Array, value: number): number {
  let above = 0;
  for (let bucket = (bitsOf(Float32Array.of(value))[0]! >>> 16) + 1; bucket < BUCKETS; bucket++) above += histogram[bucket]!;
  return above;
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function bitsOf(distance: Float32Array): Uint32Array {
  return new Uint32Array(distance.buffer, distance.byteOffset, distance.length);
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}

/** Exact for integers up to 2^53. */
function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
