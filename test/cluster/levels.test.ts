import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClusterConfig } from '../../src/cluster/config.ts';
import { chooseFloor, chooseLevels, levelsFor } from '../../src/cluster/levels.ts';
import type { PoolShape } from '../../src/cluster/spread.ts';
import { PROPORTIONAL } from '../../src/cluster/tree.ts';
import { SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { normaliseRows } from '../../src/vector/matrix.ts';
import { sharedEngine } from '../helpers/engine.ts';
import { writeEmbeddings } from '../helpers/embeddings.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const engineOf = sharedEngine();

describe('levelsFor', () => {
  it('gives one to five levels, each smaller than the one below, none larger than the pool', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 2_000_000_000 })), (n) => {
        const levels = levelsFor(n);
        expect(levels.length >= 1 && levels.length <= 5).toBe(true);
        levels.forEach((k, l) => {
          expect(Number.isInteger(k) && k >= 1 && k <= n).toBe(true);
          if (l > 0) expect(k).toBeLessThan(levels[l - 1]!);
        });
      }),
    );
  });

  it('never gives a larger pool fewer clusters', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 0, max: 100_000 }), (n, more) => {
        expect(levelsFor(n + more)[0]).toBeGreaterThanOrEqual(levelsFor(n)[0]!);
        expect(levelsFor(n + more).length).toBeGreaterThanOrEqual(levelsFor(n).length);
      }),
    );
  });

  it('has 11 images a cluster at level 2, and grows with the root of n where k-means would cost too much', () => {
    expect(levelsFor(3049)).toEqual([554, 277, 139, 69, 35]);
    expect(levelsFor(1)).toEqual([1]);
    expect(levelsFor(4_000_000)[0]! / levelsFor(1_000_000)[0]!).toBeCloseTo(2, 3);
    expect(levelsFor(1e9)[0]).toBeLessThan(1_000_000);
  });
});

describe('chooseFloor', () => {
  const LARGE = 100_000;
  /** A long tail of photographs. */
  const TAIL: PoolShape = { spread: 3, dimension: 24, copies: 0, contrast: 0.78, hubness: 0.9 };
  /** A pool that even quotas make `loss` less even, less so the larger the floor. */
  const losing = (loss: number) => (floor: number) => 1 - loss / (1 + floor) ** 2;

  it('keeps the usual floor on a pool that the pilot finds even, and asks no further', () => {
    const asked: number[] = [];
    const { floor } = chooseFloor(LARGE, TAIL, (one) => {
      asked.push(one);
      return 0.95;
    });
    expect(floor).toBe(0.25);
    expect(asked).toEqual([0.25]);
  });

  it('is gentler the smaller the pool', () => {
    expect([10_000, 3040, 1520, 760, 400, 380, 1].map((n) => chooseFloor(n, TAIL, () => 1).floor)).toEqual([0.25, 0.25, 0.5, 1, 1.9, PROPORTIONAL, PROPORTIONAL]);
  });

  it('is gentler where densities hardly differ, and where they differ beyond belief', () => {
    expect([0.5, 1.5, 1.8, 1.9, 2, 2.25, 2.5, 3.5, 4].map((spread) => chooseFloor(LARGE, { ...TAIL, spread }, () => 1).floor)).toEqual([PROPORTIONAL, PROPORTIONAL, PROPORTIONAL, 0.95, 0.45, 0.34, 0.25, 0.25, PROPORTIONAL]);
  });

  it('is proportional where neighbours are not those of photographs, and says what is odd', () => {
    for (const odd of [{ dimension: 12 }, { dimension: 40 }, { contrast: 0.5 }, { contrast: 0.95 }, { hubness: 0.5 }, { hubness: 1.4 }]) {
      const { floor, reason } = chooseFloor(LARGE, { ...TAIL, ...odd }, () => 1);
      expect(floor).toBe(PROPORTIONAL);
      expect(reason).toContain(`a ${Object.keys(odd)[0]} of ${Object.values(odd)[0]}`);
    }
    expect(chooseFloor(LARGE, null, () => 1).floor).toBe(PROPORTIONAL);
    expect(chooseFloor(LARGE, { ...TAIL, spread: 1 }, () => 1).reason).toMatch(/little to balance: the selection is as the pool/);
    expect(chooseFloor(40, TAIL, () => 1).reason).toMatch(/40 images are too few/);
  });

  it('is proportional where images repeat', () => {
    expect(chooseFloor(LARGE, { ...TAIL, copies: 0.04 }, () => 1).floor).toBe(0.25);
    const { floor, reason } = chooseFloor(LARGE, { ...TAIL, copies: 0.15 }, () => 1);
    expect(floor).toBe(PROPORTIONAL);
    expect(reason).toMatch(/15 % of the images have a copy/);
  });

  it('raises the floor of a suspect pool to the first that is as even as the pool, or draws it in proportion', () => {
    expect(chooseFloor(LARGE, TAIL, losing(0.15)).floor).toBe(0.25);
    expect(chooseFloor(LARGE, TAIL, (floor) => (floor < 1 ? 0.5 : 0.99)).floor).toBe(1);
    expect(chooseFloor(LARGE, TAIL, () => 0.5).floor).toBe(PROPORTIONAL);
    expect(chooseFloor(1, TAIL, () => 0.5).floor).toBe(PROPORTIONAL);
  });

  it('never chooses a smaller floor for a less even pool', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: LARGE }), fc.double({ min: 0, max: 0.9, noNaN: true }), fc.double({ min: 0, max: 0.1, noNaN: true }), (n, loss, more) => {
        expect(chooseFloor(n, TAIL, losing(loss + more)).floor).toBeGreaterThanOrEqual(chooseFloor(n, TAIL, losing(loss)).floor);
      }),
    );
  });
});

interface Concept {
  readonly images: number;
  /** Standard deviation of the noise around the centre, which has length about 1. */
  readonly spread: number;
}

/** Unit vectors around random centres; the rows of a concept follow each other. */
function drawPool(concepts: readonly Concept[], d: number): Float32Array {
  const n = concepts.reduce((sum, { images }) => sum + images, 0);
  const centre = randomStream(1, 'centre');
  const noise = randomStream(1, 'noise');
  const values = new Float32Array(n * d);
  let row = 0;
  concepts.forEach(({ images, spread }, c) => {
    for (let i = 0; i < images; i++, row++) {
      for (let j = 0; j < d; j++) values[row * d + j] = (centre.normal(c * d + j) + spread * noise.normal(row * d + j)) / Math.sqrt(d);
    }
  });
  normaliseRows(values, n, d);
  return values;
}

const D = 64;

async function choose(vectors: Float32Array, settings: Record<string, unknown> = {}, seed = 0) {
  const store = await openFsStore(await temporaryFolder('levels'));
  const embeddings = await writeEmbeddings(store, 'embeddings', { vectors, d: D, partRows: 500 });
  const execution = { concurrency: 1, threads: 1, blockRows: 1000, memoryBytes: 2 ** 28 };
  const context = { store, seed, execution, log: SILENT, signal: new AbortController().signal, resource: () => engineOf() } as unknown as RunContext;
  return chooseLevels(context, embeddings, ClusterConfig.parse(settings), vectors.length / D);
}

describe('chooseLevels', () => {
  const longTailed = drawPool(Array.from({ length: 40 }, (_, c) => ({ images: Math.max(6, Math.floor(300 / (c + 1))), spread: 0.6 })), D);
  /** Half of the pool is one diverse concept: even quotas would leave next to nothing to the twenty others. */
  const wide = drawPool([{ images: 800, spread: 1.5 }, ...Array.from({ length: 20 }, () => ({ images: 40, spread: 0.4 }))], D);

  it('is proportional on clouds that only look long-tailed, and says why', async () => {
    const n = longTailed.length / D;
    const plan = await choose(longTailed);
    expect(plan).toMatchObject({ levels: levelsFor(n), draw: { depth: 1, floor: PROPORTIONAL }, outliers: { policy: 'merge', minSize: 3 } });
    expect(plan.reasons).toHaveLength(2);
    expect(plan.reasons[1]).toMatch(/unlike that of photographs/);
  });

  it('keeps a high floor where one diverse concept would take the budget', async () => {
    expect((await choose(wide)).draw.floor).toBe(PROPORTIONAL);
  });

  it('sees images that repeat', async () => {
    const repeated = Float32Array.from([...longTailed, ...longTailed.subarray(0, 200 * D)]);
    const { draw, reasons } = await choose(repeated);
    expect(draw.floor).toBe(PROPORTIONAL);
    expect(reasons[1]).toMatch(/copy/);
  });

  it('is a function of the vectors and the seed', async () => {
    const some = longTailed.slice(0, 400 * D);
    expect(await choose(some, {}, 3)).toEqual(await choose(some, {}, 3));
  });

  it('plans for a pool of any size', async () => {
    for (const n of [1, 2, 30, 150]) {
      const { levels, draw } = await choose(longTailed.slice(0, n * D));
      expect(levels).toEqual(levelsFor(n));
      expect(draw.depth).toBe(1);
      expect(draw.floor).toBe(PROPORTIONAL);
    }
  });

  it('leaves outliers to the recipe where it says so', async () => {
    expect((await choose(longTailed.slice(0, 300 * D), { outliers: { policy: 'set-aside', minSize: 2 } })).outliers).toEqual({ policy: 'set-aside', minSize: 2 });
  });

  it('shares the target over the leaves themselves where images have copies', async () => {
    const some = longTailed.slice(0, 400 * D);
    const twice = new Float32Array(2 * some.length);
    twice.set(some);
    twice.set(some, some.length);
    const { draw, reasons } = await choose(twice);
    expect(draw).toEqual({ depth: 1, floor: PROPORTIONAL });
    expect(reasons[0]).toMatch(/level 1$/);
    expect(reasons[1]).toMatch(/100 % of the images have a copy/);
  });

  it('survives a pool of equal vectors', async () => {
    const equal = new Float32Array(300 * D).fill(0.1);
    expect((await choose(equal)).levels).toEqual(levelsFor(300));
  });
});
