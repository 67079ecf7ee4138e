/**
 * The external shuffle of vectors to cells, in two steps: each span of rows is written grouped by cell, then each group of
 * cells is gathered from all spans, so that a search reads a cell at one place.
 */
import { readEmbeddingPart } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import type { TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16, encodeFloat16 } from '../vector/float16.ts';
import { squaredNorms } from '../vector/matrix.ts';
import { openNearestCells } from '../vector/nearest-cells.ts';
import { bytesOf, float32Of, float64Of, ownBuffer, uint32Of } from './arrays.ts';
import { searchEngine } from './cells.ts';
import { FACT_WORDS, type Span } from './facts.ts';

export interface RoutePayload {
  /** Rows, and parts of the table of vectors that hold them; `verdicts` and statuses are in the facts already. */
  readonly span: Span;
  readonly facts: string;
  /** Key of the span's exact copies, which are left out. */
  readonly exact: string;
  readonly centroids: string;
  readonly m: number;
  readonly d: number;
  readonly out: string;
}

export interface RoutedSpan {
  /** Key prefix of `vectors`, `rows` and `counts`. */
  readonly out: string;
  readonly count: number;
  /** float16 where every value of the span is one. */
  readonly element: 'float16' | 'float32';
}

/** Writes `vectors` and `rows` grouped by cell, rows ascending in each, and `counts` of each cell. */
export const routeSpan: TaskKind<RoutePayload, RoutedSpan> = {
  name: 'dedup-route',
  version: 1,
  run: async ({ span, facts: factsKey, exact, centroids: key, m, d, out }, env) => {
    const facts = float64Of(await env.store.read(factsKey));
    const copies = float64Of(await env.store.read(exact));
    for (let i = 0; i < copies.length; i += 2) facts[(copies[i]! - span.firstRow) * FACT_WORDS] = -1;
    const values = new Float32Array(span.rowCount * d);
    const rows = new Float64Array(span.rowCount);
    let n = 0;
    for (const part of span.parts) {
      throwIfAborted(env.signal);
      const { ok, vectors } = await readEmbeddingPart(env.store, part, d);
      const squares = squaredNorms(vectors, part.rowCount, d);
      for (let i = 0; i < part.rowCount; i++) {
        const row = part.firstRow + i;
        // A vector of zeros has no direction, and is near nothing.
        if (ok[i] === 0 || facts[(row - span.firstRow) * FACT_WORDS]! < 0 || !(squares[i]! > 0 && squares[i]! < Infinity)) continue;
        values.set(vectors.subarray(i * d, (i + 1) * d), n * d);
        rows[n++] = row;
      }
      env.advance(part.rowCount);
    }
    const cell = new Uint32Array(n);
    if (m > 1) await openNearestCells(await searchEngine(env), float32Of(await env.store.read(key)), m, d, 1).nearest(unitCopy(values, n, d), n, cell);
    const counts = new Uint32Array(m);
    for (const c of cell) counts[c]! += 1;
    const order = groupByCell(cell, counts);
    const { element, bytes } = encodeRows(values, order, d);
    await env.store.write(`${out}/vectors`, bytes);
    await env.store.write(`${out}/rows`, bytesOf(Float64Array.from(order, (i) => rows[i]!)));
    await env.store.write(`${out}/counts`, bytesOf(counts));
    return { out, count: n, element };
  },
};

export interface GatherPayload {
  readonly spans: readonly RoutedSpan[];
  /** Cells from … to − 1. */
  readonly from: number;
  readonly to: number;
  readonly d: number;
  readonly element: 'float16' | 'float32';
  readonly out: string;
}

/** Gathers neighbouring cells from all spans: `vectors` and `rows` in cell order, rows ascending in each. Holds the group. */
export const gatherCells: TaskKind<GatherPayload, { readonly rows: number }> = {
  name: 'dedup-gather',
  version: 1,
  run: async ({ spans, from, to, d, element, out }, env) => {
    const pieces: Piece[] = [];
    for (const span of spans) {
      const counts = uint32Of(await env.store.read(`${span.out}/counts`, { offset: 0, length: to * 4 }));
      pieces.push({ ...span, first: sumOf(counts.subarray(0, from)), cells: counts.slice(from) });
    }
    const next = startsOf(pieces);
    const total = pieces.reduce((sum, { cells }) => sum + sumOf(cells), 0);
    const rows = new Float64Array(total);
    const vectors = element === 'float16' ? new Uint16Array(total * d) : new Float32Array(total * d);
    for (const piece of pieces) {
      throwIfAborted(env.signal);
      const count = sumOf(piece.cells);
      if (count === 0) continue;
      const read = float64Of(await env.store.read(`${piece.out}/rows`, { offset: piece.first * 8, length: count * 8 }));
      const values = await readRows(env.store, piece, count, d, element);
      let at = 0;
      piece.cells.forEach((some, c) => {
        rows.set(read.subarray(at, at + some), next[c]!);
        vectors.set(values.subarray(at * d, (at + some) * d), next[c]! * d);
        next[c]! += some;
        at += some;
      });
    }
    await env.store.write(`${out}/vectors`, bytesOf(vectors));
    await env.store.write(`${out}/rows`, bytesOf(rows));
    env.advance(total);
    return { rows: total };
  },
};

/** The group's rows in one span: the first of them, and how many each cell has. */
interface Piece extends RoutedSpan {
  readonly first: number;
  readonly cells: Uint32Array;
}

function sumOf(counts: Uint32Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function unitCopy(values: Float32Array, n: number, d: number): Float32Array {
  const unit = values.slice(0, n * d);
  const squares = squaredNorms(unit, n, d);
  for (let i = 0; i < n; i++) for (let j = i * d, scale = 1 / Math.sqrt(squares[i]!); j < (i + 1) * d; j++) unit[j]! *= scale;
  return unit;
}

function groupByCell(cell: Uint32Array, counts: Uint32Array): Uint32Array {
  const next = new Uint32Array(counts.length);
  for (let c = 1; c < counts.length; c++) next[c] = next[c - 1]! + counts[c - 1]!;
  const order = new Uint32Array(cell.length);
  for (let i = 0; i < cell.length; i++) order[next[cell[i]!]!++] = i;
  return order;
}

/** The rows in the order given, as float16 where that loses nothing, as it does for embeddings kept as float16. */
function encodeRows(values: Float32Array, order: Uint32Array, d: number): { element: RoutedSpan['element']; bytes: Uint8Array } {
  const floats = new Float32Array(order.length * d);
  for (let i = 0; i < order.length; i++) floats.set(values.subarray(order[i]! * d, (order[i]! + 1) * d), i * d);
  const bits = encodeFloat16(floats);
  const back = decodeFloat16(bits);
  for (let i = 0; i < floats.length; i++) if (floats[i] !== back[i]) return { element: 'float32', bytes: bytesOf(floats) };
  return { element: 'float16', bytes: bytesOf(bits) };
}

function startsOf(pieces: readonly Piece[]): Float64Array {
  const starts = new Float64Array(pieces[0]?.cells.length ?? 0);
  for (let c = 1; c < starts.length; c++) starts[c] = starts[c - 1]! + pieces.reduce((sum, { cells }) => sum + cells[c - 1]!, 0);
  return starts;
}

async function readRows(store: Store, { out, first, element }: Piece, count: number, d: number, wanted: 'float16' | 'float32'): Promise<Uint16Array | Float32Array> {
  const width = d * (element === 'float16' ? 2 : 4);
  const bytes = await store.read(`${out}/vectors`, { offset: first * width, length: count * width });
  if (element === 'float32') return float32Of(bytes);
  const bits = new Uint16Array(ownBuffer(bytes));
  return wanted === 'float16' ? bits : decodeFloat16(bits);
}
