/**
 * The noun of the live page: what can be known of the runs of a store, from the store alone, and of a queue where there is
 * one. It works as well for a run of this machine as for one that many machines do.
 */
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { LIVE_FORMAT, LIVE_KEY, type LiveRun } from '../run/live-log.ts';
import { type Part, readManifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** What a queue tells, as `winnow status` shows it. */
export interface QueueFacts {
  readonly runs: readonly { readonly run: string; readonly name: string; readonly stage: string | null; readonly tasks: number; readonly done: number; readonly failed: number; readonly seen: number }[];
  readonly stages: readonly { readonly stage: string; readonly waiting: number; readonly active: number; readonly delayed: number; readonly failed: number; readonly done: number; readonly perMinute: number | null; readonly etaSeconds: number | null }[];
  readonly workers: readonly { readonly host: string; readonly pid: number; readonly stages: readonly string[]; readonly concurrency: number; readonly providers: readonly string[] }[];
  readonly failures: readonly { readonly stage: string; readonly task: string; readonly reason: string }[];
}

/** A run that ended, from the run log. */
export interface PastRun {
  readonly command: string;
  readonly started: string;
  readonly seconds: number;
  readonly outcome: string;
  readonly host: string;
}

export interface RejectedImage {
  readonly row: number;
  readonly status: string;
}

export interface LiveState {
  /** The run under way or the last one; null before the first. */
  readonly run: LiveRun | null;
  /** Stages whose result lies in the store, and those that do not. */
  readonly made: readonly { readonly path: string; readonly isDone: boolean }[];
  /** Images that were rejected so far, by reason, and the first ones found. */
  readonly rejected: { readonly counts: Readonly<Record<string, number>>; readonly shown: readonly RejectedImage[] };
  /** Null: no queue is watched. `error`: it cannot be read. */
  readonly queue: QueueFacts | { readonly error: string } | null;
  /** Newest first. */
  readonly past: readonly PastRun[];
}

export interface LiveReader {
  read(): Promise<LiveState>;
}

const PATHS = ['images', 'embeddings', 'filters', 'duplicates', 'survivors', 'clusters', 'selections/balanced', 'mixture', 'dataset'];
/** Paths that a road may leave out: shown only where they are. */
const OPTIONAL = new Set(['filters', 'duplicates', 'survivors']);
const SHOWN_MAX = 24;
const PAST_MAX = 8;
/** Records of finished tasks are looked for so often, and no more of them than this: a listing of millions is no page's work. */
const LIST_EVERY_MS = 5000;
const RECORDS_MAX = 20_000;
/** Bytes of the end of the run log that are read. */
const LOG_BYTES = 65_536;

/** @param readQueue asks the queue, where there is one. Remembers which parts it has looked at, not what was in them. */
export function createLiveReader(store: Store, readQueue: (() => Promise<QueueFacts>) | null = null): LiveReader {
  const rejected = createRejectedReader(store);
  return {
    read: async () => {
      const [run, made, found, queue, past] = await Promise.all([
        readRun(store),
        Promise.all(PATHS.map(async (path) => ({ path, isDone: (await store.head(`${path}/manifest.json`)) !== null }))),
        rejected(),
        readQueue === null ? null : readQueue().catch((error: Error) => ({ error: error.message })),
        readPast(store),
      ]);
      return { run, made: made.filter(({ path, isDone }) => isDone || !OPTIONAL.has(path)), rejected: found, queue, past };
    },
  };
}

async function readRun(store: Store): Promise<LiveRun | null> {
  if ((await store.head(LIVE_KEY)) === null) return null;
  try {
    const run = JSON.parse(new TextDecoder().decode(await store.read(LIVE_KEY))) as LiveRun;
    return run.format === LIVE_FORMAT ? run : null;
  } catch {
    // Between two writes of a store that does not replace whole objects.
    return null;
  }
}

async function readPast(store: Store): Promise<PastRun[]> {
  const entry = await store.head('run-log.ndjson');
  if (entry === null) return [];
  const length = Math.min(entry.sizeBytes, LOG_BYTES);
  const text = new TextDecoder().decode(await store.read('run-log.ndjson', { offset: entry.sizeBytes - length, length }));
  const lines = text.split('\n').filter((line) => line.startsWith('{'));
  return lines.slice(-PAST_MAX).reverse().flatMap((line) => {
    try {
      const { command = '', started = '', seconds = 0, outcome = '', host = '' } = JSON.parse(line) as Partial<PastRun>;
      return [{ command: String(command), started: String(started), seconds: Number(seconds), outcome: String(outcome), host: String(host) }];
    } catch {
      return [];
    }
  });
}

/** Parts of `embeddings/` as they come: from the records of the first finished tasks while the stage runs, from its manifest afterwards. */
function createRejectedReader(store: Store): () => Promise<LiveState['rejected']> {
  let seen = new Set<string>();
  let counts: Record<string, number> = {};
  let shown: RejectedImage[] = [];
  let source = '';
  let listedAt = -Infinity;
  const restart = (next: string): void => {
    if (source === next) return;
    source = next;
    listedAt = -Infinity;
    seen = new Set();
    counts = {};
    shown = [];
  };
  const look = async (part: Part): Promise<void> => {
    const { status } = await readEmbeddingFacts(store, part);
    status.forEach((one, i) => one !== 'ok' && shown.length < SHOWN_MAX && shown.push({ row: part.firstRow + i, status: one }));
  };
  return async () => {
    const manifest = await readManifest<EmbeddingsManifest>(store, 'embeddings').catch(() => null);
    if (manifest !== null) {
      if (source === manifest.sha256) return { counts, shown };
      restart(manifest.sha256);
      counts = rejections((manifest.manifest.stats['statuses'] ?? {}) as Record<string, number>);
      for (const [i, part] of manifest.manifest.parts.entries()) if (shown.length < SHOWN_MAX && manifest.manifest.okRows[i]! < part.rowCount) await look(part);
      return { counts, shown };
    }
    const attempt = (await store.head('work/embeddings/attempt')) === null ? '' : new TextDecoder().decode(await store.read('work/embeddings/attempt'));
    restart(`attempt ${attempt}`);
    if (performance.now() - listedAt < LIST_EVERY_MS || seen.size >= RECORDS_MAX) return { counts: { ...counts }, shown: [...shown] };
    listedAt = performance.now();
    for await (const { key } of store.list('work/embeddings/')) {
      if (seen.size >= RECORDS_MAX) break;
      if (!key.endsWith('.json') || seen.has(key)) continue;
      seen.add(key);
      const { result } = JSON.parse(new TextDecoder().decode(await store.read(key))) as { result?: { part?: Part; statuses?: Record<string, number> } };
      if (result?.part === undefined) continue;
      const own = rejections(result.statuses ?? {});
      for (const [status, count] of Object.entries(own)) counts[status] = (counts[status] ?? 0) + count;
      if (Object.keys(own).length > 0 && shown.length < SHOWN_MAX) await look(result.part);
    }
    return { counts: { ...counts }, shown: [...shown] };
  };
}

function rejections(statuses: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(statuses).filter(([status, count]) => status !== 'ok' && count > 0));
}
