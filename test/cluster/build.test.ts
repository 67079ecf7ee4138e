/** Building a tree: whatever the levels, outliers, empty clusters, splits and samples asked for, the laws of trees hold. */
import { describe, expect, it } from 'vitest';
import { readManifest } from '../../src/run/manifest.ts';
import { build, expectLaws, mixturePool, openContext, openPool } from './built-tree.ts';

describe('buildTree', () => {
  it.each(['float16', 'float32'] as const)('partitions the ok rows of a %s table at five levels, every row accounted for', async (dtype) => {
    const pool = mixturePool(1500, 10, dtype);
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store), embeddings, { levels: [60, 30, 15, 8, 4], outliers: { policy: 'keep' } });
    await expectLaws(store, pool, manifest);
    expect(manifest.levels.map(({ k }) => k)).toEqual([60, 30, 15, 8, 4]);
    const rounds = manifest.stats.rounds as { n: number; k: number; iterations: { inertia: number; changed: number }[] }[][];
    expect(rounds.map(([round]) => round!.n)).toEqual([pool.statuses.filter((status) => status === 'ok').length, 60, 30, 15, 8]);
    for (const [round] of rounds) {
      const inertias = round!.iterations.map(({ inertia }) => inertia);
      for (let i = 1; i < inertias.length; i++) expect(inertias[i]!).toBeLessThanOrEqual(inertias[i - 1]! * (1 + 1e-6));
    }
  });

  it.each(['float16', 'float32'] as const)('works in the units of the vectors (%s), whatever their length', async (dtype) => {
    const unit = mixturePool(600, 6, dtype);
    const inertiaOf = async (length: number): Promise<number> => {
      const pool = { ...unit, vectors: unit.vectors.map((value) => value * length) };
      const { store, embeddings } = await openPool(pool);
      const { manifest } = await build(openContext(store), embeddings, { levels: [20, 4] });
      const { rows } = await expectLaws(store, pool, manifest);
      const last = (manifest.stats.rounds as { inertia: number }[][])[0]!.at(-1)!.inertia;
      expect(rows.distance.reduce<number>((sum, value) => sum + (value ?? 0), 0) / last).toBeCloseTo(1, 4);
      return last;
    };
    const one = await inertiaOf(1);
    expect((await inertiaOf(16)) / one).toBeCloseTo(256, 6);
    expect((await inertiaOf(1 / 8)) / one).toBeCloseTo(1 / 64, 8);
    // 5 is no power of two, so vectors are rounded elsewhere and the tree may differ a little.
    expect((await inertiaOf(5)) / one / 25).toBeCloseTo(1, 1);
  });

  it('keeps, merges or sets aside the images of small clusters', async () => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const levels = [120, 20, 5];
    const small = (sizes: readonly number[]): number => sizes.filter((size) => size < 4).length;

    const kept = await build(openContext(store), embeddings, { levels, outliers: { policy: 'keep', minSize: 4 } });
    const { sizes } = await expectLaws(store, pool, kept.manifest);
    const images = sizes[0]!.filter((size) => size < 4).reduce((sum, size) => sum + size, 0);
    expect(small(sizes[0]!)).toBeGreaterThan(5);
    expect(kept.manifest.stats).toMatchObject({ merged: 0, setAside: 0, outlierClusters: small(sizes[0]!), outlierImages: images });

    const merged = await build(openContext(store), embeddings, { levels, outliers: { policy: 'merge', minSize: 4 } });
    const after = await expectLaws(store, pool, merged.manifest);
    expect(small(after.sizes[0]!)).toBe(0);
    expect(after.sizes[0]).toHaveLength(120 - small(sizes[0]!));
    expect(merged.manifest.stats).toMatchObject({ merged: images, setAside: 0, outlierClusters: small(sizes[0]!), outlierImages: images });

    const set = await build(openContext(store), embeddings, { levels, outliers: { policy: 'set-aside', minSize: 4 } });
    const left = await expectLaws(store, pool, set.manifest);
    expect(left.sizes[0]).toEqual(sizes[0]!.filter((size) => size >= 4));
    expect(left.rows.reason.filter((reason) => reason === 'set-aside')).toHaveLength(images);
    expect(set.manifest.stats).toMatchObject({ merged: 0, setAside: images });
  });

  it('builds a level with what the one below has left after merging, and says so', async () => {
    const pool = mixturePool(400, 6, 'float32');
    const { store, embeddings } = await openPool({ ...pool, partRows: 4096 });
    const opened = openContext(store);
    const { manifest } = await build(opened, embeddings, { levels: [60, 50], outliers: { policy: 'merge', minSize: 5 } });
    const { sizes } = await expectLaws(store, pool, manifest);
    expect(sizes[0]!.length).toBeLessThan(50);
    expect(sizes[1]).toHaveLength(sizes[0]!.length);
    expect(opened.warnings[0]).toContain(`level 2: 50 clusters wanted, the level below has ${sizes[0]!.length} left`);
  });

  it.each(['keep', 'drop', 'split'] as const)('treats empty clusters as told (%s) where rows repeat', async (empty) => {
    // 200 rows are copies of 20: of 50 clusters at least 30 have no row of their own to hold.
    const pool = mixturePool(200, 6, 'float32', { copies: 10 });
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store), embeddings, { levels: [50, 4], empty, outliers: { policy: 'keep' } });
    const { sizes } = await expectLaws(store, pool, manifest);
    expect(sizes[0]!.filter((size) => size > 0).length).toBeLessThanOrEqual(20);
    if (empty === 'keep') expect(sizes[0]).toHaveLength(50);
    else expect(sizes[0]!.every((size) => size > 0)).toBe(true);
  });

  it('splits a level into exactly k clusters through coarse cells', async () => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const { manifest } = await build(openContext(store, { execution: { memoryBytes: 20_000 } }), embeddings, { levels: [60, 12, 3], splits: [5, 2, 1], outliers: { policy: 'keep' } });
    const { sizes } = await expectLaws(store, pool, manifest, { nearest: false });
    expect(sizes.map((level) => level.length)).toEqual([60, 12, 3]);
    expect(sizes[0]!.every((size) => size > 0)).toBe(true);
  });

  it.each(['closest', 'random'] as const)('resamples: rounds on a sample (%s), all rows assigned after each', async (strategy) => {
    const pool = mixturePool(1500, 10, 'float16');
    const { store, embeddings } = await openPool(pool);
    const levels = [50, 10];
    const plain = await build(openContext(store), embeddings, { levels });
    const flat = await expectLaws(store, pool, plain.manifest);
    const { manifest } = await build(openContext(store), embeddings, { levels, resampling: { rounds: 2, sampleSize: [3, 2], strategy } });
    const { sizes } = await expectLaws(store, pool, manifest);
    const rounds = manifest.stats.rounds as { n: number; sampled: number }[][];
    expect(rounds.map((ofLevel) => ofLevel.length)).toEqual([3, 3]);
    expect(rounds[0]![0]!.sampled).toBe(rounds[0]![0]!.n);
    for (const { sampled, n } of rounds[0]!.slice(1)) expect(sampled > 50 && sampled <= Math.min(n, 150)).toBe(true);
    expect(rounds[1]!.slice(1).every(({ sampled }) => sampled <= 20)).toBe(true);
    // Dense regions give as few points as sparse ones: the images then lie less evenly over the clusters.
    const squares = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count * count, 0);
    if (strategy === 'closest') expect(squares(sizes[0]!)).toBeGreaterThan(squares(flat.sizes[0]!));
  });

  it('refuses more clusters than usable images, and a pool without any, and writes nothing', async () => {
    const pool = mixturePool(40, 4, 'float32');
    const ok = pool.statuses.filter((status) => status === 'ok').length;
    const { store, embeddings } = await openPool(pool);
    await expect(build(openContext(store), embeddings, { levels: [ok + 1, 2] })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS', message: expect.stringContaining(`asks for ${ok + 1}, the pool has ${ok}`), details: { k: ok + 1, n: ok } });
    expect((await build(openContext(store), embeddings, { levels: [ok, 2] })).manifest.levels[0]!.k).toBe(ok);
    const none = await openPool({ ...pool, rejected: new Set(pool.statuses.keys()) });
    await expect(build(openContext(none.store), none.embeddings, { levels: [1] })).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
    expect(await readManifest(none.store, 'clusters')).toBeNull();
  });
});
