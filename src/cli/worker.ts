/** `winnow worker`: serves stages of any run in a queue until it is told to end. */
import { createQueueWorker } from '../../workers/worker.ts';
import { createWorkerMetrics } from '../../workers/metrics.ts';
import { QUEUE_STAGES } from '../../workers/queue.ts';
import { type WorkerAddress, type WorkerServer, serveWorker } from '../../workers/serve-worker.ts';
import { suggest } from '../config.ts';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { PROVIDERS, type Provider } from '../onnx/session.ts';

export interface WorkerRequest {
  readonly redis: string;
  /** Null: all. */
  readonly stages: readonly string[] | null;
  readonly concurrency: number;
  /** Null: those that the recipe names. */
  readonly providers: readonly string[] | null;
  /** Stores, or folders above them, that may be written; none: any. */
  readonly stores: readonly string[];
  /** `name=folder`: where a source lies on this machine. */
  readonly locations: readonly string[];
  readonly drainMs: number;
  readonly lockMs?: number;
  readonly redisTimeoutMs?: number;
  /** `[host:]port` of /health, /ready and /metrics; null: none. */
  readonly http?: string | null;
  /** Hears the address. */
  readonly onHttp?: (url: string) => void;
  readonly log: Log;
  /** SIGTERM or Ctrl-C. */
  readonly signal: AbortSignal;
  /** Beside the built-in ones; see `ProcessConfig`. */
  readonly taskModules?: readonly string[];
  readonly version?: string;
}

/**
 * Returns after the signal, once what was under way has ended or gone back to the queue.
 *
 * @throws {WinnowError} CONFIG_INVALID; STORE_UNAVAILABLE when Redis is lost; FORMAT_VERSION when jobs are of other code
 */
export async function worker(request: WorkerRequest): Promise<{ text: string; json: unknown }> {
  const { redis, log, signal, drainMs, lockMs, redisTimeoutMs, taskModules = [], version, concurrency } = request;
  const stages = request.stages === null ? QUEUE_STAGES : request.stages.map((name) => oneOf('--stages', name, QUEUE_STAGES));
  const providers = request.providers === null ? null : request.providers.map((name) => oneOf('--providers', name, PROVIDERS) as Provider);
  const address = request.http === undefined || request.http === null ? null : parseAddress(request.http);
  const metrics = createWorkerMetrics();
  const served = await createQueueWorker({
    redis, stages, metrics, concurrency, providers, log, drainMs, taskModules,
    stores: request.stores.length === 0 ? null : request.stores,
    locations: Object.fromEntries(request.locations.map(parseLocation)),
    ...(lockMs !== undefined && { lockMs }),
    ...(redisTimeoutMs !== undefined && { redisTimeoutMs }),
    ...(version !== undefined && { version }),
  });
  log.info({ stages, concurrency, providers }, `worker: serves ${stages.join(', ')}, ${concurrency} at once${providers === null ? '' : `, on ${providers.join(', ')}`}`);
  let http: WorkerServer | null = null;
  try {
    http = address === null ? null : await serveWorker(address, metrics, served.notReady);
    if (http !== null) request.onHttp?.(http.url);
    await Promise.race([served.ended, aborted(signal)]);
  } finally {
    // Not ready while it drains, so whoever asks still gets an answer.
    await served.close();
    await http?.close();
  }
  return { text: 'Worker ended.\n', json: { stages, concurrency, ended: true } };
}

function oneOf(option: string, name: string, known: readonly string[]): string {
  if (known.includes(name)) return name;
  throw new WinnowError('CONFIG_INVALID', `Expected ${option} to name ${known.join(', ')}, got "${name}"${suggest(name, known)}`);
}

function parseLocation(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at <= 0 || at === text.length - 1) throw new WinnowError('CONFIG_INVALID', `Expected --location as name=folder, got "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function parseAddress(text: string): WorkerAddress {
  const at = text.lastIndexOf(':');
  const [host, port] = [at === -1 ? '127.0.0.1' : text.slice(0, at), Number(text.slice(at + 1))];
  if (!/^\d+$/.test(text.slice(at + 1)) || port > 65_535 || host === '') throw new WinnowError('CONFIG_INVALID', `Expected --http as port or host:port, got "${text}"`);
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
