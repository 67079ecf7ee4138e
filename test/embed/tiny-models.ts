/** Small ONNX models with the inputs and outputs of real ones, and what they compute, in float64. */
import { type GraphSpec, type Initializer, type NodeSpec, type ValueSpec, encodeModel } from '../../src/onnx/graph.ts';

export const D = 6;
export const SIZE = 32;
export const PATCH = 8;
const GRID = SIZE / PATCH;

function weights(seed: number, length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => (((Math.imul(i + 1, 2_654_435_761) ^ Math.imul(seed, 97_531)) >>> 8) % 2001) / 1000 - 1);
}

const PATCH_WEIGHTS = weights(1, D * 3 * PATCH * PATCH);

export interface TinyVitOptions {
  /** Tokens before the patches; the class token is twice the mean of the patches, registers a hundred times. */
  readonly tokensBefore?: number;
  readonly pooler?: boolean;
  readonly batch?: number | string;
  readonly shape?: readonly (number | string)[];
  readonly type?: 'float32' | 'float16';
}

/** A Vision Transformer without the transformer: pixel_values [N, 3, 32, 32] → last_hidden_state [N, tokens, 6]. */
export function tinyVit({ tokensBefore = 1, pooler = false, batch = 'batch_size', shape, type = 'float32' }: TinyVitOptions = {}): Uint8Array {
  const factors = Float32Array.from({ length: tokensBefore }, (_, i) => (i === 0 ? 2 : 100));
  const initializers: Initializer[] = [
    { name: 'w', type: 'float32', shape: [D, 3, PATCH, PATCH], data: PATCH_WEIGHTS },
    { name: 'flat', type: 'int64', shape: [3], data: BigInt64Array.of(0n, BigInt(D), BigInt(GRID * GRID)) },
    ...(tokensBefore > 0 ? [{ name: 'factors', type: 'float32' as const, shape: [1, tokensBefore, 1], data: factors }] : []),
  ];
  const nodes: NodeSpec[] = [
    { op: 'Cast', inputs: ['pixel_values'], outputs: ['pixels'], attributes: { to: 1 } },
    { op: 'Conv', inputs: ['pixels', 'w'], outputs: ['grid'], attributes: { kernel_shape: [PATCH, PATCH], strides: [PATCH, PATCH] } },
    { op: 'Reshape', inputs: ['grid', 'flat'], outputs: ['columns'] },
    { op: 'Transpose', inputs: ['columns'], outputs: ['patches'], attributes: { perm: [0, 2, 1] } },
    { op: 'ReduceMean', inputs: ['patches'], outputs: ['mean'], attributes: { axes: [1], keepdims: 1 } },
    ...(tokensBefore > 0
      ? [
          { op: 'Mul', inputs: ['mean', 'factors'], outputs: ['before'] },
          { op: 'Concat', inputs: ['before', 'patches'], outputs: ['sequence'], attributes: { axis: 1 } },
        ]
      : [{ op: 'Identity', inputs: ['patches'], outputs: ['sequence'] }]),
    { op: 'Cast', inputs: ['sequence'], outputs: ['last_hidden_state'], attributes: { to: type === 'float16' ? 10 : 1 } },
    ...(pooler ? [{ op: 'ReduceMean', inputs: ['patches'], outputs: ['pooler_output'], attributes: { axes: [1], keepdims: 0 } }] : []),
  ];
  const outputs: ValueSpec[] = [{ name: 'last_hidden_state', type, shape: [batch, tokensBefore + GRID * GRID, D] }];
  if (pooler) outputs.push({ name: 'pooler_output', type: 'float32', shape: [batch, D] });
  return encodeModel({ name: 'tiny-vit', inputs: [{ name: 'pixel_values', type, shape: shape ?? [batch, 3, SIZE, SIZE] }], outputs, nodes, initializers });
}

/** Means over the patches of one NCHW image, which is what `tinyVit` pools to; the class token is twice that. */
export function patchMean(image: Float32Array): number[] {
  return Array.from({ length: D }, (_, channel) => {
    let sum = 0;
    for (let c = 0; c < 3; c += 1) {
      for (let y = 0; y < SIZE; y += 1) {
        for (let x = 0; x < SIZE; x += 1) {
          const weight = PATCH_WEIGHTS[((channel * 3 + c) * PATCH + (y % PATCH)) * PATCH + (x % PATCH)] as number;
          sum += weight * (image[(c * SIZE + y) * SIZE + x] as number);
        }
      }
    }
    return sum / (GRID * GRID);
  });
}

const COLOUR_WEIGHTS = weights(2, 3 * D);

/** image: uint8 [N, 8, 8, 3] → embedding [N, 6] and logits, as classifiers that normalise by themselves are exported. */
export function tinyBytes(): Uint8Array {
  const graph: GraphSpec = {
    name: 'tiny-bytes',
    inputs: [{ name: 'image', type: 'uint8', shape: ['N', 8, 8, 3] }],
    outputs: [
      { name: 'logits', type: 'float32', shape: ['N', 3] },
      { name: 'embedding', type: 'float32', shape: ['N', D] },
    ],
    nodes: [
      { op: 'Cast', inputs: ['image'], outputs: ['pixels'], attributes: { to: 1 } },
      { op: 'ReduceMean', inputs: ['pixels'], outputs: ['logits'], attributes: { axes: [1, 2], keepdims: 0 } },
      { op: 'Gemm', inputs: ['logits', 'w'], outputs: ['embedding'], attributes: { alpha: { float: 0.5 } } },
    ],
    initializers: [{ name: 'w', type: 'float32', shape: [3, D], data: COLOUR_WEIGHTS }],
  };
  return encodeModel(graph);
}

export function colourEmbedding(pixels: Uint8Array): number[] {
  const means = [0, 1, 2].map((c) => pixels.filter((_, i) => i % 3 === c).reduce((sum, value) => sum + value, 0) / (pixels.length / 3));
  return Array.from({ length: D }, (_, j) => 0.5 * means.reduce((sum, mean, c) => sum + mean * (COLOUR_WEIGHTS[c * D + j] as number), 0));
}

/** image: uint8 [N, 8, 8, 3] → embedding [N, 3], mean / (255 − mean) of each channel: zero for black, infinite for white. */
export function tinyRatio(): Uint8Array {
  return encodeModel({
    name: 'tiny-ratio',
    inputs: [{ name: 'image', type: 'uint8', shape: ['N', 8, 8, 3] }],
    outputs: [{ name: 'embedding', type: 'float32', shape: ['N', 3] }],
    nodes: [
      { op: 'Cast', inputs: ['image'], outputs: ['pixels'], attributes: { to: 1 } },
      { op: 'ReduceMean', inputs: ['pixels'], outputs: ['mean'], attributes: { axes: [1, 2], keepdims: 0 } },
      { op: 'Sub', inputs: ['white', 'mean'], outputs: ['rest'] },
      { op: 'Div', inputs: ['mean', 'rest'], outputs: ['embedding'] },
    ],
    initializers: [{ name: 'white', type: 'float32', shape: [1], data: Float32Array.of(255) }],
  });
}

/** image: uint8 [N, 8, 8, 3] → embedding [N, 3], each image's means less half of the batch's: no image is alone in it. */
export function tinyCompany(): Uint8Array {
  return encodeModel({
    name: 'tiny-company',
    inputs: [{ name: 'image', type: 'uint8', shape: ['N', 8, 8, 3] }],
    outputs: [{ name: 'embedding', type: 'float32', shape: ['N', 3] }],
    nodes: [
      { op: 'Cast', inputs: ['image'], outputs: ['pixels'], attributes: { to: 1 } },
      { op: 'ReduceMean', inputs: ['pixels'], outputs: ['mean'], attributes: { axes: [1, 2], keepdims: 0 } },
      { op: 'ReduceMean', inputs: ['mean'], outputs: ['batch'], attributes: { axes: [0], keepdims: 1 } },
      { op: 'Mul', inputs: ['batch', 'half'], outputs: ['share'] },
      { op: 'Sub', inputs: ['mean', 'share'], outputs: ['embedding'] },
    ],
    initializers: [{ name: 'half', type: 'float32', shape: [1], data: Float32Array.of(0.5) }],
  });
}

/** A `preprocessor_config.json` that fits `tinyVit`. */
export const TINY_PREPROCESSOR = {
  image_processor_type: 'BitImageProcessor',
  size: { shortest_edge: 40 },
  crop_size: { height: SIZE, width: SIZE },
  resample: 3,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.25, 0.25, 0.25],
};
