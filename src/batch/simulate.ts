/**
 * What a mixture comes to over a training run, without drawing it: the schedule counts exactly what each part gives, and
 * a pass sees every row once, so repeats follow. For the paper's run (1,000,000 steps of 4,096, 10 % ImageNet-1k) that is
 * 320 passes over ImageNet-1k and 2.2 over LVD-1689M.
 */
import type { Mixture } from '../mix/mixture.ts';
import { createSchedule } from './schedule.ts';

export interface SimulatedPart {
  readonly name: string;
  readonly rows: number;
  readonly uniqueImages: number;
  readonly shards: number;
  /** Bytes of an image on average; null when not known. */
  readonly imageBytes: number | null;
}

export interface SimulateOptions {
  readonly mixture: Mixture;
  readonly seed: number;
  readonly batchSize: number;
  /** Fewer than STEPS_MAX. */
  readonly steps: number;
  /** Steps of a window over which shards are counted. */
  readonly windowSteps: number;
  /** Images a second, or null: no time is told. */
  readonly rate: number | null;
}

export interface PartOutcome {
  readonly name: string;
  readonly rows: number;
  /** Images drawn from it, and its share of all. */
  readonly images: number;
  readonly share: number;
  readonly passes: number;
  /** How often a row is drawn; a row with copies counts as many rows. */
  readonly repeats: { readonly min: number; readonly mean: number; readonly max: number };
  /** How often an image is drawn, on average. */
  readonly repeatsPerImage: number;
  /** Share of the rows drawn at all. */
  readonly seen: number;
}

export interface Simulation {
  readonly steps: number;
  readonly images: number;
  readonly homogeneousShare: number;
  readonly parts: readonly PartOutcome[];
  /** Null when the size of the images is not known. */
  readonly bytesPerStep: number | null;
  /** Expected in a window of the last steps: different shards read, and the share of reads that find their shard read before. */
  readonly window: { readonly steps: number; readonly shards: number; readonly hitRate: number };
  readonly seconds: number | null;
}

/** The shares of a run, exact; the shards of a window, expected. O(1) in the steps where every part has an image a batch. */
export function simulate(parts: readonly SimulatedPart[], { mixture, seed, batchSize, steps, windowSteps, rate }: SimulateOptions): Simulation {
  const schedule = createSchedule(parts.map(({ name }) => name), mixture, batchSize, seed);
  const { taken, homogeneous } = schedule.at(steps);
  const images = steps * batchSize;
  const window = Math.min(windowSteps, steps);
  const before = schedule.at(steps - window).taken;
  const known = parts.every(({ imageBytes }, p) => imageBytes !== null || taken[p] === 0);
  const reads = parts.map((_, p) => taken[p]! - before[p]!);
  const shards = parts.reduce((sum, part, p) => sum + shardsTouched(part, reads[p]!), 0);
  return {
    steps,
    images,
    homogeneousShare: homogeneous / steps,
    parts: parts.map(({ name, rows, uniqueImages }, p) => {
      const passes = taken[p]! / rows;
      return { name, rows, images: taken[p]!, share: taken[p]! / images, passes, repeats: { min: Math.floor(passes), mean: passes, max: Math.ceil(passes) }, repeatsPerImage: taken[p]! / uniqueImages, seen: Math.min(1, passes) };
    }),
    bytesPerStep: known ? parts.reduce((sum, { imageBytes }, p) => sum + (taken[p]! * (imageBytes ?? 0)) / steps, 0) : null,
    window: { steps: window, shards, hitRate: 1 - shards / (window * batchSize) },
    seconds: rate === null ? null : images / rate,
  };
}

/** The run as lines of text. */
export function renderSimulation({ steps, images, homogeneousShare, parts, bytesPerStep, window, seconds }: Simulation): string {
  const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
  const width = Math.max(4, ...parts.map(({ name }) => name.length));
  return [
    `${steps} steps, ${images} images, ${percent(homogeneousShare)} of the steps homogeneous`,
    '',
    `  ${'part'.padEnd(width)}  ${'rows'.padStart(14)}  ${'share'.padStart(7)}  ${'passes'.padStart(9)}  ${'repeats'.padStart(11)}  per image     seen`,
    ...parts.map(({ name, rows, share, passes, repeats, repeatsPerImage, seen }) => `  ${name.padEnd(width)}  ${String(rows).padStart(14)}  ${percent(share).padStart(7)}  ${passes.toFixed(2).padStart(9)}  ${`${repeats.min} … ${repeats.max}`.padStart(11)}  ${repeatsPerImage.toFixed(2).padStart(9)}  ${percent(seen).padStart(7)}`),
    '',
    `In ${window.steps} steps: about ${Math.round(window.shards)} shards read, ${percent(window.hitRate)} of the images from a shard read before`,
    ...(bytesPerStep === null ? [] : [`Bytes of images: ${(bytesPerStep / 1e6).toFixed(2)} MB a step, ${((bytesPerStep * steps) / 1e12).toFixed(3)} TB in all`]),
    ...(seconds === null ? [] : [`Time: ${formatTime(seconds)}, ${(images / seconds).toFixed(0)} images/s`]),
    '',
  ].join('\n');
}

/** Shards expected among `reads` rows of a part: each is missed by all of them with probability (1 − 1/S)^reads. */
function shardsTouched({ shards, rows }: SimulatedPart, reads: number): number {
  if (shards === 0 || reads === 0) return 0;
  return reads >= rows ? shards : shards * -Math.expm1(reads * Math.log1p(-1 / Math.max(shards, 1 + 1e-9)));
}

function formatTime(seconds: number): string {
  const units = [['days', 86_400], ['hours', 3600], ['minutes', 60]] as const;
  const [unit, length] = units.find(([, size]) => seconds >= 2 * size) ?? ['seconds', 1];
  return `${(seconds / length).toFixed(1)} ${unit}`;
}
