/** Every row has one fate, the fates add up to the pool, and what is told of a row is what the tables say. */
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { type Explainer, type Explanation, openExplainer } from '../../src/explain/explain.ts';
import { readPart, requireManifest } from '../../src/run/manifest.ts';
import { summarise } from '../../src/report/summary.ts';
import type { DatasetManifest } from '../../src/shard/shard.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { expectDone, expectOneSentence, winnow } from '../helpers/winnow.ts';

const WINNOW_OUT = fileURLToPath(new URL('../../winnow-out', import.meta.url));

/** Walks all rows and compares the sums with what the run said of itself. */
async function walk(store: Store, explainer: Explainer, visit: (explanation: Explanation) => void = () => undefined): Promise<void> {
  const { funnel } = (await summarise(store))!;
  const rejected: Record<string, number> = {};
  const counts = { drawn: 0, 'not-drawn': 0, 'set-aside': 0 };
  for (let row = 0; row < explainer.rows; row++) {
    const explanation = await explainer.explain(row);
    const { fate } = explanation;
    if (fate.fate === 'rejected') rejected[fate.reason] = (rejected[fate.reason] ?? 0) + 1;
    else counts[fate.fate as keyof typeof counts]++;
    visit(explanation);
  }
  expect(explainer.rows).toBe(funnel.listed);
  expect(rejected).toEqual(funnel.rejected);
  expect(counts).toEqual({ drawn: funnel.selected, 'not-drawn': funnel.notDrawn, 'set-aside': funnel.setAside });
}

describe('explain', () => {
  let small: SmallRun;
  let folder: string;
  let store: Store;
  let explainer: Explainer;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'winnow-explain-'));
    small = await drawSmallRun(folder, 400, { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [60, 20, 5], iterations: 5 } });
    expectDone(await winnow(['run', small.recipePath, '--store', join(folder, 'store'), '--quiet']));
    store = await openFsStore(join(folder, 'store'));
    explainer = await openExplainer(store);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('accounts for every image: reasons sum to the pool', async () => {
    const quota = new Map<string, number>();
    const drawn = new Map<string, number>();
    const places = new Map<string, number>();
    await walk(store, explainer, ({ row, path, fate, selections, places: found }) => {
      for (const { level, cluster, quota: given } of path ?? []) {
        if (given === null) continue;
        quota.set(`${level}/${cluster}`, given);
        const copies = selections.find(({ kind }) => kind === 'balanced')?.copies ?? 0;
        drawn.set(`${level}/${cluster}`, (drawn.get(`${level}/${cluster}`) ?? 0) + copies);
      }
      if (fate.fate === 'rejected') expect([path, selections, found]).toEqual([null, [], []]);
      for (const { part, index } of found) places.set(`${part}/${index}`, row);
    });
    // What each cluster was to give is what was drawn under it, at every level.
    expect(drawn).toEqual(quota);
    expect(quota.size).toBeGreaterThan(60);
    // Every image of the dataset that is of the pool was found at its place.
    const { parts } = (await requireManifest(store, 'dataset', 'shard')).manifest as unknown as DatasetManifest;
    let images = 0;
    for (const { name, kind, shards } of parts) {
      if (kind === 'raw') continue;
      for (const shard of shards) {
        const rows = decodeTable(await readPart(store, shard), shard.path).numbers('row');
        rows.forEach((row, i) => expect(places.get(`${name}/${shard.firstRow + i}`)).toBe(row));
        images += rows.length;
      }
    }
    expect(places.size).toBe(images);
  });

  it('finds images by id, by uri, by the end of it', async () => {
    const { signal } = new AbortController();
    const { uri, id } = await explainer.explain(37);
    expect(await explainer.find(uri, 5, signal)).toEqual([37]);
    expect(await explainer.find(id!, 5, signal)).toContain(37);
    expect(await explainer.find(uri.split('/').slice(-2).join('/'), 5, signal)).toEqual([37]);
    expect(await explainer.find('no-such-image.jpg', 5, signal)).toEqual([]);
    expect((await explainer.find('jpg', 5, signal)).length).toBe(0);
  });

  it('tells it on one screen and as JSON', async () => {
    const retrieved = await firstWith(explainer, ({ selections }) => selections.some(({ kind }) => kind === 'retrieved'));
    const told = await winnow(['explain', retrieved.uri, '--store', join(folder, 'store')]);
    expect(told.code, told.stderr).toBe(0);
    expect(told.stdout).toMatch(/retrieved \d+ time/);
    expect(told.stdout).toMatch(/around: similarity [01]\.\d{4} to .*seeds\//);
    expect(told.stdout).toMatch(/level 3\s+cluster \d+, \d+ images, of which \d+ are drawn/);
    expect(told.stdout.split('\n').length).toBeLessThan(40);
    const json = JSON.parse((await winnow(['explain', `row:${retrieved.row}`, '--store', join(folder, 'store'), '--json'])).stdout) as Explanation[];
    expect(json).toEqual([JSON.parse(JSON.stringify(retrieved))]);
    const rejected = await firstWith(explainer, ({ fate }) => fate.fate === 'rejected');
    expect((await winnow(['explain', `row:${rejected.row}`, '--store', join(folder, 'store')])).stdout).toMatch(/^ {2}Out: [a-z-]+ \(embed\)$/m);
    expectOneSentence(await winnow(['explain', 'nothing.jpg', '--store', join(folder, 'store')]), 2, /Expected a content id .* got "nothing\.jpg"/);
    expectOneSentence(await winnow(['explain', 'row:400000', '--store', join(folder, 'store')]), 2, /row:0 … row:\d+/);
  });

  it('tells of a store that is not finished what there is', async () => {
    const half = join(folder, 'half');
    expectDone(await winnow(['ingest', small.recipePath, '--store', half, '--quiet']));
    const early = await openExplainer(await openFsStore(half));
    expect(await early.explain(3)).toMatchObject({ id: null, fate: { fate: 'listed' }, path: null, selections: [], places: [] });
    expectDone(await winnow(['embed', small.recipePath, '--store', half, '--quiet']));
    const later = await openExplainer(await openFsStore(half));
    expect((await firstWith(later, ({ fate }) => fate.fate === 'embedded')).id).toMatch(/^[0-9a-f]{32}$/);
  });
});

const hasDemo = existsSync(join(WINNOW_OUT, 'dataset', 'manifest.json'));
if (!hasDemo) process.stderr.write('skipped: no finished demo in winnow-out; run `npm start` first\n');

describe.skipIf(!hasDemo)('explain, the demo', () => {
  it('accounts for every one of its images', async () => {
    const store = await openFsStore(WINNOW_OUT, { readOnly: true });
    await walk(store, await openExplainer(store));
  });
});

async function firstWith(explainer: Explainer, holds: (explanation: Explanation) => boolean): Promise<Explanation> {
  for (let row = 0; row < explainer.rows; row++) {
    const explanation = await explainer.explain(row);
    if (holds(explanation)) return explanation;
  }
  throw new Error('Expected such a row, found none');
}
