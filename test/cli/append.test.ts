/** Appending as a user does it: a run, more images, the same recipe with one more source. */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { runAppend } from '../../src/cli/append.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import type { AppendedManifest } from '../../src/cluster/append.ts';
import { loadRecipe } from '../../src/config.ts';
import { isUserFault } from '../../src/errors.ts';
import { SILENT } from '../../src/log.ts';
import type { Summary } from '../../src/report/summary.ts';
import { randomStream } from '../../src/random.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectNothingHalfWritten } from '../helpers/winnow.ts';
import { clustersOf, drawSources, listen, manifestOf, openGrowingPool } from './growing-pool.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const folder = mkdtempSync(join(tmpdir(), 'winnow-append-'));
const { runIn, appendIn, copyOf, writeRecipe } = openGrowingPool(folder);
/** A store with the tree of the first source, and the same with both others appended at once; not to be written to. */
let fitted: string;
let whole: string;
let expected: Record<string, string>;
let wholeJson: Summary & { appended: { images: number; drift: AppendedManifest['stats']['drift'] } };

beforeAll(async () => {
  await drawSources(folder);
  await cp(join(folder, 'third', (await readdir(join(folder, 'third')))[0]!), join(folder, 'seeds'), { recursive: true });
  for (const [name, sources] of Object.entries({ one: ['first'], two: ['first', 'second'], three: ['first', 'second', 'third'], swapped: ['second', 'first'] })) {
    await writeRecipe(name, sources, { retrieve: [{ name: 'around', sources: [{ folder: './seeds' }], k: 3 }] });
  }
  fitted = join(folder, 'fitted');
  await runIn(fitted, 'one');
  whole = await copyOf(fitted, 'whole');
  wholeJson = (await appendIn(whole, 'three')).json as typeof wholeJson;
  expected = await storeHashes(whole);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('winnow append', () => {
  it('makes images and embeddings as a run over the longer pool would, and follows the recipe from there', async () => {
    const plain = join(folder, 'plain');
    await runIn(plain, 'three', { until: 'embed' });
    for (const path of ['images', 'embeddings']) expect(await storeHashes(whole, [path])).toEqual(await storeHashes(plain, [path]));
    const { funnel, selection } = wholeJson;
    expect(funnel.listed).toBe((await manifestOf<{ stats: { rows: number } }>(plain, 'images')).stats.rows);
    expect(selection.selected).toBeGreaterThan((await manifestOf<{ selected: number }>(fitted, 'selections/balanced')).selected);
    await expectNothingHalfWritten(whole);
    expect((await readdir(whole)).sort()).toEqual((await readdir(fitted)).sort());
  });

  it('keeps every row of the fit in its cluster, and draws from the new ones', async () => {
    const clusters = await Promise.all([fitted, whole].map(clustersOf));
    expect(clusters[1]!.slice(0, clusters[0]!.length)).toEqual(clusters[0]);
    expect(clusters[1]!.length).toBe(wholeJson.funnel.listed);
    const { append, stats } = await manifestOf<AppendedManifest>(whole, 'clusters');
    expect(append).toMatchObject({ rowsAtFit: clusters[0]!.length, rows: clusters[1]!.length });
    expect(wholeJson.appended).toEqual({ images: append.rows - append.rowsAtFit, drift: stats.drift });
    expect(stats.drift.sources.map(({ name }) => name)).toEqual(['second', 'third']);
  });

  it('in two steps gives the same bytes as at once; once more with nothing new changes nothing', async () => {
    const store = await copyOf(fitted, 'steps');
    const { text } = await appendIn(store, 'two', { verify: true });
    expect(text).toMatch(/Drift \(squared distance.*at fit.*appended since.*\n  The appended images[^\n]*\.\n/s);
    expect(await storeHashes(store)).not.toEqual(expected);
    await appendIn(store, 'three', { verify: true });
    expect(await storeHashes(store)).toEqual(expected);
    const { log, said } = listen();
    expect((await appendIn(store, 'three', { log })).json).toMatchObject({ appended: { images: 0 } });
    expect(said).toContain('append: no new images; the tree stays as it is');
    expect(await storeHashes(store)).toEqual(expected);
    expect(await readdir(store)).not.toContain('append');
  });

  it('a run afterwards says that it fits a new tree', async () => {
    const store = await copyOf(whole, 'refit');
    const { log, said } = listen();
    await runIn(store, 'three', { log });
    expect(said).toContainEqual(expect.stringMatching(/^clusters: fitting a new tree on \d+ images; the one there was fitted on \d+ and \d+ were appended/));
    expect(await manifestOf<object>(store, 'clusters')).not.toHaveProperty('append');
    expect(await readdir(join(store, 'clusters'))).not.toContain('fit.json');
  });

  it('follows a listing that counts other things passed over, though no image is new', async () => {
    const store = await copyOf(fitted, 'passed-over');
    const rows = await readFile(join(store, 'clusters/assignment/part-00000.arrow'));
    await writeFile(join(folder, 'first', 'notes.txt'), 'no image');
    try {
      const { json, text } = await appendIn(store, 'one');
      expect(json).toMatchObject({ appended: { images: 0, drift: { all: { images: 0 }, advice: { refit: false } } } });
      expect(text).toContain('No images were appended since the tree was fitted.');
      expect((await readFile(join(store, 'clusters/assignment/part-00000.arrow'))).equals(rows)).toBe(true);
      await expectNothingHalfWritten(store);
    } finally {
      await rm(join(folder, 'first', 'notes.txt'));
    }
  });

  it('says that the tree keeps its settings when the recipe has others', async () => {
    const recipe = parse(await readFile(join(folder, 'three.yaml'), 'utf8')) as object;
    await writeFile(join(folder, 'other-levels.yaml'), stringify({ ...recipe, cluster: { levels: [50, 16, 6] } }));
    const { log, said } = listen();
    await appendIn(await copyOf(fitted, 'other-levels'), 'other-levels', { log });
    expect(said).toContainEqual(expect.stringMatching(/the tree keeps the settings.*another cluster\.levels,/));
  });
});

describe('winnow append refuses, and leaves the store as it was', () => {
  const refuse = async (store: string, recipe: string, code: string, sentence: RegExp, options: { verify?: boolean } = {}): Promise<void> => {
    const before = await storeHashes(store).catch(() => null);
    const error: unknown = await appendIn(store, recipe, options).then(() => null, (thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringMatching(sentence) });
    expect(isUserFault(error)).toBe(true);
    if (before !== null) expect(await storeHashes(store)).toEqual(before);
  };

  it('without a fitted tree', async () => {
    await refuse(join(folder, 'nothing'), 'three', 'INPUT_MISSING', /^Expected a fitted tree to append to in .*nothing, found none: `winnow run` fits one$/);
    const store = await copyOf(fitted, 'no-tree');
    await rm(join(store, 'clusters'), { recursive: true });
    await refuse(store, 'three', 'INPUT_MISSING', /^Expected a fitted tree/);
  });

  it('a tree of other embeddings than those beside it', async () => {
    const store = await copyOf(fitted, 'embedded-since');
    await runIn(store, 'three', { until: 'embed' });
    await refuse(store, 'three', 'INPUT_MALFORMED', /^Expected the tree in .* to be fitted on the images and embeddings beside it/);
  });

  it('a source that comes before the old ones, or is gone', async () => {
    await refuse(await copyOf(fitted, 'swapped'), 'swapped', 'INPUT_MALFORMED', /^Expected image 0 of the pool to be first\/.* as before, found second\/.*: new sources go after the old ones/);
    await refuse(await copyOf(whole, 'gone'), 'one', 'INPUT_MALFORMED', /second\/.* as before, found only \d+ images/);
  });

  it('an image of the fit whose bytes changed but not its size, when asked to look', async () => {
    const concept = (await readdir(join(folder, 'first')))[0]!;
    const path = join(folder, 'first', concept, (await readdir(join(folder, 'first', concept)))[0]!);
    const bytes = await readFile(path);
    try {
      await writeFile(path, bytes.map((value, i) => (i === bytes.length - 1 ? value ^ 1 : value)));
      await refuse(await copyOf(fitted, 'changed'), 'three', 'INPUT_MALFORMED', /^Expected image \d+ of the pool, first\/.*, to have id .* as before, got id/, { verify: true });
    } finally {
      await writeFile(path, bytes);
    }
  });

  it('a recipe that embeds in another way', async () => {
    const recipe = parse(await readFile(join(folder, 'three.yaml'), 'utf8')) as object;
    await writeFile(join(folder, 'other-vectors.yaml'), stringify({ ...recipe, embed: { dtype: 'float32' } }));
    await refuse(await copyOf(fitted, 'other-vectors'), 'other-vectors', 'CONFIG_INVALID', /another embed\.dtype: set it back, or run `winnow run`/);
  });
});

describe('winnow append, stopped', () => {
  /** Stops when images are about to be assigned: listed and embedded they are by then. */
  const appendHalf = async (store: string): Promise<void> => {
    const stop = new AbortController();
    const progress = { ...SILENT_PROGRESS, begin: (stage: string) => void (stage === 'append' && stop.abort()) };
    await expect(runAppend({ loaded: await loadRecipe(join(folder, 'three.yaml')), store, verify: false, progress, log: SILENT, signal: stop.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await readdir(store)).toContain('append');
  };

  it('leaves a store that is as it was, and embeds nothing twice when it goes on', async () => {
    const store = await copyOf(fitted, 'half');
    await appendHalf(store);
    expect(await storeHashes(store)).toEqual(await storeHashes(fitted));
    await expectNothingHalfWritten(store);
    const { log, said } = listen();
    await appendIn(store, 'three', { log });
    expect(said).toContain('append/embeddings: done before, kept');
    expect(await storeHashes(store)).toEqual(expected);
  });

  it('is given up by a run', async () => {
    const store = await copyOf(fitted, 'given-up');
    await appendHalf(store);
    await runIn(store, 'one');
    expect(await storeHashes(store)).toEqual(await storeHashes(fitted));
    expect((await readdir(store)).sort()).toEqual((await readdir(fitted)).sort());
  });
});

it('an append that was committed but not carried through is, by a run too, before anything else', async () => {
  const store = await copyOf(fitted, 'committed');
  const moves: { from: string; to: string }[] = [];
  for (const to of Object.keys(await storeHashes(whole, ['images', 'embeddings', 'clusters']))) {
    moves.push({ from: `append/any/${moves.length}`, to });
    await cp(join(whole, to), join(store, 'append', 'any', String(moves.length - 1)));
  }
  const isManifest = ({ to }: { to: string }): boolean => to.endsWith('/manifest.json');
  await writeFile(join(store, 'append', 'ready.json'), JSON.stringify({ copies: moves.filter((move) => !isManifest(move)), manifests: moves.filter(isManifest) }));
  const { log, said } = listen();
  await runIn(store, 'three', { until: 'embed', log });
  expect(said).toContain('embeddings: done before, kept');
  expect(await storeHashes(store, ['images', 'embeddings', 'clusters'])).toEqual(await storeHashes(whole, ['images', 'embeddings', 'clusters']));
  expect(await readdir(store)).not.toContain('append');
});

describe('winnow append, killed', () => {
  /** The command in a process of its own, killed after so long; @returns its exit code, null when it was killed. */
  const appendAndKill = (store: string, afterMs: number): Promise<{ code: number | null; ms: number; stderr: string }> => {
    const code = `
      import { runAppend } from './src/cli/append.ts';
      import { SILENT_PROGRESS } from './src/cli/progress.ts';
      import { loadRecipe } from './src/config.ts';
      import { SILENT } from './src/log.ts';
      await runAppend({ loaded: await loadRecipe(process.argv[1]), store: process.argv[2], verify: false, progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal });`;
    const started = performance.now();
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code, join(folder, 'three.yaml'), store], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (ended) => {
        clearTimeout(timer);
        resolve({ code: ended, ms: performance.now() - started, stderr });
      });
    });
  };

  it('at random moments and started again gives the same bytes', async () => {
    const uncut = await appendAndKill(await copyOf(fitted, 'uncut'), 100_000);
    expect([uncut.code, uncut.stderr]).toEqual([0, '']);
    const draws = randomStream(0, 'test', 'append-kill');
    let killed = 0;
    for (let round = 0; round < 2; round++) {
      const store = await copyOf(fitted, `killed-${round}`);
      for (let attempt = 0; attempt < 3; attempt++) {
        const { code, stderr } = await appendAndKill(store, (0.2 + 0.6 * draws.uniform(3 * round + attempt)) * uncut.ms);
        if (code === null) killed++;
        else expect([code, stderr]).toEqual([0, '']);
      }
      await appendIn(store, 'three');
      expect(await storeHashes(store)).toEqual(expected);
      await expectNothingHalfWritten(store);
      expect(await readdir(store)).not.toContain('append');
    }
    expect(killed).toBeGreaterThan(0);
  });
});
