import { describe, expect, it } from 'vitest';
import { sample } from '../../pipelines/5-sample.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import type { Log } from '../../src/log.ts';
import { SILENT } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { SampleConfig } from '../../src/sample/config.ts';
import { type SelectionManifest, SELECTION_PART_ROWS, readSelection } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Pool, poolOf, writeClusters } from './random-tree.ts';

async function openContext(pool: Pool | null, { seed = 1, blockRows = 8192 } = {}): Promise<{ context: RunContext; store: Store; warnings: string[] }> {
  const store = await openFsStore(await temporaryFolder('sample'));
  if (pool !== null) await writeClusters(store, pool);
  const warnings: string[] = [];
  const log = { ...SILENT, info: () => {}, debug: () => {}, error: () => {}, warn: (_: unknown, text: string) => warnings.push(text) } as unknown as Log;
  const { signal } = new AbortController();
  const execution = { concurrency: 2, threads: 1, blockRows, memoryBytes: 1 << 24 };
  const executor = createLocalExecutor({ store, signal, log, execution, locations: {}, tasks: 1, onAdvance: () => {}, onNote: () => {} });
  return { context: { store, executor, signal, log, progress: SILENT_PROGRESS, execution, seed, resource: executor.resource }, store, warnings };
}

async function readAll(store: Store, manifest: SelectionManifest): Promise<{ row: number[]; copies: number[]; score: number[] }> {
  const all = { row: [] as number[], copies: [] as number[], score: [] as number[] };
  for await (const block of readSelection(store, manifest)) {
    expect(block.query).toBeNull();
    all.row.push(...block.row);
    all.copies.push(...block.copies);
    all.score.push(...block.score);
  }
  return all;
}

async function keysOf(store: Store, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

/** Two top clusters: one of 90 rows in leaves of 60, 25 and 5, one of a single leaf of 6; four rows unclustered. */
function lopsided(): Pool {
  const leaf = [...Array<number>(60).fill(0), ...Array<number>(25).fill(1), NO_CLUSTER, ...Array<number>(5).fill(2), NO_CLUSTER, NO_CLUSTER, ...Array<number>(6).fill(3), NO_CLUSTER];
  return poolOf(leaf, [4, 2], [[0, 0, 0, 1]], leaf.map((_, r) => ((r * 37) % 101) / 10));
}

const configOf = (config: Partial<SampleConfig>): { sample: SampleConfig } => ({ sample: SampleConfig.parse(config) });

describe('the sample stage', () => {
  it('writes rows ascending with copies and distances, and says what it did', async () => {
    const pool = lopsided();
    const { context, store, warnings } = await openContext(pool);
    const { path, manifest } = await sample(context, configOf({ target: 30, strategy: 'closest' }));
    expect(path).toBe('selections/balanced');
    expect(manifest).toMatchObject({ stage: 'sample', part: 'balanced', kind: 'balanced', requested: 30, selected: 30, unique: 30, shortfall: 0, inputs: [{ stage: 'cluster' }] });
    // Top: 24 and 6 (exhausted). Below the first: 60, 25 and 5 rows share 24: 10 (or 9), 9 (or 10), 5.
    expect(manifest.stats).toMatchObject({
      images: 96,
      levels: [
        { level: 1, k: 4, exhausted: 2, untouched: 0, groups: 2, cutMin: 6, cutMax: 9, remainder: 1 },
        { level: 2, k: 2, exhausted: 1, untouched: 0, groups: 1, cutMin: 24, cutMax: 24, remainder: 0 },
      ],
    });
    const [leaves, top] = manifest.stats.levels as { before: { entropy: number; effective: number }; after: { entropy: number; effective: number } }[];
    const share = 6 / 96;
    expect(top!.before.entropy).toBeCloseTo(-share * Math.log(share) - (1 - share) * Math.log(1 - share), 12);
    expect(top!.after.effective).toBeCloseTo(Math.exp(-0.2 * Math.log(0.2) - 0.8 * Math.log(0.8)), 12);
    expect(leaves!.after.effective).toBeGreaterThan(leaves!.before.effective);
    const { row, copies, score } = await readAll(store, manifest);
    expect(row).toEqual(row.toSorted((a, b) => a - b));
    expect(new Set(row).size).toBe(30);
    expect(copies.every((count) => count === 1)).toBe(true);
    expect(score).toEqual(row.map((r) => pool.distance[r]));
    const inLeaf = [0, 1, 2, 3].map((c) => row.filter((r) => pool.leaf[r] === c).length);
    expect(inLeaf.slice(2)).toEqual([5, 6]);
    expect(inLeaf[0]! + inLeaf[1]!).toBe(19);
    expect(warnings).toEqual([]);
  });

  it('repeats rows up to the multiplier', async () => {
    const pool = lopsided();
    const { context, store } = await openContext(pool);
    const { manifest } = await sample(context, configOf({ target: 150, multiplier: 3 }));
    const { row, copies } = await readAll(store, manifest);
    expect(manifest).toMatchObject({ selected: 150, unique: row.length, shortfall: 0 });
    expect(copies.reduce((sum, count) => sum + count, 0)).toBe(150);
    // The leaf of 5 gives 15 and the top cluster of 6 gives 18: all they have.
    for (const [place, r] of row.entries()) if (pool.leaf[r]! >= 2) expect(copies[place]).toBe(3);
  });

  it('counts a shortfall and warns in one line, or fails with the numbers when strict', async () => {
    const { context, store, warnings } = await openContext(lopsided());
    const { manifest } = await sample(context, configOf({ target: 500, multiplier: 2 }));
    expect(manifest).toMatchObject({ requested: 500, selected: 192, unique: 96, shortfall: 308 });
    expect(warnings).toEqual([expect.stringContaining('500 images wanted, the pool gives 192, short by 308')]);

    const strict = await openContext(lopsided());
    await expect(sample(strict.context, configOf({ target: 500, multiplier: 2, strict: true }))).rejects.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      details: { requested: 500, images: 96, multiplier: 2, available: 192, shortfall: 308 },
    });
    expect(await keysOf(strict.store, 'selections/')).toEqual([]);
    expect(await keysOf(store, 'selections/')).toEqual(['selections/balanced/manifest.json', 'selections/balanced/part-00000.arrow']);
  });

  it('takes a share of the clustered images, not of the rows', async () => {
    const { context } = await openContext(lopsided());
    expect((await sample(context, configOf({ target: '25%', strict: true }))).manifest).toMatchObject({ requested: 24, selected: 24 });
    expect((await sample(context, configOf({ target: 0.5 }))).manifest).toMatchObject({ requested: 48 });
  });

  it('nests targets exactly, and is the same for the same seed', async () => {
    const rows = async (target: string, seed: number): Promise<number[]> => {
      const { context, store } = await openContext(lopsided(), { seed });
      return (await readAll(store, (await sample(context, configOf({ target }))).manifest)).row;
    };
    const [five, ten, forty] = [await rows('5%', 4), await rows('10%', 4), await rows('40%', 4)];
    expect(ten).toEqual(expect.arrayContaining(five));
    expect(forty).toEqual(expect.arrayContaining(ten));
    expect(await rows('40%', 4)).toEqual(forty);
    expect(await rows('40%', 5)).not.toEqual(forty);
  });

  it('cuts the table into parts, whatever the parts of the assignment are', async () => {
    const n = 3 * SELECTION_PART_ROWS;
    const stream = randomStream(0, 'test');
    const leaf = Array.from({ length: n }, (_, r) => Math.floor(stream.uniform(r) ** 2 * 50));
    const { context, store } = await openContext(poolOf(leaf, [50, 5], [Array.from({ length: 50 }, (_, c) => c % 5)], leaf.map((_, r) => stream.uniform(r))));
    const target = SELECTION_PART_ROWS + 1234;
    const { manifest } = await sample(context, configOf({ target }));
    expect(manifest.parts.map(({ path, firstRow, rowCount }) => [path, firstRow, rowCount])).toEqual([
      ['selections/balanced/part-00000.arrow', 0, SELECTION_PART_ROWS],
      ['selections/balanced/part-00001.arrow', SELECTION_PART_ROWS, 1234],
    ]);
    const { row } = await readAll(store, manifest);
    for (let i = 1; i < row.length; i++) expect(row[i - 1]! < row[i]!).toBe(true);
  });

  it('says what is missing: no clusters, no clustered image', async () => {
    await expect(sample((await openContext(null)).context, configOf({}))).rejects.toMatchObject({ code: 'INPUT_MISSING' });
    const nobody = poolOf([NO_CLUSTER, NO_CLUSTER], [1], [], [0, 0]);
    await expect(sample((await openContext(nobody)).context, configOf({}))).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
  });
});
