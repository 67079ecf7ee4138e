/**
 * The logger port and its pino implementation: structured events on stderr, never on stdout, which belongs to output.
 * Library code gets a `Log` handed in and imports nothing else.
 */
import { type Logger, destination, pino } from 'pino';

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** NDJSON events on stderr, written synchronously so that none is lost when the process stops. */
export function createLog({ level }: LogOptions): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 2, sync: true }));
}

export const SILENT: Log = pino({ level: 'silent' });
