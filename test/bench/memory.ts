/**
 * Peak memory of the cluster stage, as child processes so that nothing else is in the figure.
 *
 *   node --import tsx test/bench/memory.ts                    100,000 and 1,000,000 vectors of 384 dimensions
 *   node --import tsx test/bench/memory.ts 20000,80000 128    other numbers of rows, other dimensions
 *
 * Any further argument is JSON over the settings below. Stores are kept under $TMPDIR/winnow-bench and used again.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { requireManifest } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { writeEmbeddingParts } from '../helpers/embeddings.ts';

export interface ClusterRun {
  readonly cluster: object;
  readonly memoryMb: number;
  readonly blockRows: number;
  readonly threads: number;
}

/** The defaults of a recipe, with levels and iterations that a bench can wait for. */
export const DEFAULT_RUN: ClusterRun = { cluster: { levels: [1000, 200, 50], iterations: 5 }, memoryMb: 384, blockRows: 8192, threads: availableParallelism() };

export interface Figures {
  readonly peakMb: number;
  /** Peak before the stage began: the runtime and the code. */
  readonly startMb: number;
  readonly seconds: number;
  /** Hash of `clusters/manifest.json`, which names the hash of every part. */
  readonly sha256: string;
}

/** Makes an embeddings table of n × d under `root` in a process of its own. */
export async function prepareInChild(root: string, n: number, d: number, dtype: 'float16' | 'float32' = 'float16'): Promise<void> {
  await inChild('prepare', root, n, d, dtype);
}

/** Clusters the table under `root` in a process of its own. */
export async function clusterInChild(root: string, run: ClusterRun): Promise<Figures> {
  return JSON.parse(await inChild('cluster', root, JSON.stringify(run))) as Figures;
}

async function inChild(...args: (string | number)[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', fileURLToPath(import.meta.url), ...args.map(String)]);
  return stdout;
}

const COMPONENTS = 3000;
const NOISE_LENGTH = 1 << 20;

/**
 * Unit vectors around centres whose shares fall as 1 / rank. Each centre and each row's noise is a window of one long
 * list of keyed normal draws, so that a million rows take seconds.
 */
async function prepare(root: string, n: number, d: number, dtype: 'float16' | 'float32'): Promise<void> {
  const store = await openFsStore(root);
  const normal = randomStream(0, 'normal');
  const noise = Float32Array.from({ length: NOISE_LENGTH }, (_, i) => normal.normal(i));
  const window = (label: string): ((i: number) => number) => {
    const stream = randomStream(0, label);
    return (i) => stream.below(i, NOISE_LENGTH - d);
  };
  const [centreOf, firstOf, secondOf] = [window('centre'), window('first'), window('second')];
  const component = randomStream(0, 'component');
  await writeEmbeddingParts(store, 'embeddings', {
    n,
    d,
    dtype,
    vectorsOf: (firstRow, rowCount) => {
      const values = new Float32Array(rowCount * d);
      for (let i = 0; i < rowCount; i++) {
        const row = firstRow + i;
        // Inverse of the log-uniform distribution function: shares ∝ 1 / rank.
        const centre = centreOf(Math.floor(COMPONENTS ** component.uniform(row)));
        const [first, second] = [firstOf(row), secondOf(row)];
        let square = 0;
        for (let j = 0; j < d; j++) {
          const value = noise[centre + j]! + 0.3 * (noise[first + j]! + noise[second + j]!);
          values[i * d + j] = value;
          square += value * value;
        }
        const length = Math.sqrt(square);
        for (let j = i * d; j < (i + 1) * d; j++) values[j] = values[j]! / length;
      }
      return values;
    },
  });
}

async function cluster(root: string, { cluster: settings, memoryMb, blockRows, threads }: ClusterRun): Promise<Figures> {
  const store = await openFsStore(root);
  await store.remove('clusters/');
  await store.remove('work/');
  const { signal } = new AbortController();
  const execution = { concurrency: threads, threads, blockRows, memoryBytes: memoryMb * 1024 * 1024 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  const embeddings = await requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
  const startMb = peakMb();
  const started = performance.now();
  const context = { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
  const { sha256 } = await buildTree(context, embeddings, ClusterConfig.parse(settings));
  await executor.close();
  return { peakMb: peakMb(), startMb, seconds: (performance.now() - started) / 1000, sha256 };
}

/** Of this process image alone: what `maxRSS` says includes the process that started it. */
function peakMb(): number {
  if (!existsSync('/proc/self/status')) return process.resourceUsage().maxRSS / 1024;
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
}

async function compare(rows = '100000,1000000', d = '384', settings = '{}', dtype: 'float16' | 'float32' = 'float16'): Promise<void> {
  const run = { ...DEFAULT_RUN, ...(JSON.parse(settings) as Partial<ClusterRun>) };
  for (const n of rows.split(',').map(Number)) {
    const root = join(tmpdir(), 'winnow-bench', `${n}x${d}-${dtype}`);
    if (!existsSync(join(root, 'embeddings/manifest.json'))) {
      await rm(root, { recursive: true, force: true });
      await prepareInChild(root, n, Number(d), dtype);
    }
    const { peakMb, startMb, seconds, sha256 } = await clusterInChild(root, run);
    process.stdout.write(`${n} × ${d} ${dtype}: peak ${peakMb.toFixed(0)} MB (${startMb.toFixed(0)} MB before), ${seconds.toFixed(1)} s, ${sha256.slice(0, 12)}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [verb, root, ...rest] = process.argv.slice(2);
  if (verb === 'prepare') await prepare(root!, Number(rest[0]), Number(rest[1]), rest[2] as 'float16' | 'float32');
  else if (verb === 'cluster') process.stdout.write(JSON.stringify(await cluster(root!, JSON.parse(rest[0]!) as ClusterRun)));
  else await compare(...(process.argv.slice(2) as Parameters<typeof compare>));
}
