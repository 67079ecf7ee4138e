/**
 * Task processes of one worker: as many as tasks run at once, kept between tasks with the models they opened, ended when
 * nobody has needed them for a while. A task whose place in the queue is lost is ended by ending its process: nothing else
 * stops native code. (BullMQ's own sandbox keeps such a process and would hand it the next job.)
 */
import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ErrorCode } from '../src/errors.ts';
import type { Log } from '../src/log.ts';
import type { Provider } from '../src/onnx/session.ts';
import type { Measure } from '../src/run/stage.ts';
import type { TaskJob } from './queue.ts';

export interface ProcessConfig {
  /** Tasks at once on this machine: each gets its share of the cores. */
  readonly concurrency: number;
  /** Null: whatever the recipe names. */
  readonly providers: readonly Provider[] | null;
  /** Stores that may be written; null: any. */
  readonly stores: readonly string[] | null;
  /** Where sources lie on this machine, where that is not where the driver has them. */
  readonly locations: Readonly<Record<string, string>>;
  /** Modules with more kinds of tasks: each exports `tasks`, lists of kinds by stage. */
  readonly taskModules: readonly string[];
  /** What this code calls itself; the package's version when absent. */
  readonly version?: string;
}

export type TaskOutcome =
  | { readonly state: 'done' | 'obsolete' }
  | { readonly state: 'refused'; readonly message: string }
  | { readonly state: 'failed'; readonly code: ErrorCode | null; readonly message: string; readonly retryable: boolean }
  /** The process was ended by us, for the reason given. */
  | { readonly state: 'killed'; readonly reason: string };

export interface ToProcess {
  readonly job: TaskJob;
}

export interface FromProcess {
  readonly units?: number;
  readonly note?: string | null;
  readonly measures?: readonly Measure[];
  readonly log?: { readonly level: 'debug' | 'info' | 'warn' | 'error'; readonly fields: Record<string, unknown>; readonly text: string };
  readonly outcome?: TaskOutcome;
}

export interface TaskProcesses {
  /** @param onProgress units so far, and what the task is doing */
  run(id: string, job: TaskJob, onProgress: (progress: { units: number; note: string | null }) => void): Promise<TaskOutcome>;
  /** Ends the process that runs this job, at once. */
  kill(id: string, reason: string): void;
  /** Jobs under way, by id. */
  running(): ReadonlyMap<string, TaskJob>;
  /** Ends all processes, at once. */
  close(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL(`./task-process${extname(import.meta.url)}`, import.meta.url));
const IDLE_MS = 5 * 60_000;

interface Entry {
  readonly child: ChildProcess;
  idle: NodeJS.Timeout | null;
  /** Why we ended it; null while we have not. */
  reason: string | null;
}

/** Starts nothing yet: a process is made when a task needs one. @param onMeasure hears what happens in tasks, a little later */
export function createTaskProcesses(config: ProcessConfig, log: Log, onMeasure: (measure: Measure) => void): TaskProcesses {
  const free: Entry[] = [];
  const all = new Set<Entry>();
  const busy = new Map<string, { entry: Entry; job: TaskJob }>();

  const start = (): Entry => {
    // What the process prints is no output of ours: it goes to stderr.
    const child = fork(PROGRAM, [JSON.stringify(config)], { stdio: ['ignore', 2, 2, 'ipc'] });
    const entry: Entry = { child, idle: null, reason: null };
    all.add(entry);
    child.on('error', () => undefined);
    child.once('exit', () => {
      all.delete(entry);
      if (entry.idle !== null) clearTimeout(entry.idle);
      if (free.includes(entry)) free.splice(free.indexOf(entry), 1);
    });
    return entry;
  };
  const rest = (entry: Entry): void => {
    if (entry.child.exitCode !== null || entry.child.signalCode !== null || entry.reason !== null) return;
    free.push(entry);
    entry.idle = setTimeout(() => end(entry, 'idle'), IDLE_MS);
    entry.idle.unref();
  };
  const end = (entry: Entry, reason: string): void => {
    entry.reason ??= reason;
    entry.child.kill('SIGKILL');
  };

  return {
    run: async (id, job, onProgress) => {
      const entry = free.pop() ?? start();
      if (entry.idle !== null) clearTimeout(entry.idle);
      busy.set(id, { entry, job });
      try {
        return await converse(entry, job, log, onProgress, onMeasure);
      } finally {
        busy.delete(id);
        rest(entry);
      }
    },
    kill: (id, reason) => {
      const found = busy.get(id);
      if (found !== undefined) end(found.entry, reason);
    },
    running: () => new Map([...busy].map(([id, { job }]) => [id, job])),
    close: async () => {
      const ends = [...all].map((entry) => new Promise<void>((resolve) => entry.child.once('exit', () => resolve())));
      for (const entry of all) end(entry, 'the worker ends');
      await Promise.all(ends);
    },
  };
}

/** Hands a job over and listens until it is done or the process has ended. */
function converse(entry: Entry, job: TaskJob, log: Log, onProgress: (progress: { units: number; note: string | null }) => void, onMeasure: (measure: Measure) => void): Promise<TaskOutcome> {
  const { child } = entry;
  return new Promise((resolve) => {
    const settle = (outcome: TaskOutcome): void => {
      child.off('message', listen);
      child.off('exit', exited);
      resolve(outcome);
    };
    const listen = (message: FromProcess): void => {
      if (message.log !== undefined) log[message.log.level]({ ...message.log.fields, run: job.run, scope: job.scope, kind: job.kind }, message.log.text);
      else if (message.measures !== undefined) message.measures.forEach(onMeasure);
      else if (message.units !== undefined) onProgress({ units: message.units, note: message.note ?? null });
      else if (message.outcome !== undefined) settle(message.outcome);
    };
    const exited = (code: number | null, signal: string | null): void => {
      if (entry.reason !== null) settle({ state: 'killed', reason: entry.reason });
      // Out of memory, or a fault in native code: it may pass elsewhere, so it is tried again as often as jobs are.
      else settle({ state: 'failed', code: null, message: `The task's process ended ${signal === null ? `with code ${code}` : `by ${signal}`} before the task did`, retryable: true });
    };
    child.on('message', listen);
    child.once('exit', exited);
    child.send({ job } satisfies ToProcess, (error) => {
      if (error !== null) child.kill('SIGKILL');
    });
  });
}
