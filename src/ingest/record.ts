/** One row of a list file, whatever its format: column name to value. */
import { WinnowError } from '../errors.ts';

/** Strings, numbers, bigints, booleans, dates, nulls, arrays and objects of these. */
export type ListRecord = Readonly<Record<string, unknown>>;

/** A record without a prototype, so that no column name finds anything but its value. */
export function recordOf(names: readonly string[], valueAt: (i: number) => unknown): ListRecord {
  const record = Object.create(null) as Record<string, unknown>;
  names.forEach((name, i) => {
    record[name] = valueAt(i);
  });
  return record;
}

/** Records that a reader hands on at once. */
export const RECORDS = 1024;

/** A record above this is taken for a damaged file, such as an open quote. */
export const RECORD_BYTES_MAX = 2 ** 24;

/** @throws {WinnowError} INPUT_MALFORMED naming the columns there are */
export function requireColumns(needed: readonly string[], present: readonly string[], where: string): void {
  const missing = needed.find((name) => !present.includes(name));
  if (missing === undefined) return;
  const shown = present.length === 0 ? 'none' : present.slice(0, 50).join(', ') + (present.length > 50 ? ` and ${present.length - 50} more` : '');
  throw new WinnowError('INPUT_MALFORMED', `Expected a column ${missing} in ${where}, got ${shown}`, { details: { missing, present: present.slice(0, 50) } });
}

/** The named values as a JSON object, keys sorted. Integers of any length keep their digits; dates are ISO 8601 text. */
export function jsonText(record: ListRecord, names: readonly string[]): string {
  let hasMarks = false;
  const values = Object.fromEntries([...names].sort().map((name) => [name, record[name] ?? null]));
  const text = JSON.stringify(values, (_, value: unknown) => {
    if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array);
    if (typeof value !== 'bigint') return value;
    hasMarks = true;
    return LONG_INTEGER + value;
  });
  return hasMarks ? text.replaceAll(MARKED, '$1') : text;
}

/** Parses JSON with integers of 16 digits or more as bigints, which float64 would round. */
export function parseJson(text: string): unknown {
  if (!/\d{16}/.test(text) || text.includes(LONG_INTEGER)) return JSON.parse(text);
  const marked = text.replace(STRING_OR_LONG_INTEGER, (token) => (token.startsWith('"') ? token : `"${LONG_INTEGER}${token}"`));
  return JSON.parse(marked, (_, value: unknown) => (typeof value === 'string' && value.startsWith(LONG_INTEGER) ? BigInt(value.slice(1)) : value));
}

/** Stands before the digits of a long integer on its way through JSON's own parser; a code point that no text uses. */
const LONG_INTEGER = '\uFFFF';
const MARKED = /"\uFFFF(-?\d+)"/g;
const STRING_OR_LONG_INTEGER = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])-?[1-9]\d{15,}(?![\d.eE])/g;
