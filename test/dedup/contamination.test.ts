import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { readContamination, type ContaminationManifest } from '../../src/dedup/contamination.ts';
import { type EvaluationSet, decontaminate } from '../../src/dedup/decontaminate.ts';
import { readDuplicates, type DuplicatesManifest } from '../../src/dedup/duplicates.ts';
import { HIT_WORDS, type ReferenceSet, searchReferences } from '../../src/dedup/search-references.ts';
import { openPairScores } from '../../src/dedup/scores.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../../src/embed/embedding.ts';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import type { ImagesManifest } from '../../src/ingest/image.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, readManifest, writeManifest, writePart } from '../../src/run/manifest.ts';
import { randomStream } from '../../src/random.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { localContext } from '../helpers/local-context.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { expectNothingHalfWritten, expectOneSentence, winnow } from '../helpers/winnow.ts';

const D = 24;

function vectors(n: number, label: string): Float32Array {
  const random = randomStream(5, label);
  return Float32Array.from({ length: n * D }, (_, i) => random.normal(i));
}

/** Row `to` of `into` becomes row `from` of `of` with noise of that size. */
function copyRow(of: Float32Array, from: number, into: Float32Array, to: number, noise: number): void {
  const random = randomStream(6, 'noise', to);
  for (let j = 0; j < D; j++) into[to * D + j] = of[from * D + j]! * 3 + noise * random.normal(j);
}

function cosine(a: Float32Array, i: number, b: Float32Array, j: number): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let c = 0; c < D; c++) {
    ab += a[i * D + c]! * b[j * D + c]!;
    aa += a[i * D + c]! ** 2;
    bb += b[j * D + c]! ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

async function writeImages(store: Store, path: string, n: number): Promise<StoredManifest<ImagesManifest>> {
  const parts: Part[] = [];
  parts.push(await writePart(store, path, parts, n, encodeTable({ uri: { type: 'utf8', values: Array.from({ length: n }, (_, i) => `${path}/${i}.jpg`) } })));
  return writeManifest(store, path, { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'ingest', inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test', sources: [] } as ImagesManifest);
}

async function writeDuplicates(store: Store, parts: readonly Part[], groups: ReadonlyMap<number, { group: number; reason: string | null }>): Promise<StoredManifest<DuplicatesManifest>> {
  const written: Part[] = [];
  for (const { firstRow, rowCount } of parts) {
    const rows = Array.from({ length: rowCount }, (_, i) => groups.get(firstRow + i));
    const valid = Uint8Array.from(rows, (one) => (one === undefined ? 0 : 1));
    const bytes = encodeTable({
      reason: { type: 'dictionary', values: rows.map((one) => one?.reason ?? null), dictionary: ['exact-duplicate', 'near-duplicate'] },
      group: { type: 'uint64', values: Float64Array.from(rows, (one) => one?.group ?? 0), valid },
      keeper: { type: 'bool', values: Uint8Array.from(rows, (one, i) => (one?.group === firstRow + i ? 1 : 0)) },
      nearest: { type: 'uint64', values: Float64Array.from(rows, (one) => one?.group ?? 0), valid },
      similarity: { type: 'float32', values: new Float32Array(rowCount), valid },
    });
    written.push(await writePart(store, 'duplicates', written, rowCount, bytes));
  }
  return writeManifest(store, 'duplicates', { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'dedup', inputs: [], config: {}, configHash: '', seed: 0, parts: written, stats: {}, createdBy: 'test' } as unknown as DuplicatesManifest);
}

async function rowsOf(store: Store, { parts }: ContaminationManifest): Promise<Map<number, { reason: string; evaluation: string; reference: number; via: number; similarity: number }>> {
  const rows = new Map();
  for (const part of parts) {
    const block = await readContamination(store, part);
    block.reason.forEach((reason, i) => reason !== null && rows.set(part.firstRow + i, { reason, evaluation: block.evaluation[i], reference: block.reference[i], via: block.via[i], similarity: block.similarity[i] }));
  }
  return rows;
}

describe('searchReferences', () => {
  it('finds the nearest reference of each row and the nearest row of each reference, as brute force does, in any memory', async () => {
    const store = await openFsStore(await temporaryFolder());
    const pool = vectors(700, 'pool');
    const sets = [vectors(90, 'a'), vectors(150, 'b')];
    for (let i = 0; i < 40; i++) copyRow(sets[i % 2]!, i, pool, i * 16, 0.1 * i);
    copyRow(sets[0]!, 0, pool, 650, 0); // a second copy, as near as the first: ties go to the first
    const rejected = new Set([32, 48, 100]);
    const stored = await writeEmbeddings(store, 'embeddings', { vectors: pool, d: D, partRows: 150, rejected });
    const references: ReferenceSet[] = [];
    for (const [s, of] of sets.entries()) references.push({ threshold: 0.45 + 0.2 * s, parts: (await writeEmbeddings(store, `evaluation/${s}/embeddings`, { vectors: of, d: D, partRows: 40, rejected: new Set([7]) })).manifest.parts });
    const expectedRows: number[][] = [];
    const expectedReferences: number[][] = [];
    for (let row = 0; row < 700; row++) {
      for (const [s, of] of sets.entries()) {
        if (rejected.has(row)) continue;
        const near = Array.from({ length: of.length / D }, (_, r) => r).filter((r) => r !== 7 && cosine(pool, row, of, r) > references[s]!.threshold);
        if (near.length > 0) expectedRows.push([s, row, near.reduce((best, r) => (cosine(pool, row, of, r) > cosine(pool, row, of, best) + 1e-6 ? r : best))]);
      }
    }
    for (const [s, of] of sets.entries()) {
      for (let r = 0; r < of.length / D; r++) {
        const near = Array.from({ length: 700 }, (_, row) => row).filter((row) => r !== 7 && !rejected.has(row) && cosine(pool, row, of, r) > references[s]!.threshold);
        if (near.length > 0) expectedReferences.push([s, near.reduce((best, row) => (cosine(pool, row, of, r) > cosine(pool, best, of, r) + 1e-6 ? row : best)), r]);
      }
    }
    expect(expectedRows.length).toBeGreaterThan(30);
    const scores = await openPairScores(2);
    const bytes = new Set<string>();
    for (const memoryBytes of [1, 30_000, 2 ** 24]) {
      const hits = await searchReferences(scores, store, { span: { parts: stored.manifest.parts, verdicts: stored.manifest.parts.map(() => []) }, sets: references, d: D, memoryBytes }, new AbortController().signal);
      const listed = (values: Float64Array): number[][] => Array.from({ length: values.length / HIT_WORDS }, (_, i) => [...values.subarray(i * HIT_WORDS, i * HIT_WORDS + 3)]);
      expect(listed(hits.rows)).toEqual(expectedRows);
      expect(listed(hits.references)).toEqual(expectedReferences);
      bytes.add(JSON.stringify([[...hits.rows], [...hits.references]]));
    }
    await scores.close();
    expect(bytes.size).toBe(1);
  });
});

describe('decontaminate', () => {
  it('takes whole groups, but of a guarded one only what is near itself, and reports both sides', async () => {
    const store = await openFsStore(await temporaryFolder());
    const pool = vectors(300, 'pool');
    const evaluation = vectors(20, 'evaluation');
    copyRow(evaluation, 3, pool, 10, 0.2); // a member of a group, itself a near-duplicate
    copyRow(evaluation, 4, pool, 200, 0.2); // on its own
    copyRow(evaluation, 5, pool, 250, 0.2); // in a guarded group
    const embeddings = await writeEmbeddings(store, 'embeddings', { vectors: pool, d: D, partRows: 64 });
    const duplicates = await writeDuplicates(store, embeddings.manifest.parts, new Map([
      [10, { group: 70, reason: 'near-duplicate' }], [70, { group: 70, reason: null }], [150, { group: 70, reason: 'exact-duplicate' }],
      [250, { group: 251, reason: null }], [251, { group: 251, reason: null }], [252, { group: 251, reason: null }],
      [20, { group: 21, reason: 'near-duplicate' }], [21, { group: 21, reason: null }],
    ]));
    const images = await writeImages(store, 'images', 300);
    const set = async (mode: EvaluationSet['mode']): Promise<EvaluationSet> => ({
      name: 'val', threshold: 0.8, mode,
      images: await writeImages(store, 'evaluation/val/images', 20),
      embeddings: await writeEmbeddings(store, 'evaluation/val/embeddings', { vectors: evaluation, d: D, partRows: 8 }),
    });
    const { context, close } = localContext(store);
    const request = { images, embeddings, verdicts: [], duplicates };
    const { manifest } = await decontaminate(context, { ...request, sets: [await set('drop')] });
    const rows = await rowsOf(store, manifest);
    expect([...rows.keys()].sort((a, b) => a - b)).toEqual([10, 70, 150, 200, 250]);
    expect(rows.get(70)).toEqual({ ...rows.get(10), reason: 'contaminated-group', via: 10 });
    expect(rows.get(10)).toMatchObject({ reason: 'contaminated', evaluation: 'val', reference: 3, via: 10 });
    expect(manifest.stats.dropped).toEqual({ contaminated: 3, 'contaminated-group': 2 });
    expect(manifest.stats.leaving).toBe(3); // 70, 200, 250; the others were duplicates already
    expect(manifest.sets[0]).toMatchObject({ name: 'val', images: 20, compared: 20, matched: 3, rows: 3 });
    const [best] = manifest.sets[0]!.top;
    expect(best!.uri).toBe(`images/${best!.row}.jpg`);
    expect(best!.referenceUri).toBe(`evaluation/val/images/${best!.reference}.jpg`);
    const matched: number[] = [];
    for (const part of manifest.sets[0]!.references) {
      const view = decodeTable(await store.read(part.path), part.path);
      view.validity('row')?.forEach((valid, i) => valid === 1 && matched.push(part.firstRow + i));
    }
    expect(matched).toEqual([3, 4, 5]);

    // The gate: same bytes, another mode; a clean set passes it.
    await expect(decontaminate(context, { ...request, sets: [await set('fail')] })).rejects.toMatchObject({ code: 'CONTAMINATED', details: { set: 'val', matched: 3, rows: 3 } });
    expect((await readManifest(store, 'contamination'))!.manifest).toEqual(manifest);
    await expect(decontaminate(context, { ...request, sets: [{ ...(await set('fail')), threshold: 0.9999 }] })).resolves.toBeDefined();
    await expect(decontaminate(context, { ...request, sets: [{ ...(await set('drop')), embeddings: await writeEmbeddings(store, 'other', { vectors: new Float32Array(40).fill(1), d: 4 }) }] })).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH' });
    await close();
  });
});

/** 90 drawn pictures, and an evaluation set of three that are not in it, two that are, and one altered. */
async function drawContaminated(folder: string): Promise<{ recipe: string; planted: string[] }> {
  await drawCorpus(join(folder, 'drawn'), { images: 100, concepts: 10 });
  const { readdir } = await import('node:fs/promises');
  const files = (await readdir(join(folder, 'drawn'), { recursive: true })).filter((name) => name.endsWith('.jpg')).sort();
  await mkdir(join(folder, 'pool'));
  await mkdir(join(folder, 'val'));
  for (const [i, file] of files.entries()) await cp(join(folder, 'drawn', file), join(folder, i % 30 === 0 ? 'val' : 'pool', `${String(i).padStart(3, '0')}.jpg`));
  const planted = ['007.jpg', '012.jpg', '044.jpg'];
  await cp(join(folder, 'pool', planted[0]!), join(folder, 'val/same-a.jpg'));
  await cp(join(folder, 'pool', planted[1]!), join(folder, 'val/same-b.jpg'));
  await writeFile(join(folder, 'val/altered.jpg'), await sharp(await readFile(join(folder, 'pool', planted[2]!))).jpeg({ quality: 60 }).toBuffer());
  await sharp(await readFile(join(folder, 'pool', planted[0]!))).jpeg({ quality: 70 }).toFile(join(folder, 'pool/copy-of-007.jpg'));
  const recipe = {
    format: 'winnow-recipe/1', name: 'contaminated', pool: [{ folder: './pool' }],
    dedup: { perceptual: { radius: 6 } },
    decontaminate: [{ name: 'val', sources: [{ folder: './val' }], threshold: 0.985 }],
    sample: { target: '100%' },
  };
  await writeFile(join(folder, 'recipe.yaml'), stringify(recipe));
  return { recipe: join(folder, 'recipe.yaml'), planted };
}

async function statusOf(store: Store): Promise<Map<string, string>> {
  const images = (await readManifest<ImagesManifest>(store, 'images'))!.manifest;
  const uris: string[] = [];
  for (const part of images.parts) uris.push(...(decodeTable(await store.read(part.path), part.path).strings('uri') as string[]));
  const status = new Map<string, string>();
  for (const part of (await readManifest<EmbeddingsManifest>(store, 'survivors'))!.manifest.parts) (await readEmbeddingFacts(store, part)).status.forEach((one, i) => status.set(uris[part.firstRow + i]!, one));
  return status;
}

describe('a recipe with decontaminate and dedup.perceptual', () => {
  it('finds what was planted, drops it or fails, and gives the same bytes again', async () => {
    const folder = await temporaryFolder();
    const { recipe, planted } = await drawContaminated(folder);
    const root = join(folder, 'store');
    const ended = await winnow(['run', recipe, '--store', root, '--quiet']);
    expect(ended.code, ended.stderr).toBe(0);
    const store = await openFsStore(root);
    const status = await statusOf(store);
    const { manifest } = (await readManifest<ContaminationManifest>(store, 'contamination'))!;
    expect(manifest.sets[0]!.top.map(({ referenceUri }) => referenceUri).sort()).toEqual(['val/altered.jpg', 'val/same-a.jpg', 'val/same-b.jpg']);
    for (const name of planted) expect(status.get(`pool/${name}`)).toMatch(/^contaminated|duplicate$/);
    const duplicates = (await readManifest<DuplicatesManifest>(store, 'duplicates'))!.manifest;
    const groups = (await readDuplicates(store, duplicates.parts[0]!)).group;
    const rowOf = [...status.keys()];
    expect(groups[rowOf.indexOf('pool/copy-of-007.jpg')]).toBe(groups[rowOf.indexOf('pool/007.jpg')]);
    expect([status.get('pool/copy-of-007.jpg'), status.get('pool/007.jpg')].filter((one) => one === 'ok')).toEqual([]);
    const left = [...status].filter(([, one]) => one === 'ok').map(([uri]) => uri);
    expect(left.length).toBeGreaterThan(60);

    // The finished dataset: nothing of the set is left in it, and what is in it is found.
    const clean = await winnow(['contaminated', '--dataset', root, '--against', join(folder, 'val'), '--threshold', '0.985', '--fail', '--quiet']);
    expect(clean.code, clean.stderr).toBe(0);
    expect(clean.stdout).toMatch(/^0 of 7 images/);
    const probe = join(folder, 'probe');
    await mkdir(probe);
    const kept = left.filter((uri) => !uri.includes('copy-of')).slice(0, 2).map((uri) => join(folder, uri));
    await cp(kept[0]!, join(probe, 'same.jpg'));
    await writeFile(join(probe, 'altered.jpg'), await sharp(await readFile(kept[1]!)).jpeg({ quality: 60 }).toBuffer());
    await writeFile(join(probe, 'broken.jpg'), 'no picture');
    const asked = ['contaminated', '--dataset', root, '--against', probe, '--threshold', '0.98', '--quiet'];
    const found = await winnow([...asked, '--json', '--fail']);
    const { pairs, ...counts } = JSON.parse(found.stdout) as { pairs: { image: string; uri: string; sameBytes: boolean; parts: string[] }[] };
    expect(counts).toMatchObject({ images: 3, compared: 2, matched: 2, sameBytes: 1 });
    expect(pairs.map(({ image, uri, sameBytes, parts }) => ({ image, uri, sameBytes, parts }))).toEqual([
      { image: 'same.jpg', uri: kept[0]!.slice(folder.length + 1), sameBytes: true, parts: ['balanced'] },
      { image: 'altered.jpg', uri: kept[1]!.slice(folder.length + 1), sameBytes: false, parts: ['balanced'] },
    ]);
    expect(found.stderr).toMatch(/^CONTAMINATED: /);
    expect(found.code).toBe(2);
    expectOneSentence(await winnow(['contaminated', '--dataset', probe, '--against', probe, '--quiet']), 2, /^INPUT_MISSING: .*dataset/);
    expectOneSentence(await winnow(['contaminated', '--dataset', root, '--against', join(folder, 'nowhere'), '--quiet']), 2, /^INPUT_MISSING: .*nowhere/);
    expectOneSentence(await winnow([...asked, '--model', join(folder, 'nowhere.onnx')]), 2, /nowhere\.onnx/);

    const again = join(folder, 'again');
    await writeFile(recipe, stringify({ ...parse(await readFile(recipe, 'utf8')), execution: { memoryMb: 64, blockRows: 1024, threads: 1, concurrency: 1 } }));
    expect((await winnow(['dedup', recipe, '--store', again, '--quiet'])).code).toBe(0);
    const tables = ['hashes', 'hash-pairs', 'contamination', 'survivors', 'evaluation'];
    expect(await storeHashes(again, tables)).toEqual(await storeHashes(root, tables));
    await expectNothingHalfWritten(root);

    const strict = parse(await readFile(recipe, 'utf8')) as { decontaminate: object[] };
    strict.decontaminate = strict.decontaminate.map((one) => ({ ...one, mode: 'fail' }));
    await writeFile(recipe, stringify(strict));
    const failed = await winnow(['dedup', recipe, '--store', root, '--quiet']);
    expectOneSentence(failed, 2, /^CONTAMINATED: .*evaluation set val in the pool, got 3 of 7/);

    // Without the keys their tables go, and the images are back.
    await writeFile(recipe, stringify({ ...strict, decontaminate: [], dedup: {} }));
    expect((await winnow(['dedup', recipe, '--store', root, '--quiet'])).code).toBe(0);
    for (const path of ['hashes', 'hash-pairs', 'contamination']) expect(await readManifest(store, path)).toBeNull();
    expect((await statusOf(store)).get(`pool/${planted[2]}`)).toBe('ok');
    await rm(again, { recursive: true });
  });
});
