import { describe, expect, it } from 'vitest';
import { memoryPoints, toGrid } from '../../src/cluster/points.ts';
import { densitySpread } from '../../src/cluster/spread.ts';
import { randomStream } from '../../src/random.ts';
import { sharedEngine } from '../helpers/engine.ts';

const engineOf = sharedEngine();
const { signal } = new AbortController();
const D = 6;

/** Normal clouds round far centres: `counts[c]` points of width `widths[c]`. */
function clouds(counts: readonly number[], widths: readonly number[]): Float32Array {
  const noise = randomStream(1, 'clouds');
  let at = 0;
  return Float32Array.from({ length: counts.reduce((sum, count) => sum + count) * D }, (_, i) => i).map((i) => {
    let cloud = 0;
    for (let before = counts[0]!; Math.floor(i / D) >= before; before += counts[cloud]!) cloud++;
    return toGrid((i % D === cloud % D ? 0.5 : 0) + widths[cloud]! * noise.normal(at++));
  });
}

async function spreadOf(values: Float32Array): Promise<number | null> {
  return densitySpread(memoryPoints(values, values.length / D, D), await engineOf(), randomStream(0, 'spread'), signal);
}

describe('densitySpread', () => {
  it('is the log of the ratio of densities, in points a volume', async () => {
    // A sixth of the points in a cloud a quarter as wide is 4^6 / 5 times as dense; clouds of finite size show some less.
    const even = (await spreadOf(clouds([900, 900], [0.02, 0.02])))!;
    const uneven = (await spreadOf(clouds([1500, 300], [0.02, 0.005])))!;
    expect(even).toBeGreaterThan(0.5);
    expect(even).toBeLessThan(2);
    expect(uneven).toBeGreaterThan(even + 2);
    expect(uneven).toBeLessThan(Math.log(4 ** D / 5) + even);
  });

  it('grows with the share of the points that a concept has', async () => {
    const widths = Array.from({ length: 6 }, () => 0.02);
    const even = (await spreadOf(clouds([300, 300, 300, 300, 300, 300], widths)))!;
    const tailed = (await spreadOf(clouds([1000, 400, 200, 100, 60, 40], widths)))!;
    expect(tailed).toBeGreaterThan(even + 0.3);
  });

  it('does not depend on the unit, and says nothing of few points or of equal ones', async () => {
    const values = clouds([600, 200], [0.02, 0.01]);
    expect(await spreadOf(values.map((value) => value / 4))).toBeCloseTo((await spreadOf(values))!, 3);
    expect(await spreadOf(values.subarray(0, 100 * D))).toBeNull();
    expect(await spreadOf(new Float32Array(200 * D))).toBeNull();
  });
});
