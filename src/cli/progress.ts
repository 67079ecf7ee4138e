/**
 * Progress on stderr: a bar on a terminal (cli-progress), a line every few seconds elsewhere, so that a log file stays
 * readable. Both show the rate and the time to go.
 */
import { type SingleBar, Presets, SingleBar as Bar } from 'cli-progress';
import type { ProgressSink } from '../run/stage.ts';

export const SILENT_PROGRESS: ProgressSink = { begin: () => {}, note: () => {}, advance: () => {}, end: () => {} };

/** A bar when the stream is a terminal, lines when it is not. */
export function createProgress(stream: NodeJS.WriteStream): ProgressSink {
  return stream.isTTY ? barProgress(stream) : lineProgress(stream);
}

interface Current {
  readonly stage: string;
  readonly total: number | null;
  readonly unit: string;
  readonly started: number;
  done: number;
  note: string;
}

function barProgress(stream: NodeJS.WriteStream): ProgressSink {
  let current: Current | null = null;
  let bar: SingleBar | null = null;
  const payload = (): object => ({ rate: current === null ? '' : rateOf(current), eta_text: current === null ? '' : etaOf(current), note: fit(current?.note ?? '', stream.columns ?? 80) });
  return {
    begin: (stage, total, unit) => {
      bar?.stop();
      current = { stage, total, unit, started: performance.now(), done: 0, note: '' };
      const format = total === null ? `${stage.padEnd(10)} {value} ${unit} {rate} {note}` : `${stage.padEnd(10)} {bar} {percentage}% {value}/{total} ${unit} {rate} {eta_text} {note}`;
      bar = new Bar({ format, stream, hideCursor: true, clearOnComplete: true, barsize: 20, fps: 8 }, Presets.shades_classic);
      bar.start(total ?? 0, 0, payload());
    },
    note: (text) => {
      if (current !== null) current.note = text;
      bar?.update(payload());
    },
    advance: (units) => {
      if (current === null) return;
      current.done += units;
      bar?.update(current.done, payload());
    },
    end: (summary) => {
      bar?.stop();
      if (current !== null) stream.write(finalLine(current, summary));
      bar = null;
      current = null;
    },
  };
}

const LINE_EVERY_MS = 5000;

function lineProgress(stream: NodeJS.WriteStream): ProgressSink {
  let current: Current | null = null;
  let shown = 0;
  const show = (): void => {
    const now = performance.now();
    if (current === null || now - shown < LINE_EVERY_MS) return;
    shown = now;
    const share = current.total === null || current.total === 0 ? '' : ` of ${current.total} (${Math.floor((100 * current.done) / current.total)} %)`;
    stream.write(`${current.stage}: ${current.done}${share} ${current.unit}, ${rateOf(current)}${etaOf(current) === '' ? '' : `, ${etaOf(current)}`}${current.note === '' ? '' : `; ${current.note}`}\n`);
  };
  return {
    begin: (stage, total, unit) => {
      current = { stage, total, unit, started: performance.now(), done: 0, note: '' };
      shown = performance.now();
    },
    note: (text) => {
      if (current !== null) current.note = text;
      show();
    },
    advance: (units) => {
      if (current !== null) current.done += units;
      show();
    },
    end: (summary) => {
      if (current !== null) stream.write(finalLine(current, summary));
      current = null;
    },
  };
}

function secondsOf(current: Current): number {
  return Math.max(1e-3, (performance.now() - current.started) / 1000);
}

function rateOf(current: Current): string {
  const rate = current.done / secondsOf(current);
  return `${rate >= 100 ? Math.round(rate) : rate.toPrecision(2)} ${current.unit}/s`;
}

function etaOf(current: Current): string {
  if (current.total === null || current.done === 0 || current.done >= current.total) return '';
  return `${duration(((current.total - current.done) * secondsOf(current)) / current.done)} to go`;
}

function finalLine(current: Current, summary: string): string {
  return `${current.stage}: ${summary} (${duration(secondsOf(current))})\n`;
}

/** 7 s, 2 min 5 s, 3 h 20 min. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function fit(note: string, columns: number): string {
  const room = Math.max(0, columns - 90);
  return note.length > room ? note.slice(0, room) : note;
}
