import { describe, expect, it } from 'vitest';
import { readModelInput } from '../../src/embed/model-input.ts';
import { TINY_PREPROCESSOR } from './tiny-models.ts';

const input = (type: string, ...shape: (number | string)[]) => [{ name: 'in', type, shape }];
const read = (inputs: ReturnType<typeof input>, overrides = {}, preprocessor: unknown = null) => readModelInput('m.onnx', inputs, preprocessor, overrides);
const MEAN = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;

describe('readModelInput', () => {
  it('needs nothing but the graph for bytes of a fixed size', () => {
    expect(read(input('uint8', 'N', 224, 160, 3))).toEqual({
      name: 'in',
      type: 'uint8',
      batch: null,
      preprocess: {
        resize: { mode: 'cover', width: 160, height: 224 },
        crop: null,
        resample: 'bicubic',
        background: [255, 255, 255],
        layout: 'nhwc',
        type: 'uint8',
        rescale: 1,
        mean: [0, 0, 0],
        std: [1, 1, 1],
      },
    });
  });

  it.each([
    [['batch_size', 'num_channels', 'height', 'width'], 'nchw'],
    [['n', 'height', 'width', 'channels'], 'nhwc'],
    [['n', 3, 'h', 'w'], 'nchw'],
    [[1, 224, 224, 3], 'nhwc'],
    [[1, 'c', 224, 224], 'nchw'],
  ] as const)('finds the channels of %j', (shape, layout) => {
    const { preprocess } = read(input('float32', ...shape), { ...MEAN, resize: { mode: 'exact', width: 224, height: 224 } });
    expect(preprocess).toMatchObject({ layout, type: 'float32', rescale: 1 / 255, ...MEAN });
  });

  it('reads a preprocessor file, and lets the recipe win', () => {
    const graph = input('float16', 8, 3, 32, 32);
    expect(read(graph, {}, TINY_PREPROCESSOR)).toMatchObject({
      type: 'float16',
      batch: 8,
      preprocess: { resize: { mode: 'shortest-edge', size: 40 }, crop: { width: 32, height: 32 }, type: 'float32', layout: 'nchw', std: [0.25, 0.25, 0.25] },
    });
    expect(read(graph, { resize: { mode: 'exact', width: 32, height: 32 }, crop: null, std: [1, 1, 1] }, TINY_PREPROCESSOR).preprocess).toMatchObject({
      resize: { mode: 'exact', width: 32, height: 32 },
      crop: null,
      std: [1, 1, 1],
    });
  });

  it('crops a shortest edge to the size of the input', () => {
    expect(read(input('uint8', 'n', 96, 96, 3), { resize: { mode: 'shortest-edge', size: 112 } }).preprocess.crop).toEqual({ width: 96, height: 96 });
    expect(read(input('uint8', 'n', 'h', 'w', 3), { resize: { mode: 'shortest-edge', size: 112 } }).preprocess.crop).toEqual({ width: 112, height: 112 });
  });

  it.each([
    ['no normalisation', input('float32', 'n', 3, 224, 224), {}, /embed.input.mean and embed.input.std/],
    ['no size', input('float32', 'n', 3, 'h', 'w'), MEAN, /set embed.input.resize/],
    ['no channels', input('float32', 'n', 'a', 'b', 'c'), MEAN, /set embed.input.layout/],
    ['one channel', input('float32', 'n', 1, 28, 28), MEAN, /RGB images/],
    ['text', input('int64', 'n', 77), {}, /four dimensions of float32, float16 or uint8; m.onnx has in: int64\[n, 77\]/],
    ['another layout', input('uint8', 'n', 224, 224, 3), { layout: 'nchw' }, /embed.input.layout nchw/],
    ['another type', input('uint8', 'n', 224, 224, 3), { type: 'float32' }, /takes uint8, the recipe's embed.input.type is float32/],
    ['another size', input('uint8', 'n', 224, 224, 3), { resize: { mode: 'exact', width: 64, height: 64 } }, /takes images of 224 × 224, its preprocessing makes 64 × 64/],
  ])('says what is missing or wrong: %s', (_what, inputs, overrides, message) => {
    expect(() => read(inputs, overrides)).toThrow(expect.objectContaining({ code: 'MODEL_INVALID', message: expect.stringMatching(message) }));
  });

  it('refuses models with two towers, and with none', () => {
    const both = [...input('float32', 'n', 3, 224, 224), { name: 'input_ids', type: 'int64', shape: ['n', 77] }];
    expect(() => readModelInput('m.onnx', both, null, {})).toThrow(/one input, images.*input_ids.*export the vision tower alone/);
    expect(() => readModelInput('m.onnx', [], null, {})).toThrow(/has none/);
  });
});
