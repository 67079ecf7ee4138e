import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { ASSIGNMENT_PART_ROWS, CENTROID_PART_ROWS, NO_CLUSTER, type ClustersManifest, readAssignment, readCentroids } from '../../src/cluster/tree.ts';
import { writeAssignment, writeLevels } from '../../src/cluster/write.ts';
import type { EmbeddingStatus } from '../../src/embed/embedding.ts';
import { readPart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** Writes the assignment of a pool of the given statuses and reads it back, whole. */
async function written(statuses: readonly EmbeddingStatus[], assignment: Uint32Array, distance: Float32Array, partRows?: number) {
  const store = await openFsStore(await temporaryFolder('write'));
  const rejected = new Map([...statuses.entries()].filter(([, status]) => status !== 'ok'));
  const embeddings = await writeEmbeddings(store, 'embeddings', { vectors: new Float32Array(statuses.length).fill(1), d: 1, rejected, ...(partRows && { partRows }) });
  const parts = await writeAssignment(store, embeddings.manifest, async (first, count) => ({ assignment: assignment.subarray(first, first + count), distance: distance.subarray(first, first + count) }));
  const found = { cluster: [] as number[], distance: [] as number[], reason: [] as (string | null)[], nulls: [] as boolean[] };
  for await (const block of readAssignment(store, { parts } as unknown as ClustersManifest)) {
    expect(block.firstRow).toBe(found.cluster.length);
    for (const c of block.cluster) found.cluster.push(c);
    for (const value of block.distance) found.distance.push(value);
  }
  for (const part of parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    const [cluster, far] = [view.validity('cluster'), view.validity('distance')];
    expect(cluster).toEqual(far);
    for (const reason of view.strings('reason')) found.reason.push(reason);
    for (let i = 0; i < part.rowCount; i++) found.nulls.push(cluster?.[i] === 0);
  }
  return { parts, found };
}

const row = fc.tuple(fc.constantFrom<EmbeddingStatus>('ok', 'ok', 'ok', 'corrupt', 'empty', 'zero-vector'), fc.constantFrom(0, 1, 7, NO_CLUSTER), fc.float({ min: 0, max: 4, noNaN: true }));

describe('writeAssignment', () => {
  it('gives each row its cluster and distance, or null and the reason', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 70 }), async (rows, partRows) => {
        const ok = rows.filter(([status]) => status === 'ok');
        const { found } = await written(rows.map(([status]) => status), Uint32Array.from(ok, ([, c]) => c), Float32Array.from(ok, ([, , far]) => far), partRows);
        rows.forEach(([status, c, far], i) => {
          const clustered = status === 'ok' && c !== NO_CLUSTER;
          expect(found.cluster[i]).toBe(clustered ? c : NO_CLUSTER);
          expect(found.distance[i]).toBe(clustered ? far : 0);
          expect(found.reason[i]).toBe(clustered ? null : status === 'ok' ? 'set-aside' : status);
          expect(found.nulls[i]).toBe(!clustered);
        });
        expect(found.cluster).toHaveLength(rows.length);
      }),
      { numRuns: 40 },
    );
  });

  it.each([0, 1])('cuts parts at a constant number of rows, wherever the embeddings are cut (%i more than one part)', async (more) => {
    const n = ASSIGNMENT_PART_ROWS + more;
    const statuses = Array.from({ length: n }, (_, i): EmbeddingStatus => (i % 1000 === 999 ? 'corrupt' : 'ok'));
    const clusters = Uint32Array.from({ length: n - Math.floor(n / 1000) }, (_, point) => point % 4099);
    const { parts, found } = await written(statuses, clusters, new Float32Array(clusters.length).fill(0.5));
    expect(parts.map(({ path, firstRow, rowCount }) => [path, firstRow, rowCount])).toEqual([
      ['clusters/assignment/part-00000.arrow', 0, ASSIGNMENT_PART_ROWS],
      ...(more === 0 ? [] : [['clusters/assignment/part-00001.arrow', ASSIGNMENT_PART_ROWS, more]]),
    ]);
    let point = 0;
    const expected = statuses.map((status) => (status === 'ok' ? clusters[point++]! : NO_CLUSTER));
    expect(Buffer.from(Uint32Array.from(found.cluster).buffer).equals(Buffer.from(Uint32Array.from(expected).buffer))).toBe(true);
  });
});

describe('writeLevels', () => {
  it('cuts the centroids of a large level into parts that read back as one', async () => {
    const store = await openFsStore(await temporaryFolder('write'));
    const k = CENTROID_PART_ROWS + 3;
    const levels = [
      { k, size: new Float64Array(k).fill(2), parent: Uint32Array.from({ length: k }, (_, c) => c % 2) },
      { k: 2, size: Float64Array.of(k + 1, k - 1), parent: new Uint32Array(2).fill(NO_CLUSTER) },
    ];
    const centroids = [Float32Array.from({ length: k }, (_, c) => c / k), Float32Array.of(0.25, -1)];
    const files = await writeLevels(store, { d: 1, levels }, async (level, first, count) => centroids[level - 1]!.slice(first, first + count));
    expect(files.map((level) => [level.level, level.k, level.parts.map(({ rowCount }) => rowCount)])).toEqual([
      [1, k, [CENTROID_PART_ROWS, 3]],
      [2, 2, [2]],
    ]);
    const manifest = { d: 1, levels: files } as unknown as ClustersManifest;
    for (const level of [1, 2]) expect(Buffer.from((await readCentroids(store, manifest, level)).buffer).equals(Buffer.from(centroids[level - 1]!.buffer))).toBe(true);
  });
});
