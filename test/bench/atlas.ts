/**
 * The atlas over a made-up pool: how long the first opening takes, what pages cost at the server, and whether memory stays
 * flat. The server is a process of its own, so that nothing else is in the figures.
 *
 *   node --import tsx test/bench/atlas.ts                 1,000,000 rows of 64 dimensions, 10,000 requests
 *   node --import tsx test/bench/atlas.ts 200000 2000     other numbers of rows and requests
 *
 * Stores are kept under $TMPDIR/winnow-bench and used again; the atlas's own tables are made anew.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sample } from '../../pipelines/5-sample.ts';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { mixture, writeEmbeddings, writeImages } from '../../src/bench/data.ts';
import { openContext } from '../../src/bench/workbench.ts';
import { ASSIGNMENT_PART_ROWS, type ClustersManifest, NO_CLUSTER, assertTree } from '../../src/cluster/tree.ts';
import { writeLevels } from '../../src/cluster/write.ts';
import { randomStream } from '../../src/random.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, writeManifest, writePart } from '../../src/run/manifest.ts';
import { SampleConfig } from '../../src/sample/config.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';

const D = 64;
const KS = [20_000, 2_000, 400, 100];
const NEVER = new AbortController().signal;

const [rows = 1_000_000, requests = 10_000] = process.argv.slice(2).map(Number);
const root = join(tmpdir(), 'winnow-bench', `atlas-${rows}`);
if (!existsSync(join(root, 'selections/balanced/manifest.json'))) await prepare(rows);
await rm(join(root, 'atlas'), { recursive: true, force: true });
await measure();

/** A pool whose tree is made up, not fitted: leaf sizes fall as 1 / rank, children are drawn. Pages read the same tables. */
async function prepare(n: number): Promise<void> {
  const store = await openFsStore(root);
  await writeImages(store, n);
  await writeEmbeddings(store, mixture(D), { n, d: D, dtype: 'float16' });
  const draw = randomStream(0, 'atlas', 'leaf');
  const leaf = Uint32Array.from({ length: n }, (_, row) => Math.min(KS[0]! - 1, Math.floor(KS[0]! ** draw.uniform(row)) - 1 + Math.floor(50 * draw.uniform(n + row))));
  let size = new Float64Array(KS[0]!);
  for (const c of leaf) size[c]!++;
  const levels = KS.map((k, l) => {
    const family = randomStream(0, 'atlas', 'family', l);
    const above = KS[l + 1];
    const parent = Uint32Array.from({ length: k }, (_, c) => (above === undefined ? NO_CLUSTER : c < above ? c : family.below(c, above)));
    const level = { k, parent, size };
    size = new Float64Array(above ?? 0);
    if (above !== undefined) level.size.forEach((images, c) => (size[parent[c]!]! += images));
    return level;
  });
  const tree = { d: D, levels };
  assertTree(tree);
  const centroids = mixture(D);
  const written = await writeLevels(store, tree, async (level, first, count) => centroids(level * 1e6 + first, count));
  const manifest = { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'cluster', inputs: [], config: {}, configHash: '', seed: 0, parts: await writeAssignment(store, leaf), stats: {}, createdBy: 'bench', levels: written, d: D, draw: { depth: KS.length, floor: 0 } } as unknown as ClustersManifest;
  await writeManifest(store, 'clusters', manifest);
  const context = await openContext(root, { signal: NEVER });
  await sample(context, { sample: SampleConfig.parse({ target: '10%' }) });
  await context.close();
}

async function writeAssignment(store: Store, leaf: Uint32Array): Promise<Part[]> {
  const draw = randomStream(0, 'atlas', 'distance');
  const parts: Part[] = [];
  for (let first = 0; first < leaf.length; first += ASSIGNMENT_PART_ROWS) {
    const cluster = leaf.slice(first, first + ASSIGNMENT_PART_ROWS);
    const bytes = encodeTable({
      cluster: { type: 'uint32', values: cluster },
      distance: { type: 'float32', values: Float32Array.from(cluster, (_, i) => draw.uniform(first + i)) },
      reason: { type: 'utf8', values: new Array<null>(cluster.length).fill(null) },
    });
    parts.push(await writePart(store, 'clusters/assignment', parts, cluster.length, bytes));
  }
  return parts;
}

async function measure(): Promise<void> {
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('../../src/cli.ts', import.meta.url)), 'atlas', root, '--port', '0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const url = await new Promise<string>((resolve, reject) => {
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const address = /is at (http:\S+)/.exec(said)?.[1];
        if (address !== undefined) resolve(address);
      });
      child.on('close', () => reject(new Error(said)));
    });
    say(`${rows} rows in ${KS.join(' / ')} clusters, ${D} dimensions; opened, with its tables made, in ${((performance.now() - started) / 1000).toFixed(1)} s, ${await residentMb(child.pid!)} MB`);
    say(`first page: ${(await timed(`${url}/atlas`)).toFixed(0)} ms; again: ${(await timed(`${url}/atlas`)).toFixed(0)} ms`);
    await kinds(url);
    await many(url, child.pid!);
  } finally {
    child.kill('SIGTERM');
  }
}

/** Different nodes each time, so that no page comes from a cache of its own. */
async function kinds(url: string): Promise<void> {
  const stream = randomStream(1, 'atlas', 'requests');
  const addresses: Record<string, (i: number) => string> = {
    ...Object.fromEntries(KS.map((k, l) => [`node of level ${l + 1}`, (i: number) => `/atlas/node/${l + 1}/${stream.below(i, k)}`])),
    image: (i) => `/atlas/image/${stream.below(i, rows)}`,
    'nearest images': (i) => `/atlas/near/row/${stream.below(i, rows)}`,
  };
  for (const [name, addressOf] of Object.entries(addresses)) {
    const times: number[] = [];
    for (let i = 0; i < 60; i++) times.push(await timed(`${url}${addressOf(i)}`));
    times.sort((a, b) => a - b);
    say(`${name}: median ${times[30]!.toFixed(0)} ms, slowest of 60 ${times.at(-1)!.toFixed(0)} ms`);
  }
  const id = stream.below(5, rows).toString(16).padStart(32, '0');
  say(`by id: ${(await timed(`${url}/atlas/find?q=${id}`)).toFixed(0)} ms`);
  const decided = performance.now();
  await fetch(`${url}/atlas/decide`, { method: 'POST', body: new URLSearchParams({ level: '4', cluster: '1', action: 'exclude' }), redirect: 'manual' });
  say(`excluding a branch, all quotas anew: ${(performance.now() - decided).toFixed(0)} ms`);
  await fetch(`${url}/atlas/overrides/reset`, { method: 'POST', redirect: 'manual' });
}

async function many(url: string, pid: number): Promise<void> {
  const stream = randomStream(2, 'atlas', 'many');
  let done = 0;
  const started = performance.now();
  const memory: number[] = [await residentMb(pid)];
  const lane = async (): Promise<void> => {
    while (done < requests) {
      const i = done++;
      const level = 1 + stream.below(3 * i, KS.length);
      const address = i % 3 === 0 ? `/atlas/thumb/aa/${stream.below(i, rows)}/96` : i % 3 === 1 ? `/atlas/image/${stream.below(i, rows)}` : `/atlas/node/${level}/${stream.below(3 * i + 1, KS[level - 1]!)}`;
      const answer = await fetch(`${url}${address}`);
      await answer.arrayBuffer();
      if (answer.status !== 200) throw new Error(`${address}: ${answer.status}`);
      if (i % Math.max(1, Math.floor(requests / 10)) === 0 && i > 0) memory.push(await residentMb(pid));
    }
  };
  await Promise.all(Array.from({ length: 4 }, lane));
  say(`${requests} requests of pages and thumbnails, 4 at a time: ${(((performance.now() - started) / requests) * 4).toFixed(1)} ms each; resident MB at each tenth: ${memory.join(' ')}`);
}

async function timed(address: string): Promise<number> {
  const started = performance.now();
  const answer = await fetch(address);
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return performance.now() - started;
}

async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
