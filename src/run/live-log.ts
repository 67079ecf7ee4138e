/**
 * `run-progress.json`: where a run stands, for whoever watches from another process. One small object, written anew every
 * second while something moves; clock and host facts, so no stage reads it and no manifest names it. A run that cannot
 * write it goes on.
 */
import { hostname } from 'node:os';
import type { Store } from '../store/store.ts';
import type { ProgressSink } from './stage.ts';

export const LIVE_KEY = 'run-progress.json';
export const LIVE_FORMAT = 'winnow-progress/1';

/** A stage as the progress line tells of it. */
export interface LiveStage {
  readonly stage: string;
  readonly unit: string;
  /** Null: unknown. */
  readonly total: number | null;
  done: number;
  /** Of `done`, what an earlier run had done. */
  kept: number;
  /** Seconds since the run began. */
  readonly began: number;
  ended: number | null;
  note: string;
  /** What it said at its end. */
  summary: string | null;
}

export interface LiveRun {
  readonly format: typeof LIVE_FORMAT;
  readonly command: string;
  readonly host: string;
  readonly pid: number;
  /** Where each source lies on that host. */
  readonly locations: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  readonly started: number;
  updated: number;
  readonly stages: LiveStage[];
  /** Seconds since the run began, index of the stage, units done by then; at even times, thinned as the run grows long. */
  samples: [number, number, number][];
  /** Null while it runs; then `done` or the code of the error that ended it. */
  outcome: string | null;
  message: string | null;
}

export interface LiveLog extends ProgressSink {
  /** Writes the end of the run. Never throws. */
  close(outcome: string, message?: string): Promise<void>;
}

const SAMPLES_MAX = 480;

/** @param everyMs milliseconds between two writes; nothing is written before the first stage begins */
export function createLiveLog(store: Store, { command, locations }: Pick<LiveRun, 'command' | 'locations'>, everyMs = 1000): LiveLog {
  const run: LiveRun = { format: LIVE_FORMAT, command, locations, host: hostname(), pid: process.pid, started: Date.now(), updated: Date.now(), stages: [], samples: [], outcome: null, message: null };
  const writer = createWriter(store, run);
  const sampler = createSampler(run, everyMs / 1000);
  const timer = setInterval(() => {
    sampler.take(false);
    writer.writeIfNeeded();
  }, everyMs);
  timer.unref();
  const end = (summary: string | null): void => {
    const stage = underWay(run);
    if (stage === undefined) return;
    sampler.take(true);
    stage.ended = sampler.seconds();
    stage.summary = summary;
  };
  return {
    begin: (stage, total, unit) => {
      end(null);
      run.stages.push({ stage, unit, total, done: 0, kept: 0, began: sampler.seconds(), ended: null, note: '', summary: null });
      sampler.take(true);
      writer.touch();
    },
    note: (text) => {
      const stage = underWay(run);
      if (stage !== undefined) stage.note = text;
      writer.touch();
    },
    advance: (units, kept = false) => {
      const stage = underWay(run);
      if (stage === undefined) return;
      stage.done += units;
      if (kept) stage.kept += units;
      writer.touch();
    },
    end: (summary) => {
      end(summary);
      writer.touch();
    },
    close: async (outcome, message) => {
      clearInterval(timer);
      if (run.stages.length === 0 && outcome === 'done') return;
      sampler.take(true);
      if (outcome === 'done') end(null);
      run.outcome = outcome;
      run.message = message ?? null;
      await writer.writeLast();
    },
  };
}

/** The stage that has begun and not ended. */
function underWay({ stages }: LiveRun): LiveStage | undefined {
  const last = stages.at(-1);
  return last?.ended === null ? last : undefined;
}

/** Takes a sample every so many seconds, and half as often whenever there are too many. */
function createSampler(run: LiveRun, everySeconds: number): { seconds(): number; take(isEdge: boolean): void } {
  const began = performance.now();
  let every = everySeconds;
  const seconds = (): number => Math.round((performance.now() - began) / 10) / 100;
  return {
    seconds,
    // The first and the last of a stage are taken whenever they come.
    take: (isEdge) => {
      const stage = underWay(run);
      const at = seconds();
      if (stage === undefined || (!isEdge && at - (run.samples.at(-1)?.[0] ?? -Infinity) < every * 0.9)) return;
      run.samples.push([at, run.stages.length - 1, stage.done]);
      if (run.samples.length <= SAMPLES_MAX) return;
      run.samples = run.samples.filter((_, i) => i % 2 === 0);
      every *= 2;
    },
  };
}

/** One write at a time, however slow the store is. */
function createWriter(store: Store, run: LiveRun): { touch(): void; writeIfNeeded(): void; writeLast(): Promise<void> } {
  let isDirty = false;
  let writing: Promise<unknown> | null = null;
  const write = (): Promise<unknown> => {
    isDirty = false;
    run.updated = Date.now();
    const bytes = new TextEncoder().encode(`${JSON.stringify(run)}\n`);
    writing = store.write(LIVE_KEY, bytes).catch(() => undefined).finally(() => (writing = null));
    return writing;
  };
  return {
    touch: () => {
      isDirty = true;
    },
    writeIfNeeded: () => {
      // Also when nothing moved: that it is alive is worth knowing.
      if (writing === null && (isDirty || (run.stages.length > 0 && Date.now() - run.updated > SIGN_OF_LIFE_MS))) void write();
    },
    writeLast: async () => {
      await writing;
      await write();
    },
  };
}

/** A reader may take a run for dead after several of these. */
const SIGN_OF_LIFE_MS = 5000;

/** Tells both. */
export function teeProgress(first: ProgressSink, second: ProgressSink): ProgressSink {
  const both = [first, second];
  return {
    begin: (...args) => both.forEach((sink) => sink.begin(...args)),
    note: (...args) => both.forEach((sink) => sink.note(...args)),
    advance: (...args) => both.forEach((sink) => sink.advance(...args)),
    end: (...args) => both.forEach((sink) => sink.end(...args)),
  };
}
