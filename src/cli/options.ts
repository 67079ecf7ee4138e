/** What every command shares: numbers as options, where events and progress go, and what is printed. */
import { InvalidArgumentError } from 'commander';
import type { Log } from '../log.ts';
import type { ProgressSink } from '../run/stage.ts';
import { createCliLog, createCliProgress } from './session.ts';

export interface Common {
  readonly store: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

/** Where a command's events and progress go. */
export function reportersOf({ json = false, quiet = false, verbose = false }: Pick<Common, 'json' | 'quiet' | 'verbose'>): { log: Log; progress: ProgressSink } {
  const log = createCliLog({ json, level: verbose ? 'debug' : quiet ? 'warn' : 'info' });
  return { log, progress: createCliProgress({ json, quiet, log }) };
}

/** A command's result on stdout: text for people, or JSON. */
export function print(outcome: { readonly text: string; readonly json: unknown }, asJson = false): void {
  const text = asJson ? JSON.stringify(outcome.json, null, 2) : outcome.text;
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Collects an option that may be repeated. */
export function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

/** A whole number from 1 up; 17e9 is one. */
export function count(value: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || parsed < 1) throw new InvalidArgumentError(`expected a whole number from 1 up, got ${value}.`);
  return parsed;
}

/** A whole number from 0 up. */
export function wholeNumber(value: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || parsed < 0) throw new InvalidArgumentError(`expected a whole number from 0 up, got ${value}.`);
  return parsed;
}

/** A number above 0. */
export function positive(value: string): number {
  const parsed = Number(value);
  if (!Number.isFinite(parsed) || parsed <= 0) throw new InvalidArgumentError(`expected a number above 0, got ${value}.`);
  return parsed;
}
