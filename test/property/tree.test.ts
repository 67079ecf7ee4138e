/** Laws of the cluster tree: grouping, sizes that add up level by level, and the same tree back from the store. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClusterTree, NO_CLUSTER, assertTree, groupByParent, readCentroids, readTree, truncateTree } from '../../src/cluster/tree.ts';
import { writeLevels } from '../../src/cluster/write.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, writeManifest } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** Any tree: clusters may be empty, parents may have no children. */
const trees = fc.integer({ min: 1, max: 4 }).chain((L) =>
  fc.tuple(...Array.from({ length: L }, () => fc.integer({ min: 1, max: 12 }))).chain((ks) =>
    fc.record({
      leaf: fc.array(fc.nat({ max: 50 }), { minLength: ks[0]!, maxLength: ks[0]! }),
      parents: fc.tuple(...ks.map((k, l) => (l === L - 1 ? fc.constant(Array.from({ length: k }, () => NO_CLUSTER)) : fc.array(fc.nat(ks[l + 1]! - 1), { minLength: k, maxLength: k })))),
    }).map(({ leaf, parents }): ClusterTree => {
      const levels = parents.map((parent) => ({ k: parent.length, parent: Uint32Array.from(parent), size: new Float64Array(parent.length) }));
      levels[0]!.size.set(leaf);
      for (let l = 1; l < levels.length; l++) levels[l - 1]!.parent.forEach((p, c) => (levels[l]!.size[p]! += levels[l - 1]!.size[c]!));
      return { d: 2, levels };
    }),
  ),
);

describe('groupByParent', () => {
  it('lists the children of each parent in ascending order and leaves out those without', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.array(fc.nat(9), { maxLength: 80 }), (k, given) => {
        const parent = Uint32Array.from(given, (p) => (p < k ? p : NO_CLUSTER));
        const { offset, child } = groupByParent(parent, k);
        expect([offset[0], offset[k]]).toEqual([0, child.length]);
        for (let p = 0; p < k; p++) expect([...child.subarray(offset[p], offset[p + 1])]).toEqual([...parent.keys()].filter((i) => parent[i] === p));
      }),
    );
  });
});

describe('assertTree', () => {
  it('takes every tree whose sizes add up', () => {
    fc.assert(fc.property(trees, (tree) => assertTree(tree)));
  });

  it('finds any one size or parent that is wrong', () => {
    fc.assert(
      fc.property(trees, fc.nat(3), fc.nat(11), fc.boolean(), (tree, l, c, inSize) => {
        const level = tree.levels[l];
        fc.pre(level !== undefined && c < level.k && (tree.levels.length > 1 || !inSize));
        if (inSize) level.size[c]!++;
        else {
          const above = tree.levels[l + 1];
          // Moving an empty cluster changes no sum, so only those with images and parents out of range can be told.
          level.parent[c] = above === undefined ? 0 : above.k > 1 && level.size[c]! > 0 ? (level.parent[c]! + 1) % above.k : above.k;
        }
        expect(() => assertTree(tree)).toThrow(/Expected/);
      }),
    );
  });
});

describe('truncateTree', () => {
  it('keeps the levels up to a depth, with a top of no parents', () => {
    fc.assert(
      fc.property(trees, fc.nat(3), (tree, cut) => {
        const depth = 1 + (cut % tree.levels.length);
        const top = truncateTree(tree, depth);
        assertTree(top);
        expect(top.levels.map(({ k, size }) => [k, size])).toEqual(tree.levels.slice(0, depth).map(({ k, size }) => [k, size]));
        expect(top.levels.slice(0, -1)).toEqual(tree.levels.slice(0, depth - 1));
        expect(top.levels.at(-1)!.parent.every((p) => p === NO_CLUSTER)).toBe(true);
      }),
    );
  });
});

describe('a tree in a store', () => {
  it('comes back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(trees, async (tree) => {
        const store = await openFsStore(await temporaryFolder('tree'));
        const centroids = tree.levels.map(({ k }, l) => Float32Array.from({ length: k * tree.d }, (_, i) => Math.fround(i / 7 - l)));
        const levels = await writeLevels(store, tree, async (level, first, count) => centroids[level - 1]!.subarray(first * tree.d, (first + count) * tree.d));
        const stored = await writeManifest(store, 'clusters', {
          format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'cluster', inputs: [], config: {}, configHash: '', seed: 0, parts: [], stats: {}, createdBy: 'test', levels, d: tree.d, draw: { depth: 1, floor: 0 },
        });
        const read = await readTree(store);
        expect(read.tree).toEqual(tree);
        expect(read.stored.sha256).toBe(stored.sha256);
        for (const l of tree.levels.keys()) expect(await readCentroids(store, read.stored.manifest, l + 1)).toEqual(centroids[l]);
      }),
      { numRuns: 40 },
    );
  });
});
