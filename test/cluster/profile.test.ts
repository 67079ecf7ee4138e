import { describe, expect, it } from 'vitest';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { resolveProfile } from '../../src/cluster/profile.ts';

describe('resolveProfile', () => {
  it('leaves what the recipe says under the default profile, and decides the tolerance', () => {
    const config = ClusterConfig.parse({ empty: 'drop', seedingRows: 100, resampling: { rounds: 3, start: 'warm' } });
    expect(resolveProfile(config)).toEqual({ ...config, tolerance: 1e-4 });
    expect(resolveProfile(ClusterConfig.parse({ tolerance: 0 })).tolerance).toBe(0);
  });

  it('overrules what departs from the published method under reference, and nothing else', () => {
    const loose = { levels: [9, 3], iterations: 7, tolerance: 0.1, seeding: 'cells', seedingRows: 100, empty: 'drop', splits: 2, outliers: { policy: 'merge', minSize: 4 }, split: { when: 'always' }, resampling: { rounds: 3, start: 'warm', sampleSize: 4, strategy: 'random' } };
    const found = resolveProfile(ClusterConfig.parse({ ...loose, profile: 'reference' }));
    expect(found).toMatchObject({ tolerance: 0, seeding: 'greedy', empty: 'keep', levels: [9, 3], iterations: 7, splits: 2 });
    expect(found.seedingRows).toBeGreaterThanOrEqual(2 ** 48);
    expect(found.outliers.policy).toBe('keep');
    expect(found.split.when).toBe('never');
    expect(found.resampling).toEqual({ rounds: 3, start: 'fresh', sampleSize: 4, strategy: 'random' });
  });
});
