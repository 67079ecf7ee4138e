/**
 * What the embed stage costs beside its two parts. In one run, in turns, so that a noisy machine falls on all alike:
 *
 * - `sharp`: a bare loop, decode and resize to 224 × 224 raw, from bytes in memory, as many at once as runs best
 * - `one session`: a bare ONNX Runtime loop over random bytes, one session, the batch size and threads that run best
 * - `session a core`: the same on one single-threaded session a core, each in a thread of its own
 * - `embed`: the product's stage end to end: read from tars, hash, decode, infer, write the table and its manifest.
 *   Listing the tars (ingest) and opening the model come before and are not counted; nor is opening a session above.
 *
 *     node --import tsx test/bench/embed.ts [--json] [--rounds 5] [--tars 2] [--no-descriptor]
 *
 * Figures are medians over rounds, ratios medians of each round's ratio. Milliseconds of processor time an image, all
 * threads of this process together, move less with what else runs on the machine than images a second do.
 */
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { resolveExecution } from '../../src/cli/session.ts';
import { ExecutionConfig } from '../../src/config.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { embed } from '../../src/embed/embed.ts';
import { openEncoder } from '../../src/embed/task.ts';
import { SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { SILENT } from '../../src/log.ts';
import { Tensor, openSession } from '../../src/onnx/session.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { rowCountOf } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { listAll } from '../ingest/listing.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';

const SIDE = 224;
const MODEL = join(sharedData, 'models', 'mobilenetv2_fp32_224.onnx');
const DEMO_IMAGES = 2000;

/** One of the things compared. */
interface Contender {
  readonly name: string;
  /** Images of a round. */
  readonly images: number;
  /** @returns images done, about as many as asked for */
  run(images: number): Promise<number>;
  close(): Promise<void>;
}

interface Measure {
  readonly imagesPerSecond: number;
  readonly cpuMsPerImage: number;
}

interface Row extends Measure {
  readonly name: string;
  readonly rounds: readonly Measure[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { json: { type: 'boolean' }, rounds: { type: 'string', default: '5' }, tars: { type: 'string', default: '2' }, 'no-descriptor': { type: 'boolean' } } });
  const missing = withoutSharedData();
  if (missing !== null) return say(`${missing}\n`);
  const scratch = await mkdtemp(join(tmpdir(), 'winnow-bench-'));
  const contenders: Contender[] = [];
  try {
    const tars = (await readdir(join(sharedData, 'pool-tars'))).sort().slice(0, Number(values.tars)).map((name) => join(sharedData, 'pool-tars', name));
    contenders.push(await best(await sharpLoops(await readImages(tars))), await best(await oneSession()), await best(await sessionPerCore()), await stage('embed', scratch, { tars }, MODEL));
    if (values['no-descriptor'] !== true) {
      const folder = join(scratch, 'demo');
      await drawCorpus(folder, { images: DEMO_IMAGES });
      contenders.push(await stage('descriptor, same tars', scratch, { tars }, 'descriptor'), await stage('descriptor, demo corpus', scratch, { folder }, 'descriptor'));
    }
    report(await compare(contenders, Number(values.rounds)), values.json === true);
  } finally {
    for (const contender of contenders) await contender.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Every contender once a round, the first one warm; each round begins with another one. */
async function compare(contenders: readonly Contender[], rounds: number): Promise<Row[]> {
  for (const contender of contenders) await measure(contender, contender.images);
  const measures = contenders.map((): Measure[] => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const at = (round + turn) % contenders.length;
      measures[at]!.push(await measure(contenders[at]!, contenders[at]!.images));
    }
  }
  return contenders.map(({ name }, at) => ({ name, ...middle(measures[at]!), rounds: measures[at]! }));
}

async function measure({ run }: Contender, wanted: number): Promise<Measure> {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const images = await run(wanted);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { imagesPerSecond: images / seconds, cpuMsPerImage: (user + system) / 1000 / images };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function middle(measures: readonly Measure[]): Measure {
  return { imagesPerSecond: median(measures.map((one) => one.imagesPerSecond)), cpuMsPerImage: median(measures.map((one) => one.cpuMsPerImage)) };
}

/** Images of a short run. */
const TRIAL_IMAGES = 128;

/** Keeps the fastest of several settings, by the better of two short runs each, in turns; closes the others. */
async function best(settings: readonly Contender[]): Promise<Contender> {
  const rates = settings.map(() => 0);
  for (let turn = 0; turn < 3; turn++) {
    for (const [i, setting] of settings.entries()) {
      const { imagesPerSecond } = await measure(setting, TRIAL_IMAGES);
      if (turn > 0) rates[i] = Math.max(rates[i]!, imagesPerSecond);
    }
  }
  const fastest = rates.indexOf(Math.max(...rates));
  for (const [i, setting] of settings.entries()) if (i !== fastest) await setting.close();
  return settings[fastest]!;
}

async function readImages(tars: readonly string[]): Promise<Uint8Array[]> {
  const images: Uint8Array[] = [];
  for (const tar of tars) {
    const bytes = await readFile(tar);
    const { rows } = await listAll({ tars: tar }, sharedData);
    for (const { offset, length } of rows) images.push(bytes.subarray(offset, offset + length));
  }
  return images;
}

async function sharpLoops(images: readonly Uint8Array[]): Promise<Contender[]> {
  return [2, 4, 8].map((lanes) => ({
    name: `sharp, ${lanes} at once`,
    images: images.length,
    run: async (wanted) => {
      let next = 0;
      const lane = async (): Promise<void> => {
        while (next < wanted) await sharp(images[next++]!).resize(SIDE, SIDE).raw().toBuffer();
      };
      await Promise.all(Array.from({ length: lanes }, lane));
      return wanted;
    },
    close: async () => {},
  }));
}

const LOOP_IMAGES = 512;

function randomBytes(batch: number): Uint8Array {
  return Uint8Array.from({ length: batch * SIDE * SIDE * 3 }, (_, i) => Math.imul(i + 1, 2_654_435_761) >>> 24);
}

async function oneSession(): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const threads of [...new Set([1, availableParallelism()])]) {
    for (const spin of threads === 1 ? [false] : [false, true]) {
      const session = await openSession(MODEL, { threads, spin });
      let open = 3;
      const close = async (): Promise<void> => {
        if (--open === 0) await session.close();
      };
      for (const batch of [1, 4, 16]) {
        const image = new Tensor('uint8', randomBytes(batch), [batch, SIDE, SIDE, 3]);
        const run = async (wanted: number): Promise<number> => {
          for (let done = 0; done < wanted; done += batch) await session.run({ image }, ['embedding']);
          return wanted;
        };
        contenders.push({ name: `one session, threads ${threads}${spin ? ' spinning' : ''}, batch ${batch}`, images: LOOP_IMAGES, run, close });
      }
    }
  }
  return contenders;
}

const LOOP = `
const { parentPort, workerData } = require('node:worker_threads');
const { InferenceSession, Tensor } = require('node:module').createRequire(workerData.from)('onnxruntime-node');
const opened = InferenceSession.create(workerData.model, { intraOpNumThreads: 1, interOpNumThreads: 1, graphOptimizationLevel: 'all' });
const image = new Tensor('uint8', workerData.bytes, [workerData.batch, ${SIDE}, ${SIDE}, 3]);
parentPort.on('message', async (runs) => {
  const session = await opened;
  for (let i = 0; i < runs; i++) await session.run({ image }, ['embedding']);
  parentPort.postMessage(null);
});
`;

async function sessionPerCore(): Promise<Contender[]> {
  const cores = availableParallelism();
  return [1, 4].map((batch) => {
    const workers = Array.from({ length: cores }, () => new Worker(LOOP, { eval: true, execArgv: [], workerData: { from: import.meta.url, model: MODEL, bytes: randomBytes(batch), batch } }));
    const loop = (worker: Worker, wanted: number): Promise<number> =>
      new Promise((resolve, reject) => {
        const runs = Math.ceil(wanted / cores / batch);
        worker.once('message', () => resolve(runs * batch));
        worker.once('error', reject);
        worker.postMessage(runs);
      });
    return {
      name: `session a core, batch ${batch}`,
      images: LOOP_IMAGES,
      run: async (wanted) => (await Promise.all(workers.map((worker) => loop(worker, wanted)))).reduce((sum, done) => sum + done),
      close: async () => void (await Promise.all(workers.map((worker) => worker.terminate()))),
    };
  });
}

/** The product's stage over a source that is listed here; every run writes a table of its own. */
async function stage(name: string, scratch: string, source: Record<string, unknown>, model: string): Promise<Contender> {
  const sources = resolveSources([SourceConfig.parse({ name: 'pool', ...source })], scratch);
  const store = await openFsStore(join(scratch, `store-${name.replace(/\W+/g, '-')}`));
  const { signal } = new AbortController();
  const execution = resolveExecution(ExecutionConfig.parse({}));
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: { pool: sources[0]!.location }, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  const context: RunContext = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
  const images = await ingest(context, { path: 'images', sources });
  const config = EmbedConfig.parse({ model, maxDropRatio: 1 });
  const encoder = await openEncoder(model, config, context);
  const count = rowCountOf(images.manifest.parts);
  let runs = 0;
  return {
    name,
    images: count,
    run: async () => {
      await embed(context, { path: `embeddings-${runs++}`, images, config, model: { reference: model, encoder } });
      return count;
    },
    close: () => executor.close(),
  };
}

function report(rows: readonly Row[], json: boolean): void {
  const cores = availableParallelism();
  const [bareSharp, one, perCore, product] = rows as [Row, Row, Row, Row];
  const against = (loop: Row) => {
    const inRound = (ratio: (ours: Measure, one: Measure, other: Measure) => number): number => median(product.rounds.map((ours, i) => ratio(ours, bareSharp.rounds[i]!, loop.rounds[i]!)));
    return {
      loop: loop.name,
      rate: inRound((ours, one, other) => ours.imagesPerSecond / Math.min(one.imagesPerSecond, other.imagesPerSecond)),
      cpu: inRound((ours, one, other) => Math.max(one.cpuMsPerImage, other.cpuMsPerImage) / ours.cpuMsPerImage),
    };
  };
  const ratios = [against(one), against(perCore)];
  const machine = { node: process.version, cpu: cpus()[0]?.model ?? 'unknown', cores, loadAverage: loadavg() };
  if (json) return say(`${JSON.stringify({ machine, rows, ratios }, null, 2)}\n`);
  say(`Node ${machine.node}, ${cores} cores of ${machine.cpu}, load average ${machine.loadAverage.map((load) => load.toFixed(1)).join(' ')}\n\n`);
  say(`${''.padEnd(44)}images/s   rounds${' '.repeat(24)}CPU ms/image   rounds\n`);
  for (const { name, imagesPerSecond, cpuMsPerImage, rounds } of rows) {
    const each = (digits: (one: Measure) => string): string => rounds.map(digits).join(' ').padEnd(30);
    say(`${name.padEnd(44)}${imagesPerSecond.toFixed(0).padStart(8)}   ${each((one) => one.imagesPerSecond.toFixed(0))}${cpuMsPerImage.toFixed(2).padStart(12)}   ${each((one) => one.cpuMsPerImage.toFixed(2)).trimEnd()}\n`);
  }
  for (const { loop, rate, cpu } of ratios) say(`\nembed / slower of sharp and ${loop}: ${rate.toFixed(2)} by images/s, ${cpu.toFixed(2)} by CPU time`);
  say('\n');
}

function say(text: string): void {
  process.stdout.write(text);
}

await main();
