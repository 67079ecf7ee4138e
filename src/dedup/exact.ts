/**
 * Exact duplicates: rows whose ids, which are hashes of the image bytes, are equal. Ids meet in buckets by their first bits,
 * each small enough to sort in memory, so that any number of rows can be compared.
 */
import type { RunContext, TaskKind } from '../run/stage.ts';
import { bytesOf, float64Of, joined } from './arrays.ts';
import { type FactsResult, ID_WORDS, type Span, compareFacts } from './facts.ts';
import { createSpill } from './spill.ts';

export interface MatchPayload {
  readonly spans: readonly { readonly ids: string; /** Candidates before the bucket's, and of it. */ readonly first: number; readonly count: number }[];
  readonly out: string;
}

export interface MatchResult {
  /** Key of pairs × 2 numbers: a copy and the row that stays for it. */
  readonly pairs: string;
  readonly copies: number;
}

/** Candidates of a bucket: some 50 MB in a task. */
const BUCKET_ROWS = 2 ** 19;

/** Buckets that ids are sorted into: a function of the number of rows alone. */
export function bucketsFor(rows: number): number {
  return Math.max(1, Math.ceil(rows / BUCKET_ROWS));
}

/** Finds the copies among the ids of one bucket. */
export const matchIds: TaskKind<MatchPayload, MatchResult> = {
  name: 'dedup-match',
  version: 1,
  run: async ({ spans, out }, env) => {
    const n = spans.reduce((sum, { count }) => sum + count, 0);
    const ids = new Float64Array(n * ID_WORDS);
    let filled = 0;
    for (const { ids: key, first, count } of spans) {
      if (count === 0) continue;
      const width = ID_WORDS * 8;
      ids.set(float64Of(await env.store.read(key, { offset: first * width, length: count * width })), filled * ID_WORDS);
      filled += count;
    }
    const pairs = pairCopies(ids, n);
    await env.store.write(out, bytesOf(pairs));
    return { pairs: out, copies: pairs.length / 2 };
  },
};

/** Sorts every copy to its span. @returns for each span the key of its pairs, copy and keeper */
export async function findExact({ executor, store }: RunContext, spans: readonly Span[], facts: readonly FactsResult[], base: string): Promise<{ keys: string[]; copies: number }> {
  const buckets = facts[0]?.counts.length ?? 0;
  const payloads = Array.from({ length: buckets }, (_, b): MatchPayload => ({
    spans: facts.map(({ ids, counts }) => ({ ids, first: counts.slice(0, b).reduce((sum, count) => sum + count, 0), count: counts[b]! })),
    out: `${base}/match-${b}`,
  }));
  const results = await executor.map(matchIds, payloads, 'duplicates');
  const spill = createSpill(Math.max(1, spans.length), { store, prefix: `${base}/exact-spill` }, 2 ** 20);
  const spanOf = spanFinder(spans);
  for (const { pairs: key, copies } of results) {
    if (copies === 0) continue;
    const pairs = float64Of(await store.read(key));
    for (let i = 0; i < pairs.length; i += 2) if (spill.add(spanOf(pairs[i]!), pairs[i]!, pairs[i + 1]!)) await spill.settle();
  }
  const keys: string[] = [];
  for (const [s] of spans.entries()) {
    const runs: Float64Array[] = [];
    for await (const run of spill.take(s)) runs.push(run);
    await store.write(`${base}/exact-${s}`, bytesOf(joined(runs)));
    keys.push(`${base}/exact-${s}`);
  }
  return { keys, copies: results.reduce((sum, { copies }) => sum + copies, 0) };
}

/** @returns the span that holds a row */
export function spanFinder(spans: readonly Span[]): (row: number) => number {
  return (row) => {
    let [low, high] = [0, spans.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (spans[middle]!.firstRow <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  };
}

function pairCopies(ids: Float64Array, n: number): Float64Array {
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i * ID_WORDS;
  const compareIds = (a: number, b: number): number => ids[a]! - ids[b]! || ids[a + 1]! - ids[b + 1]! || ids[a + 2]! - ids[b + 2]!;
  // Equal ids: the keeper first.
  order.sort((a, b) => compareIds(a, b) || compareFacts(ids, a, ids, b) || ids[a + 4]! - ids[b + 4]!);
  const pairs: number[] = [];
  let keeper = 0;
  for (let i = 1; i < n; i++) {
    if (compareIds(order[keeper]!, order[i]!) !== 0) keeper = i;
    else pairs.push(ids[order[i]! + 4]!, ids[order[keeper]! + 4]!);
  }
  return Float64Array.from(pairs);
}
