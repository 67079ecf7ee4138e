/**
 * `winnow plan`: what a recipe will take at a number of images, before any money is spent: tasks, operations, bytes,
 * memory, time, cost, energy. Nothing is read but the recipe; everything follows from arithmetic and the rates given.
 */
import type { Rates, StartedStage } from '../bench/rates.ts';
import { VIT_S14, type VitShape, vitFlop } from '../bench/vit-model.ts';
import { type Recipe, suggest } from '../config.ts';
import { resolveProfile } from '../cluster/profile.ts';
import { createDescriptor } from '../embed/descriptor.ts';
import { WinnowError } from '../errors.ts';
import type { Execution } from '../run/stage.ts';
import { targetCount } from '../sample/config.ts';
import { clusterCost, keptLeaves, levelsOf } from './cluster-cost.ts';
import { dedupCost } from './dedup-cost.ts';
import { filterCost } from './filter-cost.ts';
import { type StageCost, type Step, type Totals, totalsOf } from './cost.ts';
import { type EmbedRate, type StageRequest, elementBytesOf, embedCost, embeddingRowBytes, ingestCost, mixCost, sampleCost, shardCost } from './stage-cost.ts';
import { retrieveCost } from './retrieve-cost.ts';

/** As in the footprint table of arXiv 2508.10104: power usage effectiveness, and kg of CO2 a kWh (US average). */
export const PUE = 1.1;
export const CO2_KG_A_KWH = 0.385;

/** Rows of a block of the assignment: what a pass over the pool is counted in. */
const BLOCK_ROWS = 65_536;

export interface PlanRequest {
  readonly recipe: Recipe;
  readonly execution: Execution;
  /** Images of the pool. */
  readonly images: number;
  /** Dimensions of a vector; null: from the model's name. */
  readonly d: number | null;
  readonly workers: number;
  readonly rates: Rates;
  /** Power of one worker's device, W. */
  readonly watts: number;
  /** An hour of one worker; null: no cost is given. */
  readonly pricePerHour: number | null;
  /** Images of seed sets and raw parts, by the part's name. */
  readonly parts: Readonly<Record<string, number>>;
  /** Of an image file, and of the text of its row, on average. */
  readonly imageBytes: number;
  readonly textBytes: number;
}

export interface PlannedStage extends Totals {
  readonly stage: string;
  readonly steps: readonly Step[];
  readonly cost: number | null;
  readonly kwh: number;
  readonly co2Kg: number;
}

export interface PlanReport {
  readonly images: number;
  readonly d: number;
  readonly workers: number;
  /** The pool's vectors as they are stored, and the blocks of 65,536 rows of one pass over them. */
  readonly vectorBytes: number;
  readonly blocks: number;
  readonly levels: readonly number[];
  readonly stages: readonly PlannedStage[];
  readonly total: Omit<PlannedStage, 'stage' | 'steps'>;
  /** What was assumed where nothing says. */
  readonly assumptions: readonly string[];
  readonly warnings: readonly string[];
}

/** @throws {WinnowError} CONFIG_INVALID when dimensions are not known, a part is not in the recipe, or there are fewer images than clusters */
export function planRecipe(request: PlanRequest): PlanReport {
  const { recipe, execution, images, workers, rates, imageBytes, textBytes } = request;
  const assumptions: string[] = [`an image file has ${imageBytes.toLocaleString('en')} bytes and its names ${textBytes}`];
  const d = dimensionsOf(request, assumptions);
  checkLevels(recipe, images);
  const { seeds, raws, evaluations } = setsOf(request, assumptions);
  if (recipe.filters.length > 0 || recipe.dedup !== undefined) assumptions.push('filters and the search for copies take nothing out: later stages see all images');
  const model = modelRate(recipe.embed.model, d, rates, assumptions);
  const shared: StageRequest = { recipe, execution, pool: { name: 'pool', images, hasVectors: true }, seeds, raws, evaluations, d, imageBytes, textBytes, model, rates };
  const elementBytes = elementBytesOf(recipe);
  const cluster = { n: images, d, rowBytes: embeddingRowBytes(d, elementBytes), elementBytes, config: resolveProfile(recipe.cluster), execution, rates };
  const levels = levelsOf(cluster).map(({ k }) => k);
  const kept = levels.map((k, l) => (l === 0 ? keptLeaves(cluster.config, k) : k));
  const selected = Math.min(targetCount(recipe.sample.target, images), images * recipe.sample.multiplier);
  const costs: StageCost[] = [
    ingestCost(shared), embedCost(shared), filterCost(shared), dedupCost(shared), clusterCost(cluster), sampleCost(shared, kept, selected), retrieveCost(shared, kept[0] ?? 1), mixCost(shared), shardCost(shared, selected, kept),
  ];
  const stages = costs.filter(({ steps }) => steps.length > 0).map(({ stage, steps: bare }) => {
    const start = rates.start[stage as StartedStage];
    const steps = bare.map((one, i) => ({ ...one, seconds: one.seconds + one.tasks * rates.task + (i === 0 ? start : 0) }));
    return { stage, steps, ...pricedTotals(steps, request) };
  });
  return {
    images, d, workers, vectorBytes: images * d * elementBytes, blocks: Math.ceil(images / BLOCK_ROWS), levels,
    stages, total: pricedTotals(stages.flatMap(({ steps }) => steps), request), assumptions, warnings: costs.flatMap(({ warnings }) => warnings),
  };
}

function pricedTotals(steps: readonly Step[], { workers, watts, pricePerHour }: PlanRequest): Omit<PlannedStage, 'stage' | 'steps'> {
  const totals = totalsOf(steps, workers);
  const { kwh, co2Kg } = footprint(totals.workerHours, watts);
  return { ...totals, cost: pricePerHour === null ? null : totals.workerHours * pricePerHour, kwh, co2Kg };
}

/** Energy of device hours at full power, with what the building adds, and its CO2. */
export function footprint(hours: number, watts: number): { kwh: number; co2Kg: number } {
  const kwh = (hours * watts * PUE) / 1000;
  return { kwh, co2Kg: kwh * CO2_KG_A_KWH };
}

/** Widths of DINOv2's and other vision transformers, by the word in their names. */
const WIDTHS: readonly (readonly [RegExp, number])[] = [[/giant|vitg|vit-g/i, 1536], [/large|vitl|vit-l/i, 1024], [/base|vitb|vit-b/i, 768], [/small|vits|vit-s/i, 384]];
const LAYERS: Readonly<Record<number, number>> = { 384: 12, 768: 12, 1024: 24, 1536: 40 };

function dimensionsOf({ recipe, d }: PlanRequest, assumptions: string[]): number {
  if (d !== null) return d;
  const { model } = recipe.embed;
  if (model === 'descriptor') return createDescriptor().d;
  const named = WIDTHS.find(([word]) => word.test(model));
  if (named === undefined) throw new WinnowError('CONFIG_INVALID', `Expected --dims, the dimensions of a vector, since the name of the model ${model} does not tell them`);
  assumptions.push(`${model} gives ${named[1]} dimensions, by its name`);
  return named[1];
}

/** The measured rate of this model, or that of a vision transformer of its width at the measured operations a second. */
function modelRate(model: string, d: number, rates: Rates, assumptions: string[]): EmbedRate {
  const own = rates.embed.find((one) => one.model === model || model.endsWith(`/${one.model}`));
  if (own !== undefined) return { flop: own.flop ?? 0, images: own.images };
  const measured = rates.embed.find((one) => one.flop !== null);
  if (measured === undefined) throw new WinnowError('INPUT_MALFORMED', 'Expected rates of a model of known operations to scale from, found none: run `winnow bench --calibrate` again');
  const flop = vitFlop(shapeFor(d));
  assumptions.push(`${model} works like a vision transformer of width ${shapeFor(d).d} at 224 pixels, ${(flop / 1e9).toFixed(1)} GFLOP an image; \`winnow bench --calibrate --model ${model}\` measures it`);
  return { flop, images: (measured.images * measured.flop!) / flop };
}

function shapeFor(d: number): VitShape {
  const widths = Object.keys(LAYERS).map(Number);
  const width = widths.find((one) => one >= d) ?? widths.at(-1)!;
  return { ...VIT_S14, d: width, layers: LAYERS[width]! };
}

/** Published sizes of the sets that the paper's recipe names. */
const KNOWN: readonly (readonly [RegExp, number])[] = [[/imagenet-22k$/, 14_197_086], [/imagenet-1k$/, 1_281_167], [/mapillary-sls$/, 1_434_262], [/gldv2$/, 1_580_470], [/food-101$/, 75_750]];

function setsOf({ recipe, parts }: PlanRequest, assumptions: string[]): Pick<StageRequest, 'seeds' | 'raws' | 'evaluations'> {
  const names = [...recipe.retrieve, ...recipe.raw, ...recipe.decontaminate].map(({ name }) => name);
  const stray = Object.keys(parts).find((name) => !names.includes(name));
  if (stray !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected --part to name a retrieved or raw part of the recipe, or an evaluation set (${names.join(', ') || 'it has none'}), got "${stray}"${suggest(stray, names)}`);
  const countOf = (name: string): number => {
    if (parts[name] !== undefined) return parts[name];
    const known = KNOWN.find(([ending]) => ending.test(name));
    assumptions.push(known === undefined ? `the images of ${name} are not counted: say --part ${name}=COUNT` : `${name} has ${known[1].toLocaleString('en')} images, as published`);
    return known?.[1] ?? 0;
  };
  return {
    seeds: recipe.retrieve.map(({ name, prompts }) => ({ name, images: Array.isArray(prompts) ? prompts.length : countOf(name), hasVectors: true })),
    raws: recipe.raw.map(({ name }) => ({ name, images: countOf(name), hasVectors: false })),
    evaluations: recipe.decontaminate.map(({ name }) => ({ name, images: countOf(name), hasVectors: true })),
  };
}

function checkLevels({ cluster: { levels } }: Recipe, images: number): void {
  if (levels !== 'auto' && levels[0]! > images) throw new WinnowError('CONFIG_INVALID', `Expected at least as many images as level-1 clusters, got --images ${images} and cluster.levels from ${levels[0]}`);
}
