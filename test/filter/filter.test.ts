/** The stage as a whole: what each rule rejects, in which order, what is recorded, and that bytes do not depend on how it was run. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { filterImages } from '../../pipelines/3-filter.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { DEFAULT_DECODE_LIMITS } from '../../src/embed/embedding.ts';
import { FILTERS } from '../../src/filter/filter.ts';
import { measureLuma } from '../../src/filter/luma.ts';
import { encodeModel } from '../../src/onnx/graph.ts';
import { readManifest, readPart } from '../../src/run/manifest.ts';
import { decodeFloat16 } from '../../src/vector/float16.ts';
import { tinyBytes } from '../embed/tiny-models.ts';
import { noise, picture, toSharp } from '../fixtures/images.ts';
import { type FilterRun, folderOf, openFilterRun, splitEmbeddings } from './filter-run.ts';

const png = (raw: Parameters<typeof toSharp>[0]): Promise<Buffer> => toSharp(raw).png().toBuffer();
const CONSUMERS = fileURLToPath(new URL('../consumers', import.meta.url));

let files: Record<string, Uint8Array | string>;
beforeAll(async () => {
  const flat = { width: 40, height: 30, channels: 3, data: new Uint8Array(3600).fill(90) } as const;
  files = {
    'a/noise.png': await png(noise(48, 48)),
    'a/soft.png': await toSharp(noise(48, 48, 2)).blur(6).png().toBuffer(),
    'a/flat.png': await png(flat),
    'b/wide.png': await png(noise(120, 12)),
    'b/small.png': await png(noise(9, 9, 3)),
    'b/picture.png': await png(picture(64, 40)),
    'b/broken.png': 'text',
  };
});
const openFiles = async (embed: Record<string, unknown> = {}): Promise<FilterRun> => openFilterRun({ folder: await folderOf(files), label: 'parent' }, {}, embed);

/** A head, float32[n, d] → [n, 2]: the first component and its opposite. */
function firstComponent(d: number, rows: number | string = 'n'): Uint8Array {
  const data = new Float32Array(d * 2);
  [data[0], data[1]] = [1, -1];
  return encodeModel({ name: 'head', inputs: [{ name: 'x', type: 'float32', shape: [rows, d] }], outputs: [{ name: 'y', type: 'float32', shape: [rows, 2] }], nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }], initializers: [{ name: 'w', type: 'float32', shape: [d, 2], data }] });
}

describe('filter', () => {
  it('gives each row the first rule that rejects it, with what the rule saw', async () => {
    const run = await openFiles();
    const { stored, reason, detail, score } = await run.filter([
      { name: 'limits', size: { sideMin: 10, aspectMax: 4 } },
      { name: 'flat', flat: {} },
      { name: 'soft', blur: { sharpnessMin: 100 } },
      { name: 'listed', deny: { uris: ['*/a/*'] } },
    ]);
    expect(reason).toEqual({ 'pool/a/flat.png': 'filter:flat', 'pool/a/noise.png': 'filter:listed', 'pool/a/soft.png': 'filter:soft', 'pool/b/broken.png': null, 'pool/b/picture.png': null, 'pool/b/small.png': 'filter:limits', 'pool/b/wide.png': 'filter:limits' });
    expect(detail).toMatchObject({ 'pool/a/flat.png': 'deviation 0.00, at least 4 wanted', 'pool/a/noise.png': 'listed: */a/*', 'pool/b/picture.png': null, 'pool/b/small.png': 'shorter side 9, at least 10 wanted', 'pool/b/wide.png': '120 × 12, an aspect of at most 4 wanted' });
    const { data, width, height } = picture(64, 40);
    const expected = measureLuma(data, width, height);
    expect(score('soft')['pool/b/picture.png']).toBe(Math.fround(expected.sharpness));
    expect(score('flat.entropy')['pool/b/picture.png']).toBe(Math.fround(expected.entropy));
    // Not asked: refused before, or by a rule before.
    expect([score('soft')['pool/b/broken.png'], score('soft')['pool/a/flat.png'], score('flat.deviation')['pool/b/small.png']]).toEqual([null, null, null]);
    expect(stored.manifest.rules).toEqual([
      { name: 'limits', kind: 'size', rejected: 2 },
      { name: 'flat', kind: 'flat', rejected: 1 },
      { name: 'soft', kind: 'blur', rejected: 1 },
      { name: 'listed', kind: 'deny', rejected: 1 },
    ]);
    expect(stored.manifest.stats).toEqual({ rows: 7, asked: 6, left: 1, unread: 0, rejected: { limits: 2, flat: 1, soft: 1, listed: 1 } });
    expect(stored.manifest.config).toMatchObject({ rules: [{ name: 'limits', size: { sideMin: 10, aspectMax: 4 } }, { flat: { deviationMin: 4, entropyMin: 0.2 } }, { blur: { sharpnessMin: 100 } }, { identity: { ids: 0, uris: 0, patterns: 1 } }] });
    const [part] = stored.manifest.parts;
    expect(part).toMatchObject({ firstRow: 0, rowCount: 7 });
    expect(decodeTable(await readPart(run.context.store, part!), 'part').names).toEqual(['reason', 'detail', 'score.flat.deviation', 'score.flat.entropy', 'score.soft']);
  });

  it('knows bytes of files where the listing does not', async () => {
    const sized = await (await openFiles()).filter([{ name: 'big', size: { bytesMax: 3000 } }]);
    const folder = await folderOf({ ...files, 'list.csv': `uri\n${Object.keys(files).join('\n')}\n` });
    const listed = await openFilterRun({ list: join(folder, 'list.csv') });
    const unsized = await listed.filter([{ name: 'big', size: { bytesMax: 3000 } }]);
    expect(unsized.reason).toEqual(sized.reason);
    expect(Object.values(sized.reason).filter((reason) => reason === 'filter:big')).toHaveLength(4);
    const { parts } = listed.run.images.manifest;
    expect([...decodeTable(await readPart(listed.context.store, parts[0]!), 'images').validity('size')!]).toEqual(new Array(7).fill(0));
  });

  it('scores stored vectors with a head, and images with a model, and takes another number of the output for a score when told', async () => {
    const run = await openFiles();
    const d = run.embeddings.manifest.d;
    const folder = await folderOf({ 'head.onnx': firstComponent(d), 'one.onnx': firstComponent(d, 1), 'model.onnx': tinyBytes() });
    const head = { model: './head.onnx', index: 0 };
    const first = await run.filter([{ name: 'raw', score: head }, { name: 'other', score: { ...head, index: 1, activation: 'sigmoid' } }, { name: 'soft', score: { ...head, activation: 'softmax' } }, { name: 'one', score: { model: './one.onnx' } }], { folder });
    const vectors = decodeTable(await readPart(run.context.store, run.embeddings.manifest.parts[0]!), 'e');
    const { values } = vectors.vector('embedding');
    const component = decodeFloat16(values as Uint16Array)[5 * d]!;
    const uri = 'pool/b/small.png';
    expect(Object.keys(first.reason)[5]).toBe(uri);
    expect(component).not.toBe(0);
    expect(first.score('raw')[uri]).toBe(component);
    expect(first.score('one')[uri]).toBe(component);
    expect(first.score('other')[uri]).toBeCloseTo(1 / (1 + Math.exp(component)), 6);
    expect(first.score('soft')[uri]).toBeCloseTo(1 / (1 + Math.exp(-2 * component)), 6);
    expect(Object.values(first.reason).filter((reason) => reason !== null)).toEqual([]);
    expect(first.stored.manifest.config).toMatchObject({ rules: [{ identity: { file: 'head.onnx', sha256: expect.any(String), output: 'y', runtime: 'onnxruntime' } }, {}, {}, {}] });
    expect(JSON.stringify(first.stored.manifest)).not.toContain(folder);

    const pixels = await run.filter([{ name: 'red', score: { model: './model.onnx', on: 'pixels', output: 'logits', max: 100 } }], { folder });
    expect(pixels.score('red')['pool/a/flat.png']).toBeCloseTo(90, 3);
    expect(pixels.reason['pool/a/flat.png']).toBeNull();
    expect(pixels.reason['pool/a/noise.png']).toBe('filter:red');
    expect(pixels.detail['pool/a/noise.png']).toMatch(/^score 12\d\.\d, at most 100 wanted$/);
  });

  it('rejects a row whose image changed or went since it was embedded, and counts it', async () => {
    const folder = await folderOf(files);
    const run = await openFilterRun({ folder });
    await writeFile(join(folder, 'a/soft.png'), files['a/noise.png']!);
    await rm(join(folder, 'b/wide.png'));
    const { detail, stored } = await run.filter([{ name: 'flat', flat: {} }]);
    expect(detail).toMatchObject({ 'pool/a/soft.png': 'could not be read again: changed', 'pool/b/wide.png': 'could not be read again: unreadable', 'pool/a/noise.png': null });
    expect(stored.manifest.stats.unread).toBe(2);
  });

  it('caps a column after all other rules, by draw or by score', async () => {
    const run = await openFiles();
    const rules = (cap: object): object[] => [{ name: 'flat', flat: {} }, { name: 'sharp', blur: { sharpnessMin: 0 } }, { name: 'two', cap: { column: 'label', max: 1, ...cap } }];
    const best = await run.filter(rules({ by: { score: 'sharp' } }));
    expect(best.reason).toMatchObject({ 'pool/a/noise.png': null, 'pool/a/soft.png': 'filter:two', 'pool/a/flat.png': 'filter:flat' });
    expect(best.detail['pool/a/soft.png']).toBe('more than 1 with label a');
    expect(best.stored.manifest.rules.at(-1)).toEqual({ name: 'two', kind: 'cap', rejected: 3 });
    expect(best.score('sharp')['pool/b/picture.png']).toBeGreaterThan(0);
    const inB = (reason: Readonly<Record<string, string | null>>): string => Object.keys(reason).filter((uri) => uri.includes('/b/') && !uri.includes('broken') && reason[uri] === null).join();
    const drawn = new Set<string>();
    for (let seed = 0; seed < 12; seed++) drawn.add(inB((await run.filter(rules({}), { seed })).reason));
    expect(drawn.size).toBeGreaterThan(1);
    for (const one of drawn) expect(one.split(',')).toHaveLength(1);
    // Only a draw makes the table a function of the seed.
    expect((await run.filter(rules({ by: { score: 'sharp' } }), { seed: 5 })).stored.sha256).toBe(best.stored.sha256);
  });

  it('goes away when a recipe has no rules any more', async () => {
    const run = await openFiles();
    await run.filter([{ name: 'flat', flat: {} }]);
    expect(await readManifest(run.context.store, FILTERS)).not.toBeNull();
    const none = await filterImages(run.context, { images: run.run.images, embeddings: run.embeddings, filters: [], folder: '/', limits: DEFAULT_DECODE_LIMITS });
    expect(none).toBeNull();
    expect(await readManifest(run.context.store, FILTERS)).toBeNull();
  });
});

describe('what the table depends on', () => {
  const rules = [
    { name: 'small', size: { sideMin: 10 } },
    { name: 'flat', flat: {} },
    { name: 'sharp', blur: { sharpnessMin: 1 } },
    { name: 'python', command: { run: ['python3', `${CONSUMERS}/winnow_filter.py`, 'wide'], version: '1', columns: ['embedding', 'image'] } },
    { name: 'cap', cap: { column: 'label', max: 1 } },
  ];

  it('is no part of a row, but the row: cut into parts of any size each row ends the same', async () => {
    const run = await openFiles();
    const whole = await run.filter(rules);
    expect(whole.reason).toMatchObject({ 'pool/b/wide.png': 'filter:python', 'pool/b/small.png': 'filter:small' });
    expect(whole.detail['pool/b/wide.png']).toBe('its uri contains wide');
    for (const partRows of [1, 3]) {
      const split = await run.filter(rules, { embeddings: await splitEmbeddings(run, partRows) });
      expect(split.stored.manifest.parts.map(({ rowCount }) => rowCount)).toEqual(partRows === 1 ? [1, 1, 1, 1, 1, 1, 1] : [3, 3, 1]);
      expect(split.reason).toEqual(whole.reason);
      expect(split.detail).toEqual(whole.detail);
      expect(split.score('sharp')).toEqual(whole.score('sharp'));
    }
  });

  it('is neither concurrency nor threads nor a run that was stopped', async () => {
    const folder = await folderOf(files);
    const hashes = new Set<string>();
    for (const [concurrency, threads] of [[1, 1], [7, 2]] as const) {
      const run = await openFilterRun({ folder, label: 'parent' }, { execution: { concurrency, threads } });
      hashes.add((await run.filter(rules, { embeddings: await splitEmbeddings(run, 2) })).stored.sha256);
    }
    const stop = new AbortController();
    let units = 0;
    const store = join(await folderOf({}), 'store');
    const first = await openFilterRun({ folder, label: 'parent' }, { store, signal: stop.signal, onAdvance: (count) => (units += count) >= 7 + 3 && stop.abort() });
    await expect(first.filter(rules, { embeddings: await splitEmbeddings(first, 2) })).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readManifest(first.context.store, FILTERS)).toBeNull();
    const kept: number[] = [];
    const second = await openFilterRun({ folder, label: 'parent' }, { store, onAdvance: (count, isKept) => void (isKept && kept.push(count)) });
    hashes.add((await second.filter(rules, { embeddings: await splitEmbeddings(second, 2) })).stored.sha256);
    expect(kept.length).toBeGreaterThan(0);
    expect(hashes.size).toBe(1);
  });

  it('is a list\'s entries, not its file; a program\'s version and its file, not their folder', async () => {
    const run = await openFiles();
    const list = async (text: string): Promise<string> => (await run.filter([{ name: 'l', deny: { file: 'list.txt' } }], { folder: await folderOf({ 'list.txt': text }) })).stored.sha256;
    expect(await list('# one\na*\n')).toBe(await list('a*'));
    expect(await list('a*')).not.toBe(await list('b*'));
    const source = `${await readFile(`${CONSUMERS}/winnow_filter.py`, 'utf8')}`;
    const plain = await readFile(`${CONSUMERS}/winnow_plain.py`, 'utf8');
    const command = async (text: string, version = '1'): Promise<string> =>
      (await run.filter([{ name: 'c', command: { run: ['python3', 'f.py'], version } }], { folder: await folderOf({ 'f.py': text, 'winnow_plain.py': plain }) })).stored.sha256;
    const first = await command(source);
    expect(await command(source)).toBe(first);
    expect(await command(`${source}\n# more\n`)).not.toBe(first);
    expect(await command(source, '2')).not.toBe(first);
    const { config } = (await readManifest(run.context.store, FILTERS))!.manifest;
    expect(config).toMatchObject({ rules: [{ command: { version: '2' }, identity: { run: ['python3', { file: 'f.py', sha256: expect.any(String) }], version: '2' } }] });
  });
});
