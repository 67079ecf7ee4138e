import { describe, expect, it } from 'vitest';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { type AssignPayload, assignRows } from '../../src/cluster/assign.ts';
import { SILENT } from '../../src/log.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import { type Part, readPart, writePart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const [N, K, D] = [700, 50, 8];
const POINTS = gaussianMixture(N, D, 10, { spread: 0.3 }).values;
const CENTROIDS = gaussianMixture(K, D, 10, { seed: 1, spread: 0.3 }).values;
CENTROIDS.copyWithin(40 * D, 3 * D, 4 * D); // a centroid that is there twice, in two parts

async function writeCentroids(store: Store, cuts: readonly number[]): Promise<Part[]> {
  const parts: Part[] = [];
  for (const [i, first] of cuts.entries()) {
    const end = cuts[i + 1] ?? K;
    parts.push(await writePart(store, `centroids-${cuts.length}`, parts, end - first, encodeTable({ centroid: { type: 'vector', element: 'float32', d: D, values: CENTROIDS.slice(first * D, end * D) } })));
  }
  return parts;
}

async function openWorld(cuts: readonly number[]) {
  const store = await openFsStore(await temporaryFolder('assign'));
  const centroids = await writeCentroids(store, cuts);
  const { manifest } = await writeEmbeddings(store, 'embeddings', { vectors: POINTS, d: D, partRows: 90, rejected: new Set([5, 300, 699]) });
  const assign = async (given: Partial<AssignPayload>, execution: { blockRows?: number; memoryBytes?: number } = {}) => {
    const executor = createLocalExecutor({ store, signal: new AbortController().signal, log: SILENT, execution: { concurrency: 1, threads: 2, blockRows: 64, memoryBytes: 1 << 24, ...execution }, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
    await executor.resource('search', engineOf);
    const payload: AssignPayload = { centroids, k: K, d: D, embeddings: manifest.parts, before: null, firstRow: 0, rowCount: N, out: 'out', ...given };
    const [part] = await executor.map(assignRows, [payload], `test-${JSON.stringify([given, execution])}`.replaceAll(/[^a-z0-9]/gi, '-').slice(0, 100));
    return { part: part!, bytes: await readPart(store, part!) };
  };
  return { assign, manifest };
}

function nearestByHand(row: number): number {
  const distances = Array.from({ length: K }, (_, c) => POINTS.slice(row * D, (row + 1) * D).reduce((total, value, j) => total + (value - CENTROIDS[c * D + j]!) ** 2, 0));
  return distances.indexOf(Math.min(...distances));
}

describe('assignRows', () => {
  it('finds the nearest of all centroids, of equal ones the first, in however many parts they come', async () => {
    for (const cuts of [[0], [0, 20, 41], [0, 1, 40]]) {
      const { assign } = await openWorld(cuts);
      const { bytes } = await assign({});
      const view = decodeTable(bytes, 'out');
      const cluster = view.numbers('cluster');
      for (let row = 0; row < N; row++) if (![5, 300, 699].includes(row)) expect(cluster[row], `row ${row}, cuts ${cuts.join()}`).toBe(nearestByHand(row));
      expect(cluster).not.toContain(40);
      expect(cluster).toContain(3);
      expect(view.strings('reason').flatMap((reason, row) => (reason === null ? [] : [[row, reason]]))).toEqual([[5, 'corrupt'], [300, 'corrupt'], [699, 'corrupt']]);
    }
  });

  it('gives the same bytes whatever the block size, and whether the centroids fit the memory or not', async () => {
    const { assign } = await openWorld([0, 20, 41]);
    const { bytes } = await assign({});
    for (const execution of [{ blockRows: 1 }, { blockRows: 5000 }, { memoryBytes: 1 }, { blockRows: 13, memoryBytes: 4000 }]) expect(Buffer.from((await assign({}, execution)).bytes).equals(bytes), JSON.stringify(execution)).toBe(true);
  });

  it('makes a part longer as if it had been made at once', async () => {
    const { assign, manifest } = await openWorld([0]);
    const { bytes } = await assign({});
    const { part: before } = await assign({ rowCount: 333, out: 'before', embeddings: manifest.parts.filter(({ firstRow }) => firstRow < 333) });
    const { bytes: longer } = await assign({ before, embeddings: manifest.parts.filter(({ firstRow, rowCount }) => firstRow + rowCount > 333), out: 'longer' });
    expect(Buffer.from(longer).equals(bytes)).toBe(true);
  });

  it('says which part has vectors of another length', async () => {
    const { assign } = await openWorld([0]);
    await expect(assign({ d: D + 1 })).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH', message: expect.stringContaining(`vectors of ${D + 1} dimensions in embeddings/part-00000.arrow`) });
  });
});
