/** `winnow bench`: this machine's figures beside those of its peers, as text or JSON; or, with `--calibrate`, rates for `winnow plan`. */
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { type BenchReport, WORKS, type Work, runBench } from '../bench/bench.ts';
import { calibrate } from '../bench/calibrate.ts';
import type { ContestResult } from '../bench/contest.ts';
import { partsRatio } from '../bench/pictures.ts';
import { type Rates, ratesPath } from '../bench/rates.ts';
import type { Sizes } from '../bench/workbench.ts';
import { suggest } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { packageRoot } from './package-root.ts';

export interface BenchOptions {
  /** Names of works; none: all of them. */
  readonly works: readonly string[];
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly signal: AbortSignal;
  /** Tells what is being measured. */
  note(text: string): void;
}

/** @throws {WinnowError} CONFIG_INVALID for an unknown work or a size below 1; ABORTED */
export async function bench({ works, rounds, sizes, signal, note }: BenchOptions): Promise<{ text: string; json: unknown }> {
  const report = await runBench({ works: works.length === 0 ? WORKS : works.map(asWork), rounds, sizes, ...places(), signal, note });
  return { text: render(report), json: report };
}

/** Peers and evaluation data belong to a checkout. */
function places(): { peers: string | null; data: string | null } {
  const root = packageRoot();
  const there = (path: string): string | null => (existsSync(path) ? path : null);
  return { peers: there(join(root, 'test', 'bench')), data: there(join(root, '..', 'shared', 'data')) };
}

function asWork(name: string): Work {
  const work = WORKS.find((one) => one === name);
  if (work === undefined) throw new WinnowError('CONFIG_INVALID', `Expected the name of a work, got "${name}"${suggest(name, WORKS)}; works: ${WORKS.join(', ')}`);
  return work;
}

function render({ machine, loadAfter, rounds, results }: BenchReport): string {
  const { cpu, cores, instructionSet, memoryGb, node, onnxRuntime, loadAverage } = machine;
  return [
    `${cores} cores of ${cpu} (${instructionSet}), ${memoryGb} GiB; Node ${node}, ONNX Runtime ${onnxRuntime}; load average ${loadAverage[0]} before, ${loadAfter[0]} after`,
    `Medians of ${rounds} round${rounds === 1 ? '' : 's'}, in turns; a ratio above 1 says that winnow is faster, by wall time and by processor time`,
    ...results.flatMap((result) => ['', ...renderContest(result)]),
    '',
  ].join('\n');
}

function renderContest(result: ContestResult): string[] {
  const { work, what, unit, contenders, ratios, missing, peakMb } = result;
  const lines = [`${work}: ${what}`];
  contenders.forEach(({ name, rate, seconds, cpuSeconds, facts }, i) => {
    const ratio = i === 0 ? '' : `${ratios[i - 1]!.rate.toFixed(2)}× (CPU ${ratios[i - 1]!.cpu.toFixed(2)}×)`;
    const found = Object.entries(facts).map(([fact, value]) => `${fact} ${Number.isInteger(value) ? value : value.toPrecision(7)}`);
    const memory = i === 0 && peakMb !== null ? [`peak ${peakMb.toFixed(0)} MB`] : [];
    lines.push(`  ${name.padEnd(60)} ${brief(rate).padStart(9)} ${unit}/s ${seconds.toFixed(2).padStart(8)} s ${cpuSeconds.toFixed(1).padStart(8)} s CPU ${ratio.padStart(20)}   ${[...found, ...memory].join(', ')}`.trimEnd());
  });
  const parts = work === 'embed' ? partsRatio(result) : null;
  if (parts !== null) lines.push(`  over the slower of its parts: ${parts.toFixed(2)}`);
  for (const reason of missing) lines.push(`  not measured: ${reason}`);
  return lines;
}

function brief(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

export interface CalibrateOptions {
  /** Where the rates go; null: where `winnow plan` looks for them. */
  readonly out: string | null;
  readonly model: string | null;
  readonly signal: AbortSignal;
  note(text: string): void;
}

/** Measures the rates of this machine and writes them. @throws {WinnowError} MODEL_INVALID, MODEL_UNAVAILABLE, ABORTED */
export async function calibrateRates({ out, model, signal, note }: CalibrateOptions): Promise<{ text: string; json: unknown }> {
  const path = out ?? ratesPath();
  const rates = await calibrate({ out: path, model, scale: 1, signal, note });
  const at = (measured: Rates['assign']): string => measured.map(({ k, flops }) => `${brief(flops / 1e9)} at ${k}`).join(', ');
  const lines = [
    `${rates.machine.cores} cores of ${rates.machine.cpu}; load average ${loadavg()[0]!.toFixed(2)}: on a busy machine all of these are too low`,
    `  assignment, GFLOP/s by clusters   ${at(rates.assign)}`,
    `  k-means, GFLOP/s by clusters      ${at(rates.kmeans)}`,
    `  seeding, GFLOP/s by dimensions    ${rates.seeding.map(({ d, flops }) => `${brief(flops / 1e9)} at ${d}`).join(', ')}`,
    `  retrieval, GFLOP/s                ${brief(rates.retrieval / 1e9)}`,
    `  decoding, images/s                ${brief(rates.decode)}`,
    ...rates.embed.map(({ model: name, images }) => `  embedding, images/s               ${brief(images)}: ${name}`),
    `  read, write, hash, MB/s           ${[rates.read, rates.write, rates.hash].map((rate) => brief(rate / 1e6)).join(', ')}`,
    `  listing, in tars, sharding, /s    ${brief(rates.list)}, ${brief(rates.listTars)}, ${brief(rates.shard)}`,
    `  reading again, images/s           ${brief(rates.look)}`,
    `  sampling, clusters/s and rows/s   ${brief(rates.leaves)}, ${brief(rates.draw)}`,
    path,
  ];
  return { text: `${lines.join('\n')}\n`, json: { path, rates } };
}
