import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resample } from '../../src/cluster/resample.ts';

const clusters = fc.integer({ min: 1, max: 8 }).chain((k) =>
  fc.record({ k: fc.constant(k), points: fc.array(fc.tuple(fc.nat(k - 1), fc.nat(5)), { minLength: 1, maxLength: 60 }), sampleSize: fc.integer({ min: 1, max: 7 }), seed: fc.nat(99) }),
);

describe('resample', () => {
  it('takes min(size, sampleSize) of each cluster; `closest` those that no other member is closer than', () => {
    fc.assert(
      fc.property(clusters, fc.constantFrom('closest' as const, 'random' as const), ({ k, points, sampleSize, seed }, strategy) => {
        const assignment = Uint32Array.from(points, ([c]) => c);
        const distance = Float32Array.from(points, ([, far]) => far);
        const drawn = resample(assignment, distance, k, { sampleSize, strategy, seed, level: 1, round: 1 });
        expect([...drawn]).toEqual([...new Set(drawn)].sort((a, b) => a - b));
        for (let c = 0; c < k; c++) {
          const members = [...assignment.keys()].filter((i) => assignment[i] === c);
          const taken = members.filter((i) => drawn.includes(i));
          expect(taken.length).toBe(Math.min(members.length, sampleSize));
          if (strategy !== 'closest') continue;
          const byDistance = members.sort((a, b) => distance[a]! - distance[b]! || a - b).slice(0, sampleSize);
          expect(taken.sort()).toEqual(byDistance.sort());
        }
      }),
    );
  });

  it('draws other members in another round', () => {
    const assignment = new Uint32Array(1000);
    const distance = new Float32Array(1000);
    const draw = (round: number): number[] => [...resample(assignment, distance, 1, { sampleSize: 20, strategy: 'random', seed: 0, level: 1, round })];
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });
});
