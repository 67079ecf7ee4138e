/** Appending to a pool that filters and dedup judge: new images can take old ones out of it, and bring some back. */
import { mkdtempSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { runAppend } from '../../src/cli/append.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { AppendedManifest } from '../../src/cluster/append.ts';
import { NO_CLUSTER } from '../../src/cluster/tree.ts';
import { loadRecipe } from '../../src/config.ts';
import { type EmbeddingsManifest, readEmbeddingFacts, readEmbeddingPart } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import type { Manifest } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectNothingHalfWritten } from '../helpers/winnow.ts';
import { clustersOf, drawSources, listen, manifestOf, openGrowingPool } from './growing-pool.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-judged-'));
const { runIn, appendIn, copyOf, writeRecipe } = openGrowingPool(folder);
const FILTERS = [{ name: 'few', cap: { column: 'label', max: 20 } }];
const DEDUP = { near: { threshold: 0.999 } };
const TABLES = ['images', 'embeddings', 'filters', 'duplicates', 'survivors'];
const ALL = [...TABLES, 'clusters', 'selections', 'dataset'];

/** A store with the tree of the first source, and the same with both others appended at once; not to be written to. */
let fitted: string;
let whole: string;
let expected: Record<string, string>;
const hashesOf = (store: string): Promise<Record<string, string>> => storeHashes(store, ALL);

beforeAll(async () => {
  await drawSources(folder);
  // Larger copies of old pictures, which are kept in their place, and copies of them, which are not.
  const concept = (await readdir(join(folder, 'first'))).sort()[1]!;
  await mkdir(join(folder, 'second', concept), { recursive: true });
  for (const [i, name] of (await readdir(join(folder, 'first', concept))).sort().slice(0, 4).entries()) {
    const from = join(folder, 'first', concept, name);
    if (i % 2 === 0) await cp(from, join(folder, 'third', concept, `copy-${i}.jpg`));
    else await sharp(from).resize(400).png().toFile(join(folder, 'second', concept, `large-${i}.png`));
  }
  const judges = { filters: FILTERS, dedup: DEDUP };
  for (const [name, sources] of Object.entries({ one: ['first'], two: ['first', 'second'], three: ['first', 'second', 'third'] })) await writeRecipe(name, sources, judges);
  await writeRecipe('unjudged', ['first', 'second', 'third']);
  await writeRecipe('stricter', ['first', 'second', 'third'], { ...judges, filters: [{ name: 'few', cap: { column: 'label', max: 5 } }] });
  fitted = join(folder, 'fitted');
  await runIn(fitted, 'one');
  whole = await copyOf(fitted, 'whole');
  await appendIn(whole, 'three');
  expected = await hashesOf(whole);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Status and vector of every row as the tree is to see it. */
async function poolOf(root: string): Promise<{ status: string[]; vectors: Float32Array[] }> {
  const store = await openFsStore(root, { readOnly: true });
  const { parts, d } = await manifestOf<EmbeddingsManifest>(root, 'survivors');
  const status: string[] = [];
  const vectors: Float32Array[] = [];
  for (const part of parts) {
    status.push(...(await readEmbeddingFacts(store, part)).status);
    const block = await readEmbeddingPart(store, part, d);
    for (let i = 0; i < part.rowCount; i++) vectors.push(block.vectors.subarray(i * d, (i + 1) * d));
  }
  return { status, vectors };
}

describe('winnow append to a judged pool', () => {
  it('makes every table before the tree as a run over the longer pool would', async () => {
    const plain = join(folder, 'plain');
    await runIn(plain, 'three', { until: 'dedup' });
    expect(await storeHashes(whole, TABLES)).toEqual(await storeHashes(plain, TABLES));
    await expectNothingHalfWritten(whole);
    expect((await readdir(whole)).sort()).toEqual((await readdir(fitted)).sort());
  });

  it('leaves a row of the fit where it was or takes it out with its reason, and puts new ones at their nearest centroid', async () => {
    const [before, after] = [await clustersOf(fitted), await clustersOf(whole)];
    const { status, vectors } = await poolOf(whole);
    const { append, levels, stats } = await manifestOf<AppendedManifest>(whole, 'clusters');
    expect(append).toMatchObject({ judged: true, rowsAtFit: before.length, rows: after.length });
    const store = await openFsStore(whole, { readOnly: true });
    const { values, d } = decodeTable(await store.read(levels[0]!.parts[0]!.path), '').vector('centroid');
    const nearest = (row: number): number => {
      let best = 0;
      let least = Infinity;
      for (let c = 0; c < levels[0]!.k; c++) {
        let sum = 0;
        for (let j = 0; j < d; j++) sum += (vectors[row]![j]! - values[c * d + j]!) ** 2;
        if (sum < least) [best, least] = [c, sum];
      }
      return best;
    };
    const taken = before.filter((c, row) => c !== NO_CLUSTER && status[row] !== 'ok').length;
    expect(taken).toBeGreaterThan(1); // the larger copies are kept in the place of these
    expect(after.filter((c, row) => c === NO_CLUSTER && row >= before.length).length).toBeGreaterThan(5);
    after.forEach((c, row) => {
      if (status[row] !== 'ok') expect(c).toBe(NO_CLUSTER);
      else if (row < before.length && before[row] !== NO_CLUSTER) expect(c).toBe(before[row]);
      else expect(c).toBe(nearest(row));
    });
    expect(stats).toMatchObject({ points: status.filter((one) => one === 'ok').length, clustered: after.filter((c) => c !== NO_CLUSTER).length });
  });

  it('in two steps gives the same bytes as at once; once more with nothing new changes nothing', async () => {
    const store = await copyOf(fitted, 'steps');
    await appendIn(store, 'two');
    expect(await hashesOf(store)).not.toEqual(expected);
    await appendIn(store, 'three');
    expect(await hashesOf(store)).toEqual(expected);
    const { log, said } = listen();
    expect((await appendIn(store, 'three', { log })).json).toMatchObject({ appended: { images: 0 } });
    expect(said).toContain('append: no new images; the tree stays as it is');
    expect(await hashesOf(store)).toEqual(expected);
    expect(await readdir(store)).not.toContain('append');
  });

  it('follows rules that change without an image, and leaves no trace of those that came and went', async () => {
    const store = await copyOf(whole, 'rules');
    await appendIn(store, 'stricter');
    const strict = await clustersOf(store);
    expect(strict.filter((c) => c !== NO_CLUSTER).length).toBeLessThan((await clustersOf(whole)).filter((c) => c !== NO_CLUSTER).length);
    await appendIn(store, 'three');
    expect(await hashesOf(store)).toEqual(expected);
    // Without any rule all that was out is back, at its nearest centroid.
    await appendIn(store, 'unjudged');
    expect((await clustersOf(store)).filter((c) => c === NO_CLUSTER).length).toBe((await manifestOf<Manifest & { okRows: number[] }>(store, 'embeddings')).okRows.reduce((rows, ok) => rows - ok, strict.length));
    expect(await readdir(store)).not.toContain('survivors');
    await appendIn(store, 'three');
    expect(await hashesOf(store)).toEqual(expected);
  });

  it('stopped at any step leaves the tree as it was, and goes on to the same bytes', async () => {
    for (const at of ['filter', 'duplicates: ids', 'append']) {
      const store = await copyOf(fitted, `stopped-${at.slice(0, 5)}`);
      const stop = new AbortController();
      const progress = { ...SILENT_PROGRESS, begin: (stage: string) => void (stage === at && stop.abort()) };
      await expect(runAppend({ loaded: await loadRecipe(join(folder, 'three.yaml')), store, verify: false, progress, log: SILENT, signal: stop.signal }), at).rejects.toMatchObject({ code: 'ABORTED' });
      const kept = ['images', 'embeddings', 'survivors', 'clusters', 'dataset'];
      expect(await storeHashes(store, kept)).toEqual(await storeHashes(fitted, kept));
      if (at === 'append') {
        await runIn(store, 'one');
        expect(await hashesOf(store)).toEqual(await hashesOf(fitted));
      }
      await appendIn(store, 'three');
      expect(await hashesOf(store)).toEqual(expected);
    }
  });

  it('takes up nothing of an attempt under other rules that came between two of its own', async () => {
    const store = await copyOf(fitted, 'between');
    for (const recipe of ['three', 'stricter']) {
      const stop = new AbortController();
      const progress = { ...SILENT_PROGRESS, end: (summary: string) => void (/images put into/.test(summary) && stop.abort()) };
      await expect(runAppend({ loaded: await loadRecipe(join(folder, `${recipe}.yaml`)), store, verify: false, progress, log: SILENT, signal: stop.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    }
    await appendIn(store, 'three');
    expect(await hashesOf(store)).toEqual(expected);
  });

  it('makes vectors of the model that finds copies for new images alone', async () => {
    const own = { filters: FILTERS, dedup: { near: { threshold: 0.999, embed: { model: 'descriptor', dtype: 'float32', batchSize: 8 } } } };
    await writeRecipe('own-one', ['first'], own);
    await writeRecipe('own-three', ['first', 'second', 'third'], own);
    const [store, plain] = [join(folder, 'own'), join(folder, 'own-plain')];
    await runIn(store, 'own-one');
    const { log, said } = listen();
    const { json } = await appendIn(store, 'own-three', { log });
    const { images } = (json as { appended: { images: number } }).appended;
    expect(images).toBeGreaterThan(100);
    expect(said).toContain('dedup/embeddings: done before, kept');
    await runIn(plain, 'own-three', { until: 'dedup' });
    expect(await storeHashes(store, [...TABLES, 'dedup'])).toEqual(await storeHashes(plain, [...TABLES, 'dedup']));
    expect((await readdir(store)).filter((name) => name.startsWith('append'))).toEqual([]);
    await expectNothingHalfWritten(store);
  });

  it('is refused where images were appended before without rules, since the fit as it was is not kept', async () => {
    await writeRecipe('plain-one', ['first']);
    const store = join(folder, 'late-rules');
    await runIn(store, 'plain-one');
    await appendIn(store, 'unjudged');
    const before = await readFile(join(store, 'clusters/manifest.json'));
    await expect(appendIn(store, 'three')).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^Expected the pool to be judged as when images were first appended to the tree/) });
    expect((await readFile(join(store, 'clusters/manifest.json'))).equals(before)).toBe(true);
  });

  it('takes rules that come with the first images of an append', async () => {
    const store = join(folder, 'first-rules');
    await runIn(store, 'plain-one');
    const before = await clustersOf(store);
    await appendIn(store, 'three');
    const { status } = await poolOf(store);
    (await clustersOf(store)).forEach((c, row) => {
      if (status[row] !== 'ok') expect(c).toBe(NO_CLUSTER);
      else if (row < before.length && before[row] !== NO_CLUSTER) expect(c).toBe(before[row]);
      else expect(c).toBeLessThan(40);
    });
  });
});
