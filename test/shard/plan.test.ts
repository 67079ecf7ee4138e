import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MixturePart } from '../../src/mix/mixture.ts';
import { type ShardPayload, planShards, shardKey } from '../../src/shard/plan.ts';
import { ShardConfig } from '../../src/shard/shard.ts';

const table = { path: 'images', sha256: 'a' };
const planOf = (named: readonly number[], rows: number): ShardPayload[] => {
  const part: MixturePart = { name: 'p', kind: 'balanced', rows: named.reduce((sum, count) => sum + count, 0), uniqueImages: 1 };
  return planShards(part, named, { tables: { images: table, embeddings: table, selection: table, clusters: table }, levels: 2, withText: false, config: ShardConfig.parse({ rows }) });
};

describe('planShards', () => {
  it('gives a task a run of whole shards of about 65,536 rows', () => {
    const runs = (rows: number, total: number): number[] => planOf([total], rows).map(({ rowCount }) => rowCount);
    expect(runs(65_536, 200_000)).toEqual([65_536, 65_536, 65_536, 3392]);
    expect(runs(1000, 200_000)).toEqual([65_000, 65_000, 65_000, 5000]);
    expect(runs(100_000, 200_000)).toEqual([100_000, 100_000]);
    expect(runs(1, 70_000)).toEqual([65_536, 4464]);
  });

  it('covers every row once, in runs that begin at a shard, and names just the table parts that hold them', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 1_048_576 }), (named, rows) => {
        const plan = planOf(named, rows);
        let next = 0;
        for (const { firstRow, rowCount, named: { first, count, rowsBefore } } of plan) {
          expect(firstRow).toBe(next);
          expect(firstRow % rows).toBe(0);
          expect(rowCount).toBeGreaterThan(0);
          next += rowCount;
          const before = named.slice(0, first).reduce((sum, one) => sum + one, 0);
          const through = named.slice(0, first + count).reduce((sum, one) => sum + one, 0);
          expect(rowsBefore).toBe(before);
          expect(before <= firstRow && firstRow < before + named[first]!).toBe(true);
          expect(through >= next && through - named[first + count - 1]! < next).toBe(true);
        }
        expect(next).toBe(named.reduce((sum, one) => sum + one, 0));
      }),
    );
  });

  it('does not take a part whose tables name another number of rows', () => {
    const part: MixturePart = { name: 'p', kind: 'raw', rows: 5, uniqueImages: 5 };
    const shared = { tables: { images: table, embeddings: table, selection: null, clusters: null }, levels: 2, withText: false, config: ShardConfig.parse({}) };
    expect(() => planShards(part, [2, 2], shared)).toThrow('Expected the tables of part p to name 5 rows, got 4');
  });
});

describe('shardKey', () => {
  it('sorts as the shards follow each other', () => {
    const keys = [shardKey('a', 0, 0), shardKey('a', 0, 1), shardKey('a', 0, 2), shardKey('a', 1, 0), shardKey('a', 1, 1)];
    expect(keys[0]).toBe('dataset/shards/a-00000.arrow');
    expect(keys.toSorted()).toEqual(keys);
  });
});
