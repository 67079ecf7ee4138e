/**
 * One pass over the listing of the pool: how its columns (label, source, keys of `meta` with few values) are spread in the
 * pool, in a random subset and in the selection, and what is known of the images that a report shows.
 */
import { type TableView, decodeTable } from '../arrow/ipc.ts';
import { throwIfAborted } from '../errors.ts';
import type { ImagePlace, ImagesManifest } from '../ingest/image.ts';
import { readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { type Balance, balanceOf } from './balance.ts';

/** What a page says of an image. */
export interface ImageFacts extends ImagePlace {
  readonly uri: string;
  readonly label: string | null;
  readonly caption: string | null;
}

export interface ColumnValue {
  readonly value: string;
  readonly pool: number;
  readonly random: number;
  readonly selection: number;
}

export interface ColumnBalance {
  readonly name: string;
  /** Column of `images/` and, for metadata, the key in it. */
  readonly source: string;
  /** By images of the pool, descending. */
  readonly values: readonly ColumnValue[];
  readonly pool: Balance;
  readonly random: Balance;
  readonly selection: Balance;
  /** Rows of the pool without a value. */
  readonly without: number;
}

/** How rows count: 0 or 1 for the pool and for a random subset of the selection's size, copies for the selection. */
export interface RowWeights {
  readonly pool: Uint8Array;
  readonly random: Uint8Array;
  readonly selection: Uint16Array;
}

export interface ImageScan {
  readonly columns: readonly ColumnBalance[];
  /** Of the wanted rows. */
  readonly facts: ReadonlyMap<number, ImageFacts>;
  /** Label of each row as an index of `labels`; NO_LABEL without one. Null when no image has a label. */
  readonly labelOf: Uint32Array | null;
  readonly labels: readonly string[];
}

export const NO_LABEL = 0xffffffff;
/** Labels told apart; what comes later counts as one. */
const LABELS_MAX = 65_536;
/** Keys of `meta` looked at, and values of one; a key with more is left out. */
const KEYS_MAX = 32;
const VALUES_MAX = 100;
const TEXT_MAX = 200;

/** Holds one part of the listing and 4 bytes a row. @param wanted rows, ascending */
export async function scanImages(store: Store, { parts }: ImagesManifest, weights: RowWeights, wanted: readonly number[], signal: AbortSignal): Promise<ImageScan> {
  const n = weights.pool.length;
  const [labels, sources, meta] = [createTally(LABELS_MAX), createTally(LABELS_MAX), new Map<string, Tally>()];
  const labelOf = new Uint32Array(n).fill(NO_LABEL);
  const facts = new Map<number, ImageFacts>();
  let at = 0;
  for (const part of parts) {
    throwIfAborted(signal);
    const view = decodeTable(await readPart(store, part), part.path);
    const count = (tally: Tally, value: string | null, row: number): number => tally.add(value, weights.pool[row]!, weights.random[row]!, weights.selection[row]!);
    view.strings('label').forEach((label, i) => {
      const code = count(labels, label, part.firstRow + i);
      if (code >= 0) labelOf[part.firstRow + i] = code;
    });
    view.strings('source').forEach((source, i) => count(sources, source, part.firstRow + i));
    if (view.has('meta')) view.strings('meta').forEach((text, i) => text !== null && weights.pool[part.firstRow + i] === 1 && tallyMeta(meta, text, (tally, value) => count(tally, value, part.firstRow + i)));
    for (; at < wanted.length && wanted[at]! < part.firstRow + part.rowCount; at++) facts.set(wanted[at]!, factsOf(view, wanted[at]! - part.firstRow));
  }
  const rows = weights.pool.reduce((sum, one) => sum + one, 0);
  const columns = [labels.balance('label', 'images: label', rows), sources.balance('source', 'images: source', rows)];
  for (const [key, tally] of meta) columns.push(tally.balance(key, `images: meta, key ${key}`, rows));
  return { columns: columns.filter((column) => column !== null), facts, labelOf: labels.size() === 0 ? null : labelOf, labels: labels.names() };
}

/** What is known of some rows of another listing. @param wanted rows, ascending */
export async function readImageFacts(store: Store, { parts }: ImagesManifest, wanted: readonly number[]): Promise<Map<number, ImageFacts>> {
  const facts = new Map<number, ImageFacts>();
  for (const part of parts) {
    const here = wanted.filter((row) => row >= part.firstRow && row < part.firstRow + part.rowCount);
    if (here.length === 0) continue;
    const view = decodeTable(await readPart(store, part), part.path);
    for (const row of here) facts.set(row, factsOf(view, row - part.firstRow));
  }
  return facts;
}

interface Tally {
  /** @returns the value's code, or −1 where there is none */
  add(value: string | null, pool: number, random: number, selection: number): number;
  size(): number;
  names(): string[];
  /** Null for a column that says nothing: fewer than two values, more than were counted, or one for nearly every image. */
  balance(name: string, source: string, rows: number): ColumnBalance | null;
}

function createTally(valuesMax: number): Tally {
  const codes = new Map<string, number>();
  const counts: number[] = [];
  let isOver = false;
  return {
    add: (value, pool, random, selection) => {
      if (value === null) return -1;
      let code = codes.get(value);
      if (code === undefined) {
        if (codes.size === valuesMax) isOver = true;
        if (isOver) return -1;
        codes.set(value, (code = codes.size));
        counts.push(0, 0, 0);
      }
      counts[3 * code]! += pool;
      counts[3 * code + 1]! += random;
      counts[3 * code + 2]! += selection;
      return code;
    },
    size: () => codes.size,
    names: () => [...codes.keys()],
    balance: (name, source, rows) => {
      const values = [...codes].map(([value, c]) => ({ value, pool: counts[3 * c]!, random: counts[3 * c + 1]!, selection: counts[3 * c + 2]! })).filter(({ pool, selection }) => pool > 0 || selection > 0);
      const held = values.reduce((sum, { pool }) => sum + pool, 0);
      if (isOver || values.length < 2 || 2 * values.length > held) return null;
      values.sort((a, b) => b.pool - a.pool || (a.value < b.value ? -1 : 1));
      const of = (key: 'pool' | 'random' | 'selection'): Balance => balanceOf(Float64Array.from(values, (one) => one[key]), values.length);
      return { name, source, values, pool: of('pool'), random: of('random'), selection: of('selection'), without: rows - held };
    },
  };
}

/** Plain values of the top keys of a JSON object; anything else is no category. */
function tallyMeta(tallies: Map<string, Tally>, text: string, count: (tally: Tally, value: string) => void): void {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return;
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string' && typeof entry !== 'number' && typeof entry !== 'boolean') continue;
    let tally = tallies.get(key);
    if (tally === undefined) {
      if (tallies.size === KEYS_MAX) continue;
      tallies.set(key, (tally = createTally(VALUES_MAX)));
    }
    count(tally, String(entry).slice(0, TEXT_MAX));
  }
}

function factsOf(view: TableView, index: number): ImageFacts {
  const { source, path, offset, length, uri, label, caption } = view.row(index) as { source: string; path: string; offset: number | null; length: number | null; uri: string; label: string | null; caption?: string | null };
  return { source, path, offset: offset ?? -1, length: length ?? -1, uri, label, caption: caption ?? null };
}
