/**
 * From pairs to groups: which rows hang together, which one of each group stays, and what becomes of the others. Every step
 * goes span by span with records between them sorted by span, so that nothing of the size of the pool is held.
 */
import { throwIfAborted } from '../errors.ts';
import type { Part } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { float64Of } from './arrays.ts';
import { components } from './components.ts';
import { type PairColumns, readPairs } from './duplicates.ts';
import { spanFinder } from './exact.ts';
import { FACT_WORDS, type FactsResult, type Span, compareFacts } from './facts.ts';
import { PAIR_WORDS } from './near-pairs.ts';
import { type Spill, createSpill } from './spill.ts';

export interface GroupsRequest {
  readonly spans: readonly Span[];
  readonly facts: readonly FactsResult[];
  /** Key of each span's exact copies and their keepers. */
  readonly exact: readonly string[];
  /** Keys of near pairs, and tables of more. */
  readonly pairs: readonly string[];
  readonly tables: readonly Part[];
  readonly base: string;
  readonly signal: AbortSignal;
}

/** What became of the rows of one span; −1 where a row is in no group. */
export interface GroupedRows {
  readonly span: Span;
  /** Row of the keeper, and the different files that its group has. */
  readonly keeper: Float64Array;
  readonly size: Float64Array;
  /** 1: an exact copy of another row. */
  readonly copy: Uint8Array;
  /** Of an exact copy the row that stays for its bytes, of others the strongest near link, or, without one, an exact copy: the other row and the similarity. */
  readonly nearest: Float64Array;
  readonly similarity: Float32Array;
}

export interface Group {
  readonly keeper: number;
  /** Different files. */
  readonly files: number;
  /** Rows, exact copies included. */
  readonly rows: number;
}

/** Records in memory between steps. */
const RECORDS_MAX = 2 ** 19;
/** Stands above every cosine similarity. */
const SAME_BYTES = 2;
/** Below every similarity; a power of two, so that float32 keeps it. */
const LEAST = 2 ** -100;
/** Of a member: label, fact, row, whether it is a copy. */
const MEMBER_WORDS = 2 + FACT_WORDS + 1;

/**
 * Finds the groups of all rows. A group's keeper is the one of its members that is most wanted, then of the smallest id, then
 * of the smallest row.
 *
 * @param onGroup is told every group of two rows or more, in no order that matters
 * @returns the rows of each span, in order
 */
export async function* findGroups(store: Store, request: GroupsRequest, onGroup: (group: Group) => void): AsyncIterable<GroupedRows> {
  const { spans, base, signal } = request;
  const spanOf = spanFinder(spans);
  const spillTo = (name: string, width: number): Spill => createSpill(Math.max(1, spans.length), { store, prefix: `${base}/${name}` }, RECORDS_MAX, width);
  const links = spillTo('links', 3);
  for await (const { a, b, similarity } of allPairs(store, request)) {
    for (let i = 0; i < a.length; i++) {
      if (links.add(spanOf(a[i]!), a[i]!, b[i]!, similarity[i]!)) await links.settle();
      if (links.add(spanOf(b[i]!), b[i]!, a[i]!, similarity[i]!)) await links.settle();
    }
  }
  const members = spillTo('members', MEMBER_WORDS);
  await labelMembers(store, request, { links, members, spanOf });
  const told = spillTo('told', 3);
  for (const [s, span] of spans.entries()) {
    throwIfAborted(signal);
    await chooseKeepers(members, s, span, onGroup, async (row, keeper, files) => {
      if (told.add(spanOf(row), row, keeper, files)) await told.settle();
    });
  }
  for (const [s, span] of spans.entries()) {
    throwIfAborted(signal);
    yield await rowsOf(span, links.take(s), told.take(s), float64Of(await store.read(request.exact[s]!)));
  }
}

/** Exact copies, each with its keeper, and near pairs. */
async function* allPairs(store: Store, { exact, pairs, tables }: GroupsRequest): AsyncIterable<PairColumns> {
  for (const key of exact) {
    const copies = float64Of(await store.read(key));
    yield { a: copies.filter((_, i) => i % 2 === 0), b: copies.filter((_, i) => i % 2 === 1), similarity: new Float32Array(copies.length / 2).fill(SAME_BYTES) };
  }
  for (const key of pairs) {
    const found = float64Of(await store.read(key));
    const column = (word: number): Float64Array => Float64Array.from({ length: found.length / PAIR_WORDS }, (_, i) => found[i * PAIR_WORDS + word]!);
    yield { a: column(0), b: column(1), similarity: Float32Array.from(column(2)) };
  }
  for (const table of tables) yield readPairs(store, table);
}

/** Sorts every row that has a link by the span of its component's smallest row, with what choosing a keeper needs. */
async function labelMembers(store: Store, request: GroupsRequest, { links, members, spanOf }: { links: Spill; members: Spill; spanOf: (row: number) => number }): Promise<void> {
  const { spans, facts, exact, base, signal } = request;
  const last = spans.at(-1);
  const n = last === undefined ? 0 : last.firstRow + last.rowCount;
  let s = 0;
  let linked: Uint8Array = new Uint8Array(0);
  let fact: Float64Array = new Float64Array(0);
  for await (const { firstRow, smallest } of components(allPairs(store, request), n, { spill: { store, prefix: `${base}/components` }, signal })) {
    for (let i = 0; i < smallest.length; i++) {
      const row = firstRow + i;
      if (row === spans[s]?.firstRow) {
        fact = float64Of(await store.read(facts[s]!.facts));
        linked = await linksOf(store, spans[s]!, links.read(s), exact[s]!);
        s += 1;
      }
      const span = spans[s - 1]!;
      const state = linked[row - span.firstRow]!;
      const at = (row - span.firstRow) * FACT_WORDS;
      if (state === 0 || fact[at]! < 0) continue;
      const label = smallest[i]!;
      if (members.add(spanOf(label), label, fact[at]!, fact[at + 1]!, fact[at + 2]!, fact[at + 3]!, row, state - 1)) await members.settle();
    }
  }
}

/** 0: no link; 1: linked; 2: an exact copy. */
async function linksOf(store: Store, { firstRow, rowCount }: Span, links: AsyncIterable<Float64Array>, exact: string): Promise<Uint8Array> {
  const linked = new Uint8Array(rowCount);
  for await (const run of links) for (let i = 0; i < run.length; i += 3) linked[run[i]! - firstRow] = 1;
  const copies = float64Of(await store.read(exact));
  for (let i = 0; i < copies.length; i += 2) linked[copies[i]! - firstRow] = 2;
  return linked;
}

/** Reads the members of the components whose smallest row is in a span twice: to choose, and to tell. */
async function chooseKeepers(members: Spill, s: number, { firstRow, rowCount }: Span, onGroup: (group: Group) => void, tell: (row: number, keeper: number, files: number) => Promise<void>): Promise<void> {
  const keeper = new Float64Array(rowCount).fill(-1);
  const best = new Float64Array(rowCount * FACT_WORDS);
  const [files, rows] = [new Float64Array(rowCount), new Float64Array(rowCount)];
  for await (const run of members.read(s)) {
    for (let i = 0; i < run.length; i += MEMBER_WORDS) {
      const at = run[i]! - firstRow;
      const row = run[i + 1 + FACT_WORDS]!;
      rows[at]! += 1;
      if (run[i + 2 + FACT_WORDS] === 0) files[at]! += 1;
      const order = keeper[at]! < 0 ? -1 : compareFacts(run, i + 1, best, at * FACT_WORDS) || row - keeper[at]!;
      if (order >= 0) continue;
      keeper[at] = row;
      best.set(run.subarray(i + 1, i + 1 + FACT_WORDS), at * FACT_WORDS);
    }
  }
  for (let at = 0; at < rowCount; at++) if (rows[at]! > 1) onGroup({ keeper: keeper[at]!, files: files[at]!, rows: rows[at]! });
  for await (const run of members.take(s)) {
    for (let i = 0; i < run.length; i += MEMBER_WORDS) await tell(run[i + 1 + FACT_WORDS]!, keeper[run[i]! - firstRow]!, files[run[i]! - firstRow]!);
  }
}

async function rowsOf(span: Span, links: AsyncIterable<Float64Array>, told: AsyncIterable<Float64Array>, exact: Float64Array): Promise<GroupedRows> {
  const { firstRow, rowCount } = span;
  const missing = (): Float64Array => new Float64Array(rowCount).fill(-1);
  const grouped = { span, keeper: missing(), size: missing(), copy: new Uint8Array(rowCount), nearest: missing(), similarity: new Float32Array(rowCount) };
  for (let i = 0; i < exact.length; i += 2) grouped.copy[exact[i]! - firstRow] = 1;
  for await (const run of links) {
    for (let i = 0; i < run.length; i += 3) {
      const [at, other] = [run[i]! - firstRow, run[i + 1]!];
      const similarity = run[i + 2] === SAME_BYTES && grouped.copy[at] === 0 ? LEAST : run[i + 2]!;
      if (similarity < grouped.similarity[at]! || (similarity === grouped.similarity[at] && grouped.nearest[at]! >= 0 && other >= grouped.nearest[at]!)) continue;
      grouped.similarity[at] = similarity;
      grouped.nearest[at] = other;
    }
  }
  grouped.similarity.forEach((one, at) => (one === LEAST || one === SAME_BYTES) && (grouped.similarity[at] = 1));
  for await (const run of told) {
    for (let i = 0; i < run.length; i += 3) {
      const at = run[i]! - firstRow;
      grouped.keeper[at] = run[i + 1]!;
      grouped.size[at] = run[i + 2]!;
    }
  }
  return grouped;
}
