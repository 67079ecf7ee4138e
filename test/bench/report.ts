/**
 * Time, memory and size of the report of a large store, made in a process of its own.
 *
 *   npx tsx test/bench/report.ts             1,000,000 rows
 *   npx tsx test/bench/report.ts 100000      other numbers of rows
 *
 * The store is made up: clusters whose sizes fall as 1 / rank, labels, metadata, images that are 200 drawn pictures.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { reportStore } from '../../src/cli/report.ts';
import { ASSIGNMENT_PART_ROWS, type ClusterTree, type ClustersManifest, NO_CLUSTER, type TreeLevel } from '../../src/cluster/tree.ts';
import { writeLevels } from '../../src/cluster/write.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { IMAGES_PART_ROWS, type ImagesManifest, imageColumns } from '../../src/ingest/image.ts';
import { randomStream } from '../../src/random.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest, writePart } from '../../src/run/manifest.ts';
import { allocateTree } from '../../src/sample/allocate.ts';
import { drawCopies } from '../../src/sample/sample.ts';
import { SELECTION_PART_ROWS, type SelectionManifest } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { CREATED_BY } from '../../src/version.ts';

const [LEVELS, D, REJECTED_EVERY] = [[50_000, 10_000, 2000, 500], 384, 1000];

if (process.argv[2] === 'report') await measure(process.argv[3]!, process.argv[4]!);
else await main(Number(process.argv[2] ?? 1_000_000));

async function main(n: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-bench-report-'));
  try {
    const started = performance.now();
    await writeStore(folder, n);
    process.stdout.write(`${n} rows, levels ${LEVELS.join('/')}: store made in ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', fileURLToPath(import.meta.url), 'report', join(folder, 'store'), join(folder, 'pool')]);
    process.stdout.write(stdout);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(store: string, pool: string): Promise<void> {
  const output = join(store, '..', 'report.html');
  const started = performance.now();
  await reportStore(store, { output, source: [`pool=${pool}`], sizeMb: 8, steps: 100_000 }, new AbortController().signal);
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(`report: ${seconds.toFixed(1)} s, peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB, ${((await stat(output)).size / 1e6).toFixed(2)} MB\n`);
}

async function writeStore(folder: string, n: number): Promise<void> {
  await drawCorpus(join(folder, 'pool'), { images: 200, concepts: 40 });
  const store = await openFsStore(join(folder, 'store'));
  const leaf = new Uint32Array(n);
  const draw = randomStream(0, 'bench', 'leaf');
  for (let row = 0; row < n; row++) leaf[row] = row % REJECTED_EVERY === 7 ? NO_CLUSTER : row < LEVELS[0]! ? row : Math.floor(LEVELS[0]! ** draw.uniform(row)) - 1;
  const tree = makeTree(leaf);
  const images = await writeImages(store, join(folder, 'pool'), leaf);
  const rejected = Math.ceil((n - 7) / REJECTED_EVERY);
  const embeddings = await writeManifest<EmbeddingsManifest>(store, 'embeddings', { ...blank('embed', [images]), parts: [], stats: { rows: n, statuses: { ok: n - rejected, corrupt: rejected } }, d: D, encoder: null, okRows: [], maxAbs: 1 });
  const parts = await writeAssignment(store, leaf);
  const levels = await writeLevels(store, tree, async (_, __, count) => new Float32Array(count * D));
  const clusters = await writeManifest<ClustersManifest>(store, 'clusters', { ...blank('cluster', [embeddings]), parts, levels, d: D, draw: { depth: 4, floor: 0 }, stats: { clustered: n - rejected, setAside: 0, warnings: [] } });
  await writeSelection(store, clusters, tree, leaf);
}

function makeTree(leaf: Uint32Array): ClusterTree {
  let size = new Float64Array(LEVELS[0]!);
  for (const c of leaf) if (c !== NO_CLUSTER) size[c]!++;
  const levels = LEVELS.map((k, l): TreeLevel => {
    const above = LEVELS[l + 1];
    const parent = new Uint32Array(k).map((_, c) => (above === undefined ? NO_CLUSTER : Math.floor((c * above) / k)));
    const level = { k, parent, size };
    const next = new Float64Array(above ?? 0);
    if (above !== undefined) size.forEach((count, c) => (next[parent[c]!]! += count));
    size = next;
    return level;
  });
  return { d: D, levels };
}

async function writeImages(store: Store, pool: string, leaf: Uint32Array): Promise<StoredManifest<ImagesManifest>> {
  const files = (await readdir(pool, { recursive: true })).filter((name) => name.endsWith('.jpg')).sort();
  const parts: Part[] = [];
  for (let first = 0; first < leaf.length; first += IMAGES_PART_ROWS) {
    const rows = Array.from(leaf.subarray(first, first + IMAGES_PART_ROWS), (c, i) => ({ c, row: first + i }));
    const whole = new Float64Array(rows.length).fill(-1);
    const text = rows.map(({ row }) => `${row.toString(16).padStart(24, '0')}`);
    const columns = imageColumns(
      {
        rowCount: rows.length,
        uri: text.map((name) => `pool/${name}.jpg`),
        path: rows.map(({ row }) => files[row % files.length]!),
        source: rows.map(() => 'pool'),
        offset: whole, length: whole, size: whole,
        label: rows.map(({ c }) => `kind ${c % 997}`),
        caption: text,
        meta: rows.map(({ row }) => JSON.stringify({ licence: ['cc0', 'by', 'by-sa'][row % 3], region: `region ${row % 57}`, id: row })),
      },
      true,
    );
    parts.push(await writePart(store, 'images', parts, rows.length, encodeTable(columns)));
  }
  return writeManifest<ImagesManifest>(store, 'images', { ...blank('ingest', []), parts, stats: { rows: leaf.length, sources: {} }, sources: [{ name: 'pool', kind: 'list', firstRow: 0, rowCount: leaf.length }] });
}

async function writeAssignment(store: Store, leaf: Uint32Array): Promise<Part[]> {
  const parts: Part[] = [];
  const stream = randomStream(0, 'bench', 'distance');
  for (let first = 0; first < leaf.length; first += ASSIGNMENT_PART_ROWS) {
    const cluster = leaf.slice(first, first + ASSIGNMENT_PART_ROWS);
    const valid = Uint8Array.from(cluster, (c) => (c === NO_CLUSTER ? 0 : 1));
    const bytes = encodeTable({
      cluster: { type: 'uint32', values: cluster.map((c) => (c === NO_CLUSTER ? 0 : c)), valid },
      distance: { type: 'float32', values: Float32Array.from(cluster, (_, i) => stream.uniform(first + i)), valid },
      reason: { type: 'utf8', values: Array.from(valid, (one) => (one === 1 ? null : 'corrupt')) },
    });
    parts.push(await writePart(store, 'clusters/assignment', parts, cluster.length, bytes));
  }
  return parts;
}

async function writeSelection(store: Store, clusters: StoredManifest, tree: ClusterTree, leaf: Uint32Array): Promise<void> {
  const requested = Math.round(leaf.length / 10);
  const { quota } = allocateTree(tree, requested, 1, 0)[0]!;
  const copies = drawCopies({ leaf, distance: new Float32Array(leaf.length) }, quota, { strategy: 'random', multiplier: 1 }, 0);
  const rows = Float64Array.from(copies.keys()).filter((row) => copies[row]! > 0);
  const parts: Part[] = [];
  for (let first = 0; first < rows.length; first += SELECTION_PART_ROWS) {
    const row = rows.slice(first, first + SELECTION_PART_ROWS);
    parts.push(await writePart(store, 'selections/balanced', parts, row.length, encodeTable({ row: { type: 'uint64', values: row }, copies: { type: 'uint16', values: new Uint16Array(row.length).fill(1) }, score: { type: 'float32', values: new Float32Array(row.length) } })));
  }
  await writeManifest<SelectionManifest>(store, 'selections/balanced', { ...blank('sample', [clusters]), part: 'balanced', kind: 'balanced', parts, requested, selected: rows.length, unique: rows.length, shortfall: 0, stats: { depth: 4, floor: 0 } });
}

function blank(stage: string, inputs: readonly StoredManifest[]) {
  return { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage, inputs: inputs.map(({ sha256, manifest }) => ({ stage: manifest.stage, sha256 })), config: {}, configHash: '', seed: 0, createdBy: CREATED_BY } as const;
}
