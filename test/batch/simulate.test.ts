import { describe, expect, it } from 'vitest';
import { createSampler } from '../../src/batch/sampler.ts';
import { renderSimulation, simulate } from '../../src/batch/simulate.ts';
import { simulateRun } from '../../src/cli/simulate.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildDataset } from './toy-feed.ts';

const FLAGS = { part: [], homogeneous: [], window: 100, steps: 100 };

describe('simulate', () => {
  it('says what the sampler does', () => {
    const parts = [{ name: 'a', rows: 50, uniqueImages: 25, shards: 5, imageBytes: 1000 }, { name: 'b', rows: 7, uniqueImages: 7, shards: 1, imageBytes: 500 }];
    const mixture = { homogeneous: { part: 'b', probability: 0.3 }, heterogeneous: [{ part: 'a', ratio: 1 }] };
    const sampler = createSampler({ parts, mixture, seed: 4 }, 6);
    const seen = parts.map(({ rows }) => new Array<number>(rows).fill(0));
    let homogeneous = 0;
    for (let step = 0; step < 77; step++) {
      const { kind, part, index } = sampler.batch(step, 0, 1);
      if (kind === 'homogeneous') homogeneous++;
      part.forEach((p, i) => seen[p]![index[i]!]!++);
    }
    const outcome = simulate(parts, { mixture, seed: 4, batchSize: 6, steps: 77, windowSteps: 20, rate: 10 });
    expect(outcome.homogeneousShare).toBe(homogeneous / 77);
    outcome.parts.forEach(({ images, repeats, repeatsPerImage, seen: share }, p) => {
      const sum = seen[p]!.reduce((a, b) => a + b, 0);
      expect([images, repeats.min, repeats.max, share]).toEqual([sum, Math.min(...seen[p]!), Math.max(...seen[p]!), seen[p]!.filter((count) => count > 0).length / parts[p]!.rows]);
      expect(repeatsPerImage).toBe(sum / parts[p]!.uniqueImages);
    });
    expect(outcome.bytesPerStep).toBeCloseTo((outcome.parts[0]!.images * 1000 + outcome.parts[1]!.images * 500) / 77, 9);
    expect(outcome.seconds).toBeCloseTo(46.2, 9);
    expect(outcome.window.shards).toBeGreaterThan(1);
    expect(outcome.window.shards).toBeLessThanOrEqual(6);
  });

  it('comes to the paper\'s figures for the paper\'s run', async () => {
    const { json, text } = await simulateRun(null, { ...FLAGS, steps: 1_000_000, part: ['imagenet-1k=1281167', 'lvd-1689m=1689000000'], homogeneous: ['imagenet-1k=0.1'], batchSize: 4096 });
    expect(Math.abs(json.parts[0]!.passes - 320)).toBeLessThan(2);
    expect(Math.abs(json.parts[1]!.passes - 2.18)).toBeLessThan(0.01);
    expect(json.parts[1]!.seen).toBe(1);
    expect(json.homogeneousShare).toBeCloseTo(0.1, 2);
    expect(text).toMatch(/imagenet-1k +1281167 +\d+\.\d % +3(19|20)\.\d\d/);
  });

  it('tells of a dataset what the feed gives, timed, and refuses what it cannot tell', async () => {
    const { store } = await buildDataset(await temporaryFolder(), { shard: { rows: 20, withBytes: true } });
    const { json } = await simulateRun(store.uri, { ...FLAGS, steps: 50 });
    expect(json.parts.map(({ name }) => name)).toEqual(['balanced', 'near', 'whole']);
    expect(json.images).toBe(500);
    expect(json.seconds).toBeGreaterThan(0);
    expect(json.bytesPerStep).toBeGreaterThan(0);
    expect(renderSimulation(json)).toMatch(/MB a step/);
    await expect(simulateRun(store.uri, { ...FLAGS, part: ['a=3'] })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('and not both') });
    await expect(simulateRun(null, { ...FLAGS, part: ['a'] })).rejects.toMatchObject({ message: 'Expected --part to be name=number, got "a"' });
    await expect(simulateRun(null, { ...FLAGS, steps: 2 ** 27, part: ['a=3'] })).rejects.toMatchObject({ message: expect.stringContaining('to be below 134217728') });
  });
});
