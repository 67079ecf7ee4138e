import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Drift, type DriftRequest, type GroupDrift, adviseRefit, measureDrift } from '../../src/cluster/drift.ts';
import { type AssignmentBlock, NO_CLUSTER } from '../../src/cluster/tree.ts';
import { randomStream } from '../../src/random.ts';

interface Table {
  readonly cluster: Uint32Array;
  readonly distance: Float32Array;
}

function blocksOf({ cluster, distance }: Table, rows: number): () => AsyncIterable<AssignmentBlock> {
  return async function* () {
    for (let firstRow = 0; firstRow < cluster.length; firstRow += rows) yield { firstRow, cluster: cluster.slice(firstRow, firstRow + rows), distance: distance.slice(firstRow, firstRow + rows) };
  };
}

/** Upper 16 bits of a float: the bins of the shift. */
function binOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
}

/** Everything by sorting and by comparing each with each. */
function measureByHand({ cluster, distance }: Table, { fitRows, top, topK, sources }: DriftRequest): Drift {
  const rows = [...cluster.keys()].filter((row) => cluster[row] !== NO_CLUSTER);
  const fitted = rows.filter((row) => row < fitRows);
  const added = rows.filter((row) => row >= fitRows);
  const quantiles = (of: readonly number[]) => {
    const sorted = of.map((row) => distance[row]!).sort((a, b) => a - b);
    const at = (percentage: number): number | null => (sorted.length === 0 ? null : sorted[Math.ceil((sorted.length * percentage) / 100) - 1]!);
    return { images: of.length, p50: at(50), p90: at(90), p99: at(99) };
  };
  const fit = quantiles(fitted);
  const p99 = fit.p99 ?? Infinity;
  const leafSize = (c: number): number => fitted.filter((row) => cluster[row] === c).length;
  const leftOut = fitted.map((row) => [distance[row]!, leafSize(cluster[row]!)] as const).filter(([, m]) => m > 1).map(([value, m]) => Math.fround(value * (m / (m - 1)) ** 2));
  const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
  const groupOf = (of: readonly number[]): GroupDrift => {
    const bins = [...leftOut.map(binOf), ...of.map((row) => binOf(distance[row]!))];
    const lead = (bin: number): number => leftOut.filter((value) => binOf(value) <= bin).length / leftOut.length - of.filter((row) => binOf(distance[row]!) <= bin).length / of.length;
    return { images: of.length, beyond: of.filter((row) => distance[row]! > p99).length, shift: of.length === 0 || leftOut.length === 0 ? 0 : Math.max(0, ...bins.map(lead)) };
  };
  const all = groupOf(added);
  const isUnder = (c: number) => (row: number): boolean => top[cluster[row]!] === c;
  return {
    fit, appended: quantiles(added), all,
    beyondShare: share(all.beyond, all.images),
    expectedShare: Math.max(0.01, share(leftOut.filter((value) => binOf(value) > binOf(p99)).length, leftOut.length)),
    top: Array.from({ length: topK }, (_, c) => ({
      cluster: c,
      fitImages: fitted.filter(isUnder(c)).length, fitBeyond: fitted.filter(isUnder(c)).filter((row) => distance[row]! > p99).length,
      images: added.filter(isUnder(c)).length, beyond: added.filter(isUnder(c)).filter((row) => distance[row]! > p99).length,
    })).filter(({ images }) => images > 0),
    sources: sources.map(({ name, firstRow, rowCount }) => ({ name, ...groupOf(added.filter((row) => row >= firstRow && row < firstRow + rowCount)) })).filter(({ images }) => images > 0),
  };
}

describe('measureDrift', () => {
  it('is what sorting and comparing each with each gives, however the assignment is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          rows: fc.array(fc.tuple(fc.oneof({ arbitrary: fc.nat(4), weight: 9 }, fc.constant(NO_CLUSTER)), fc.oneof(fc.float({ min: 0, max: 4, noNaN: true }), fc.constantFrom(0, 0.25, 0.2500001, 3))), { minLength: 1, maxLength: 60 }),
          fitShare: fc.double({ min: 0, max: 1, noNaN: true }),
          cut: fc.nat(60),
          blockRows: fc.integer({ min: 1, max: 60 }),
        }),
        async ({ rows, fitShare, cut, blockRows }) => {
          const table = { cluster: Uint32Array.from(rows, ([c]) => c), distance: Float32Array.from(rows, ([c, value]) => (c === NO_CLUSTER ? 0 : Math.abs(value))) };
          const n = rows.length;
          const end = Math.min(n, cut);
          const request: DriftRequest = { fitRows: Math.round(fitShare * n), top: Uint32Array.of(0, 0, 1, 1, 2), topK: 3, sources: [{ name: 'a', firstRow: 0, rowCount: end }, { name: 'b', firstRow: end, rowCount: n - end }] };
          const drift = await measureDrift(blocksOf(table, blockRows), request);
          const expected = measureByHand(table, request);
          const shifts = (one: Drift): number[] => [one.all.shift, ...one.sources.map(({ shift }) => shift)];
          const rest = ({ all, sources, ...others }: Drift): object => ({ ...others, all: { ...all, shift: 0 }, sources: sources.map((source) => ({ ...source, shift: 0 })) });
          expect(rest(drift)).toEqual(rest(expected));
          shifts(drift).forEach((shift, i) => expect(shift).toBeCloseTo(shifts(expected)[i]!, 12));
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** Images around the means of leaves of m, in d dimensions; images past `fitted` are moved by `away` and take no part in the means. */
function leaves(leafCount: number, m: number, d: number, added: number, away: number): Table {
  const stream = randomStream(7, 'drift-test', m, away);
  const perLeaf = m + added;
  const point = (leaf: number, i: number, j: number): number => stream.normal((leaf * perLeaf + i) * d + j) + (i >= m && j === 0 ? away : 0);
  const rows = { cluster: new Uint32Array(leafCount * perLeaf), distance: new Float32Array(leafCount * perLeaf) };
  for (let leaf = 0; leaf < leafCount; leaf++) {
    const mean = Array.from({ length: d }, (_, j) => Array.from({ length: m }, (__, i) => point(leaf, i, j)).reduce((total, value) => total + value, 0) / m);
    for (let i = 0; i < perLeaf; i++) {
      const row = i < m ? leaf * m + i : leafCount * m + leaf * added + (i - m);
      rows.cluster[row] = leaf;
      rows.distance[row] = mean.reduce((total, value, j) => total + (point(leaf, i, j) - value) ** 2, 0);
    }
  }
  return rows;
}

describe('adviseRefit', () => {
  const adviseOn = async (table: Table, fitRows: number, leafCount: number) => {
    const drift = await measureDrift(blocksOf(table, 1000), { fitRows, top: new Uint32Array(leafCount), topK: 1, sources: [{ name: 'old', firstRow: 0, rowCount: fitRows }, { name: 'new', firstRow: fitRows, rowCount: table.cluster.length - fitRows }] });
    return { drift, advice: adviseRefit(drift) };
  };

  it('takes images like those of the fit for what they are, though small leaves lie close to their own images', async () => {
    for (const m of [3, 6, 20]) {
      const { drift, advice } = await adviseOn(leaves(300, m, 16, 1, 0), 300 * m, 300);
      expect(drift.appended.p50!, `leaves of ${m}`).toBeGreaterThan(1.02 * drift.fit.p50!);
      expect(drift.all.shift, `leaves of ${m}`).toBeLessThan(0.15);
      expect(advice, `leaves of ${m}`).toMatchObject({ refit: false, sentence: expect.stringMatching(/no need to refit\.$/) });
    }
  });

  it('finds images that lie farther out, and names their source', async () => {
    for (const m of [3, 6, 20]) {
      const { drift, advice } = await adviseOn(leaves(300, m, 16, 1, 4), 300 * m, 300);
      expect(drift.all.shift, `leaves of ${m}`).toBeGreaterThan(0.3);
      expect(advice, `leaves of ${m}`).toMatchObject({ refit: true, sentence: expect.stringMatching(/^The (appended images|images of source new) lie farther.*`winnow run`\.$/) });
    }
  });

  it('does not take a few odd images for a drift', async () => {
    const table = leaves(300, 6, 16, 0, 0);
    const few = { cluster: Uint32Array.of(...table.cluster, 0, 1, 2), distance: Float32Array.of(...table.distance, 15, 18, 40) };
    expect((await adviseOn(few, 1800, 300)).advice.refit).toBe(false);
  });

  it('advises a refit of a tree that grew by more than half', async () => {
    expect((await adviseOn(leaves(300, 6, 16, 4, 0), 1800, 300)).advice).toMatchObject({ refit: true, sentence: expect.stringContaining('1200 were appended to 1800') });
  });

  it('says so when nothing was appended', async () => {
    expect((await adviseOn(leaves(10, 6, 4, 0, 0), 60, 10)).advice).toEqual({ refit: false, sentence: 'No images were appended since the tree was fitted.' });
  });
});
