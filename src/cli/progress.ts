/**
 * Progress on stderr: a bar on a terminal (cli-progress), a line every few seconds elsewhere, so that a log file stays
 * readable, and events of the log with `--json`. All show the rate and the time to go.
 */
import { MultiBar } from 'cli-progress';
import type { Log } from '../log.ts';
import { wrapLine } from '../report/wrap.ts';
import type { ProgressSink } from '../run/stage.ts';

export const SILENT_PROGRESS: ProgressSink = { begin: () => {}, note: () => {}, advance: () => {}, end: () => {} };

/** A bar when the stream is a terminal, lines when it is not. */
export function createProgress(stream: NodeJS.WriteStream): ProgressSink {
  return stream.isTTY ? barProgress(stream) : periodicProgress((_, text) => stream.write(`${wrapLine(text).join('\n')}\n`));
}

/** The same lines as events of the log, with their figures. */
export function createLogProgress(log: Log): ProgressSink {
  return periodicProgress((figures, text) => log.info({ event: 'progress', ...figures }, text));
}

/** The bar being shown: one at a time, as there is one stderr. */
let shown: MultiBar | null = null;

/** Writes whole lines to stderr, above the bar when one is shown. */
export function writeAbove(text: string): void {
  if (shown === null) process.stderr.write(text);
  else {
    shown.log(text);
    shown.update();
  }
}

/** Takes the bar away, and with it the timer that keeps the process alive. To be called when a run ends early. */
export function hideProgress(): void {
  shown?.stop();
  shown = null;
}

/** A stage under way. */
export interface Figures {
  readonly stage: string;
  /** Units in all; null: unknown. */
  readonly total: number | null;
  readonly unit: string;
  readonly done: number;
  /** Of `done`, those that an earlier run had done: no part of the rate. */
  readonly kept: number;
  readonly seconds: number;
  readonly note: string;
}

interface Current extends Omit<Figures, 'seconds'> {
  readonly started: number;
  done: number;
  kept: number;
  note: string;
}

function begin(stage: string, total: number | null, unit: string): Current {
  return { stage, total, unit, started: performance.now(), done: 0, kept: 0, note: '' };
}

function figuresOf({ started, ...current }: Current): Figures {
  return { ...current, seconds: Math.max(1e-3, (performance.now() - started) / 1000) };
}

function barProgress(stream: NodeJS.WriteStream): ProgressSink {
  let current: Current | null = null;
  const format = (): string => (current === null ? '' : barLine(figuresOf(current), stream.columns || 80));
  return {
    begin: (stage, total, unit) => {
      hideProgress();
      current = begin(stage, total, unit);
      // Lines are cut to the width here. Ctrl-C is for the command line to handle, not for a bar.
      shown = new MultiBar({ format, stream, hideCursor: true, clearOnComplete: true, linewrap: true, forceRedraw: true, gracefulExit: false, fps: 8 });
      shown.create(1, 0);
    },
    note: (text) => {
      if (current !== null) current.note = text;
    },
    advance: (units, kept = false) => {
      if (current !== null) count(current, units, kept);
    },
    end: (summary) => {
      hideProgress();
      if (current !== null) stream.write(`${finalLine(figuresOf(current), summary)}\n`);
      current = null;
    },
  };
}

const LINE_EVERY_MS = 5000;

function periodicProgress(write: (figures: object, text: string) => void): ProgressSink {
  let current: Current | null = null;
  let written = 0;
  const show = (): void => {
    const now = performance.now();
    if (current === null || now - written < LINE_EVERY_MS) return;
    written = now;
    const figures = figuresOf(current);
    write(figures, plainLine(figures));
  };
  return {
    begin: (stage, total, unit) => {
      current = begin(stage, total, unit);
      written = performance.now();
    },
    note: (text) => {
      if (current !== null) current.note = text;
      show();
    },
    advance: (units, kept = false) => {
      if (current !== null) count(current, units, kept);
      show();
    },
    end: (summary) => {
      if (current !== null) write({ ...figuresOf(current), ended: true }, finalLine(figuresOf(current), summary));
      current = null;
    },
  };
}

function count(current: Current, units: number, kept: boolean): void {
  current.done += units;
  if (kept) current.kept += units;
}

const BAR = { widest: 20, narrowest: 6 };
const NAME_MAX = 22;

/** One line of fewer than `columns` characters: name, bar, share, count, rate, time to go, and the note if it fits whole. */
export function barLine(figures: Figures, columns: number): string {
  const { stage, total, note, done } = figures;
  const room = columns - 1;
  const name = (stage.length > NAME_MAX ? `…${stage.slice(1 - NAME_MAX)}` : stage).padEnd(10);
  const facts = [countOf(figures), rateOf(figures), etaOf(figures)].filter((fact) => fact !== '').join('  ');
  if (total === null) return `${name} ${facts}  ${note}`.slice(0, room).trimEnd();
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const text = `${`${Math.floor(share * 100)}%`.padStart(4)}  ${facts}`;
  const left = room - name.length - text.length - 2;
  if (left < BAR.narrowest) return `${name} ${text}`.slice(0, room);
  // The bar gives way before the note does.
  const shown = note !== '' && left - BAR.narrowest >= note.length + 2 ? `  ${note}` : '';
  const width = Math.min(BAR.widest, left - shown.length);
  const full = Math.round(share * width);
  return `${name} ${'█'.repeat(full)}${'░'.repeat(width - full)} ${text}${shown}`;
}

/** `embeddings: 257 of 400 images (64 %), 159 images/s, 12 s to go; note`. */
function plainLine(figures: Figures): string {
  const { stage, total, unit, done, note } = figures;
  const share = total === null || total === 0 ? ` ${unit}` : ` of ${short(total)} ${unit} (${Math.floor((100 * done) / total)} %)`;
  const facts = [`${stage}: ${short(done)}${share}`, rateOf(figures), etaOf(figures)].filter((fact) => fact !== '');
  return `${facts.join(', ')}${note === '' ? '' : `; ${note}`}`;
}

function countOf({ total, unit, done }: Figures): string {
  return total === null ? `${short(done)} ${unit}` : `${short(done)}/${short(total)}`;
}

function rateOf({ unit, done, kept, seconds }: Figures): string {
  if (done === kept) return '';
  const rate = (done - kept) / seconds;
  return `${rate >= 100 ? short(Math.round(rate)) : rate.toPrecision(2)} ${unit}/s`;
}

function etaOf({ total, done, kept, seconds }: Figures): string {
  if (total === null || done === kept || done >= total) return '';
  return `${duration(((total - done) * seconds) / (done - kept))} to go`;
}

const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** Whole numbers up to 999,999, then 1.23M, 1.69B. */
function short(count: number): string {
  return count < 1e6 ? String(count) : COMPACT.format(count);
}

function finalLine({ stage, seconds }: Figures, summary: string): string {
  return `${stage}: ${summary} (${duration(seconds)})`;
}

/** 7 s, 2 min 5 s, 3 h 20 min. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
