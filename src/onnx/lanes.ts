/**
 * A model on threads of its own, so that runs neither block the event loop nor each other. On the processor there are as
 * many lanes as threads, each with a session of one thread: no operator waits for another thread, so image models run
 * faster than on one session with many threads, much faster where decoders compete for the cores, and results cannot
 * depend on the number of threads. Price: the weights once per lane. A large model gets fewer lanes with more threads each.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Provider, type SessionOptions, type ValueInfo, onFirstProvider, sessionSettings, valueInfo } from './session.ts';

/** A tensor as it travels between threads. float16 comes as the bits in a Uint16Array. */
export interface TensorData {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: Float32Array | Uint8Array | Uint16Array;
}

export interface LanesOptions extends Pick<SessionOptions, 'providers' | 'threads'> {
  /** Size of the weights in bytes: decides how many lanes hold them. */
  readonly sizeBytes: number;
}

export interface Lanes {
  readonly provider: Provider;
  /** One line: the provider that runs, and each one before it with the reason why it does not. */
  readonly notice: string;
  /** Runs that go on at the same time. */
  readonly count: number;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * Waits for a free lane and runs there. Calls are started in their order.
   *
   * @param feeds given away: the buffers behind them are unusable afterwards
   */
  run(feeds: Readonly<Record<string, TensorData>>, wanted: readonly string[]): Promise<Record<string, TensorData>>;
  /** Ends the threads after what they are running; waiting runs fail. */
  close(): Promise<void>;
}

/** Weights that all lanes together may hold. */
const WEIGHT_BYTES_MAX = 2 ** 30;

/** @throws {WinnowError} MODEL_INVALID, PROVIDER_UNAVAILABLE as `onFirstProvider` says */
export async function openLanes(model: string | Uint8Array, options: LanesOptions): Promise<Lanes> {
  const threads = options.threads || availableParallelism();
  const shared = Math.max(1, Math.min(threads, Math.floor(WEIGHT_BYTES_MAX / Math.max(1, options.sizeBytes))));
  const open = (provider: Provider, count: number): Promise<Lane> => openLane(model, sessionSettings(provider, { threads: Math.floor(threads / count), spin: false }));
  const { opened: first, provider, notice } = await onFirstProvider(model, options.providers, (name) => open(name, name === 'cpu' ? shared : 1));
  const count = provider === 'cpu' ? shared : 1;
  const lanes = [first, ...(await Promise.all(Array.from({ length: count - 1 }, () => open(provider, count))))];
  return {
    provider,
    notice,
    count,
    inputs: first.inputs,
    outputs: first.outputs,
    ...schedule(lanes),
  };
}

interface Lane {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  run(feeds: Readonly<Record<string, TensorData>>, wanted: readonly string[]): Promise<Record<string, TensorData>>;
  close(): Promise<void>;
}

/** First come, first served. */
function schedule(lanes: readonly Lane[]): Pick<Lanes, 'run' | 'close'> {
  const idle = [...lanes];
  const waiting: { start: (lane: Lane) => void; fail: (error: Error) => void }[] = [];
  return {
    run: async (feeds, wanted) => {
      const lane = idle.pop() ?? (await new Promise<Lane>((start, fail) => waiting.push({ start, fail })));
      try {
        return await lane.run(feeds, wanted);
      } finally {
        const next = waiting.shift();
        if (next === undefined) idle.push(lane);
        else next.start(lane);
      }
    },
    close: async () => {
      for (const { fail } of waiting.splice(0)) fail(new Error('The model was closed before the run began'));
      await Promise.all(lanes.map((lane) => lane.close()));
    },
  };
}

/**
 * The thread's program, as text: a file of its own would have to exist as JavaScript in every way the library is run.
 * Messages in: `{feeds, wanted}`, or null to end. Messages out: `{inputs, outputs}` once, then `{result}` or `{error}`.
 */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { InferenceSession, Tensor, env } = require('node:module').createRequire(workerData.from)('onnxruntime-node');
env.logLevel = 'fatal';
const tensors = (feeds) => Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, new Tensor(t.type, t.data, t.dims)]));
// Newer versions of Node give float16 as a Float16Array; everybody can read its bits.
const bits = (t) => (t.type === 'float16' ? new Uint16Array(t.data.buffer, t.data.byteOffset, t.data.length) : t.data);
const plain = (result) => Object.fromEntries(Object.entries(result).map(([name, t]) => [name, { type: t.type, dims: t.dims, data: bits(t) }]));
const guarded = async (work) => {
  try {
    parentPort.postMessage(await work());
  } catch (error) {
    parentPort.postMessage({ error: String(error.message ?? error) });
  }
};
let session;
guarded(async () => {
  session = await InferenceSession.create(workerData.model, workerData.settings);
  return { inputs: session.inputMetadata, outputs: session.outputMetadata };
});
parentPort.on('message', async (message) => {
  if (message !== null) return guarded(async () => ({ result: plain(await session.run(tensors(message.feeds), message.wanted)) }));
  await session?.release();
  parentPort.close();
});
`;

type Answer = { readonly error?: string; readonly result?: Record<string, TensorData>; readonly inputs?: Parameters<typeof valueInfo>[0][]; readonly outputs?: Parameters<typeof valueInfo>[0][] };

async function openLane(model: string | Uint8Array, settings: ReturnType<typeof sessionSettings>): Promise<Lane> {
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [], workerData: { from: import.meta.url, model, settings } });
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let running: Promise<unknown> = Promise.resolve();
  const close = async (): Promise<void> => {
    await running.catch(() => undefined);
    worker.ref();
    worker.postMessage(null);
    return exited;
  };
  try {
    const { inputs = [], outputs = [] } = await ask(worker);
    worker.unref();
    return {
      inputs: inputs.map(valueInfo),
      outputs: outputs.map(valueInfo),
      run: async (feeds, wanted) => {
        // A thread at rest does not keep the process alive; one at work does.
        worker.ref();
        worker.postMessage({ feeds, wanted }, Object.values(feeds).map(({ data }) => data.buffer as ArrayBuffer));
        const answer = ask(worker);
        running = answer;
        const { result } = await answer.finally(() => worker.unref());
        return result ?? {};
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The thread's next message; an error in it, or the thread's death, rejects. */
function ask(worker: Worker): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
      end();
    };
    const onMessage = (answer: Answer): void => settle(() => (answer.error === undefined ? resolve(answer) : reject(new Error(answer.error))));
    const onError = (error: Error): void => settle(() => reject(error));
    const onExit = (code: number): void => settle(() => reject(new Error(`The model's thread ended with code ${code}`)));
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
  });
}
