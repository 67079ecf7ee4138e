/**
 * What the training feed costs: indices a second beside `torch.randperm`, resuming, opening 10,000 shards, and bytes a
 * second beside reading the same bytes from the page cache in order and beside Python's tarfile. Rounds are interleaved,
 * so the ratios hold on a busy machine. `npx tsx test/bench/batches.ts [--indices|--bytes]`
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, readSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openBatchFeed } from '../../pipelines/9-batch.ts';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import type { Feed } from '../../src/batch/feed.ts';
import { createSampler } from '../../src/batch/sampler.ts';
import { crc32 } from '../../src/crc32.ts';
import { randomStream } from '../../src/random.ts';
import { type Part, canonicalJson } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SUMS = ['crc32', 'sha256', 'none'] as const;
/** Node for a small process: no threads of V8's own, one-megabyte halves of the young generation, no snapshot to map. */
const LEAN = ['--single-threaded', '--max-semi-space-size=1', '--no-node-snapshot', '--no-sparkplug'];
const { values } = parseArgs({ options: { indices: { type: 'boolean' }, bytes: { type: 'boolean' } } });
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1]!;
print(`${cpus()[0]!.model}, ${availableParallelism()} cores, node ${process.version}, load ${loadavg()[0]!.toFixed(1)}`);
if (!values.bytes) {
  indices();
  await memory();
  await opening();
}
if (!values.indices) await bytes();

function indices(): void {
  const parts = [{ name: 'lvd', rows: 1_689_000_000 }, { name: 'in1k', rows: 1_281_167 }];
  const source = { seed: 0, parts, mixture: { homogeneous: { part: 'in1k', probability: 0.1 }, heterogeneous: [{ part: 'lvd', ratio: 1 }] } };
  const rates = (worldSize: number): number => {
    const sampler = createSampler(source, 4096);
    const before = process.cpuUsage();
    let count = 0;
    for (let step = 0; count < 2_000_000; step++) count += sampler.batch(step, worldSize - 1, worldSize).index.length;
    const { user, system } = process.cpuUsage(before);
    return (count / (user + system)) * 1e6;
  };
  rates(256);
  for (const worldSize of [256, 64, 8]) print(`indices, rank of ${worldSize} (${4096 / worldSize} images): ${(median([rates(worldSize), rates(worldSize), rates(worldSize)]) / 1e6).toFixed(2)} M/s of CPU time`);
  const started = performance.now();
  createSampler(source, 4096).batch(900_000, 255, 256);
  print(`resume at step 900,000: ${(performance.now() - started).toFixed(1)} ms`);
  // A DistributedSampler's epoch: one permutation of everything on every rank, then its stride; a hundredth of the size.
  const torch = `
import time, torch, resource
n = 16_890_000
t = time.process_time()
order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
mine = order[255::256].tolist()
s = time.process_time() - t
print(f"torch.randperm sampler, {n} images, rank of 256: {len(mine) / s / 1e6:.3f} M/s of CPU time, first index after {s:.2f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB; 100 times the images cost 100 times that")`;
  const ran = spawnSync('/usr/bin/python3', ['-c', torch], { encoding: 'utf8' });
  print(ran.status === 0 ? ran.stdout.trim() : 'torch.randperm: no python3 with torch here');
}

/** Memory of a plain Node process that does nothing, and of one that draws 15 million indices, as users would compile it. */
async function memory(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'winnow-bench-'));
  try {
    await writeFile(join(folder, 'package.json'), '{"type":"module"}');
    spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', folder, '--declaration', 'false', '--sourceMap', 'false'], { stdio: 'inherit' });
    const tell = `
const status = readFileSync('/proc/self/status', 'utf8');
const mb = (key) => (parseInt(status.split(key + ':')[1]) / 1024).toFixed(1);
console.log(rate + mb('VmRSS') + ' MiB RSS, ' + mb('VmHWM') + ' at most; ' + mb('RssAnon') + ' of it its own, the rest the file of Node');`;
    const draw = `
import { createSampler } from './src/batch/sampler.js';
const parts = [{ name: 'lvd', rows: 1_689_000_000 }, { name: 'in1k', rows: 1_281_167 }];
const sampler = createSampler({ seed: 0, parts, mixture: { homogeneous: { part: 'in1k', probability: 0.1 }, heterogeneous: [{ part: 'lvd', ratio: 1 }] } }, 4096);
let count = 0;
for (let step = 0; count < 15_000_000; step++) count += sampler.batch(step, 255, 256).index.length;
const { user, system } = process.cpuUsage();
const rate = (count / (user + system)).toFixed(2) + ' M/s of CPU time with start-up, ';`;
    for (const [name, code] of [['nothing', "const rate = '';"], ['indices', draw]] as const) {
      await writeFile(join(folder, `${name}.js`), `import { readFileSync } from 'node:fs';${code}${tell}`);
      for (const flags of [[], LEAN]) print(`node ${[...flags, name].join(' ')}: ${spawnSync(process.execPath, [...flags, join(folder, `${name}.js`)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).stdout.trim()}`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A store that says it has 10,000 shards, and has the first. */
async function opening(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'winnow-bench-'));
  try {
    const store = await openFsStore(folder);
    const [first] = await writeDataset(store, 64, 64, 100);
    const shards = Array.from({ length: 10_000 }, (_, i): Part => ({ ...first!, path: `dataset/shards/a-${String(i).padStart(5, '0')}.arrow`, firstRow: i * 64 }));
    await writeManifest(store, shards);
    const started = performance.now();
    const feed = await openBatchFeed(await openFsStore(folder), {});
    print(`opening a dataset of ${feed.manifest.parts[0]!.shards.length} shards: ${(performance.now() - started).toFixed(0)} ms`);
    await feed.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function bytes(): Promise<void> {
  const IMAGE_BYTES = 110_000; // ImageNet-1k's mean
  const n = 3000;
  const folder = await mkdtemp(join(tmpdir(), 'winnow-bench-'));
  try {
    const store = await openFsStore(join(folder, 'store'));
    const shards = await writeDataset(store, n, 600, IMAGE_BYTES);
    await writeManifest(store, shards);
    const files = join(folder, 'files');
    await writeFiles(store, shards, files);
    const tar = join(folder, 'images.tar');
    spawnSync('tar', ['-cf', tar, '-C', files, '.']);
    const python = `
import tarfile, time, sys
t = time.perf_counter(); total = 0
with tarfile.open(sys.argv[1], "r|") as tar:
    for member in tar:
        if member.isfile(): total += len(tar.extractfile(member).read())
print(total / (time.perf_counter() - t))`;
    const rounds: Record<string, number[]> = { files: [], 'files, one buffer': [], ...Object.fromEntries(SUMS.map((sum) => [`feed, ${sum}`, []])), 'python tar': [] };
    const feeds = await Promise.all(SUMS.map((verify) => openBatchFeed(store, { verify, cacheBytes: 2 ** 20 })));
    for (let round = -1; round < 7; round++) {
      if (round < 0) {
        for (const feed of feeds) await readFeed(feed, n, 0);
        continue;
      }
      rounds['files']!.push(readFiles(files, (path) => readFileSync(path).byteLength));
      rounds['files, one buffer']!.push(readFiles(files, readIntoOne(2 * IMAGE_BYTES)));
      for (const [i, sum] of SUMS.entries()) rounds[`feed, ${sum}`]!.push(await readFeed(feeds[i]!, n, round));
      rounds['python tar']!.push(Number(spawnSync('/usr/bin/python3', ['-c', python, tar], { encoding: 'utf8' }).stdout));
    }
    for (const feed of feeds) await feed.close();
    const against = (rates: readonly number[], name: string): string => median(rates.map((rate, i) => rate / rounds[name]![i]!)).toFixed(2);
    for (const [name, rates] of Object.entries(rounds)) print(`${name.padEnd(18)} ${(median(rates) / 1e6).toFixed(0).padStart(6)} MB/s, ${against(rates, 'files')} of the files read in order, ${against(rates, 'files, one buffer')} of them read into one buffer`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Shards of one part with images of random bytes. */
async function writeDataset(store: Store, n: number, shardRows: number, imageBytes: number): Promise<Part[]> {
  const parts: Part[] = [];
  const noise = new Uint8Array(imageBytes + 4 * n);
  const words = new Uint32Array(4);
  const stream = randomStream(1, 'bench');
  for (let i = 0; i + 16 <= noise.length; i += 16) {
    stream.words(i, words);
    noise.set(new Uint8Array(words.buffer), i);
  }
  for (let firstRow = 0; firstRow < n; firstRow += shardRows) {
    const rowCount = Math.min(shardRows, n - firstRow);
    const image = Array.from({ length: rowCount }, (_, i) => noise.subarray(4 * (firstRow + i), 4 * (firstRow + i) + imageBytes));
    const text = (make: (i: number) => string) => ({ type: 'utf8' as const, values: image.map((_, i) => make(firstRow + i)) });
    const none = new Uint8Array(rowCount);
    const path = `dataset/shards/a-${String(parts.length).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, encodeTable({
      id: { type: 'utf8', values: image.map((one) => createHash('sha256').update(one).digest('hex').slice(0, 32)) },
      uri: text((i) => `a/${i}.jpg`),
      source: { type: 'dictionary', values: image.map(() => 'a') },
      path: text((i) => `${i}.jpg`),
      offset: { type: 'uint64', values: new Float64Array(rowCount), valid: none },
      length: { type: 'uint64', values: new Float64Array(rowCount), valid: none },
      crc32: { type: 'uint32', values: Uint32Array.from(image, crc32) },
      image: { type: 'binary', values: image },
    }));
    parts.push({ path, firstRow, rowCount, bytes: sizeBytes, sha256 });
  }
  return parts;
}

async function writeManifest(store: Store, shards: readonly Part[]): Promise<void> {
  const rows = shards.at(-1)!.firstRow + shards.at(-1)!.rowCount;
  const manifest = { format: 'winnow-manifest', version: 1, stage: 'shard', inputs: [], config: { withBytes: true }, configHash: '', seed: 0, stats: {}, createdBy: 'bench', lineage: {}, mixture: { homogeneous: null, heterogeneous: [{ part: 'a', ratio: 1 }] }, parts: [{ name: 'a', kind: 'raw', rows, uniqueImages: rows, shards }] };
  await store.write('dataset/manifest.json', new TextEncoder().encode(canonicalJson(manifest)));
}

async function writeFiles(store: Store, shards: readonly Part[], folder: string): Promise<void> {
  await mkdir(folder);
  for (const shard of shards) {
    for (const [i, image] of decodeTable(await store.read(shard.path), shard.path).binaries('image').entries()) {
      const file = await open(join(folder, `${String(shard.firstRow + i).padStart(6, '0')}.jpg`), 'w');
      await file.writeFile(image);
      await file.close();
    }
  }
}

/** Bytes a second of whole files, one after another. */
function readFiles(folder: string, read: (path: string) => number): number {
  const names = readdirSync(folder).sort();
  const started = performance.now();
  let total = 0;
  for (const name of names) total += read(join(folder, name));
  return (total / (performance.now() - started)) * 1000;
}

/** Reads a file into the same memory each time: what the machine gives without allocating anything. */
function readIntoOne(sizeBytesMax: number): (path: string) => number {
  const buffer = Buffer.alloc(sizeBytesMax);
  return (path) => {
    const file = openSync(path, 'r');
    const count = readSync(file, buffer, 0, fstatSync(file).size, 0);
    closeSync(file);
    return count;
  };
}

/** One pass in the order of training, batch by batch, the next one each time. */
async function readFeed(feed: Feed, n: number, round: number): Promise<number> {
  const steps = Math.floor(n / 64);
  const before = feed.counts.imageBytes;
  const started = performance.now();
  for await (const _ of feed.stream(feed.resolve({ fromStep: round * steps, steps, batchSize: 64, images: true }), new AbortController().signal, { reuse: true }));
  return ((feed.counts.imageBytes - before) / (performance.now() - started)) * 1000;
}
