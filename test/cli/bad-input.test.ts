/** What is wrong with the user's input ends as one sentence, the right exit code, and nothing half-written. */
import { mkdtempSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { drawCorpus } from '../../src/demo/draw.ts';
import { colourModel, textModel } from '../helpers/colour-model.ts';
import { expectNothingHalfWritten, expectOneSentence, winnow } from '../helpers/winnow.ts';

const IMAGES = 80;

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-bad-'));
  await drawCorpus(join(folder, 'pool'), { images: IMAGES, concepts: 8 });
  await sharp({ create: { width: 32, height: 32, channels: 3, background: 'white' } }).png().toFile(join(folder, 'pool', 'white.png'));
  for (const name of ['empty', 'texts']) await mkdir(join(folder, name));
  await writeFile(join(folder, 'texts', 'a.txt'), 'no image');
  await writeFile(join(folder, 'colour.onnx'), colourModel({ limit: 254.5 }));
  await writeFile(join(folder, 'nan.onnx'), colourModel({ limit: -1 }));
  await writeFile(join(folder, 'text.onnx'), textModel());
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let runs = 0;

/** Runs a recipe in a store of its own. */
async function run(recipe: string | object, ...options: string[]): Promise<{ store: string; ended: Awaited<ReturnType<typeof winnow>> }> {
  const name = `run-${runs++}`;
  const path = join(folder, `${name}.yaml`);
  await writeFile(path, typeof recipe === 'string' ? recipe : stringify({ format: 'winnow-recipe/1', name, pool: [{ folder: './pool' }], ...recipe }));
  const store = join(folder, name);
  return { store, ended: await winnow(['run', path, '--store', store, '--quiet', ...options]) };
}

describe('a recipe', () => {
  it.each([
    ['that is not there', 'nowhere.yaml', /^INPUT_MISSING: Expected a recipe at .*nowhere\.yaml/],
    ['that is a folder', 'pool', /^INPUT_MISSING: Expected a recipe at .*pool/],
  ])('%s', async (_, name, sentence) => {
    const store = join(folder, 'no-recipe');
    expectOneSentence(await winnow(['run', join(folder, name), '--store', store]), 2, sentence);
    await expect(stat(store)).rejects.toThrow();
  });

  it.each<[string, string | object, RegExp]>([
    ['that is not YAML', 'a: [b\nc: }', /^CONFIG_INVALID: .*\.yaml is not valid YAML: .* line 2/],
    ['that is no mapping', 'only text', /^CONFIG_INVALID: .*expected object, got "only text"/],
    ['with an unknown key', { smaple: { target: 5 } }, /^CONFIG_INVALID: .*"smaple".*did you mean "sample"\?/],
    ['with an unknown key inside', { sample: { targt: 5 } }, /^CONFIG_INVALID: .*sample has no key "targt".*did you mean "target"\?/],
    ['with a number out of range', { embed: { batchSize: 0 } }, /^CONFIG_INVALID: .*embed\.batchSize: .*got 0/],
  ])('%s', async (_, recipe, sentence) => {
    const { ended, store } = await run(recipe);
    expectOneSentence(ended, 2, sentence);
    await expect(stat(store)).rejects.toThrow();
  });
});

describe('a source', () => {
  it.each<[string, object, RegExp]>([
    ['that is not there', { folder: './nowhere' }, /^INPUT_MISSING: .*\/nowhere.*does not exist/],
    ['that is empty', { folder: './empty' }, /^INPUT_EMPTY: .*\/empty, got none/],
    ['without images', { folder: './texts' }, /^INPUT_EMPTY: .*\/texts, got none; passed over: 1 extension/],
    ['that is a list without the named column', { list: './texts/a.txt' }, /^(INPUT_MALFORMED|CONFIG_INVALID): .*a\.txt/],
  ])('%s', async (_, source, sentence) => {
    const { ended, store } = await run({ pool: [source] });
    expectOneSentence(ended, 2, sentence);
    await expectNothingHalfWritten(store);
    await expect(stat(join(store, 'images'))).rejects.toThrow();
  });
});

describe('a target or a tree that the pool cannot give', () => {
  it('k larger than n', async () => {
    const { ended, store } = await run({ cluster: { levels: [500, 10] } });
    expectOneSentence(ended, 2, /^TOO_FEW_ROWS: .*asks for 500, the pool has 8\d usable images/);
    await expectNothingHalfWritten(store);
    await expect(stat(join(store, 'clusters'))).rejects.toThrow();
  });

  it('a target larger than the pool, strict', async () => {
    const { ended, store } = await run({ cluster: { levels: [20, 10] }, sample: { target: 1000, strict: true } });
    expectOneSentence(ended, 2, /^TARGET_UNREACHABLE: .*1000.*which is 8\d/);
    await expectNothingHalfWritten(store);
    await expect(stat(join(store, 'selections', 'balanced', 'manifest.json'))).rejects.toThrow();
  });

  it('a target larger than the pool, not strict: a number, a warning, and exit 0', async () => {
    const { ended, store } = await run({ cluster: { levels: [20, 10] }, sample: { target: 1000 } }, '--json');
    expect(ended.code).toBe(0);
    const { selection, funnel } = JSON.parse(ended.stdout) as { selection: Record<string, number>; funnel: Record<string, number> };
    expect(selection.requested).toBe(1000);
    expect(selection.shortfall).toBe(1000 - selection.selected!);
    expect(selection.selected).toBe(funnel.selected);
    expect(ended.stderr).toContain(`short by ${selection.shortfall}`);
    await expectNothingHalfWritten(store);
  });
});

describe('a model', () => {
  it('that gives NaN for an image: a row with a reason, and the run goes on', async () => {
    const { ended, store } = await run({ embed: { model: './colour.onnx' }, cluster: { levels: [10, 4] } });
    expect(ended.code, ended.stderr).toBe(0);
    const { stats } = JSON.parse(await readFile(join(store, 'embeddings', 'manifest.json'), 'utf8')) as { stats: { statuses: Record<string, number> } };
    expect(stats.statuses['not-finite']).toBe(1);
    expect(stats.statuses.ok).toBeGreaterThan(IMAGES * 0.9);
    await expectNothingHalfWritten(store);
  });

  it.each<[string, object, RegExp]>([
    ['that gives NaN for every image', { model: './nan.onnx' }, /^TOO_MANY_DROPPED: .*embed\.maxDropRatio.* \d+ not-finite/],
    ['that is not there', { model: './nowhere.onnx' }, /^MODEL_UNAVAILABLE: .*nowhere\.onnx/],
    ['that is no ONNX file', { model: './texts/a.txt' }, /^MODEL_INVALID: .*a\.txt/],
    ['that takes no images', { model: './text.onnx' }, /^MODEL_INVALID: .*text\.onnx/],
    ['whose input has another size than the recipe says', { model: './colour.onnx', input: { resize: { mode: 'exact', width: 9, height: 9 } } }, /^MODEL_INVALID: .*8 × 8.*9 × 9/],
  ])('%s', async (_, embed, sentence) => {
    const { ended, store } = await run({ embed });
    expectOneSentence(ended, 2, sentence);
    await expectNothingHalfWritten(store);
    await expect(stat(join(store, 'embeddings', 'manifest.json'))).rejects.toThrow();
  });
});
