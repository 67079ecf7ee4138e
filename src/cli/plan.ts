/** `winnow plan`: a recipe's cost at a number of images, as a table or JSON. */
import { existsSync } from 'node:fs';
import { type Rates, ratesPath, readRates } from '../bench/rates.ts';
import { type LoadedRecipe, suggest } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { GPUS, GPU_EFFICIENCY, type Gpu, HOST_CORES, WATTS_A_CORE, ratesWithGpu } from '../plan/devices.ts';
import { type PlanReport, type PlannedStage, planRecipe } from '../plan/plan.ts';
import { TYPICAL_RATES } from '../plan/typical.ts';
import { resolveExecution } from './session.ts';

export interface PlanOptions {
  readonly loaded: LoadedRecipe;
  readonly images: number;
  readonly dims: number | null;
  readonly workers: number;
  /** Name of a GPU, or null: workers like the machine of the rates. */
  readonly gpu: string | null;
  readonly price: number | null;
  /** A file of rates; null: where calibration leaves them, else built-in ones. */
  readonly rates: string | null;
  /** `NAME=COUNT` of seed sets and raw parts. */
  readonly parts: readonly string[];
  readonly imageBytes: number;
  /** Power of a worker's device; null: by the table. */
  readonly watts: number | null;
}

/** @throws {WinnowError} CONFIG_INVALID; INPUT_MISSING, INPUT_MALFORMED of the rates */
export async function plan(options: PlanOptions): Promise<{ text: string; json: unknown }> {
  const { loaded: { recipe }, images, dims: d, workers, price, imageBytes } = options;
  const { host, from } = await hostRates(options.rates);
  const gpu = options.gpu === null ? null : asGpu(options.gpu);
  const rates = gpu === null ? host : ratesWithGpu(host, gpu);
  const watts = options.watts ?? gpu?.watts ?? host.machine.cores * WATTS_A_CORE;
  const report = planRecipe({
    recipe, execution: resolveExecution(recipe.execution), images, d, workers, rates, watts, pricePerHour: price,
    parts: Object.fromEntries(options.parts.map(asPart)), imageBytes, textBytes: TEXT_BYTES,
  });
  const device = gpu === null ? `${host.machine.cores} cores of ${host.machine.cpu}` : `${gpu.name} and ${HOST_CORES} cores`;
  const sources = [
    ...(gpu === null ? [] : [`products: public figures of the ${gpu.name}, ${(gpu.flops / 1e12).toFixed(0)} TFLOP/s dense TF32 at ${GPU_EFFICIENCY * 100} %, which winnow's float32 graphs have yet to show`]),
    gpu === null ? from : `everything else: ${from}, scaled to ${HOST_CORES} cores`,
  ];
  return { text: render(report, { device, watts, sources, price }), json: { ...report, device, watts, rates: sources } };
}

/** Of the uri and the path of an image. */
const TEXT_BYTES = 64;

async function hostRates(path: string | null): Promise<{ host: Rates; from: string }> {
  const usual = ratesPath();
  if (path === null && !existsSync(usual)) return { host: TYPICAL_RATES, from: 'built-in rates of a 2-core server; `winnow bench --calibrate` measures this machine' };
  const host = await readRates(path ?? usual);
  return { host, from: `measured on ${host.machine.cores} cores of ${host.machine.cpu} (${path ?? usual})` };
}

function asGpu(name: string): Gpu {
  const gpu = GPUS.find((one) => one.name.toLowerCase() === name.toLowerCase());
  const names = GPUS.map((one) => one.name);
  if (gpu === undefined) throw new WinnowError('CONFIG_INVALID', `Expected --gpu to be one of ${names.join(', ')}, got "${name}"${suggest(name, names)}`);
  return gpu;
}

function asPart(text: string): [string, number] {
  const [, name, count] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const images = Number(count);
  if (name === undefined || !Number.isSafeInteger(images) || images < 0) throw new WinnowError('CONFIG_INVALID', `Expected --part as NAME=COUNT, such as seeds=1.2e6, got "${text}"`);
  return [name, images];
}

function render(report: PlanReport, { device, watts, sources, price }: { device: string; watts: number; sources: readonly string[]; price: number | null }): string {
  const { images, d, workers, vectorBytes, blocks, levels, stages, total, assumptions, warnings } = report;
  const lines = [
    `${images.toLocaleString('en')} images of ${d.toLocaleString('en')} dimensions: ${amount(vectorBytes, 'B')} of vectors, ${blocks.toLocaleString('en')} ${blocks === 1 ? 'block' : 'blocks'} of 65,536 rows a pass; clusters ${levels.map((k) => k.toLocaleString('en')).join(' / ')}`,
    `${workers.toLocaleString('en')} worker${workers === 1 ? '' : 's'}, each ${device}, ${watts} W`,
    '',
    row('', 'tasks', 'FLOP', 'read', 'written', 'memory', 'time', 'workers\'', price === null ? null : 'cost', 'kWh', 'kg CO2'),
    ...stages.flatMap((stage) => [stageRow(stage.stage, stage, price), ...(stage.steps.length < 2 ? [] : stepRows(stage, workers, price))]),
    stageRow('total', total, price),
    '',
    ...sources.map((source) => `Rates: ${source}`),
    ...assumptions.map((one) => `Assumed: ${one}`),
    ...warnings.map((one) => `Warning: ${one}`),
  ];
  return `${lines.join('\n')}\n`;
}

function stageRow(name: string, { tasks, flop, bytesRead, bytesWritten, peakBytes, hours, workerHours, cost, kwh, co2Kg }: Omit<PlannedStage, 'stage' | 'steps'>, price: number | null): string {
  return row(name, tasks.toLocaleString('en'), amount(flop, ''), amount(bytesRead, 'B'), amount(bytesWritten, 'B'), amount(peakBytes, 'B'), duration(hours), duration(workerHours), price === null ? null : brief(cost!), brief(kwh), brief(co2Kg));
}

function stepRows({ steps }: PlannedStage, workers: number, price: number | null): string[] {
  return steps.map(({ name, tasks, flop, bytesRead, bytesWritten, peakBytes, seconds }) =>
    row(`  ${name}`, tasks.toLocaleString('en'), amount(flop, ''), amount(bytesRead, 'B'), amount(bytesWritten, 'B'), amount(peakBytes, 'B'), duration(seconds / Math.max(1, Math.min(workers, tasks)) / 3600), duration(seconds / 3600), price === null ? null : '', '', ''),
  );
}

function row(name: string, ...cells: readonly (string | null)[]): string {
  return `${name.padEnd(32)}${cells.filter((cell) => cell !== null).map((cell) => cell.padStart(11)).join('')}`.trimEnd();
}

const PREFIXES = [[1e24, 'Y'], [1e21, 'Z'], [1e18, 'E'], [1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const;

/** Three digits and a prefix; FLOP, which have passed the prefixes, as powers of ten. */
function amount(value: number, unit: string): string {
  if (value === 0) return '–';
  if (unit === '') return value.toExponential(1).replace('e+', 'e');
  const [size, prefix] = PREFIXES.find(([one]) => value >= one) ?? [1, ''];
  return `${(value / size).toPrecision(3)} ${prefix}${unit}`;
}

/** Under a second what counts is what the system does besides, which no rate tells. */
function duration(hours: number): string {
  if (hours > 0 && hours < 1 / 3600) return '< 1 s';
  if (hours >= 1) return `${brief(hours)} h`;
  return hours >= 1 / 60 ? `${brief(hours * 60)} min` : `${brief(hours * 3600)} s`;
}

function brief(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en');
  return value >= 0.001 ? value.toPrecision(2) : value === 0 ? '0' : value.toExponential(0);
}
