/**
 * One run of a model on a few images, always of the same shape.
 *
 * Two images a run cost 5 to 10 % less than one, but a kernel may sum in another order when it gets more rows. What order it
 * takes is decided by shapes, not by values, so a trial on noise tells it for the model, the machine and its instructions.
 */
import assert from 'node:assert/strict';
import type { Lanes, TensorData } from '../onnx/lanes.ts';
import { randomStream } from '../random.ts';
import { encodeFloat16 } from '../vector/float16.ts';
import { inputSize } from './embedding.ts';
import type { ModelInput } from './model-input.ts';

export interface Run {
  readonly lanes: Lanes;
  readonly input: ModelInput;
  readonly output: string;
  /** Images of every run. */
  readonly images: number;
}

/** Images first … first + count − 1 and zeros after them, in a tensor of the shape that every run has. */
export async function runImages(tensor: Float32Array | Uint8Array, first: number, count: number, { lanes, input, output, images }: Run): Promise<TensorData> {
  const { width, height } = inputSize(input.preprocess);
  const each = 3 * width * height;
  const part = tensor.subarray(first * each, (first + count) * each);
  // Shared memory is read by the lane where it lies; anything else is copied, since a lane keeps what it is given.
  const isReady = count === images && part.buffer instanceof SharedArrayBuffer;
  const filled = isReady ? part : fill(part, images * each);
  const data = filled instanceof Float32Array && input.type === 'float16' ? encodeFloat16(filled) : filled;
  const dims = input.preprocess.layout === 'nchw' ? [images, 3, height, width] : [images, height, width, 3];
  const { [output]: result } = await lanes.run({ [input.name]: { type: input.type, dims, data } }, [output]);
  assert(result !== undefined, `Expected the output ${output}`);
  return result;
}

function fill(values: Float32Array | Uint8Array, length: number): Float32Array | Uint8Array {
  const filled = values instanceof Uint8Array ? new Uint8Array(length) : new Float32Array(length);
  filled.set(values);
  return filled;
}


/** Images of the trial: each one first and second of a pair, beside another one and beside zeros. */
const TRIAL_IMAGES = 3;
const TRIAL_PAIRS = [[0, 1], [1, 2], [2, 0], [0, null]] as const;

/** Whether two images in one run get the bits that each gets alone. Runs the model on eleven images. */
export async function isBlindToCompany(one: Run): Promise<boolean> {
  const { width, height } = inputSize(one.input.preprocess);
  const each = 3 * width * height;
  const noise = noiseImages(TRIAL_IMAGES * each, one.input.preprocess.type);
  const image = (i: number): Float32Array | Uint8Array => noise.subarray(i * each, (i + 1) * each);
  const alone: Uint8Array[] = [];
  for (let i = 0; i < TRIAL_IMAGES; i += 1) alone.push(bytesOf(await runImages(noise, i, 1, one)));
  for (const [first, second] of TRIAL_PAIRS) {
    const pair = fill(image(first), 2 * each);
    if (second !== null) pair.set(image(second), each);
    // A model that says it takes any number of images and then does not is one for single images too.
    const result = await runImages(pair, 0, 2, { ...one, images: 2 }).catch(() => null);
    if (result === null || result.dims[0] !== 2) return false;
    const bytes = Buffer.from(bytesOf(result));
    const size = bytes.length / 2;
    if (bytes.compare(alone[first]!, 0, size, 0, size) !== 0) return false;
    if (second !== null && bytes.compare(alone[second]!, 0, size, size) !== 0) return false;
  }
  return true;
}

/** As wide as pixels are: all bytes, or the range of usual normalisations. */
function noiseImages(length: number, type: 'uint8' | 'float32'): Float32Array | Uint8Array {
  const stream = randomStream(0, 'embed', 'company');
  const words = new Uint32Array(4);
  const noise = type === 'uint8' ? new Uint8Array(length) : new Float32Array(length);
  for (let i = 0; i < length; i += 1) {
    if (i % 4 === 0) stream.words(i / 4, words);
    const word = words[i % 4]!;
    noise[i] = type === 'uint8' ? word >>> 24 : word / 2 ** 30 - 2;
  }
  return noise;
}

function bytesOf({ data }: TensorData): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
