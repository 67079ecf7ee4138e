/**
 * The program of a task process, which a worker starts beside itself: ONNX Runtime computes on the calling thread, so a
 * task may hold its process for minutes while the worker goes on renewing the job's lock. One task at a time, run by the
 * local executor, so that records and bytes are those of a local run. Ends with its worker.
 */
import { availableParallelism } from 'node:os';
import { ERROR_CODES, WinnowError } from '../src/errors.ts';
import type { Log } from '../src/log.ts';
import { type LocalExecutor, createLocalExecutor } from '../src/run/local.ts';
import { hashOf } from '../src/run/manifest.ts';
import type { Measure, TaskEnv, TaskKind } from '../src/run/stage.ts';
import { openEncoder, type EmbedPayload } from '../src/embed/task.ts';
import type { Store } from '../src/store/store.ts';
import { CODE, differenceOf } from './code.ts';
import type { FromProcess, ProcessConfig, TaskOutcome, ToProcess } from './processes.ts';
import type { TaskJob } from './queue.ts';
import { readRunRecord } from './runs.ts';
import { fenced, openJobStore } from './store.ts';
import { type AnyTask, findTask } from './tasks.ts';

const config = JSON.parse(process.argv[2]!) as ProcessConfig;
const own = { ...CODE, version: config.version ?? CODE.version };
const more: Record<string, readonly AnyTask[]> = {};
for (const module of config.taskModules) Object.assign(more, ((await import(module)) as { tasks: typeof more }).tasks);

const send = (message: FromProcess): void => void (process.connected && process.send!(message));
// Ctrl-C and SIGTERM are for the worker to handle; it tells this process by hanging up.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('disconnect', () => process.exit(0));
process.on('message', ({ job }: ToProcess) => {
  void runJob(job).then((outcome) => send({ outcome }));
});

async function runJob(job: TaskJob): Promise<TaskOutcome> {
  const difference = differenceOf(job.code, own);
  if (difference !== null) return { state: 'refused', message: difference };
  const found = findTask(job.kind, more);
  if (found === null || found.kind.version !== job.kindVersion) {
    return { state: 'refused', message: `Expected tasks of kind ${job.kind} in version ${found?.kind.version ?? 'none'}, got one in version ${job.kindVersion}: run workers and driver with the same code` };
  }
  let store: Store | null = null;
  try {
    const run = await openRun(job);
    store = run.store;
    if (await isObsolete(run.store, job)) return { state: 'obsolete' };
    const payload = job.payload ?? new TextDecoder().decode(await run.store.read(job.payloadKey!));
    await run.executor.map(offered(found.kind), [JSON.parse(payload) as never], job.scope);
    return { state: 'done' };
  } catch (error) {
    // Files of an attempt vanish with it, so what failed may only have come too late.
    if (store !== null && (await isObsolete(store, job).catch(() => false))) return { state: 'obsolete' };
    return failureOf(error);
  } finally {
    flush();
  }
}

interface OpenRun {
  readonly key: string;
  readonly store: Store;
  readonly executor: LocalExecutor;
}

/** The run of the task before: models and readers stay open while tasks of one run follow each other. */
let current: OpenRun | null = null;

async function openRun({ store: uri, run, record: sha256 }: TaskJob): Promise<OpenRun> {
  const key = JSON.stringify([uri, run, sha256]);
  if (current?.key === key) return current;
  await current?.executor.close();
  current = null;
  const store = fenced(await openJobStore(uri, config.stores), () => process.connected);
  const record = await readRunRecord(store, run, sha256);
  const share = Math.max(1, Math.floor(availableParallelism() / config.concurrency));
  const { concurrency = share, threads = share, blockRows, memoryMb } = record.execution;
  const executor = createLocalExecutor({
    store,
    signal: new AbortController().signal,
    log: LOG,
    execution: { concurrency, threads, blockRows, memoryBytes: memoryMb * 1024 * 1024, clusterEngine: record.clusterEngine },
    locations: { ...record.locations, ...config.locations },
    tasks: 1,
    onAdvance: (count) => advance(count),
    onNote: (text) => {
      note = text;
      advance(0);
    },
    onMeasure: measure,
  });
  current = { key, store, executor };
  return current;
}

/** A stage that was completed, or begun anew with other settings, has another attempt or none. */
async function isObsolete(store: Store, { scope, attempt }: TaskJob): Promise<boolean> {
  if (attempt === null) return false;
  const key = `work/${scope}/attempt`;
  return (await store.head(key)) === null || new TextDecoder().decode(await store.read(key)) !== attempt;
}

/**
 * Embedding runs on what both the recipe and this worker name, and on nothing else than what the driver's manifest will
 * say: another provider gives other bits, and would be mixed in unseen.
 */
function offered(kind: AnyTask): TaskKind<never, unknown> {
  if (kind.name !== 'embed-part') return kind;
  return {
    ...kind,
    run: async (payload: never, env: TaskEnv) => {
      const { model, encoder, config: settings } = payload as EmbedPayload;
      if (model === null) return kind.run(payload, env);
      const providers = settings.providers.filter((name) => config.providers === null || config.providers.includes(name));
      if (providers.length === 0) throw new WinnowError('PROVIDER_UNAVAILABLE', `Expected a worker with one of the providers ${settings.providers.join(', ')}, this one offers ${config.providers?.join(', ')}`);
      const narrowed = { ...(payload as EmbedPayload), config: { ...settings, providers } };
      const { provenance } = await openEncoder(model, narrowed.config, env).catch((error: unknown) => {
        throw ownFault(error);
      });
      if (hashOf(provenance) !== hashOf(encoder)) {
        throw new WinnowError('PROVIDER_UNAVAILABLE', `Expected the encoder that the driver has (${describeEncoder(encoder)}), this worker has another (${describeEncoder(provenance)}): vectors would differ`);
      }
      return kind.run(narrowed as never, env);
    },
  };
}

/** The driver opened this model, so what keeps it from being opened here (a folder that was copied in part, other files) is this machine's fault. */
function ownFault(error: unknown): unknown {
  if (!(error instanceof WinnowError) || error.code === 'MODEL_UNAVAILABLE' || error.code === 'PROVIDER_UNAVAILABLE') return error;
  return new WinnowError('MODEL_UNAVAILABLE', `This worker cannot open a model that the driver could: ${error.message}`, { cause: error });
}

function describeEncoder(provenance: Readonly<Record<string, unknown>> | null): string {
  const { provider, version, instructionSet, sha256 } = provenance ?? {};
  return [provider, version, instructionSet, typeof sha256 === 'string' ? sha256.slice(0, 12) : undefined].filter((fact) => fact !== undefined).join(' ') || 'none';
}

const SEND_EVERY_MS = 250;
let units = 0;
let note: string | null = null;
let sent = 0;

function advance(count: number): void {
  units += count;
  if (performance.now() - sent < SEND_EVERY_MS) return;
  sent = performance.now();
  send({ units, note });
}

/** Sent many at a time: an image is far less work than a message. */
const MEASURES_AT_ONCE = 256;
const MEASURES_EVERY_MS = 1_000;
let measures: Measure[] = [];
let measured = 0;

function measure(one: Measure): void {
  measures.push(one);
  if (measures.length >= MEASURES_AT_ONCE || performance.now() - measured > MEASURES_EVERY_MS) sendMeasures();
}

function sendMeasures(): void {
  measured = performance.now();
  if (measures.length > 0) send({ measures });
  measures = [];
}

function flush(): void {
  sendMeasures();
  units = 0;
  note = null;
}

function failureOf(error: unknown): TaskOutcome {
  const known = error instanceof WinnowError;
  const message = error instanceof Error ? error.message : String(error);
  return { state: 'failed', code: known ? error.code : null, message, retryable: known && ERROR_CODES[error.code].retryable };
}

const tell =
  (level: 'debug' | 'info' | 'warn' | 'error') =>
  (...said: unknown[]): void => {
    const [first, second] = said;
    const fields = typeof first === 'object' && first !== null ? (first as Record<string, unknown>) : {};
    send({ log: { level, fields: JSON.parse(JSON.stringify(fields)) as Record<string, unknown>, text: String(second ?? (typeof first === 'string' ? first : '')) } });
  };
const LOG = { debug: tell('debug'), info: tell('info'), warn: tell('warn'), error: tell('error') } as unknown as Log;
