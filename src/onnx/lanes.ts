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
   * @param feeds on a SharedArrayBuffer: read there, so they must not change until the run ends. On an ArrayBuffer: given
   *   away, the buffer is unusable afterwards
   */
  run(feeds: Readonly<Record<string, TensorData>>, wanted: readonly string[]): Promise<Record<string, TensorData>>;
  /** Ends the threads after what they are running; waiting runs fail. */
  close(): Promise<void>;
}

/** Weights that all lanes together may hold. */
const WEIGHT_BYTES_MAX = 2 ** 30;
/** Runs that a lane has at hand, the one under way included: it goes on while this thread is busy with something else. */
const DEPTH = 2;

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
  /** Runs that were handed over and have not ended. */
  readonly load: number;
  run(feeds: Readonly<Record<string, TensorData>>, wanted: readonly string[]): Promise<Record<string, TensorData>>;
  close(): Promise<void>;
}

interface WaitingRun {
  readonly feeds: Readonly<Record<string, TensorData>>;
  readonly wanted: readonly string[];
  readonly resolve: (result: Promise<Record<string, TensorData>>) => void;
  readonly reject: (error: Error) => void;
}

/** First come, first served, on the lane with the fewest runs at hand. */
function schedule(lanes: readonly Lane[]): Pick<Lanes, 'run' | 'close'> {
  const waiting: WaitingRun[] = [];
  const handOver = (): void => {
    while (waiting.length > 0) {
      const lane = lanes.reduce((freest, other) => (other.load < freest.load ? other : freest));
      if (lane.load >= DEPTH) return;
      const { feeds, wanted, resolve } = waiting.shift()!;
      resolve(lane.run(feeds, wanted).finally(handOver));
    }
  };
  return {
    run: (feeds, wanted) =>
      new Promise((resolve, reject) => {
        waiting.push({ feeds, wanted, resolve, reject });
        handOver();
      }),
    close: async () => {
      for (const { reject } of waiting.splice(0)) reject(new Error(CLOSED));
      await Promise.all(lanes.map((lane) => lane.close()));
    },
  };
}

const CLOSED = 'The model was closed before the run began';

/**
 * The thread's program, as text: a file of its own would have to exist as JavaScript in every way the library is run.
 * Messages in: `{number, feeds, wanted}`, or null to end. Messages out: `{inputs, outputs}` once, then, in the order of
 * the messages in, `{result}` or `{error}`. Runs with a number above `last[0]` are refused.
 */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { InferenceSession, Tensor, env } = require('node:module').createRequire(workerData.from)('onnxruntime-node');
env.logLevel = 'fatal';
// ONNX Runtime's binding takes no shared memory: each input has a tensor of this thread's own that it is copied to.
const held = new Map();
const own = (name, { type, data, dims }) => {
  let mine = held.get(name);
  if (mine?.type === type && String(mine.dims) === String(dims)) {
    mine.copy.set(data);
  } else {
    const copy = data.slice();
    held.set(name, (mine = { type, dims, copy, tensor: new Tensor(type, copy, dims) }));
  }
  return mine.tensor;
};
const tensorOf = (name, t) => (t.data.buffer instanceof SharedArrayBuffer ? own(name, t) : new Tensor(t.type, t.data, t.dims));
const tensors = (feeds) => Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, tensorOf(name, t)]));
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
let turn = guarded(async () => {
  session = await InferenceSession.create(workerData.model, workerData.settings);
  return { inputs: session.inputMetadata, outputs: session.outputMetadata };
});
const answer = async ({ number, feeds, wanted }) => {
  if (number > Atomics.load(workerData.last, 0)) throw new Error('${CLOSED}');
  return { result: plain(await session.run(tensors(feeds), wanted)) };
};
const end = async () => {
  await session?.release();
  parentPort.close();
};
// One at a time: the next run's input would overwrite what this one reads.
parentPort.on('message', (message) => {
  turn = turn.then(() => (message === null ? end() : guarded(() => answer(message))));
});
`;

type Answer = { readonly error?: string; readonly result?: Record<string, TensorData>; readonly inputs?: Parameters<typeof valueInfo>[0][]; readonly outputs?: Parameters<typeof valueInfo>[0][] };

async function openLane(model: string | Uint8Array, settings: ReturnType<typeof sessionSettings>): Promise<Lane> {
  const last = new Int32Array(new SharedArrayBuffer(4)).fill(2 ** 31 - 1);
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [], workerData: { from: import.meta.url, model, settings, last } });
  const { expect, load, exited } = listen(worker);
  let number = 0; // of the newest run since the lane was idle
  const close = async (): Promise<void> => {
    // The run under way ends; what was only handed over does not begin.
    Atomics.store(last, 0, number - load() + 1);
    worker.ref();
    worker.postMessage(null);
    return exited;
  };
  try {
    const { inputs = [], outputs = [] } = await expect();
    return {
      inputs: inputs.map(valueInfo),
      outputs: outputs.map(valueInfo),
      get load() {
        return load();
      },
      run: async (feeds, wanted) => {
        number = load() === 0 ? 1 : number + 1;
        const owned = Object.values(feeds).flatMap(({ data }) => (data.buffer instanceof ArrayBuffer ? [data.buffer] : []));
        worker.postMessage({ number, feeds, wanted }, owned);
        return (await expect()).result ?? {};
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Pairs a thread's messages with those who expect them, in order; its death rejects them all. */
function listen(worker: Worker): { expect(): Promise<Answer>; load(): number; exited: Promise<void> } {
  const expected: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = [];
  let dead: Error | null = null;
  const die = (error: Error): void => {
    dead ??= error;
    for (const { reject } of expected.splice(0)) reject(dead);
  };
  worker.on('message', (answer: Answer) => {
    const first = expected.shift();
    // A thread at rest does not keep the process alive; one at work does.
    if (expected.length === 0) worker.unref();
    if (answer.error === undefined) first?.resolve(answer);
    else first?.reject(new Error(answer.error));
  });
  worker.on('error', die);
  const exited = new Promise<void>((resolve) => {
    worker.once('exit', (code) => {
      die(new Error(`The model's thread ended with code ${code}`));
      resolve();
    });
  });
  return {
    expect: () =>
      new Promise((resolve, reject) => {
        if (dead !== null) return reject(dead);
        if (expected.length === 0) worker.ref();
        expected.push({ resolve, reject });
      }),
    load: () => expected.length,
    exited,
  };
}
