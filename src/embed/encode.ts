/**
 * An encoder from an ONNX file. Every run has the same shape, so image i's vector does not depend on what else is in its
 * batch: on the processor one image a run, or two where that changes no bit (see `run-images.ts`), many runs at a time (see
 * `onnx/lanes.ts`), which also keeps activations in the cache; on a GPU `batchSize` images, the last batch filled up with zeros.
 */
import assert from 'node:assert/strict';
import { WinnowError } from '../errors.ts';
import { openLanes } from '../onnx/lanes.ts';
import { type Provider, instructionSet, runtimeVersion } from '../onnx/session.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import type { ModelInputConfig } from './config.ts';
import { type Encoder, inputSize } from './embedding.ts';
import type { HubOptions } from './hub.ts';
import { type ModelFiles, resolveModel } from './model.ts';
import { readModelInput } from './model-input.ts';
import { type Pooling, type PoolRule, chooseOutput, choosePooling, poolInto } from './pool.ts';
import { type Run, isBlindToCompany, runImages } from './run-images.ts';

export interface OnnxEncoderConfig {
  /** As `resolveModel` takes it. */
  readonly model: string;
  readonly providers?: readonly Provider[];
  readonly input?: ModelInputConfig;
  /** Name of the output to use. */
  readonly output?: string;
  readonly pool?: PoolRule;
  readonly batchSize?: number;
  /** Cores to use; 0, the default: all. Results do not depend on it. */
  readonly threads?: number;
  readonly hub?: HubOptions;
}

/** Weights up to which two images a run are worth a trial: a larger model's operators keep a core busy with one. */
const PAIRED_BYTES_MAX = 2 ** 27;

/**
 * Opens a model and runs it once on a black image, so that whatever does not fit is said now.
 *
 * @throws {WinnowError} MODEL_UNAVAILABLE, MODEL_INVALID, PROVIDER_UNAVAILABLE, CHECKSUM_MISMATCH
 */
export async function createOnnxEncoder(config: OnnxEncoderConfig): Promise<Encoder> {
  const { pool = 'auto', batchSize = 32, threads = 0, providers } = config;
  const files = await resolveModel(config.model, config.hub);
  const name = String(files.provenance.file);
  const lanes = await openLanes(files.path, { ...(providers && { providers }), threads, sizeBytes: files.sizeBytes });
  try {
    const input = readModelInput(name, lanes.inputs, files.preprocessor, config.input ?? {});
    const output = chooseOutput(name, lanes.outputs, config.output, pool);
    const one: Run = { lanes, input, output, images: input.batch ?? (lanes.provider === 'cpu' ? 1 : batchSize) };
    const pooling = await tryOut(name, one, pool, files.config);
    const mayPair = lanes.provider === 'cpu' && input.batch === null && files.sizeBytes <= PAIRED_BYTES_MAX;
    const run = mayPair && (await isBlindToCompany(one)) ? { ...one, images: 2 } : one;
    return {
      d: pooling.d,
      preprocess: input.preprocess,
      batchSize,
      provenance: provenanceOf(files, run, pooling),
      notice: `${name} gives ${pooling.d} dimensions (${output}, ${pooling.kind}); ${lanes.notice}`,
      encode: (tensor, n) => encode(tensor, n, run, pooling),
      close: () => lanes.close(),
    };
  } catch (error) {
    await lanes.close();
    throw error;
  }
}

async function tryOut(name: string, run: Run, rule: PoolRule, config: unknown): Promise<Pooling> {
  const { preprocess, type } = run.input;
  const size = inputSize(preprocess);
  const length = run.images * 3 * size.width * size.height;
  const black = type === 'uint8' ? new Uint8Array(length) : new Float32Array(length);
  const result = await runImages(black, 0, run.images, run).catch((error: Error) => {
    throw new WinnowError('MODEL_INVALID', `${name} does not run on ${run.images} images of ${size.width} × ${size.height} as ${preprocess.layout} ${type}: ${error.message}`, { cause: error });
  });
  const shown = `${run.output}: ${result.type}[${result.dims.join(', ')}]`;
  if (result.dims[0] !== run.images) throw new WinnowError('MODEL_INVALID', `Expected an output with one entry an image, ${run.images} first; ${name} gives ${shown}`);
  if (result.type !== 'float32' && result.type !== 'float16') throw new WinnowError('MODEL_INVALID', `Expected an output of float32 or float16; ${name} gives ${shown}`);
  return choosePooling(run.output, result.dims, rule, size, config);
}

async function encode(tensor: Float32Array | Uint8Array, n: number, run: Run, pooling: Pooling): Promise<Float32Array> {
  const { preprocess } = run.input;
  const { width, height } = inputSize(preprocess);
  assert(tensor.length >= n * 3 * width * height, `Expected ${n} images of ${width} × ${height} × 3, got ${tensor.length} values`);
  assert.equal(tensor instanceof Uint8Array, preprocess.type === 'uint8', `Expected a tensor of ${preprocess.type}`);
  const { d } = pooling;
  const vectors = new Float32Array(n * d);
  const runOne = async (first: number): Promise<void> => {
    const count = Math.min(run.images, n - first);
    const result = await runImages(tensor, first, count, run);
    const values = result.type === 'float16' ? decodeFloat16(result.data as Uint16Array) : (result.data as Float32Array);
    for (let i = 0; i < count; i += 1) poolInto(vectors.subarray((first + i) * d, (first + i + 1) * d), values, i, pooling);
  };
  const runs: Promise<void>[] = [];
  for (let first = 0; first < n; first += run.images) runs.push(runOne(first));
  await Promise.all(runs);
  return vectors;
}

function provenanceOf(files: ModelFiles, { lanes, input, output, images }: Run, pooling: Pooling): Readonly<Record<string, unknown>> {
  return {
    encoder: 'onnx',
    ...files.provenance,
    output,
    pool: pooling.kind,
    preprocess: input.preprocess,
    runtime: 'onnxruntime',
    version: runtimeVersion,
    provider: lanes.provider,
    // What may change the last bits: the instructions on a processor, the shape of a run on a GPU.
    ...(lanes.provider === 'cpu' ? { instructionSet } : { imagesPerRun: images }),
  };
}
