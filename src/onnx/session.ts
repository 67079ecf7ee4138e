/**
 * The one door to ONNX Runtime: opens a model on the first execution provider that takes it and says why the others do
 * not. ONNX Runtime's Node binding computes on the calling thread, one call at a time: between two runs the event loop turns.
 */
import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor, env } from 'onnxruntime-node';
import { WinnowError } from '../errors.ts';

export { Tensor };

export const PROVIDERS = ['cpu', 'webgpu', 'cuda'] as const;

/** What runs a model: the processor, a GPU through WebGPU, or an NVIDIA GPU through CUDA. */
export type Provider = (typeof PROVIDERS)[number];

export interface SessionOptions {
  /** Tried in this order; the first that opens the model runs it. Default `['cpu']`. */
  readonly providers?: readonly Provider[];
  /** Threads of one operator on the processor, the caller's included. 0, the default: one per physical core. */
  readonly threads?: number;
  /**
   * Whether idle threads wait for the next operator by spinning. Saves tens of microseconds an operator and takes cores
   * from everything else for as long. Default true.
   */
  readonly spin?: boolean;
}

/** Name, element type and shape of a model's input or output; a string or −1 stands for a free dimension. */
export interface ValueInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

export interface Session {
  readonly provider: Provider;
  /** One line: the provider that runs, and each one before it with the reason why it does not. */
  readonly notice: string;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * @param feeds a tensor for every input; its memory is read in place
   * @param wanted names of the outputs to compute, or tensors of the right shape that receive them; all when absent
   */
  run(feeds: Readonly<Record<string, Tensor>>, wanted?: readonly string[] | Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** Frees the model's memory. Not while a run is under way. */
  close(): Promise<void>;
}

/** Version of the ONNX Runtime library, for manifests. */
export const runtimeVersion: string = env.versions.node ?? env.versions.common;

/**
 * What decides the order of float32 sums in ONNX Runtime's processor kernels: architecture and widest vector unit, as
 * in `x64-avx512f`. Results are comparable bit for bit only between machines that agree in it.
 */
export const instructionSet: string = detectInstructionSet();

// The binding writes what it also throws to stderr; the sentence of the exception is enough.
env.logLevel = 'fatal';

/**
 * Opens a model on this thread. Native libraries of a provider that is not there may write a line of their own to stderr.
 *
 * @param model path of a file, or the bytes of a model
 * @throws {WinnowError} MODEL_INVALID, PROVIDER_UNAVAILABLE as `onFirstProvider` says
 */
export async function openSession(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const { opened, provider, notice } = await onFirstProvider(model, options.providers, (name) => {
    const settings = sessionSettings(name, options);
    return typeof model === 'string' ? InferenceSession.create(model, settings) : InferenceSession.create(model, settings);
  });
  return wrap(opened, provider, notice);
}

/**
 * Tries the providers in their order.
 *
 * @throws {WinnowError} MODEL_INVALID when `cpu` was among the providers and none could open it (then the model is at
 *   fault, not the machine); PROVIDER_UNAVAILABLE when `cpu` was not among them
 */
export async function onFirstProvider<T>(
  model: string | Uint8Array,
  providers: readonly Provider[] = ['cpu'],
  open: (provider: Provider) => Promise<T>,
): Promise<{ opened: T; provider: Provider; notice: string }> {
  const failures: { provider: Provider; reason: string }[] = [];
  for (const provider of providers) {
    try {
      const opened = await open(provider);
      const others = failures.map((failure) => `${failure.provider} does not: ${failure.reason}`);
      return { opened, provider, notice: [`ONNX Runtime ${runtimeVersion} runs on ${provider}`, ...others].join('; ') };
    } catch (error) {
      failures.push({ provider, reason: firstLine(error) });
    }
  }
  const reasons = failures.map(({ provider, reason }) => `${provider}: ${reason}`).join('; ');
  if (providers.includes('cpu')) {
    const what = typeof model === 'string' ? model : `a model of ${model.byteLength} bytes`;
    throw new WinnowError('MODEL_INVALID', `Expected an ONNX model that ONNX Runtime ${runtimeVersion} can open, got ${what} (${reasons})`, { details: { failures } });
  }
  throw new WinnowError('PROVIDER_UNAVAILABLE', `None of the providers ${providers.join(', ')} can run here; add cpu to the list (${reasons})`, { details: { failures } });
}

/** What every session is opened with: all graph optimisations, one operator at a time, and silence below an error. */
export function sessionSettings(provider: Provider, options: SessionOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: options.threads ?? 0,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: { session: { intra_op: { allow_spinning: options.spin === false ? '0' : '1' } } },
  };
}

function wrap(session: InferenceSession, provider: Provider, line: string): Session {
  return {
    provider,
    notice: line,
    inputs: session.inputMetadata.map(valueInfo),
    outputs: session.outputMetadata.map(valueInfo),
    run: (feeds, wanted) => (wanted === undefined ? session.run(feeds) : session.run(feeds, wanted)) as Promise<Record<string, Tensor>>,
    close: () => session.release(),
  };
}

/** ONNX Runtime's metadata of an input or output. */
export function valueInfo(value: InferenceSession.ValueMetadata): ValueInfo {
  return value.isTensor ? { name: value.name, type: value.type, shape: value.shape } : { name: value.name, type: 'not a tensor', shape: [] };
}

/** ONNX Runtime puts source paths of its build before the sentence that says what happened, and traces after it. */
function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const sentence = message.split('\n')[0] ?? '';
  return sentence.replace(/^\/onnxruntime_src\/\S+ .*? was false\. /, '').trim();
}

function detectInstructionSet(): string {
  let flags = '';
  try {
    flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  } catch {
    // Not Linux: the architecture alone is named.
  }
  const widest = ['avx512f', 'avx2', 'avx'].find((name) => flags.split(' ').includes(name));
  return widest === undefined ? process.arch : `${process.arch}-${widest}`;
}
