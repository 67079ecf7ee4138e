/**
 * Caps: at most N images of each value of a column. A row stays when its key is among the N smallest of its value, ties by row;
 * the key is a draw from the image's id, or its score. Only the last key that stays is needed to decide every row, so the choice
 * depends neither on blocks nor on order.
 */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { throwIfAborted } from '../errors.ts';
import { type RandomStream, randomStream } from '../random.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { CapRule } from './filter.ts';

/** The last key that stays and its row, of each value that has more images than may stay. */
export interface CapLimits {
  readonly name: string;
  readonly values: Readonly<Record<string, readonly [key: number, row: number]>>;
}

/** What caps go by, of rows that all other rules left: made by the part's task, by position. */
export interface CapRows {
  readonly firstRow: number;
  /** 1 where the row is in. */
  readonly isIn: Uint8Array;
  /** Value of a rule's column; null where there is none. */
  valueOf(rule: CapRule): readonly (string | null)[];
  /** Key of each row by a rule; NaN where it has none. */
  keyOf(rule: CapRule): Float64Array;
}

/**
 * Finds a cap's limits, given those of the caps before it. Reads the parts once; holds 16 bytes for each image that stays.
 *
 * @param parts tables that `filterPart` left, in row order
 */
export async function findLimits(store: Store, parts: readonly Part[], rule: CapRule, before: readonly { readonly rule: CapRule; readonly limits: CapLimits }[], seed: number, signal: AbortSignal): Promise<CapLimits> {
  const smallest = new Map<string, Smallest>();
  for (const part of parts) {
    throwIfAborted(signal);
    const rows = await readCapRows(store, part, seed);
    for (const earlier of before) applyLimits(rows, earlier.rule, earlier.limits, (i) => (rows.isIn[i] = 0));
    const values = rows.valueOf(rule);
    const keys = rows.keyOf(rule);
    for (let i = 0; i < rows.isIn.length; i++) {
      const value = rows.isIn[i] === 1 ? capValue(rule, values[i]!) : null;
      if (value === null) continue;
      let heap = smallest.get(value);
      if (heap === undefined) smallest.set(value, (heap = createSmallest(rule.cap.max)));
      heap.add(keys[i]!, rows.firstRow + i);
    }
  }
  const full = [...smallest].flatMap(([value, heap]) => (heap.last === null ? [] : [[value, heap.last] as const]));
  return { name: rule.name, values: Object.fromEntries(full.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** Calls `onReject` for the rows that are in and go by this cap, ascending. */
export function applyLimits(rows: CapRows, rule: CapRule, { values: limits }: CapLimits, onReject: (i: number, value: string | null) => void): void {
  const values = rows.valueOf(rule);
  const keys = rows.keyOf(rule);
  for (let i = 0; i < rows.isIn.length; i++) {
    if (rows.isIn[i] === 0) continue;
    const found = values[i]!;
    if (found === null && rule.cap.missing === 'reject') onReject(i, null);
    const value = capValue(rule, found);
    const limit = value !== null && Object.hasOwn(limits, value) ? limits[value]! : null;
    if (limit !== null && comesAfter(keys[i]!, rows.firstRow + i, limit[0], limit[1])) onReject(i, found);
  }
}

/** Reads what `filterPart` left for caps. @param seed of the run; every draw is a function of it, the rule's name and the id */
export async function readCapRows(store: Store, part: Part, seed: number): Promise<CapRows> {
  const view = decodeTable(await readPart(store, part), part.path);
  const id = view.strings('id');
  const streams = new Map<string, RandomStream>();
  const draw = (name: string): Float64Array => {
    let stream = streams.get(name);
    if (stream === undefined) streams.set(name, (stream = randomStream(seed, 'filter', 'cap', name)));
    return Float64Array.from(id, (hex) => (hex === null ? Number.NaN : stream.uniform(Number.parseInt(hex.slice(0, 13), 16))));
  };
  return {
    firstRow: part.firstRow,
    isIn: Uint8Array.from(view.numbers('in')),
    valueOf: (rule) => view.strings(`value.${rule.name}`),
    keyOf: ({ name, cap: { by } }) => {
      if (by === 'random') return draw(name);
      const sign = by.prefer === 'highest' ? -1 : 1;
      const valid = view.validity(`score.${by.score}`);
      return Float64Array.from(view.numbers(`score.${by.score}`), (score, i) => (valid?.[i] === 0 ? Number.NaN : sign * score));
    },
  };
}

/** The value of a row's column, as text; null where it has none. @param meta JSON text */
export function columnValue(column: string, source: string, label: string | null, meta: string | null): string | null {
  if (column === 'source') return source;
  if (column === 'label') return label;
  if (meta === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(meta);
  } catch {
    return null;
  }
  for (const key of column.slice('meta.'.length).split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, key)) return null;
    value = (value as Record<string, unknown>)[key];
  }
  if (value === null || value === '') return null;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The value a row is counted under; null: no cap applies. The prefix keeps rows without a value apart from every value. */
function capValue({ cap: { missing } }: CapRule, value: string | null): string | null {
  if (value !== null) return `=${value}`;
  return missing === 'cap' ? '' : null;
}

function comesAfter(key: number, row: number, otherKey: number, otherRow: number): boolean {
  return key > otherKey || (key === otherKey && row > otherRow);
}

interface Smallest {
  add(key: number, row: number): void;
  /** The largest that stays, or null when nothing had to go. */
  readonly last: readonly [number, number] | null;
}

/** The `max` smallest (key, row) of a stream: a heap with the largest on top. */
function createSmallest(max: number): Smallest {
  let keys = new Float64Array(8);
  let rows = new Float64Array(8);
  let [count, dropped] = [0, 0];
  const after = (a: number, b: number): boolean => comesAfter(keys[a]!, rows[a]!, keys[b]!, rows[b]!);
  const swap = (a: number, b: number): void => {
    [keys[a], keys[b]] = [keys[b]!, keys[a]!];
    [rows[a], rows[b]] = [rows[b]!, rows[a]!];
  };
  const siftUp = (at: number): void => {
    for (let parent = (at - 1) >> 1; at > 0 && after(at, parent); at = parent, parent = (at - 1) >> 1) swap(at, parent);
  };
  const siftDown = (): void => {
    for (let at = 0, child = 1; child < count; at = child, child = 2 * at + 1) {
      if (child + 1 < count && after(child + 1, child)) child++;
      if (!after(child, at)) return;
      swap(at, child);
    }
  };
  const grow = (old: Float64Array): Float64Array<ArrayBuffer> => {
    const larger = new Float64Array(Math.min(max, 2 * old.length));
    larger.set(old);
    return larger;
  };
  return {
    add: (key, row) => {
      assert(Number.isFinite(key), `Expected row ${row}, which all rules left, to have a key, got ${key}`);
      if (count < max) {
        if (count === keys.length) [keys, rows] = [grow(keys), grow(rows)];
        [keys[count], rows[count]] = [key, row];
        siftUp(count++);
        return;
      }
      dropped++;
      if (!comesAfter(keys[0]!, rows[0]!, key, row)) return;
      [keys[0], rows[0]] = [key, row];
      siftDown();
    },
    get last() {
      return dropped === 0 ? null : ([keys[0]!, rows[0]!] as const);
    },
  };
}
