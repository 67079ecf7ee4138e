import { describe, expect, it } from 'vitest';
import { seedCentroids, trialsOf } from '../../src/cluster/seed.ts';
import { randomStream } from '../../src/random.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { gaussianMixture } from '../helpers/vectors.ts';

const engineOf = sharedEngine();

async function seeds(values: Float32Array, n: number, d: number, k: number, seed = 0): Promise<Uint32Array> {
  const distances = await (await engineOf()).distances(values, n, d);
  try {
    return await seedCentroids(values, n, d, k, { distances, stream: randomStream(seed, 'seed') });
  } finally {
    await distances.close();
  }
}

describe('trialsOf', () => {
  it.each([[1000, 8], [5000, 10], [10_000, 11], [25_000, 12], [100_000, 13], [800_000, 15], [8_000_000, 17], [10_000_000, 18], [200_000_000, 21]])('of %i is %i, as in the reference', (k, trials) => {
    expect(trialsOf(k)).toBe(trials);
  });
});

describe('seedCentroids', () => {
  it('finds every one of well-separated groups', async () => {
    const { values, component } = gaussianMixture(600, 16, 12, { spread: 0.002, zipf: 1, seed: 4 });
    for (let seed = 0; seed < 5; seed++) {
      const chosen = await seeds(values, 600, 16, 12, seed);
      expect(new Set(Array.from(chosen, (i) => component[i]!)).size).toBe(new Set(component).size);
    }
  });

  it('never chooses a point twice, not even among copies (the reference does)', async () => {
    const distinct = gaussianMixture(50, 8, 50, { seed: 1 }).values;
    const values = new Float32Array(1000 * 8);
    for (let i = 0; i < 1000; i++) values.set(distinct.subarray((i % 50) * 8, (i % 50) * 8 + 8), i * 8);
    const chosen = await seeds(values, 1000, 8, 80);
    expect(new Set(chosen).size).toBe(80);
    expect(new Set(Array.from(chosen.subarray(0, 50), (i) => i % 50)).size).toBe(50);
  });

  it('is a function of the stream alone', async () => {
    const { values } = gaussianMixture(500, 8, 10);
    expect(await seeds(values, 500, 8, 20, 7)).toEqual(await seeds(values, 500, 8, 20, 7));
    expect(await seeds(values, 500, 8, 20, 7)).not.toEqual(await seeds(values, 500, 8, 20, 8));
  });

  it('takes every point when k = n', async () => {
    const { values } = gaussianMixture(30, 4, 30, { seed: 9 });
    expect([...(await seeds(values, 30, 4, 30))].sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i));
  });

  it('starts lower than a random draw: the potential is what greedy k-means++ is for', async () => {
    const { values } = gaussianMixture(800, 12, 20, { zipf: 1.5, seed: 3 });
    const potential = (chosen: Uint32Array): number => {
      let sum = 0;
      for (let i = 0; i < 800; i++) {
        let least = Infinity;
        for (const c of chosen) {
          let distance = 0;
          for (let j = 0; j < 12; j++) distance += (values[i * 12 + j]! - values[c * 12 + j]!) ** 2;
          if (distance < least) least = distance;
        }
        sum += least;
      }
      return sum;
    };
    const random = randomStream(0, 'random');
    expect(potential(await seeds(values, 800, 12, 20))).toBeLessThan(0.5 * potential(Uint32Array.from({ length: 20 }, (_, i) => random.below(i, 800))));
  });
});
