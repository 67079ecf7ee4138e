/** A pool that later steps judged is read as one that embedding judged: the same clusters, points and searches come of it. */
import { describe, expect, it } from 'vitest';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { openEmbeddingPoints } from '../../src/cluster/points.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { type EmbeddingStatus, readEmbeddingFacts, readEmbeddingPart } from '../../src/embed/embedding.ts';
import { findSurvivors, requirePool } from '../../src/embed/survivors.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, readPart, rowCountOf, writeManifest, writePart } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const [n, d, partRows] = [1200, 8, 256];

function openContext(store: Store): RunContext {
  const execution = { concurrency: 2, threads: 2, blockRows: 1024, memoryBytes: 1 << 22 };
  const { signal } = new AbortController();
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  return { store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource };
}

/** A table of reasons as a step after embedding leaves it. */
async function writeVerdicts(store: Store, path: string, reasonOf: (row: number) => string | null, rows = n): Promise<StoredManifest> {
  const parts: Part[] = [];
  for (let firstRow = 0; firstRow < rows; firstRow += partRows) {
    const values = Array.from({ length: Math.min(partRows, rows - firstRow) }, (_, i) => reasonOf(firstRow + i));
    parts.push(await writePart(store, path, parts, values.length, encodeTable({ reason: { type: 'dictionary', values } })));
  }
  return writeManifest(store, path, { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: path, inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test' });
}

const filtered = (row: number): string | null => (row % 7 === 0 ? 'too-small-for-me' : null);
const copied = (row: number): string | null => (row % 5 === 0 ? 'duplicate' : null);
const rejected = new Map<number, EmbeddingStatus>(Array.from({ length: n }, (_, row) => row).filter((row) => row % 11 === 0).map((row) => [row, 'corrupt']));
const statusOf = (row: number): string => rejected.get(row) ?? filtered(row) ?? copied(row) ?? 'ok';

async function judged() {
  const store = await openFsStore(await temporaryFolder('survivors'));
  const context = openContext(store);
  await context.resource('search', engineOf);
  const { values: vectors } = gaussianMixture(n, d, 12, { seed: 3 });
  const embeddings = await writeEmbeddings(store, 'embeddings', { vectors, d, partRows, rejected });
  return { store, context, vectors, embeddings };
}

describe('survivors', () => {
  it('gives every row the first reason there is, in the order of the steps', async () => {
    const { store, context, embeddings, vectors } = await judged();
    expect((await requirePool(store)).path).toBe('embeddings');
    const { manifest, path } = await findSurvivors(context, embeddings, [await writeVerdicts(store, 'filters', filtered), await writeVerdicts(store, 'duplicates', copied)]);
    expect((await requirePool(store)).path).toBe(path);
    expect(rowCountOf(manifest.parts)).toBe(n);
    const counts: Record<string, number> = {};
    for (const part of manifest.parts) {
      const { status } = await readEmbeddingFacts(store, part);
      expect(status).toEqual(Array.from({ length: part.rowCount }, (_, i) => statusOf(part.firstRow + i)));
      for (const one of status) counts[one] = (counts[one] ?? 0) + 1;
      const block = await readEmbeddingPart(store, part, d);
      expect([...block.ok]).toEqual(status.map((one) => (one === 'ok' ? 1 : 0)));
    }
    expect(manifest.stats).toMatchObject({ statuses: counts });
    const points = await openEmbeddingPoints(store, manifest, 1 << 20);
    expect(points.n).toBe(counts.ok);
    const [out, kept] = [new Float32Array(points.n * d), Array.from({ length: n }, (_, row) => row).filter((row) => statusOf(row) === 'ok')];
    await points.read(0, points.n, out);
    kept.forEach((row, i) => expect(Math.abs(out[i * d]! / points.scale - vectors[row * d]!)).toBeLessThan(1e-5));
  });

  it('puts only who is left into the tree, and the reasons of the others beside them', async () => {
    const { store, context, embeddings } = await judged();
    const survivors = await findSurvivors(context, embeddings, [await writeVerdicts(store, 'filters', filtered), await writeVerdicts(store, 'duplicates', copied)]);
    const { manifest } = await buildTree(context, survivors, ClusterConfig.parse({ levels: [20, 5], outliers: { policy: 'keep' } }));
    for (const part of manifest.parts) {
      const view = decodeTable(await readPart(store, part), part.path);
      const expected = Array.from({ length: part.rowCount }, (_, i) => statusOf(part.firstRow + i));
      expect(view.strings('reason')).toEqual(expected.map((status) => (status === 'ok' ? null : status)));
    }
    const again = await findSurvivors(context, embeddings, [await writeVerdicts(store, 'filters', () => null), await writeVerdicts(store, 'duplicates', copied)]);
    expect(again.sha256).not.toBe(survivors.sha256);
  });

  it('refuses a table of other rows', async () => {
    const { store, context, embeddings } = await judged();
    await expect(findSurvivors(context, embeddings, [await writeVerdicts(store, 'filters', filtered, n - 1)])).rejects.toThrow('Expected part 4 of filters to hold the rows of embeddings/part-00004.arrow');
  });
});
