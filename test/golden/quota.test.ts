import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { randomStream } from '../../src/random.ts';
import { allocate, allocateTree } from '../../src/sample/allocate.ts';

interface Case {
  readonly sizes: number[];
  readonly target: number;
  readonly multiplier: number;
  readonly cut: number;
  readonly quotas: number[];
  readonly remainder: number;
  readonly candidates: number[];
}

const { cases } = JSON.parse(readFileSync(new URL('quota.json', import.meta.url), 'utf8')) as { cases: Case[] };
const SEEDS = Array.from({ length: 40 }, (_, seed) => seed);

/** Clusters that got one unit more than their quota at the cut. */
function raised(quota: Float64Array, base: readonly number[]): number[] {
  quota.forEach((q, i) => expect(q - base[i]!).toBeOneOf([0, 1]));
  return [...quota.keys()].filter((i) => quota[i] === base[i]! + 1);
}

describe('the golden quota table', () => {
  it.each(cases)('$sizes to $target, multiplier $multiplier', ({ sizes, target, multiplier, cut, quotas, remainder, candidates }) => {
    const chosen = new Set<number>();
    for (const seed of SEEDS) {
      const stream = randomStream(seed, 'test');
      const allocation = allocate(Float64Array.from(sizes, (size) => size * multiplier), target, (i) => stream.uniform(i));
      expect(allocation).toMatchObject({ cut, remainder });
      const extra = raised(allocation.quota, quotas);
      expect(extra).toHaveLength(remainder);
      for (const i of extra) chosen.add(i);
    }
    // Over many seeds the remainder goes to every candidate and to nobody else.
    expect([...chosen].sort()).toEqual(remainder === 0 ? [] : candidates);
  });

  it.each(cases)('the same as a tree of one level: $sizes to $target, multiplier $multiplier', ({ sizes, target, multiplier, cut, quotas, remainder, candidates }) => {
    const tree = { d: 1, levels: [{ k: sizes.length, parent: new Uint32Array(sizes.length).fill(NO_CLUSTER), size: Float64Array.from(sizes) }] };
    const [level] = allocateTree(tree, target, multiplier, 5);
    const extra = raised(level!.quota, quotas);
    expect(extra).toHaveLength(remainder);
    for (const i of extra) expect(candidates).toContain(i);
    if (target > 0) expect(level).toMatchObject({ groups: 1, cutMin: cut, cutMax: cut, remainder });
  });
});
