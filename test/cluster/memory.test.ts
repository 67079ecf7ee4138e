import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ClusterRun, clusterInChild, prepareInChild } from '../bench/memory.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** `test/bench/memory.ts` measures the same at 100,000 and 1,000,000 vectors of 384 dimensions. */
const RUN: ClusterRun = { cluster: { levels: [200, 40, 10], iterations: 2, seedingRows: 4096 }, memoryMb: 64, blockRows: 2048, threads: 2 };
const D = 128;

describe('memory of the cluster stage', () => {
  it('is bounded by settings: eight times the rows take less than a quarter more, and the bytes are those of a run in memory', async () => {
    const folder = await temporaryFolder('memory');
    const [small, large] = [join(folder, 'small'), join(folder, 'large')];
    await prepareInChild(small, 24_000, D);
    await prepareInChild(large, 200_000, D);
    const few = await clusterInChild(small, RUN);
    const many = await clusterInChild(large, RUN);
    const held = await clusterInChild(large, { ...RUN, memoryMb: 4096, blockRows: 8192 });
    const vectorsMb = (200_000 * D * 4) / 2 ** 20;
    expect(many.peakMb / few.peakMb).toBeLessThan(1.25);
    expect(many.peakMb).toBeLessThan(1536);
    // The measure sees vectors where they are held, so it would see them above.
    expect(held.peakMb - many.peakMb).toBeGreaterThan(0.55 * vectorsMb);
    expect(held.sha256).toBe(many.sha256);
    // A level that is split is bounded likewise, by more: the groups of cells and the sums of an update.
    const split: ClusterRun = { ...RUN, cluster: { levels: [400, 40], iterations: 2, seedingRows: 4096, split: { when: 'always' } } };
    const [fewer, more] = [await clusterInChild(small, split), await clusterInChild(large, split)];
    expect(more.peakMb / fewer.peakMb).toBeLessThan(1.25);
    expect(more.peakMb).toBeLessThan(many.peakMb * 1.6);
  });
});
