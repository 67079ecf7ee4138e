import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Encoder } from '../../src/embed/embedding.ts';
import { createOnnxEncoder, type OnnxEncoderConfig } from '../../src/embed/encode.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { colourEmbedding, patchMean, SIZE, TINY_PREPROCESSOR, tinyBytes, tinyCompany, tinyVit } from './tiny-models.ts';

/** A folder laid out as a repository of Hugging Face. */
async function repository(model: Uint8Array, files: Record<string, unknown> = { 'preprocessor_config.json': TINY_PREPROCESSOR }): Promise<string> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'onnx'));
  await writeFile(join(folder, 'onnx', 'model.onnx'), model);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(content));
  return folder;
}

async function open(config: OnnxEncoderConfig): Promise<Encoder> {
  const encoder = await createOnnxEncoder(config);
  onTestFinished(() => encoder.close());
  return encoder;
}

const PIXELS = 3 * SIZE * SIZE;

function images(n: number): Float32Array {
  return Float32Array.from({ length: n * PIXELS }, (_, i) => ((Math.imul(i + 7, 2_654_435_761) >>> 8) % 4001) / 1000 - 2);
}

function expectRow(vectors: Float32Array, row: number, expected: readonly number[], digits = 4): void {
  expected.forEach((value, j) => expect(vectors[row * expected.length + j], `row ${row}, component ${j}`).toBeCloseTo(value, digits));
}

describe('createOnnxEncoder', () => {
  it('opens a Vision Transformer by its folder: class token, preprocessing from its file', async () => {
    const encoder = await open({ model: await repository(tinyVit({ tokensBefore: 5 })), threads: 2 });
    expect(encoder).toMatchObject({ d: 6, batchSize: 32, preprocess: { crop: { width: SIZE, height: SIZE }, type: 'float32', layout: 'nchw' } });
    const tensor = images(3);
    const vectors = await encoder.encode(tensor, 3);
    expect(vectors.length).toBe(18);
    for (let i = 0; i < 3; i += 1) expectRow(vectors, i, patchMean(tensor.subarray(i * PIXELS, (i + 1) * PIXELS)).map((value) => 2 * value));
  });

  it('leaves class and register tokens out of the mean of the patches', async () => {
    for (const [tokensBefore, config] of [[5, {}], [1, {}], [3, { 'config.json': { patch_size: 8 } }], [0, {}]] as const) {
      const folder = await repository(tinyVit({ tokensBefore }), { 'preprocessor_config.json': TINY_PREPROCESSOR, ...config });
      const encoder = await open({ model: folder, pool: 'mean', threads: 1 });
      const tensor = images(1);
      expectRow(await encoder.encode(tensor, 1), 0, patchMean(tensor));
    }
  });

  it('prefers the pooled output, and takes the one that is named', async () => {
    const folder = await repository(tinyVit({ pooler: true }));
    const tensor = images(1);
    const auto = await open({ model: folder, threads: 1 });
    expect(auto.provenance).toMatchObject({ output: 'pooler_output', pool: 'pooled' });
    expectRow(await auto.encode(tensor, 1), 0, patchMean(tensor));
    const named = await open({ model: folder, threads: 1, output: 'last_hidden_state' });
    expect(named.provenance).toMatchObject({ output: 'last_hidden_state', pool: 'cls' });
    expectRow(await named.encode(tensor, 1), 0, patchMean(tensor).map((value) => 2 * value));
  });

  it('feeds bytes to models that normalise by themselves', async () => {
    const encoder = await open({ model: join(await repository(tinyBytes(), {}), 'onnx', 'model.onnx'), threads: 1 });
    expect(encoder.preprocess).toMatchObject({ type: 'uint8', layout: 'nhwc', resize: { mode: 'cover', width: 8, height: 8 } });
    const tensor = Uint8Array.from({ length: 2 * 192 }, (_, i) => (i * 37) % 256);
    const vectors = await encoder.encode(tensor, 2);
    expectRow(vectors, 0, colourEmbedding(tensor.subarray(0, 192)), 3);
    expectRow(vectors, 1, colourEmbedding(tensor.subarray(192)), 3);
  });

  it('converts for float16 inputs and outputs', async () => {
    const encoder = await open({ model: await repository(tinyVit({ type: 'float16' })), threads: 1 });
    const tensor = images(2).map((value) => Math.round(value * 8) / 8);
    const vectors = await encoder.encode(tensor, 2);
    for (let i = 0; i < 2; i += 1) expectRow(vectors, i, patchMean(tensor.subarray(i * PIXELS, (i + 1) * PIXELS)).map((value) => 2 * value), 1);
  });

  it('gives an image the same bits wherever it stands, alone or in company, on any number of threads, in batches that the graph fixes', async () => {
    const tensor = images(7);
    const folder = await repository(tinyVit());
    const whole = await (await open({ model: folder, threads: 2, batchSize: 7 })).encode(tensor, 7);
    for (const [model, threads] of [[folder, 1], [folder, 3], [await repository(tinyVit({ batch: 4 })), 2]] as const) {
      const encoder = await open({ model, threads });
      for (const [first, n] of [[0, 7], [3, 1], [2, 5]] as const) {
        const part = await encoder.encode(tensor.subarray(first * PIXELS, (first + n) * PIXELS), n);
        expect(part).toEqual(whole.slice(first * 6, (first + n) * 6));
      }
    }
  });

  it('runs images alone where company would change them', async () => {
    const encoder = await open({ model: join(await repository(tinyCompany(), {}), 'onnx', 'model.onnx'), threads: 2 });
    const tensor = Uint8Array.from({ length: 5 * 192 }, (_, i) => (i * 37 + Math.floor(i / 192) * 11) % 256);
    const vectors = await encoder.encode(tensor, 5);
    for (let row = 0; row < 5; row += 1) {
      const image = tensor.subarray(row * 192, (row + 1) * 192);
      expectRow(vectors, row, [0, 1, 2].map((c) => image.filter((_, i) => i % 3 === c).reduce((sum, value) => sum + value, 0) / 64 / 2), 3);
    }
  });

  it('records what it is, without a path of this machine', async () => {
    const folder = await repository(tinyVit());
    const encoder = await open({ model: folder, threads: 1, providers: ['cuda', 'cpu'] });
    expect(encoder.provenance).toMatchObject({ encoder: 'onnx', file: 'model.onnx', sha256: expect.stringMatching(/^[0-9a-f]{64}$/), output: 'last_hidden_state', pool: 'cls', runtime: 'onnxruntime' });
    expect(JSON.stringify(encoder.provenance)).not.toContain(folder);
    expect(JSON.parse(JSON.stringify(encoder.provenance))).toEqual(encoder.provenance);
    expect(encoder.notice).toMatch(/^model.onnx gives 6 dimensions \(last_hidden_state, cls\); ONNX Runtime [\d.]+ runs on (cuda|cpu; cuda does not: .+)$/);
  });

  it('says what does not fit when the model is opened', async () => {
    const rejects = async (model: Uint8Array, message: RegExp, config: Partial<OnnxEncoderConfig> = {}, files?: Record<string, unknown>): Promise<void> => {
      await expect(createOnnxEncoder({ model: await repository(model, files), threads: 1, ...config })).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringMatching(message) });
    };
    await rejects(Uint8Array.of(1, 2), /can open, got .*model.onnx/);
    await rejects(tinyVit(), /embed.input.mean/, {}, {});
    await rejects(tinyVit(), /takes images of 32 × 32, its preprocessing makes 24 × 24/, { input: { crop: { width: 24, height: 24 } } });
    await rejects(tinyVit({ shape: ['n', 3, 'h', 'w'] }), /does not run on 1 images of 24 × 24 as nchw float32: /, { input: { crop: { width: 24, height: 24 } } });
    await rejects(tinyVit(), /no output pooler_output/, { output: 'pooler_output' });
    await rejects(tinyBytes(), /one vector an image/, { pool: 'mean', output: 'embedding' }, {});
  });

  it.skipIf(withoutSharedData() !== null)(`embeds with a real model${withoutSharedData() ?? ''}`, async () => {
    const encoder = await open({ model: join(sharedData, 'models', 'mobilenetv2_fp32_224.onnx'), threads: Math.min(2, availableParallelism()) });
    expect(encoder).toMatchObject({ d: 1280, preprocess: { type: 'uint8', layout: 'nhwc', resize: { mode: 'cover', width: 224, height: 224 } } });
    expect(encoder.provenance).toMatchObject({ output: 'embedding', file: 'mobilenetv2_fp32_224.onnx' });
    const each = 3 * 224 * 224;
    const tensor = Uint8Array.from({ length: 3 * each }, (_, i) => (i * 31 + Math.floor(i / each) * 57) % 256);
    const vectors = await encoder.encode(tensor, 3);
    expect(vectors.every(Number.isFinite)).toBe(true);
    expect(await encoder.encode(tensor.subarray(2 * each), 1)).toEqual(vectors.slice(2 * 1280));
  });
});
