import { mkdtempSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { diff } from '../../src/cli/diff.ts';
import { openExplainer } from '../../src/explain/explain.ts';
import { type DatasetDiff, diffDatasets } from '../../src/report/diff.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { expectDone, expectOneSentence, winnow } from '../helpers/winnow.ts';

const signal = new AbortController().signal;

/** Uri by id of a dataset's images, read the plain way. */
async function imagesOf(store: Store): Promise<Map<string, string>> {
  const { parts } = JSON.parse(Buffer.from(await store.read('dataset/manifest.json')).toString()) as { parts: { shards: { path: string }[] }[] };
  const images = new Map<string, string>();
  for (const { path } of parts.flatMap(({ shards }) => shards)) {
    const view = decodeTable(await store.read(path), path);
    view.strings('id').forEach((id, i) => void (images.has(id!) || images.set(id!, view.strings('uri')[i]!)));
  }
  return images;
}

/** How the explainer says that an image's row ended, or that there is none. */
async function fateIn(store: Store, id: string): Promise<string> {
  const explainer = await openExplainer(store);
  const fates = await Promise.all((await explainer.find(id, 10, signal)).map(async (row) => (await explainer.explain(row)).fate));
  if (fates.some(({ fate }) => fate === 'not-drawn')) return 'not drawn';
  const [first] = fates;
  return first === undefined ? 'not in the pool' : first.fate === 'rejected' ? first.reason : first.fate;
}

describe('winnow diff', () => {
  let small: SmallRun;
  let [a, b] = [undefined, undefined] as unknown as [Store, Store];
  let found: DatasetDiff;
  let pixelsMax: number;

  beforeAll(async () => {
    small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-diff-')), 160, { cluster: { levels: [40, 12, 4] }, sample: { target: 60 } });
    const at = (name: string): string => join(small.folder, name);
    expectDone(await winnow(['run', small.recipePath, '--store', at('a'), '--quiet']));
    a = await openFsStore(at('a'));
    const gone = [...(await imagesOf(a))].filter(([, uri]) => uri.startsWith('pool/')).slice(0, 4).map(([, uri]) => uri);
    for (const uri of gone) await rm(join(small.folder, uri));
    const recipe = parse(await readFile(small.recipePath, 'utf8')) as Record<string, unknown>;
    const part = decodeTable(await a.read('embeddings/part-00000.arrow'), '');
    const [width, height] = [part.numbers('width'), part.numbers('height')];
    pixelsMax = Array.from(width, (one, i) => one * height[i]!).sort((x, y) => x - y)[120]!;
    await writeFile(at('b.yaml'), stringify({ ...recipe, embed: { batchSize: 16, maxDropRatio: 1, limits: { pixelsMax } }, sample: { target: 30 }, retrieve: [], seed: 4 }));
    expectDone(await winnow(['run', at('b.yaml'), '--store', at('b'), '--quiet']));
    b = await openFsStore(at('b'));
    found = await diffDatasets(a, b, { signal });
  });
  afterAll(() => rm(small.folder, { recursive: true, force: true }));

  it('tells images of one dataset, of the other and of both, each with the fate that explain tells', async () => {
    const [inA, inB] = [await imagesOf(a), await imagesOf(b)];
    const both = [...inA.keys()].filter((id) => inB.has(id)).length;
    expect(found.images).toEqual({ a: inA.size, b: inB.size, both });
    for (const [side, own, other, store] of [[found.onlyA, inA, inB, b], [found.onlyB, inB, inA, a]] as const) {
      const expected = new Map<string, string[]>();
      for (const [id, uri] of own) {
        if (other.has(id)) continue;
        const fate = await fateIn(store, id);
        expected.set(fate, [...(expected.get(fate) ?? []), uri]);
      }
      expect(side.images).toBe(own.size - both);
      expect(new Map(side.reasons.map(({ reason, images }) => [reason, images]))).toEqual(new Map([...expected].map(([fate, uris]) => [fate, uris.length])));
      for (const { reason, uris } of side.reasons) expect(uris).toEqual(expected.get(reason)!.sort().slice(0, 3));
    }
    expect(found.onlyA.reasons.map(({ reason }) => reason)).toEqual(expect.arrayContaining(['not drawn', 'not in the pool', 'too-many-pixels']));
    expect(found.onlyB.images).toBeGreaterThan(0);
  });

  it('is the same however few ids it holds, turned round from the other side, and nothing of a dataset and itself', async () => {
    expect(await diffDatasets(a, b, { signal, idsMax: 7 })).toEqual(found);
    const turned = await diffDatasets(b, a, { signal });
    expect([turned.onlyA, turned.onlyB]).toEqual([found.onlyB, found.onlyA]);
    const self = await diffDatasets(a, a, { signal });
    expect(self).toMatchObject({ onlyA: { images: 0, reasons: [] }, onlyB: { images: 0, reasons: [] }, settings: [] });
    expect(self.images.both).toBe(self.images.a);
  });

  it('names the settings and parts that differ', async () => {
    const settings = Object.fromEntries(found.settings.map(({ path, a: one, b: other }) => [path, [one, other]]));
    expect(settings).toMatchObject({ 'recipe.seed': [3, 4], 'recipe.sample.target': [60, 30], 'recipe.embed.limits.pixelsMax': [2 ** 26, pixelsMax], 'recipe.retrieve.0.k': [4, undefined] });
    expect(found.parts).toContainEqual({ name: 'around', a: expect.any(Number), b: null });
    const { text } = await diff(join(small.folder, 'a'), join(small.folder, 'b'), signal);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(text).toMatch(/recipe\.seed: 3 → 4/);
    expect(text).toMatch(/Only in A, and in B\n +\d+ /);
    expect((await diff(join(small.folder, 'a'), join(small.folder, 'a'), signal)).text).toContain('The same images, parts and settings.');
  });

  it('says so where there is no dataset', async () => {
    expectOneSentence(await winnow(['diff', join(small.folder, 'a'), join(small.folder, 'pool')]), 2, /Expected dataset\/manifest\.json in .*pool.*winnow shard|Expected .*store/);
    const { code, stdout } = await winnow(['diff', join(small.folder, 'a'), join(small.folder, 'b'), '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(found)));
  });
});
