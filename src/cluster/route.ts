/**
 * Routes a range of points to the coarse cells: a step of the external shuffle. Each task writes its vectors grouped by
 * cell as one object, so that the task of a cell can gather its rows by ranged reads.
 */
import type { TaskKind } from '../run/stage.ts';
import { encodeFloat16, decodeFloat16 } from '../vector/float16.ts';
import type { RoutedBlock } from './cells.ts';
import { type PointsReference, openPoints, searchEngine } from './level.ts';
import { groupByParent } from './tree.ts';
import { bytesOf, readWords } from './words.ts';

export interface RoutePayload {
  readonly points: PointsReference;
  /** Key of the m × d coarse centroids. */
  readonly coarse: string;
  readonly m: number;
  readonly start: number;
  readonly count: number;
  readonly unit: number;
  readonly out: string;
}

/** Rows of a block: segments of 64 KiB on average are worth a ranged read, and a block is held twice. */
export function routedRows(m: number, d: number, memoryBytes: number): number {
  const wanted = Math.max(64 * 2 ** 20, m * 64 * 2 ** 10);
  return Math.max(256, Math.floor(Math.min(wanted, memoryBytes / 4) / (d * 4)));
}

/** Writes `vectors`, `rows` (relative to `start`, ascending in a cell) and `counts`. */
export const routeRows: TaskKind<RoutePayload, RoutedBlock> = {
  name: 'cluster-route',
  version: 1,
  run: async ({ points: reference, coarse, m, start, count, unit, out }, env) => {
    const points = await openPoints(env, reference, 0);
    const { d } = points;
    const values = new Float32Array(count * d);
    await points.read(start, count, values);
    const search = await (await searchEngine(env)).nearest(new Float32Array(await readWords(env.store, coarse, m * d)), m, d);
    const cell = new Uint32Array(count);
    try {
      await search.nearest(values, count, cell, null);
    } finally {
      await search.close();
    }
    const { offset, child } = groupByParent(cell, m);
    const { element, vectors } = encodeRows(values, child, d);
    await env.store.write(`${out}/vectors`, vectors);
    await env.store.write(`${out}/rows`, bytesOf(child));
    await env.store.write(`${out}/counts`, bytesOf(Uint32Array.from({ length: m }, (_, c) => offset[c + 1]! - offset[c]!)));
    env.advance(count * unit);
    return { out, start, count, element };
  },
};

/** The rows in the order given, as float16 where that loses nothing, as it does for embeddings kept as float16. */
function encodeRows(values: Float32Array, order: Uint32Array, d: number): { element: RoutedBlock['element']; vectors: Uint8Array } {
  const bits = new Uint16Array(values.length);
  const back = new Float32Array(d);
  let exact = true;
  for (let i = 0; exact && i < order.length; i++) {
    const row = values.subarray(order[i]! * d, (order[i]! + 1) * d);
    const encoded = encodeFloat16(row, bits.subarray(i * d, (i + 1) * d));
    decodeFloat16(encoded, back);
    for (let j = 0; exact && j < d; j++) exact = row[j] === back[j];
  }
  if (exact) return { element: 'float16', vectors: bytesOf(bits) };
  const floats = new Float32Array(values.length);
  for (let i = 0; i < order.length; i++) floats.set(values.subarray(order[i]! * d, (order[i]! + 1) * d), i * d);
  return { element: 'float32', vectors: bytesOf(floats) };
}
