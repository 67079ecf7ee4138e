/**
 * What choosing among copies needs of each image, in 32 bytes a row: its id and how much it is wanted as a keeper. Written
 * once, so that no later step reads the vectors beside them again, and sorted by hash, so that equal ids meet.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingPart, readEmbeddingFacts } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { bytesOf } from './arrays.ts';
import type { DedupConfig } from './config.ts';
import { readTaken } from './taken-rows.ts';

/** Consecutive parts of `embeddings/`, one task's work. */
export interface Span {
  readonly firstRow: number;
  readonly rowCount: number;
  readonly parts: readonly EmbeddingPart[];
  /** For each part, the tables of earlier steps that may have taken its rows out. */
  readonly verdicts: readonly (readonly Part[])[];
}

export interface FactsPayload {
  readonly span: Span;
  readonly keep: DedupConfig['keep'];
  /** Parts of `images/` that hold the rows; empty unless `keep` asks for a field of `meta`. */
  readonly images: readonly Part[];
  readonly buckets: number;
  readonly out: string;
}

export interface FactsResult {
  /** Key of rowCount × 4 numbers: the id in three words, and how much the row is wanted. First word −1: not to be compared. */
  readonly facts: string;
  /** Key of candidates × 5 numbers, bucket by bucket: the same and the row. */
  readonly ids: string;
  /** Candidates of each bucket. */
  readonly counts: readonly number[];
}

/** Numbers of a fact, and of a fact with its row. */
export const FACT_WORDS = 4;
export const ID_WORDS = 5;

/** Candidates are rows of status `ok` that no earlier step took out. */
export const readFacts: TaskKind<FactsPayload, FactsResult> = {
  name: 'dedup-facts',
  version: 1,
  run: async ({ span, keep, images, buckets, out }, env) => {
    const facts = new Float64Array(span.rowCount * FACT_WORDS).fill(-1);
    const wanted = typeof keep === 'object' ? await readField(env.store, span, images, keep) : null;
    const counts = new Array<number>(buckets).fill(0);
    for (const [p, part] of span.parts.entries()) {
      throwIfAborted(env.signal);
      const { id, status, width, height } = await readEmbeddingFacts(env.store, part);
      const taken = await readTaken(env.store, span.verdicts[p]!, part.rowCount);
      for (let i = 0; i < part.rowCount; i++) {
        const hex = id[i];
        if (status[i] !== 'ok' || taken[i] !== 0 || hex === null || hex === undefined) continue;
        const row = part.firstRow + i;
        const at = (row - span.firstRow) * FACT_WORDS;
        facts[at] = Number.parseInt(hex.slice(0, 12), 16);
        facts[at + 1] = Number.parseInt(hex.slice(12, 24), 16);
        facts[at + 2] = Number.parseInt(hex.slice(24, 32), 16);
        facts[at + 3] = wanted !== null ? wanted[row - span.firstRow]! : keep === 'first' ? -row : width[i]! * height[i]!;
        counts[bucketOf(facts[at]!, buckets)]! += 1;
      }
      env.advance(part.rowCount);
    }
    await env.store.write(`${out}/facts`, bytesOf(facts));
    await env.store.write(`${out}/ids`, bytesOf(sortByBucket(facts, counts, span.firstRow)));
    return { facts: `${out}/facts`, ids: `${out}/ids`, counts };
  },
};

/**
 * The order in which images of one group are wanted: more wanted first, then the smallest id, then the smallest row.
 *
 * @param at, other positions of facts in `values`
 * @returns whether the first goes before the second, rows apart
 */
export function compareFacts(values: ArrayLike<number>, at: number, others: ArrayLike<number>, other: number): number {
  const wanted = others[other + 3]! - values[at + 3]!;
  // Two that are not wanted at all are at −∞ both, whose difference is no number.
  if (wanted !== 0 && !Number.isNaN(wanted)) return wanted;
  return values[at]! - others[other]! || values[at + 1]! - others[other + 1]! || values[at + 2]! - others[other + 2]!;
}

/** Ids are hashes, so that their first bits spread evenly. */
function bucketOf(firstWord: number, buckets: number): number {
  return Math.floor((firstWord / 2 ** 48) * buckets);
}

function sortByBucket(facts: Float64Array, counts: readonly number[], firstRow: number): Float64Array {
  const next = new Float64Array(counts.length);
  for (let b = 1; b < counts.length; b++) next[b] = next[b - 1]! + counts[b - 1]!;
  const sorted = new Float64Array(counts.reduce((sum, count) => sum + count, 0) * ID_WORDS);
  for (let at = 0, row = firstRow; at < facts.length; at += FACT_WORDS, row++) {
    if (facts[at]! < 0) continue;
    const to = next[bucketOf(facts[at]!, counts.length)]!++ * ID_WORDS;
    for (let w = 0; w < FACT_WORDS; w++) sorted[to + w] = facts[at + w]!;
    sorted[to + FACT_WORDS] = row;
  }
  return sorted;
}

/** The number in a field of `meta` of each row; −∞ where there is none. */
async function readField(store: Store, { firstRow, rowCount }: Span, images: readonly Part[], { meta: field, order }: Exclude<DedupConfig['keep'], string>): Promise<Float64Array> {
  const wanted = new Float64Array(rowCount).fill(-Infinity);
  for (const part of images) {
    const view = decodeTable(await readPart(store, part), part.path);
    if (!view.has('meta')) continue;
    const meta = view.strings('meta');
    for (let row = Math.max(firstRow, part.firstRow); row < Math.min(firstRow + rowCount, part.firstRow + part.rowCount); row++) {
      const value = numberIn(meta[row - part.firstRow] ?? null, field);
      if (value !== null) wanted[row - firstRow] = order === 'highest' ? value : -value;
    }
  }
  return wanted;
}

function numberIn(meta: string | null, field: string): number | null {
  if (meta === null) return null;
  const value: unknown = (JSON.parse(meta) as Record<string, unknown> | null)?.[field];
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}
