import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDuplicates } from '../../pipelines/3-dedup.ts';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { DedupConfig } from '../../src/dedup/config.ts';
import { type DuplicatesManifest, readDuplicates } from '../../src/dedup/duplicates.ts';
import { similarityOf } from '../../src/dedup/scores.ts';
import { findSurvivors } from '../../src/embed/survivors.ts';
import { WinnowError } from '../../src/errors.ts';
import { type StoredManifest, readPart } from '../../src/run/manifest.ts';
import type { Executor } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { normaliseRows } from '../../src/vector/matrix.ts';
import { findTask } from '../../workers/tasks.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type ContextOptions, type PoolRow, clusteredVectors, idOf, openContext, writePool } from './dedup-pool.ts';

interface Result {
  readonly reason: (string | null)[];
  readonly group: number[];
  readonly keeper: number[];
  readonly nearest: number[];
  readonly similarity: number[];
  readonly manifest: DuplicatesManifest;
  readonly stored: StoredManifest<DuplicatesManifest>;
  readonly store: Store;
}

async function run(rows: readonly PoolRow[], vectors: Float32Array, config: object, options: ContextOptions & { partRows?: number; root?: string; dtype?: 'float16' | 'float32' } = {}): Promise<Result> {
  const store = await openFsStore(options.root ?? (await temporaryFolder('dedup')));
  const { images, embeddings } = await writePool(store, rows, vectors, options);
  const { context, close } = openContext(store, options);
  const stored = await findDuplicates(context, images, embeddings, DedupConfig.parse(config)).finally(close);
  return { ...(await readAll(store, stored.manifest)), stored, store };
}

async function readAll(store: Store, manifest: DuplicatesManifest): Promise<Omit<Result, 'stored' | 'store'>> {
  const all = { reason: [] as (string | null)[], group: [] as number[], keeper: [] as number[], nearest: [] as number[], similarity: [] as number[] };
  for (const part of manifest.parts) {
    const block = await readDuplicates(store, part);
    expect(block.firstRow).toBe(all.reason.length);
    all.reason.push(...block.reason);
    all.group.push(...block.group);
    all.keeper.push(...block.keeper);
    all.nearest.push(...block.nearest);
    all.similarity.push(...block.similarity);
  }
  return { ...all, manifest };
}

/** Far from one another, so that only bytes make duplicates. */
const apart = (n: number): Float32Array => clusteredVectors(n, 1, 16, 0);

describe('dedup: exact', () => {
  it('keeps the largest, then the first of the same bytes, points the others to it, and lists what was said of all', async () => {
    const rows: PoolRow[] = [
      { file: 'a', label: 'cat', caption: 'a cat' },
      { file: 'b' },
      { file: 'a', label: 'feline', caption: 'also a cat', meta: '{"licence":"cc0"}' },
      { file: 'a', status: 'corrupt' },
      { file: 'c' },
      { file: 'a' },
    ];
    const { reason, group, keeper, nearest, similarity, manifest, store } = await run(rows, apart(6), {});
    expect(reason).toEqual([null, null, 'exact-duplicate', null, null, 'exact-duplicate']);
    expect(group).toEqual([0, -1, 0, -1, -1, 0]);
    expect(keeper).toEqual([1, 0, 0, 0, 0, 0]);
    expect(nearest).toEqual([2, -1, 0, -1, -1, 0]);
    expect(similarity).toEqual([1, 0, 1, 0, 0, 1]);
    expect(manifest.stats).toMatchObject({ rows: 6, compared: 5, dropped: { 'exact-duplicate': 2 }, groups: 1, largestGroup: 3 });
    const members = decodeTable(await readPart(store, manifest.members[0]!), '');
    expect([...members.numbers('row')]).toEqual([0, 2, 5]);
    expect([...members.numbers('group')]).toEqual([0, 0, 0]);
    expect(members.strings('label')).toEqual(['cat', 'feline', null]);
    expect(members.strings('caption')).toEqual(['a cat', 'also a cat', null]);
    expect(members.strings('meta')).toEqual([null, '{"licence":"cc0"}', null]);
    expect(members.strings('uri')).toEqual(['pool/0.png', 'pool/2.png', 'pool/5.png']);
    expect(members.strings('reason')).toEqual([null, 'exact-duplicate', 'exact-duplicate']);
  });

  it('equals grouping by id in memory, for any pool, part and memory size', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(12), fc.constantFrom('ok', 'ok', 'ok', 'corrupt')), { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 20 }), fc.constantFrom(512, 4096, 2 ** 20), async (drawn, partRows, memoryBytes) => {
        const rows = drawn.map(([file, status]): PoolRow => ({ file: `f${file}`, status }));
        const { reason, group } = await run(rows, apart(rows.length), {}, { partRows, memoryBytes });
        const first = new Map<string, number>();
        const count = new Map<string, number>();
        rows.forEach(({ file, status }, row) => {
          if (status !== 'ok') return;
          if (!first.has(file)) first.set(file, row);
          count.set(file, (count.get(file) ?? 0) + 1);
        });
        expect(group).toEqual(rows.map(({ file, status }) => (status === 'ok' && count.get(file)! > 1 ? first.get(file)! : -1)));
        expect(reason).toEqual(rows.map(({ file, status }, row) => (status === 'ok' && first.get(file) !== row ? 'exact-duplicate' : null)));
      }),
      { numRuns: 15 },
    );
  });

  it('leaves rows alone that an earlier step took out, and lets survivors/ say the first reason', async () => {
    const store = await openFsStore(await temporaryFolder('dedup'));
    const rows = [{ file: 'a' }, { file: 'a' }, { file: 'a' }, { file: 'b', status: 'empty' }];
    const { images, embeddings } = await writePool(store, rows, apart(4));
    const { images: _, embeddings: filtered } = await writePool(store, rows, apart(4), { path: 'filters' });
    const written = await store.write('filters/part-00000.arrow', encodeTable({ reason: { type: 'dictionary', values: ['too-flat', null, null, null] } }));
    const part = { ...filtered.manifest.parts[0]!, bytes: written.sizeBytes, sha256: written.sha256 };
    const verdicts = { ...filtered, manifest: { ...filtered.manifest, parts: [part] } };
    const { context, close } = openContext(store);
    const stored = await findDuplicates(context, images, embeddings, DedupConfig.parse({}), { verdicts: [verdicts] });
    expect((await readAll(store, stored.manifest)).reason).toEqual([null, null, 'exact-duplicate', null]);
    const survivors = await findSurvivors(context, embeddings, [verdicts, stored]);
    await close();
    expect(survivors.manifest.stats.statuses).toEqual({ 'too-flat': 1, ok: 1, 'exact-duplicate': 1, empty: 1 });
  });
});

describe('dedup: near', () => {
  const vectors = clusteredVectors(40, 3, 16, 0.1);
  const rows = Array.from({ length: 120 }, (_, row): PoolRow => ({ file: `f${row}`, width: row % 3 === 1 ? 9 : 8 }));

  it('equals brute force: k nearest above the threshold, strictly, undirected, one keeper a component', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), fc.constantFrom(0.5, 0.9, 0.97, 0.99), fc.constantFrom(0.1, 0.3), fc.integer({ min: 1, max: 7 }), async (k, threshold, spread, cells) => {
        const some = clusteredVectors(12, 6, 8, spread, k);

        const rounded = unit(some, 72, 8);
        const files = Array.from({ length: 72 }, (_, row): PoolRow => ({ file: row % 11 === 10 ? `f${row - 1}` : `f${row}`, width: 1 + ((row * 7) % 5) }));
        const { reason, group, similarity, nearest } = await run(files, some, { near: { k, threshold, cells, probes: cells }, guard: 1000 }, { partRows: 9 });
        expect({ reason, group }).toEqual(bruteForce(files, some, 8, k, threshold));
        nearest.forEach((other, row) => {
          if (other < 0 || files[other]!.file === files[row]!.file) return;
          expect(similarity[row]).toBe(Math.min(1, similarityOf(rounded, row * 8, rounded, other * 8, 8)));
          expect(similarity[row]).toBeGreaterThan(threshold);
        });
      }),
      { numRuns: 12 },
    );
  });

  it('drops nothing more on a second run, and lowering the threshold only merges groups', async () => {
    const high = await run(rows, vectors, { near: { threshold: 0.95 }, guard: 1000 });
    const low = await run(rows, vectors, { near: { threshold: 0.6 }, guard: 1000 });
    high.group.forEach((keeper, row) => keeper >= 0 && expect(low.group[row]).toBe(low.group[keeper]));
    const stays = rows.map((_, row) => row).filter((row) => high.reason[row] === null);
    expect(stays.length).toBeLessThan(120);
    const again = await run(stays.map((row) => rows[row]!), Float32Array.from(stays.flatMap((row) => [...vectors.subarray(row * 16, (row + 1) * 16)])), { near: { threshold: 0.95 }, guard: 1000 });
    expect(again.reason.every((reason) => reason === null)).toBe(true);
  });

  it('finds the same groups, to the byte, for any order of tasks, number of tasks, threads and memory, and through JSON as workers get it', async () => {
    const config = { near: { threshold: 0.9, cells: 9, probes: 3 } };
    const hashesOf = async (options: ContextOptions): Promise<Record<string, string>> => {
      const root = await temporaryFolder('dedup');
      await run(rows, vectors, config, { ...options, root, partRows: 10 });
      return storeHashes(root, ['duplicates']);
    };
    const plain = await hashesOf({});
    expect(Object.keys(plain)).toContain('duplicates/manifest.json');
    const backwards = (executor: Executor): Executor => ({
      map: async (kind, payloads, scope) => {
        const results = new Array(payloads.length);
        for (let i = payloads.length - 1; i >= 0; i--) [results[i]] = await executor.map(kind, [payloads[i]!], scope);
        return results;
      },
    });
    expect(await hashesOf({ wrap: backwards })).toEqual(plain);
    const throughJson = (executor: Executor): Executor => ({
      map: async (kind, payloads, scope) => {
        expect(findTask(kind.name)).toMatchObject({ stage: 'dedup', kind });
        return JSON.parse(JSON.stringify(await executor.map(kind, JSON.parse(JSON.stringify(payloads)) as typeof payloads, scope))) as never;
      },
    });
    expect(await hashesOf({ wrap: throughJson })).toEqual(plain);
    expect(await hashesOf({ tasks: 4, threads: 1, memoryBytes: 8 * 16 * 4 * 10 })).toEqual(plain);
  });

  it('reports a component above the guard, and keeps it but for copies of the same bytes', async () => {
    const chain = new Float32Array(40 * 2);
    for (let row = 0; row < 40; row++) chain.set([Math.cos(row * 0.05), Math.sin(row * 0.05)], row * 2);
    const files = Array.from({ length: 40 }, (_, row): PoolRow => ({ file: row === 7 ? 'f6' : `f${row}` }));
    const warnings: string[] = [];
    const { reason, manifest } = await run(files, chain, { near: { threshold: 0.99 }, guard: 10 }, { onWarn: (message) => warnings.push(message) });
    expect(reason.map((one, row) => (one === null ? null : row)).filter((row) => row !== null)).toEqual([7]);
    expect(manifest.stats).toMatchObject({ groups: 0, guardedGroups: 1, guardedRows: 40, guard: 10, dropped: { 'exact-duplicate': 1 } });
    expect(manifest.stats.guarded).toHaveLength(1);
    expect(manifest.stats.guarded[0]!.size).toBe(39);
    expect(warnings.join()).toContain('1 group of more than 10 different files, 40 rows in all, kept whole');
    expect((await run(files, chain, { near: { threshold: 0.99 }, guard: 39 })).reason.filter((one) => one === null)).toHaveLength(1);
  });

  it('takes a field of meta for choosing, and leaves rows without direction alone', async () => {
    const same = new Float32Array(5 * 4);
    for (let row = 0; row < 4; row++) same.set([0.5, 0.5, 0.5, 0.5], row * 4);
    const files: PoolRow[] = ['{"score": 1}', '{"score": "3.5"}', null, '{"score": 2}', '{"score": 9}'].map((meta, i) => ({ file: `f${i}`, ...(meta !== null && { meta }) }));
    expect((await run(files, same, { near: { threshold: 0.9 }, keep: { meta: 'score' } })).group).toEqual([1, 1, 1, 1, -1]);
    expect((await run(files, same, { near: { threshold: 0.9 }, keep: { meta: 'score', order: 'lowest' } })).group).toEqual([0, 0, 0, 0, -1]);
    expect((await run(files, same, { near: { threshold: 0.9 }, keep: 'first' })).group).toEqual([0, 0, 0, 0, -1]);
  });

  it('measures what cells miss, and looks at enough of them', async () => {
    const n = 3000;
    const many = clusteredVectors(n / 2, 2, 24, 0.35, 3);
    const files = Array.from({ length: n }, (_, row): PoolRow => ({ file: `f${row}` }));
    const { manifest } = await run(files, many, { near: { threshold: 0.7, cells: 60, recall: 0.95, recallQueries: 600 } }, { partRows: 500 });
    const { near } = manifest.stats;
    expect(near!.recall!.pairs).toBeGreaterThan(300);
    expect(near!.recall!.recall).toBeGreaterThanOrEqual(0.95);
    expect(near!.comparisons).toBeLessThan(0.8);
    const one = await run(files, many, { near: { threshold: 0.7, cells: 60, probes: 1, recallQueries: 600 } }, { partRows: 500 });
    expect(one.manifest.stats.near!.recall!.recall).toBeLessThan(near!.recall!.recall!);
    const truth = await run(files, many, { near: { threshold: 0.7 } }, { partRows: 500 });
    expect(one.manifest.stats.near!.pairs / truth.manifest.stats.near!.pairs).toBeLessThanOrEqual(one.manifest.stats.near!.recall!.recall! + 0.05);
  });

  it('keeps vectors as float16 without changing an answer', async () => {
    const rounded = decodeFloat16(encodeFloat16(vectors));
    const config = { near: { threshold: 0.9, cells: 6 } };
    expect((await run(rows, rounded, config, { dtype: 'float16' })).group).toEqual((await run(rows, rounded, config)).group);
  });

  it('refuses settings that can mean nothing', () => {
    for (const config of [{ near: { threshold: 1 } }, { near: { threshold: 0 } }, { near: true }, { near: { k: 0 } }, { keep: 'smallest' }, { guard: 1 }]) {
      expect(DedupConfig.safeParse(config).success).toBe(false);
    }
  });

  it('says so when the vectors were changed behind its back', async () => {
    const store = await openFsStore(await temporaryFolder('dedup'));
    const { images, embeddings } = await writePool(store, rows, vectors);
    await store.write(embeddings.manifest.parts[1]!.path, await store.read(embeddings.manifest.parts[0]!.path));
    const { context, close } = openContext(store);
    await expect(findDuplicates(context, images, embeddings, DedupConfig.parse({ near: {} })).finally(close)).rejects.toThrow(WinnowError);
  });
});

function bruteForce(rows: readonly PoolRow[], raw: Float32Array, d: number, k: number, threshold: number): { reason: (string | null)[]; group: number[] } {
  const n = rows.length;
  const vectors = unit(raw, n, d);
  const area = (row: number): number => (rows[row]!.width ?? 8) * (rows[row]!.height ?? 8);
  const before = (a: number, b: number): boolean => area(a) > area(b) || (area(a) === area(b) && (ids[a]! < ids[b]! || (ids[a] === ids[b] && a < b)));
  const ids = rows.map(({ file }) => idOf(file));
  const keeperOfFile = ids.map((id, row) => ids.reduce((best, other, i) => (other === id && before(i, best) ? i : best), row));
  const label = Array.from({ length: n }, (_, row) => row);
  const join = (a: number, b: number): void => {
    const [from, to] = [Math.max(label[a]!, label[b]!), Math.min(label[a]!, label[b]!)];
    label.forEach((one, row) => one === from && (label[row] = to));
  };
  for (let x = 0; x < n; x++) {
    join(x, keeperOfFile[x]!);
    if (keeperOfFile[x] !== x) continue;
    const near = Array.from({ length: n }, (_, y) => ({ y, s: similarityOf(vectors, x * d, vectors, y * d, d) }))
      .filter(({ y, s }) => y !== x && keeperOfFile[y] === y && s > threshold)
      .sort((a, b) => b.s - a.s || a.y - b.y);
    for (const { y } of near.slice(0, k)) join(x, y);
  }
  const members = (row: number): number[] => label.flatMap((one, other) => (one === label[row] ? [other] : []));
  const keeper = label.map((_, row) => members(row).reduce((best, other) => (before(other, best) ? other : best), row));
  return {
    group: keeper.map((one, row) => (members(row).length > 1 ? one : -1)),
    reason: keeper.map((one, row) => (keeperOfFile[row] !== row ? 'exact-duplicate' : one !== row ? 'near-duplicate' : null)),
  };
}

/** As the stage scales what it reads. */
function unit(vectors: Float32Array, n: number, d: number): Float32Array {
  const scaled = vectors.slice();
  normaliseRows(scaled, n, d);
  return scaled;
}
