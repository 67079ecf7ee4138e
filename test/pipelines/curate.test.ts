import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import pl from 'nodejs-polars';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import type { Summary } from '../../src/report/summary.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';

let small: SmallRun;
beforeAll(async () => {
  small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-curate-')), 500);
});
afterAll(() => rm(small.folder, { recursive: true, force: true }));

async function curateInto(store: string, execution: object = {}, force: string[] = []): Promise<Summary> {
  const loaded = await loadRecipe(small.recipePath);
  const recipe = { ...loaded.recipe, execution: { ...loaded.recipe.execution, ...execution } };
  const outcome = await run({ loaded: { ...loaded, recipe }, store: join(small.folder, store), until: 'shard', force, progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal });
  return outcome.json as Summary;
}

/** Rows of each part, as the manifests say. */
async function partRows(root: string, manifests: readonly string[]): Promise<Map<string, number>> {
  type Listed = { path: string; rowCount: number };
  const rows = new Map<string, number>();
  for (const key of manifests) {
    const { parts, levels = [] } = JSON.parse(await readFile(join(root, key), 'utf8')) as { parts: (Listed & { shards?: Listed[] })[]; levels?: { parts: Listed[] }[] };
    for (const { path, rowCount } of [...parts.flatMap((part) => part.shards ?? [part]), ...levels.flatMap((level) => level.parts)]) rows.set(path, rowCount);
  }
  return rows;
}

describe('the whole road', () => {
  it('accounts for every image of the pool', async () => {
    const { funnel, selection, tree, parts } = await curateInto('a');
    const rejected = Object.values(funnel.rejected).reduce((sum, count) => sum + count, 0);
    expect(rejected).toBeGreaterThan(0);
    expect(funnel.selected + funnel.notDrawn + funnel.setAside + rejected).toBe(funnel.listed);
    expect(selection).toMatchObject({ requested: 100, selected: 100, unique: 100, shortfall: 0 });
    expect(tree.map(({ level }) => level)).toEqual([1, 2, 3, 4, 5]);
    expect(parts.map(({ name, kind }) => [name, kind])).toEqual([['balanced', 'balanced'], ['around', 'retrieved'], ['raw', 'raw']]);
  });

  it('gives the same bytes again, and with another block size, concurrency, thread count and memory budget', async () => {
    await curateInto('a');
    const hashes = await storeHashes(join(small.folder, 'a'));
    expect(Object.keys(hashes).length).toBeGreaterThan(15);
    await curateInto('b');
    expect(await storeHashes(join(small.folder, 'b'))).toEqual(hashes);
    await curateInto('c', { blockRows: 1024, concurrency: 1, threads: 1, memoryMb: 64 });
    expect(await storeHashes(join(small.folder, 'c'))).toEqual(hashes);
    await curateInto('d', { blockRows: 1777, concurrency: 7, threads: 2 });
    expect(await storeHashes(join(small.folder, 'd'))).toEqual(hashes);
  });

  it('keeps what is done, and makes a forced stage and what follows from it again with the same bytes', async () => {
    await curateInto('a');
    const hashes = await storeHashes(join(small.folder, 'a'));
    await curateInto('a', {}, ['cluster']);
    expect(await storeHashes(join(small.folder, 'a'))).toEqual(hashes);
    expect(await readdir(join(small.folder, 'a')).then((names) => names.filter((name) => name === 'work'))).toEqual(await workLeft());
  });

  /** `work/` may stay as an empty folder; nothing may lie in it. */
  async function workLeft(): Promise<string[]> {
    const entries = await readdir(join(small.folder, 'a', 'work'), { recursive: true, withFileTypes: true }).catch(() => null);
    expect(entries?.filter((entry) => entry.isFile()) ?? []).toEqual([]);
    return entries === null ? [] : ['work'];
  }

  it('notices an image that was added, and leaves no trace of this machine in any output', async () => {
    await curateInto('a');
    const before = await storeHashes(join(small.folder, 'a'), ['images']);
    const [concept] = (await readdir(join(small.folder, 'pool'), { withFileTypes: true })).filter((entry) => entry.isDirectory());
    const added = join(small.folder, 'pool', concept!.name, 'zzz.jpg');
    await writeFile(added, await readFile(join(small.folder, 'seeds', (await readdir(join(small.folder, 'seeds')))[0]!)));
    const { funnel } = await curateInto('a');
    await rm(added);
    expect(funnel.listed).toBe(501);
    expect(await storeHashes(join(small.folder, 'a'), ['images'])).not.toEqual(before);
    for (const key of Object.keys(await storeHashes(join(small.folder, 'a')))) {
      const text = await readFile(join(small.folder, 'a', key), 'latin1');
      expect(text.includes(small.folder), `${key} names a folder of this machine`).toBe(false);
    }
  });

  it('makes tables that another implementation (polars) opens, every kind of them', async () => {
    await curateInto('a');
    const root = join(small.folder, 'a');
    const kinds: Record<string, string[]> = {
      'images/': ['uri', 'source', 'path', 'offset', 'length', 'size', 'label'],
      'embeddings/': ['embedding', 'status', 'id', 'width', 'height'],
      'clusters/level-1/centroids/': ['centroid', 'parent', 'size'],
      'clusters/level-5/centroids/': ['centroid', 'parent', 'size'],
      'clusters/assignment/': ['cluster', 'distance', 'reason'],
      'selections/balanced/': ['row', 'copies', 'score'],
      'selections/around/': ['row', 'copies', 'score', 'query'],
      'dataset/shards/balanced-': ['id', 'uri', 'row', 'cluster', 'score'],
      'dataset/shards/raw-': ['id', 'uri', 'row', 'cluster', 'score'],
    };
    const keys = Object.keys(await storeHashes(root));
    const rowsOf = await partRows(root, keys.filter((key) => key.endsWith('/manifest.json')));
    for (const [prefix, columns] of Object.entries(kinds)) {
      const key = keys.find((one) => one.startsWith(prefix) && one.endsWith('.arrow'));
      expect(key, prefix).toBeDefined();
      const frame = pl.readIPC(await readFile(join(root, key!)));
      expect(frame.columns, key).toEqual(expect.arrayContaining(columns));
      // A column may be called `height`, which then hides the frame's own.
      expect(frame.shape.height, key).toBe(rowsOf.get(key!));
    }
  });
});
