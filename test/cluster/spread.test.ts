import { describe, expect, it } from 'vitest';
import { memoryPoints, toGrid } from '../../src/cluster/points.ts';
import { poolShape } from '../../src/cluster/spread.ts';
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

async function shapeOf(values: Float32Array, d = D) {
  return poolShape(memoryPoints(values, values.length / d, d), await engineOf(), randomStream(0, 'spread'), signal);
}

async function spreadOf(values: Float32Array): Promise<number | null> {
  return (await shapeOf(values))?.spread ?? null;
}

describe('poolShape', () => {
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

  it('counts copies', async () => {
    const values = clouds([600], [0.02]);
    expect((await shapeOf(values))!.copies).toBeLessThan(0.02);
    // A third of the 600 twice: 400 of 800 have a copy.
    const doubled = Float32Array.from([...values, ...values.subarray(0, 200 * D)]);
    expect((await shapeOf(doubled))!.copies).toBeCloseTo(0.5, 1);
  });

  it('sees the dimension of the cloud, not of the space', async () => {
    const flat = clouds([2000], [0.02]).map((value, i) => (i % D < 3 ? value : 0));
    expect((await shapeOf(flat))!.dimension).toBeLessThan(4);
    expect((await shapeOf(clouds([2000], [0.02])))!.dimension).toBeGreaterThan(4);
  });

  it('has little contrast where neighbours are near for such a wide pool', async () => {
    const { contrast } = (await shapeOf(clouds([300, 300, 300], [0.001, 0.001, 0.001])))!;
    expect(contrast).toBeLessThan(0.01);
    expect((await shapeOf(clouds([900], [0.02])))!.contrast).toBeGreaterThan(0.2);
  });

  it('agrees with a count over all points about hubness, though it looks at some', async () => {
    const d = 24;
    const n = 1800;
    const noise = randomStream(2, 'hubs');
    const values = Float32Array.from({ length: n * d }, (_, i) => toGrid(0.05 * noise.normal(i)));
    const seen = (await shapeOf(values, d))!.hubness;
    const counts = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const squared = Float64Array.from({ length: n }, (_, j) => {
        let sum = 0;
        for (let x = 0; x < d; x++) sum += (values[i * d + x]! - values[j * d + x]!) ** 2;
        return sum;
      });
      const bound = squared.toSorted()[10]!;
      for (let j = 0; j < n; j++) if (j !== i && squared[j]! <= bound) counts[j]!++;
    }
    const variance = counts.reduce((sum, one) => sum + (one - 10) ** 2, 0) / n;
    expect(seen / (Math.sqrt(variance) / 10)).toBeGreaterThan(0.9);
    expect(seen / (Math.sqrt(variance) / 10)).toBeLessThan(1.1);
  });
});
