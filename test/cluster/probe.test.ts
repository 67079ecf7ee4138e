import { describe, expect, it } from 'vitest';
import type { Leaves } from '../../src/cluster/leaves.ts';
import { bestOf, probeLeaves } from '../../src/cluster/probe.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();
const [N, D, M, EACH] = [700, 6, 40, 9];

/** M cells of EACH leaves, the last two cells without any; coarse centroids are the means. */
async function search() {
  const { values } = gaussianMixture(N + M * EACH, D, 12, { seed: 3, spread: 0.2 });
  const rows = values.subarray(0, N * D);
  const leafValues = values.subarray(N * D);
  const offset = [0];
  for (let c = 0; c < M; c++) offset.push(offset.at(-1)! + (c < M - 2 ? EACH : 0));
  const coarse = new Float32Array(M * D);
  for (let c = 0; c < M - 2; c++) for (let leaf = 0; leaf < EACH; leaf++) for (let j = 0; j < D; j++) coarse[c * D + j]! += leafValues[((c * EACH + leaf) * D) + j]! / EACH;
  const leaves: Leaves = {
    k: offset.at(-1)!,
    offset,
    cells: Uint32Array.from({ length: M - 2 }, (_, c) => c),
    load: async (cell) => ({ centroids: leafValues.slice(cell * EACH * D, (cell + 1) * EACH * D), leaf: Uint32Array.from({ length: EACH }, (_, i) => cell * EACH + i) }),
  };
  return { rows, leafValues, coarse, options: { engine: await engineOf(), coarse, leaves } };
}

function squared(a: Float32Array, i: number, b: Float32Array, c: number): number {
  let sum = 0;
  for (let j = 0; j < D; j++) sum += (a[i * D + j]! - b[c * D + j]!) ** 2;
  return sum;
}

describe('probeLeaves', () => {
  it('finds the nearest leaf of each of the p nearest cells, nearest cell first', async () => {
    const { rows, leafValues, coarse, options } = await search();
    const p = 5;
    const found = await probeLeaves(rows, N, D, { ...options, probes: p });
    for (let i = 0; i < N; i++) {
      const cells = [...options.leaves.cells].sort((a, b) => squared(rows, i, coarse, a) - squared(rows, i, coarse, b)).slice(0, p);
      for (let rank = 0; rank < p; rank++) {
        const leaf = found.leaf[i * p + rank]!;
        // Cells and leaves at almost the same distance may change places.
        expect(Math.abs(squared(rows, i, coarse, Math.floor(leaf / EACH)) - squared(rows, i, coarse, cells[rank]!))).toBeLessThan(1e-5);
        let least = Infinity;
        for (let own = 0; own < EACH; own++) least = Math.min(least, squared(rows, i, leafValues, Math.floor(leaf / EACH) * EACH + own));
        expect(squared(rows, i, leafValues, leaf)).toBeLessThan(least + 1e-5);
        expect(Math.abs(found.distance[i * p + rank]! - least)).toBeLessThan(1e-5);
      }
    }
  });

  it('is exact when all cells are looked at, and a row says the same whatever rows are beside it', async () => {
    const { rows, leafValues, options } = await search();
    const all = bestOf(await probeLeaves(rows, N, D, { ...options, probes: M }), N);
    for (let i = 0; i < N; i++) {
      let least = Infinity;
      for (let leaf = 0; leaf < options.leaves.k; leaf++) least = Math.min(least, squared(rows, i, leafValues, leaf));
      expect(Math.abs(squared(rows, i, leafValues, all.leaf[i]!) - least)).toBeLessThan(1e-5);
    }
    const probed = await probeLeaves(rows, N, D, { ...options, probes: 7 });
    for (const [from, to] of [[0, 1], [5, 300], [N - 1, N]] as const) {
      const some = await probeLeaves(rows.slice(from * D, to * D), to - from, D, { ...options, probes: 7 });
      expect([...some.leaf]).toEqual([...probed.leaf.subarray(from * 7, to * 7)]);
      expect([...some.distance]).toEqual([...probed.distance.subarray(from * 7, to * 7)]);
    }
  });
});
