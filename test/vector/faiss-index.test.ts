import { readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FlatIndexSource, flatIndexHeader, openFlatIndex, writeFlatIndex } from '../../src/vector/faiss-index.ts';
import { openSearchEngine } from '../../src/vector/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { python, withoutFaiss, withoutPythonFaiss } from './faiss-available.ts';
import { matrix } from './search-cases.ts';

const noFaiss = await withoutFaiss();
const noPython = await withoutPythonFaiss();
for (const reason of [noFaiss, noPython]) if (reason !== null) process.stderr.write(`${reason}\n`);

const [n, d] = [300, 24];
const vectors = matrix(40, n, d);
const queries = matrix(41, 20, d);

describe('flat index files', () => {
  it('come back as they were written, whatever the blocks', async () => {
    const folder = await temporaryFolder();
    let files = 0;
    const shape = fc.record({ metric: fc.constantFrom('l2' as const, 'inner-product' as const), n: fc.integer({ min: 0, max: 40 }), d: fc.integer({ min: 1, max: 9 }), blockRows: fc.integer({ min: 1, max: 50 }), mapped: fc.boolean(), seed: fc.nat(99) });
    await fc.assert(
      fc.asyncProperty(shape, async ({ metric, n, d, blockRows, mapped, seed }) => {
        const path = join(folder, `${files++}.index`);
        const x = matrix(seed, n, d);
        const ids = Float64Array.from({ length: n }, (_, i) => 2 ** 40 + 3 * i);
        const bytes = await writeFlatIndex(path, { metric, n, d, vectors: blocks(x, blockRows * d), ...(mapped && { ids: blocks(ids, blockRows) }) });
        expect((await readFile(path)).byteLength).toBe(bytes);
        const file = await openFlatIndex(path);
        expect(file).toMatchObject({ metric, n, d, mapped });
        const out = new Float32Array(n * d);
        await file.vectors(0, n, out);
        expect(out).toEqual(x);
        const from = Math.floor(n / 2);
        await file.vectors(from, n - from, out);
        expect(out.slice(0, (n - from) * d)).toEqual(x.slice(from * d));
        expect(await file.ids(from, n - from)).toEqual(mapped ? ids.slice(from) : Float64Array.from({ length: n - from }, (_, i) => from + i));
        await file.close();
      }),
      { numRuns: 30 },
    );
  });

  it('hold a header of 45 bytes, then the floats', async () => {
    const path = join(await temporaryFolder(), 'a.index');
    await writeFlatIndex(path, { metric: 'l2', n, d, vectors: blocks(vectors, 7 * d) });
    expect(await readFile(path)).toEqual(Buffer.concat([flatIndexHeader({ metric: 'l2', n, d }), Buffer.from(vectors.buffer)]));
    expect(flatIndexHeader({ metric: 'l2', n, d }).byteLength).toBe(45);
  });

  it('are whole or not there', async () => {
    const folder = await temporaryFolder();
    const broken = async function* (): AsyncIterable<Float32Array> {
      yield vectors.subarray(0, d);
      throw new Error('the disk is gone');
    };
    await expect(writeFlatIndex(join(folder, 'a.index'), { metric: 'l2', n, d, vectors: broken() })).rejects.toThrow('the disk is gone');
    await expect(writeFlatIndex(join(folder, 'a.index'), { metric: 'l2', n: n + 1, d, vectors: blocks(vectors, d) })).rejects.toThrow(`Expected ${n + 1} × ${d} floats`);
    expect(await readdir(folder)).toEqual([]);
    await expect(writeFlatIndex(join(folder, 'none', 'a.index'), { metric: 'l2', n, d, vectors: blocks(vectors, d) })).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.stringContaining('a.index') });
  });

  it('are refused when cut short, or of another kind', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'a.index');
    await writeFlatIndex(path, { metric: 'l2', n, d, vectors: blocks(vectors, d), ids: blocks(new Float64Array(n), n) });
    const { byteLength } = await readFile(path);
    for (const length of [byteLength - 1, 100, 40, 3, 0]) {
      await truncate(path, length);
      await expect(openFlatIndex(path)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining(path) });
    }
    await writeFile(path, 'IwFl and so on, and at least forty-five bytes of it');
    await expect(openFlatIndex(path)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining('"IwFl"') });
    await expect(openFlatIndex(join(folder, 'none'))).rejects.toMatchObject({ code: 'INPUT_MISSING' });
  });
});

describe.skipIf(noPython !== null)('flat index files and Python', () => {
  it.each(['l2', 'inner-product'] as const)('give Python the neighbours that both engines find: %s', async (metric) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'queries'), queries);
    for (const mapped of [false, true]) {
      const path = join(folder, 'ours.index');
      const ids = Float64Array.from({ length: n }, (_, i) => 1000 + 2 * i);
      await writeFlatIndex(path, { metric, n, d, vectors: blocks(vectors, 64 * d), ...(mapped && { ids: blocks(ids, 64) }) });
      const { labels, total, same } = JSON.parse(await python(READ, path, join(folder, 'queries'), String(d))) as { labels: number[]; total: number; same: boolean };
      expect(total).toBe(n);
      expect(same).toBe(true);
      const places = mapped ? labels.map((label) => (label - 1000) / 2) : labels;
      for (const name of ['onnxruntime', ...(noFaiss === null ? (['faiss'] as const) : [])] as const) expect(await best(name, metric, vectors), name).toEqual(places);
    }
  });

  it('are read when Python wrote them', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'vectors'), vectors);
    await writeFile(join(folder, 'queries'), queries);
    const labels = JSON.parse(await python(WRITE, join(folder, 'vectors'), join(folder, 'queries'), folder, String(d))) as Record<string, number[]>;
    for (const [name, metric] of [['IndexFlatL2', 'l2'], ['IndexFlatIP', 'inner-product'], ['mapped', 'l2']] as const) {
      const file = await openFlatIndex(join(folder, `${name}.index`));
      expect(file).toMatchObject({ metric, n, d, mapped: name === 'mapped' });
      const read = new Float32Array(n * d);
      await file.vectors(0, n, read);
      const ids = await file.ids(0, n);
      await file.close();
      expect(read).toEqual(vectors);
      expect((await best('onnxruntime', metric, read)).map((place) => ids[place])).toEqual(labels[name]);
    }
  });

  it.skipIf(noFaiss !== null)('pass between Python and faiss-node', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'vectors'), vectors);
    await writeFile(join(folder, 'queries'), queries);
    const labels = JSON.parse(await python(WRITE, join(folder, 'vectors'), join(folder, 'queries'), folder, String(d))) as Record<string, number[]>;
    const { Index } = createRequire(import.meta.url)('faiss-node') as { Index: { read(path: string): { search(x: number[], k: number): { labels: number[] } } } };
    for (const [name, found] of Object.entries(labels)) expect(Index.read(join(folder, `${name}.index`)).search([...queries], 1).labels).toEqual(found);
  });
});

/** argv: index, queries, d. The same index written again by Python has to have the same bytes. */
const READ = `
import faiss, json, numpy, sys
index = faiss.read_index(sys.argv[1])
queries = numpy.fromfile(sys.argv[2], dtype='<f4').reshape(-1, int(sys.argv[3]))
_, labels = index.search(queries, 1)
faiss.write_index(index, sys.argv[1] + '.again')
same = open(sys.argv[1], 'rb').read() == open(sys.argv[1] + '.again', 'rb').read()
print(json.dumps(dict(labels=labels[:, 0].tolist(), total=index.ntotal, same=same)))
`;

/** argv: vectors, queries, folder, d. */
const WRITE = `
import faiss, json, numpy, sys
d = int(sys.argv[4])
vectors, queries = (numpy.fromfile(path, dtype='<f4').reshape(-1, d) for path in sys.argv[1:3])
found = {}
for name in ['IndexFlatL2', 'IndexFlatIP', 'mapped']:
    index = faiss.IndexIDMap(faiss.IndexFlatL2(d)) if name == 'mapped' else getattr(faiss, name)(d)
    if name == 'mapped':
        index.add_with_ids(vectors, numpy.arange(len(vectors), dtype='int64') * 5 + 7)
    else:
        index.add(vectors)
    faiss.write_index(index, f'{sys.argv[3]}/{name}.index')
    found[name] = index.search(queries, 1)[1][:, 0].tolist()
print(json.dumps(found))
`;

/** Place of the best vector for each query. */
async function best(name: 'onnxruntime' | 'faiss', metric: FlatIndexSource['metric'], x: Float32Array): Promise<number[]> {
  const q = queries.length / d;
  const engine = await openSearchEngine(name, { threads: 2 });
  const [index, value] = [new Uint32Array(q), new Float32Array(q)];
  if (metric === 'l2') {
    const search = await engine.nearest(x, n, d);
    await search.nearest(queries, q, index, value);
    await search.close();
  } else {
    const search = await engine.products(queries, q, d, 1);
    await search.largest(x, n, index, value);
    await search.close();
  }
  await engine.close();
  return [...index];
}

async function* blocks<T extends Float32Array | Float64Array>(x: T, length: number): AsyncIterable<T> {
  for (let from = 0; from < x.length; from += length) yield x.slice(from, from + length) as T;
}
