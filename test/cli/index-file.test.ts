import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildTree } from '../../src/cluster/build.ts';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { readCentroids, readTree } from '../../src/cluster/tree.ts';
import { describeIndexFile, indexFile } from '../../src/cli/index-file.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { Execution } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { openFlatIndex } from '../../src/vector/faiss-index.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';
import { python, withoutPythonFaiss } from '../vector/faiss-available.ts';

const [n, d] = [700, 12];
const { values } = gaussianMixture(n, d, 9);
const signal = new AbortController().signal;
const noPython = await withoutPythonFaiss();
if (noPython !== null) process.stderr.write(`${noPython}\n`);

async function storeWith(rejected: ReadonlySet<number>): Promise<string> {
  const root = await temporaryFolder();
  await writeEmbeddings(await openFsStore(root), 'embeddings', { vectors: values, d, dtype: 'float32', rejected, partRows: 200 });
  return root;
}

async function readVectors(path: string): Promise<{ ids: number[]; vectors: Float32Array }> {
  const file = await openFlatIndex(path);
  const vectors = new Float32Array(file.n * file.d);
  await file.vectors(0, file.n, vectors);
  const ids = [...(await file.ids(0, file.n))];
  await file.close();
  return { ids, vectors };
}

describe('indexFile', () => {
  it('writes the vectors of the pool, by row', async () => {
    const store = await storeWith(new Set());
    const out = join(store, 'pool.index');
    const { text, json } = await indexFile({ store, out, level: null, metric: 'l2', signal });
    expect(json).toEqual({ path: out, n, d, level: null, metric: 'l2', mapped: false, bytes: 45 + n * d * 4 });
    expect(text).toContain(`index of ${n} images`);
    expect((await readVectors(out)).vectors).toEqual(values);
  });

  it('leaves out rows without a vector, and keeps the numbers of the others', async () => {
    const rejected = new Set([0, 3, 199, 200, 401, 402, 699]);
    const store = await storeWith(rejected);
    const out = join(store, 'pool.index');
    expect((await indexFile({ store, out, level: null, metric: 'l2', signal })).json).toMatchObject({ n: n - rejected.size, mapped: true });
    const { ids, vectors } = await readVectors(out);
    expect(ids).toEqual(Array.from({ length: n }, (_, row) => row).filter((row) => !rejected.has(row)));
    ids.forEach((row, i) => expect(vectors.slice(i * d, (i + 1) * d)).toEqual(values.slice(row * d, (row + 1) * d)));
  });

  it.skipIf(noPython !== null)('answers Python with pool rows, by cosine', async () => {
    const rejected = new Set([5, 6, 300]);
    const store = await storeWith(rejected);
    const out = join(store, 'pool.index');
    await indexFile({ store, out, level: null, metric: 'cosine', signal });
    await writeFile(join(store, 'queries'), values.subarray(0, 40 * d));
    const found = JSON.parse(await python(SEARCH, out, join(store, 'queries'), String(d))) as { label: number; product: number }[];
    found.forEach(({ label, product }, row) => {
      if (rejected.has(row)) return;
      expect(label).toBe(row);
      expect(product).toBeCloseTo(1, 5);
    });
    expect(found.some(({ label }) => rejected.has(label))).toBe(false);
  });

  it('says what is missing', async () => {
    const store = await storeWith(new Set());
    const out = join(store, 'x.index');
    await expect(indexFile({ store, out, level: 1, metric: 'l2', signal })).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    await expect(indexFile({ store, out: join(store, 'no', 'x.index'), level: null, metric: 'l2', signal })).rejects.toMatchObject({ code: 'STORE_DENIED' });
    await mkdir(join(store, 'empty'));
    await expect(indexFile({ store: join(store, 'empty'), out, level: null, metric: 'l2', signal })).rejects.toMatchObject({ code: 'INPUT_MISSING' });
  });

  it('stops when told to, and leaves nothing behind', async () => {
    const store = await storeWith(new Set());
    await expect(indexFile({ store, out: join(store, 'x.index'), level: null, metric: 'l2', signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
    expect((await readdir(store)).filter((name) => name.includes('index'))).toEqual([]);
  });
});

describe('indexFile of a tree', () => {
  it('writes the centroids of a level, by cluster', async () => {
    const root = await treeStore();
    const store = await openFsStore(root);
    const { stored, tree } = await readTree(store);
    for (const level of [1, 2]) {
      const out = join(root, `level-${level}.index`);
      await indexFile({ store: root, out, level, metric: 'l2', signal });
      const { ids, vectors } = await readVectors(out);
      expect(ids).toHaveLength(tree.levels[level - 1]!.k);
      expect(vectors).toEqual(await readCentroids(store, stored.manifest, level));
    }
  });

  it('names the levels there are', async () => {
    const root = await treeStore();
    await expect(indexFile({ store: root, out: join(root, 'x.index'), level: 3, metric: 'l2', signal })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('from 1 to 2') });
  });

  it('tells what an index file is, and what is none', async () => {
    const root = await treeStore();
    const path = join(root, 'level-1.index');
    await indexFile({ store: root, out: path, level: 1, metric: 'cosine', signal });
    const head = (await readFile(path)).toString('latin1', 0, 6);
    expect((await describeIndexFile(path, head))?.json).toMatchObject({ kind: 'faiss-index', metric: 'inner-product', d, mapped: false });
    expect(await describeIndexFile(path, 'ARROW1')).toBeNull();
  });
});

async function treeStore(): Promise<string> {
  const root = await storeWith(new Set([1, 2]));
  const store = await openFsStore(root);
  const embeddings = await writeEmbeddings(store, 'embeddings', { vectors: values, d, dtype: 'float32', rejected: new Set([1, 2]), partRows: 200 });
  const execution: Execution = { concurrency: 2, threads: 2, blockRows: 256, memoryBytes: 1 << 24 };
  const executor = createLocalExecutor({ store, signal, log: SILENT, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  await buildTree({ store, executor, signal, log: SILENT, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource }, embeddings, ClusterConfig.parse({ levels: [30, 6], iterations: 5 }));
  await executor.close();
  return root;
}

/** argv: index, queries, d. */
const SEARCH = `
import faiss, json, numpy, sys
index = faiss.read_index(sys.argv[1])
queries = numpy.fromfile(sys.argv[2], dtype='<f4').reshape(-1, int(sys.argv[3]))
faiss.normalize_L2(queries)
products, labels = index.search(queries, 1)
print(json.dumps([dict(label=int(l), product=float(p)) for l, p in zip(labels[:, 0], products[:, 0])]))
`;
