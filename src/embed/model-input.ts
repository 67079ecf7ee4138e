/**
 * What a model's image input wants, from three sources: the ONNX graph (names, element type, fixed sizes), the
 * `preprocessor_config.json` beside it, and the recipe, which wins. Where all are silent the answer is an error that names
 * the field to add: a model fed with other pixels than it was trained on fails without a sound.
 */
import { WinnowError } from '../errors.ts';
import type { ValueInfo } from '../onnx/session.ts';
import type { ModelInputConfig } from './config.ts';
import { inputSize, type PreprocessSpec } from './embedding.ts';
import { parsePreprocessorConfig } from './hf-preprocessor.ts';

export interface ModelInput {
  readonly name: string;
  /** Element type of the tensor; a float16 input is filled from float32 pixels. */
  readonly type: 'float32' | 'float16' | 'uint8';
  /** Images of a run when the graph fixes them; null: any number. */
  readonly batch: number | null;
  readonly preprocess: PreprocessSpec;
}

/**
 * @param model name for messages
 * @param preprocessor parsed `preprocessor_config.json`, or null
 * @throws {WinnowError} MODEL_INVALID
 */
export function readModelInput(model: string, inputs: readonly ValueInfo[], preprocessor: unknown, overrides: ModelInputConfig): ModelInput {
  const input = imageInput(model, inputs);
  const layout = layoutOf(model, input, overrides.layout);
  const type = overrides.type ?? (input.type === 'uint8' ? 'uint8' : 'float32');
  if ((type === 'uint8') !== (input.type === 'uint8')) throw invalid(`${model} takes ${input.type}, the recipe's embed.input.type is ${type}`);
  const [height, width] = (layout === 'nchw' ? [2, 3] : [1, 2]).map((axis) => fixed(input.shape[axis]));
  const size = height == null || width == null ? null : { width, height };
  const preprocess = preprocessor === null ? fromRecipe(model, type, layout, size, overrides) : parsePreprocessorConfig(preprocessor, { ...overrides, layout, type });
  const made = inputSize(preprocess);
  if (size !== null && (made.width !== size.width || made.height !== size.height)) {
    throw invalid(`${model} takes images of ${size.width} × ${size.height}, its preprocessing makes ${made.width} × ${made.height}: set embed.input.resize and embed.input.crop`, { expected: size, got: made });
  }
  return { name: input.name, type: input.type as ModelInput['type'], batch: fixed(input.shape[0]), preprocess };
}

function imageInput(model: string, inputs: readonly ValueInfo[]): ValueInfo {
  const [input, ...others] = inputs;
  const listed = inputs.map(describe).join(', ');
  if (input === undefined || others.length > 0) {
    throw invalid(`Expected a model with one input, images; ${model} has ${inputs.length === 0 ? 'none' : listed}. Of a two-tower model export the vision tower alone`, { inputs });
  }
  if (!['float32', 'float16', 'uint8'].includes(input.type) || input.shape.length !== 4) {
    throw invalid(`Expected an input of images, four dimensions of float32, float16 or uint8; ${model} has ${listed}`, { inputs });
  }
  return input;
}

/** The channel axis is the one with size 3 or, in exports where every size is free, the one called channels. */
function layoutOf(model: string, input: ValueInfo, wanted: 'nchw' | 'nhwc' | undefined): 'nchw' | 'nhwc' {
  const isChannels = (axis: number): boolean => input.shape[axis] === 3 || /chan/i.test(String(input.shape[axis]));
  const canBe = (axis: number): boolean => isChannels(axis) || fixed(input.shape[axis]) === null;
  if (!canBe(1) && !canBe(3)) throw invalid(`Expected an input of RGB images, 3 channels second or last; ${model} has ${describe(input)}`);
  if (wanted !== undefined) {
    if (!canBe(wanted === 'nchw' ? 1 : 3)) throw invalid(`${model} has the input ${describe(input)}, which is not the recipe's embed.input.layout ${wanted}`);
    return wanted;
  }
  if (isChannels(1) !== isChannels(3)) return isChannels(1) ? 'nchw' : 'nhwc';
  if (canBe(1) !== canBe(3)) return canBe(1) ? 'nchw' : 'nhwc';
  throw invalid(`The input ${describe(input)} of ${model} does not say where the channels are: set embed.input.layout to nchw or nhwc`);
}

/** Without a preprocessor file: geometry from the fixed size, arithmetic only where the recipe states it. */
function fromRecipe(model: string, type: 'float32' | 'uint8', layout: 'nchw' | 'nhwc', size: { width: number; height: number } | null, overrides: ModelInputConfig): PreprocessSpec {
  const resize = overrides.resize ?? (size === null ? undefined : { mode: 'cover' as const, ...size });
  if (resize === undefined) {
    throw invalid(`${model} takes images of any size: set embed.input.resize, as in {mode: cover, width: 224, height: 224}, or put its preprocessor_config.json beside it`);
  }
  if (type === 'float32' && (overrides.mean === undefined || overrides.std === undefined)) {
    const inside = 'where the model normalizes by itself these are [0, 0, 0] and [1, 1, 1]';
    throw invalid(`${model} takes float32 and nothing says how its pixels are normalized: set embed.input.mean and embed.input.std (${inside}), or put its preprocessor_config.json beside it`);
  }
  const square = resize.mode === 'shortest-edge' ? (size ?? { width: resize.size, height: resize.size }) : null;
  return {
    resize,
    crop: overrides.crop === undefined ? square : overrides.crop,
    resample: overrides.resample ?? 'bicubic',
    background: overrides.background ?? [255, 255, 255],
    layout,
    type,
    rescale: overrides.rescale ?? (type === 'uint8' ? 1 : 1 / 255),
    mean: overrides.mean ?? [0, 0, 0],
    std: overrides.std ?? [1, 1, 1],
  };
}

/** The size of a dimension, or null where any will do. */
function fixed(dimension: number | string | undefined): number | null {
  return typeof dimension === 'number' && dimension >= 0 ? dimension : null;
}

/** `image: uint8[N, 224, 224, 3]` */
export function describe({ name, type, shape }: ValueInfo): string {
  return `${name}: ${type}[${shape.map((size) => (size === '' || size === -1 ? '?' : size)).join(', ')}]`;
}

function invalid(message: string, details: Record<string, unknown> = {}): WinnowError {
  return new WinnowError('MODEL_INVALID', message, { details });
}
