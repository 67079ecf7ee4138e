import { describe, expect, it } from 'vitest';
import { buildPilot } from '../../src/cluster/pilot.ts';
import { assertTree } from '../../src/cluster/tree.ts';
import { compareDepths } from '../../src/report/depths.ts';
import { memoryPoints } from '../../src/cluster/points.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();

describe('compareDepths', () => {
  it('selects the target at every depth, evens out a Zipf mixture, and shows what each further level moves', async () => {
    const n = 1500;
    const d = 16;
    const { values, component } = gaussianMixture(n, d, 30, { zipf: 1.2, spread: 0.06, seed: 2 });
    const engine = await engineOf();
    const pilot = await buildPilot(memoryPoints(values, n, d), [300, 150, 75], { policy: 'merge', minSize: 2 }, { engine, seed: 0, iterations: 20, empty: 'split', resampling: { rounds: 1, sampleSize: [2, 2, 2], strategy: 'closest' } });
    assertTree(pilot.tree);
    const report = await compareDepths({ values, n, d, pilot, target: 200, floor: 0, strategy: 'random', seed: 0, minSize: 3, engine, labels: Array.from(component, String) });
    expect(report.rows.map(({ depth }) => depth)).toEqual([1, 2, 3]);
    for (const row of report.rows) {
      expect(row.selected.length).toBe(200);
      expect(new Set(row.selected).size).toBe(200);
      expect(row.gains[0]!.selected / row.gains[0]!.pool).toBeGreaterThan(row.losses[0]!.selected / row.losses[0]!.pool);
    }
    expect(report.rows[2]!.labelGain).toBeGreaterThan(1.2);
    // Flat clusters follow density, so the finest level is the evenest over them, and each further one moves away.
    expect(report.rows[0]!.entropy).toBeGreaterThan(report.randomEntropy);
    expect(report.rows[2]!.entropy).toBeLessThan(report.rows[0]!.entropy);
  });
});
