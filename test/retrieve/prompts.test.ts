import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { retrieve } from '../../pipelines/6-retrieve.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { lineageRecipe, parseRecipe } from '../../src/config.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { type Log, SILENT } from '../../src/log.ts';
import { RetrieveConfig } from '../../src/retrieve/config.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { readManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { readSelection } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type MadeVectors, writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { textTower, tokenizerJson, writeTextTower } from './text-tower.ts';

const engine = sharedEngine();

/** Images whose vectors say red, green, blue, flower and mixtures of them. */
const POOL: MadeVectors = { d: 4, vectors: Float32Array.from([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [2, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1], [1, 1, 0, 0]].flat()), rejected: new Set([6]) };

async function openContext(pool: MadeVectors): Promise<{ context: RunContext; store: Store; folder: string; warnings: string[] }> {
  const folder = await temporaryFolder('prompts');
  const store = await openFsStore(join(folder, 'store'));
  await writeEmbeddings(store, 'embeddings', pool);
  const warnings: string[] = [];
  const log = { ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, text: string) => warnings.push(text) } as unknown as Log;
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 2, blockRows: 8192, memoryBytes: 1 << 24 };
  const executor = createLocalExecutor({ store, signal, log, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  await executor.resource('search-onnxruntime', engine);
  return { context: { store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed: 0, resource: executor.resource }, store, folder, warnings };
}

const request = (overrides: object): RetrieveConfig => RetrieveConfig.parse({ name: 'words', k: 2, text: { model: './clip/onnx/text_model.onnx' }, ...overrides });

async function pairsOf(store: Store, manifest: Parameters<typeof readSelection>[1]): Promise<[number, number, number][]> {
  const pairs: [number, number, number][] = [];
  for await (const { row, query, score } of readSelection(store, manifest)) row.forEach((r, i) => pairs.push([query![i]!, r, score[i]!]));
  return pairs.sort((a, b) => a[0] - b[0] || b[2] - a[2]);
}

describe('prompts as a seed set', () => {
  it('retrieves the images nearest to each prompt, from a list or from a file, with the same bytes of vectors', async () => {
    const { context, store, folder } = await openContext(POOL);
    await writeTextTower(join(folder, 'clip'));
    const prompts = ['red', 'green flower', 'blue'];
    const listed = await retrieve(context, request({ prompts }), folder);
    const pairs = await pairsOf(store, listed.manifest);
    // red: row 0, then 4 (2, 0, 0, 1). green flower (0, 4, 0, 2): row 5 exactly, then row 1. blue: row 2; row 6 is rejected, the rest lie at 0: the lowest row.
    expect(pairs.map(([query, row]) => [query, row])).toEqual([[0, 0], [0, 4], [1, 5], [1, 1], [2, 2], [2, 0]]);
    const cosines = [1, 2 / Math.sqrt(5), 1, 4 / Math.sqrt(20), 1, 0];
    pairs.forEach(([, , score], i) => expect(score).toBeCloseTo(cosines[i]!, 6));
    expect(listed.manifest).toMatchObject({ part: 'words', kind: 'retrieved', requested: 6, selected: 6, unique: 5, stats: { seeds: 3, queries: 3 } });

    const seeds = (await readManifest<EmbeddingsManifest>(store, 'seeds/words/embeddings'))!;
    expect(seeds.manifest).toMatchObject({ stage: 'embed', d: 4, okRows: [3], encoder: { encoder: 'onnx-text', file: 'text_model.onnx', output: 'text_embeds', length: null } });
    expect(JSON.stringify(seeds.manifest)).not.toContain(folder);
    expect(decodeTable(await store.read(seeds.manifest.parts[0]!.path), 'prompts').strings('text')).toEqual(prompts);

    await writeFile(join(folder, 'prompts.txt'), '  red\r\n\n green flower \nblue');
    const filed = await retrieve(context, request({ prompts: './prompts.txt' }), folder);
    expect(filed.sha256).toBe(listed.sha256);
    const changed = await retrieve(context, request({ prompts: ['red', 'green', 'blue'] }), folder);
    expect((await pairsOf(store, changed.manifest)).filter(([query]) => query === 1).map(([, row]) => row)).toEqual([1, 5]);
  });

  it('tops up prompts as it does images', async () => {
    const { context, store, folder } = await openContext(POOL);
    await writeTextTower(join(folder, 'clip'));
    const { manifest } = await retrieve(context, request({ prompts: ['red', 'red'], topUp: true }), folder);
    // Both want 0, then 4: the first has them. Then come 7 (cosine 1/√2) and, of those at 0, the lowest row.
    expect((await pairsOf(store, manifest)).map(([query, row]) => [query, row])).toEqual([[0, 0], [0, 4], [1, 7], [1, 1]]);
  });

  it('says what is wrong: no file, no prompt, no model, no tokenizer, another space, a prompt without a direction', async () => {
    const { context, folder, warnings, store } = await openContext(POOL);
    await writeTextTower(join(folder, 'clip'));
    await writeFile(join(folder, 'empty.txt'), '\n  \n');
    await writeFile(join(folder, 'binary.txt'), Buffer.of(0xff, 0xfe, 0x00));
    const fails = async (overrides: object, code: string, message: RegExp): Promise<void> => {
      await expect(retrieve(context, request(overrides), folder)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    };
    await fails({ prompts: 'a red flower' }, 'INPUT_MISSING', /one prompt a line for words \(a list in the recipe holds prompts themselves\).*found none/);
    await fails({ prompts: './empty.txt' }, 'INPUT_EMPTY', /no line with a word/);
    await fails({ prompts: './binary.txt' }, 'INPUT_MALFORMED', /UTF-8/);
    await fails({ prompts: ['red'], text: { model: './nowhere.onnx' } }, 'MODEL_UNAVAILABLE', /nowhere\.onnx, found nothing/);
    await fails({ prompts: ['red'], text: { model: './clip' } }, 'MODEL_INVALID', /path of an ONNX file/);
    await writeTextTower(join(folder, 'bare/model'));
    await fails({ prompts: ['red'], text: { model: './bare/model/onnx/text_model.onnx', tokenizer: './bare/tokenizer.json' } }, 'INPUT_MISSING', /tokenizer of the text model/);

    const other = await openContext({ d: 2, vectors: Float32Array.from([1, 0, 0, 1]) });
    await expect(retrieve(other.context, request({ prompts: ['red'] }), folder)).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH', message: expect.stringMatching(/2 dimensions, the text model gives 4.*image_embeds/) });

    await writeTextTower(join(folder, 'clip'), { tower: textTower({ mask: true }), tokenizer: tokenizerJson({ padding: { strategy: { Fixed: 4 }, pad_id: 0 } }) });
    const { manifest } = await retrieve(context, request({ prompts: ['[start] [end]', 'red red blue blue'] }), folder);
    expect(warnings).toEqual(['retrieve words: 1 of 2 prompts have more tokens than the text model takes and lost their end']);
    const seeds = (await readManifest<EmbeddingsManifest>(store, 'seeds/words/embeddings'))!.manifest;
    expect(seeds.stats).toMatchObject({ statuses: { 'zero-vector': 1, ok: 1 } });
    expect(manifest).toMatchObject({ requested: 2, stats: { seeds: 2, queries: 1 } });
  });

  it('is in the recipe with rules of its own, and leaves no place in the lineage', () => {
    const recipe = (retrieve: object) => parseRecipe({ format: 'winnow-recipe/1', name: 'r', pool: [{ folder: './p' }], retrieve: [{ name: 'x', ...retrieve }] }, 'recipe');
    const fault = (retrieve: object, message: RegExp): void => expect(() => recipe(retrieve)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) }));
    fault({}, /seed images in `sources`, or `prompts`/);
    fault({ prompts: ['a'] }, /`text` with the text model/);
    fault({ sources: [{ folder: './s' }], text: { model: './t.onnx' } }, /`prompts` beside `text`/);
    fault({ prompts: ['a'], text: { model: './t.onnx' }, sources: [{ folder: './s' }] }, /not both/);
    fault({ prompts: ['a'], text: { model: './t.onnx' }, cluster: {} }, /take `cluster` out/);
    fault({ prompts: ['  '], text: { model: './t.onnx' } }, /a prompt with a word in it/);
    fault({ sources: [{ folder: './s' }], cluster: {}, topUp: true }, /`topUp` without `cluster`/);
    fault({ sources: [{ folder: './s' }], cluster: { level: 2, clusters: 50 } }, /not both/);
    fault({ sources: [{ folder: './s' }], cluster: { clsters: 50 } }, /did you mean "clusters"/);

    const lineage = lineageRecipe(recipe({ prompts: ['a cat'], text: { model: './secret/t.onnx', tokenizer: './secret/tokenizer.json', output: 'text_embeds' } }));
    expect(JSON.stringify(lineage)).not.toContain('secret');
    expect(lineage.retrieve).toEqual([{ name: 'x', sources: [], engine: 'onnxruntime', k: 4, text: { output: 'text_embeds' }, prompts: ['a cat'] }]);
    // What was in a recipe before is described as before.
    expect(lineageRecipe(recipe({ sources: [{ folder: './s' }] })).retrieve).toEqual([{ name: 'x', sources: [expect.objectContaining({ kind: 'folder' })], engine: 'onnxruntime', k: 4 }]);
  });
});

describe('the README on retrieval', () => {
  it('shows entries that a recipe takes, with the published figures as the defaults', () => {
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
    const [, block] = /^```yaml retrieve\n([\s\S]*?)^```/m.exec(readme)!;
    const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'r', pool: [{ folder: './p' }], ...(parse(block!) as object) }, 'README');
    expect(recipe.retrieve).toHaveLength(4);
    expect(recipe.retrieve[2]!.cluster).toEqual({ ...RetrieveConfig.parse({ name: 'x', sources: [{ folder: './s' }], cluster: {} }).cluster, clusters: 100_000 });
    expect(recipe.mix.overlap).toBe('first');
  });
});
