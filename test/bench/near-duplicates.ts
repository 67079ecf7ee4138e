/**
 * The search for near-duplicates over made-up vectors: how long it takes beside brute force at the rate measured in the same
 * run, the recall of pairs on a sample of queries, and the memory. Then 10^7 random edges through `components`.
 *
 *   npx tsx test/bench/near-duplicates.ts --n 100000 --d 384 [--threshold 0.6] [--edges 10000000] [--memory-mb 384] [--cells 2000]
 *
 * Vectors lie in clusters (centre and noise, a Zipf tail of sizes); one in five has a copy whose cosine similarity to it is spread
 * evenly between 0.6 and 1, around the threshold of copy detection, where copies are hardest to find.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findDuplicates } from '../../pipelines/3-dedup.ts';
import { type EdgeBlock, components } from '../../src/dedup/components.ts';
import { DedupConfig } from '../../src/dedup/config.ts';
import { openPairScores } from '../../src/dedup/scores.ts';
import type { ImagesManifest } from '../../src/ingest/image.ts';
import { type RandomStream, randomStream } from '../../src/random.ts';
import type { StoredManifest } from '../../src/run/manifest.ts';
import { writeManifest } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { normaliseRows } from '../../src/vector/matrix.ts';
import { openContext } from '../dedup/dedup-pool.ts';
import { writeEmbeddingParts } from '../helpers/embeddings.ts';

const { values: options } = parseArgs({
  options: { n: { type: 'string', default: '100000' }, d: { type: 'string', default: '384' }, threshold: { type: 'string', default: '0.6' }, edges: { type: 'string', default: '10000000' }, 'memory-mb': { type: 'string', default: '384' }, cells: { type: 'string' } },
});
const [n, d, threshold, edgeCount] = [Number(options.n), Number(options.d), Number(options.threshold), Number(options.edges)];
const WORDS = new Uint32Array(4);
const HALVES = new Uint16Array(WORDS.buffer);
const [NOISE, CENTRES] = [randomStream(1, 'noise'), randomStream(1, 'centres')];
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const secondsSince = (started: number): number => (performance.now() - started) / 1000;
const cpuSince = (before: NodeJS.CpuUsage): number => { const { user, system } = process.cpuUsage(before); return (user + system) / 1e6; };
const peakGb = (): string => (process.resourceUsage().maxRSS / 2 ** 20).toFixed(2);

const folder = await mkdtemp(join(tmpdir(), 'near-duplicates-'));
try {
  const store = await openFsStore(folder);
  if (n > 0) await benchSearch(store);
  if (edgeCount > 0) await benchComponents(store);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function benchSearch(store: Store): Promise<void> {
  let started = performance.now();
  const embeddings = await writeEmbeddingParts(store, 'embeddings', { n, d, dtype: 'float16', vectorsOf });
  const images = await writeManifest<ImagesManifest>(store, 'images', { ...embeddings.manifest, stage: 'ingest', parts: [], sources: [] } as unknown as ImagesManifest) as StoredManifest<ImagesManifest>;
  print(`made ${n} x ${d} vectors in ${secondsSince(started).toFixed(1)} s`);
  const before = await bruteForceRate();
  const { context, close } = openContext(store, { memoryBytes: Number(options['memory-mb']) * 2 ** 20, threads: 0 });
  const progress = { begin: (stage: string) => { started = performance.now(); current = stage; }, note: () => {}, advance: () => {}, end: (summary: string) => print(`  ${current}: ${secondsSince(started).toFixed(1)} s, ${summary}`) };
  let current = '';
  const from = performance.now();
  const cpu = process.cpuUsage();
  const { manifest } = await findDuplicates({ ...context, progress }, images, embeddings, DedupConfig.parse({ near: { threshold, ...(options.cells !== undefined && { cells: Number(options.cells) }) } }));
  const seconds = secondsSince(from);
  const cpuSeconds = cpuSince(cpu);
  await close();
  const after = await bruteForceRate();
  const whole = (2 * n * n) / (before.wall + after.wall);
  const wholeCpu = (2 * n * n) / (before.cpu + after.cpu);
  print(`brute force, mean of before and after: ${(n * n / whole / 1e6).toFixed(0)} M comparisons/s (${((n * n * 2 * d) / whole / 1e9).toFixed(0)} GFLOP/s), ${whole.toFixed(0)} s for all, ${wholeCpu.toFixed(0)} s of processor`);
  const { near, dropped, groups, guarded } = manifest.stats;
  print(JSON.stringify({ near, dropped, groups, guarded: guarded.length }));
  print(`search in all: ${seconds.toFixed(1)} s, 1/${(whole / seconds).toFixed(1)} of brute force; ${cpuSeconds.toFixed(1)} s of processor, 1/${(wholeCpu / cpuSeconds).toFixed(1)}; recall ${near?.recall?.recall?.toFixed(4)} on ${near?.recall?.pairs} pairs of ${near?.recall?.queries} queries; peak memory ${peakGb()} GB`);
}

/** Rows of one part. A copy takes its original from the rows before it, in the same part. */
function vectorsOf(firstRow: number, rowCount: number): Float32Array {
  const vectors = new Float32Array(rowCount * d);
  const pick = randomStream(1, 'pick');
  const clusters = Math.max(1, Math.floor(n / 100));
  for (let i = 0; i < rowCount; i++) {
    const row = firstRow + i;
    const own = vectors.subarray(i * d, (i + 1) * d);
    fillNoise(NOISE, row, own);
    if (i > 0 && pick.uniform(row * 4) < 0.2) {
      const original = Math.floor(pick.uniform(row * 4 + 1) * i);
      const similarity = 0.6 + 0.4 * pick.uniform(row * 4 + 2);
      mix(own, vectors.subarray(original * d, (original + 1) * d), similarity);
    } else {
      const centre = new Float32Array(d);
      // Sizes follow a Zipf tail: uniform in the logarithm of the rank.
      fillNoise(CENTRES, Math.floor(clusters ** pick.uniform(row * 4 + 1)) - 1, centre);
      mix(own, centre, Math.sqrt(0.35));
    }
  }
  return vectors;
}

/** own := s · other + √(1 − s²) · noise that is orthogonal to it. */
function mix(own: Float32Array, other: Float32Array, s: number): void {
  let along = 0;
  for (let j = 0; j < d; j++) along += own[j]! * other[j]!;
  for (let j = 0; j < d; j++) own[j]! -= along * other[j]!;
  normaliseRows(own, 1, d);
  const across = Math.sqrt(1 - s * s);
  for (let j = 0; j < d; j++) own[j] = s * other[j]! + across * own[j]!;
}

/** Unit vectors of a random direction. */
function fillNoise(stream: RandomStream, index: number, out: Float32Array): void {
  for (let j = 0, block = index * Math.ceil(d / 8); j < d; j += 8, block++) {
    stream.words(block, WORDS);
    for (let w = 0; w < 8 && j + w < d; w++) out[j + w] = HALVES[w]! - 32767.5;
  }
  normaliseRows(out, 1, d);
}

/** Comparisons a second, of the clock and of the processor: on a machine that others use, only the second one holds. */
async function bruteForceRate(): Promise<{ wall: number; cpu: number }> {
  const [q, rows] = [4096, 16_384];
  const vectors = new Float32Array(rows * d);
  for (let i = 0; i < rows; i++) fillNoise(NOISE, i, vectors.subarray(i * d, (i + 1) * d));
  const scores = await openPairScores();
  const limits = new Float32Array(q).fill(threshold);
  const best = { wall: Infinity, cpu: Infinity };
  for (let turn = 0; turn < 4; turn++) {
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    await scores.above(vectors, q, vectors, rows, d, limits, () => {});
    best.wall = Math.min(best.wall, secondsSince(started));
    best.cpu = Math.min(best.cpu, cpuSince(cpu));
  }
  await scores.close();
  return { wall: (q * rows) / best.wall, cpu: (q * rows) / best.cpu };
}

async function benchComponents(store: Store): Promise<void> {
  const rows = 10_000_000;
  for (const windowRows of [rows, 2 ** 20]) {
    const started = performance.now();
    let alone = 0;
    for await (const { firstRow, smallest } of components(randomEdges(rows), rows, { windowRows, edgesMax: 2 ** 18, spill: { store, prefix: 'work/edges' } })) {
      for (let i = 0; i < smallest.length; i++) if (smallest[i] === firstRow + i) alone++;
    }
    print(`components: ${edgeCount} random edges among ${rows} rows, windows of ${windowRows}: ${alone} components in ${secondsSince(started).toFixed(1)} s, resident ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MB, peak ${peakGb()} GB`);
  }
}

async function* randomEdges(rows: number): AsyncIterable<EdgeBlock> {
  const stream = randomStream(2, 'edges');
  for (let at = 0; at < edgeCount; at += 65_536) {
    const count = Math.min(65_536, edgeCount - at);
    const [a, b] = [new Float64Array(count), new Float64Array(count)];
    for (let i = 0; i < count; i++) {
      stream.words(at + i, WORDS);
      a[i] = WORDS[0]! % rows;
      b[i] = WORDS[1]! % rows;
    }
    yield { a, b };
  }
}
