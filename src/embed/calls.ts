/** Pixels to vectors in calls of the encoder's size: images join in row order, calls overlap, memory is bounded. */
import type { TaskEnv } from '../run/stage.ts';
import { throwIfAborted } from '../errors.ts';
import { type Encoder, inputSize, type PreprocessSpec } from './embedding.ts';
import { writeTensor } from './preprocess.ts';
import type { EmbeddingRows } from './rows.ts';

/** Largest tensor of a call; a larger `batchSize` is cut to it. */
const TENSOR_BYTES_MAX = 2 ** 28;

export interface Calls {
  /** Copies the pixels; waits when the encoder has enough to do. @throws {WinnowError} ABORTED; what an earlier call failed with */
  add(row: number, pixels: Uint8Array): Promise<void>;
  /** Encodes what is left and waits for all vectors. */
  finish(): Promise<void>;
}

interface Call {
  tensor: Float32Array | Uint8Array | null;
  members: number[];
  done: Promise<void>;
}

/**
 * Puts the vectors of added images into `rows`. At least two calls, and two images for every thread, are with the encoder
 * while the next call is being filled.
 */
export function createCalls(encoder: Encoder, rows: EmbeddingRows, { execution, signal, observe }: Pick<TaskEnv, 'execution' | 'signal' | 'observe'>): Calls {
  const { d, preprocess } = encoder;
  const size = Math.max(1, Math.min(encoder.batchSize, rows.status.length, Math.floor(TENSOR_BYTES_MAX / imageBytes(preprocess))));
  const calls = Array.from({ length: 1 + Math.max(2, Math.ceil((2 * execution.threads) / size)) }, (): Call => ({ tensor: null, members: [], done: Promise.resolve() }));
  let at = 0;
  const send = async (): Promise<void> => {
    const call = calls[at]!;
    const members = call.members.splice(0);
    const started = performance.now();
    call.done = encoder.encode(call.tensor!, members.length).then((vectors) => {
      observe?.({ of: 'model-batch', seconds: (performance.now() - started) / 1000 });
      members.forEach((row, i) => rows.putVector(row, vectors.subarray(i * d, (i + 1) * d)));
    });
    call.done.catch(() => undefined); // heard when its tensor is wanted again
    at = (at + 1) % calls.length;
    await unlessAborted(calls[at]!.done, signal);
  };
  return {
    add: async (row, pixels) => {
      const call = calls[at]!;
      call.tensor ??= createSharedTensor(preprocess, size);
      writeTensor(pixels, preprocess, call.tensor, call.members.length);
      call.members.push(row);
      if (call.members.length === size) await send();
    },
    finish: async () => {
      if (calls[at]!.members.length > 0) await send();
      for (const { done } of calls) await unlessAborted(done, signal);
    },
  };
}

function imageBytes(spec: PreprocessSpec): number {
  const { width, height } = inputSize(spec);
  return 3 * width * height * (spec.type === 'uint8' ? 1 : 4);
}

/** On shared memory, which threads of a model read in place. */
function createSharedTensor(spec: PreprocessSpec, n: number): Float32Array | Uint8Array {
  const memory = new SharedArrayBuffer(n * imageBytes(spec));
  return spec.type === 'uint8' ? new Uint8Array(memory) : new Float32Array(memory);
}

/** A call may take minutes with a large model; whoever stops the run does not wait for it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      try {
        throwIfAborted(signal);
      } catch (error) {
        reject(error as Error);
      }
    };
    stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
