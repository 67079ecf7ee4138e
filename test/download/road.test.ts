/** A URL list as the pool of a run: every URL is a row to the end, a retry makes it what a healthy web would have, and workers do the same. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parse, stringify } from 'yaml';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { runAppend } from '../../src/cli/append.ts';
import { retryRows } from '../../src/cli/retry.ts';
import { run } from '../../src/cli/run.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { loadRecipe, parseRecipe } from '../../src/config.ts';
import { DOWNLOAD_REASONS } from '../../src/download/status.ts';
import { SILENT } from '../../src/log.ts';
import { readManifest, readPart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { StageName } from '../../pipelines/curate.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { expectNothingHalfWritten } from '../helpers/winnow.ts';
import { kill, startDriver, startWorker } from '../workers/processes.ts';
import { startRedis, withoutRedis } from '../workers/redis-server.ts';
import { impatient } from './download-run.ts';
import { type WebServer, startWebServer } from './web-server.ts';

const COUNT = 72;

/** `/<n>.jpg` is a picture of its own; every ninth is not there, and every fifth fails while the server is unwell. */
async function startPictures(): Promise<WebServer & { isWell: boolean }> {
  const pictures = await Promise.all(Array.from({ length: COUNT }, (_, n) => sharp({ create: { width: 40, height: 40, channels: 3, noise: { type: 'gaussian', mean: (n * 37) % 256, sigma: 3 + n }, background: '#000' } }).jpeg({ quality: 60 }).toBuffer()));
  const state = { isWell: true };
  const server = await startWebServer((request, response) => {
    const n = Number(/(\d+)\.jpg/.exec(request.url!)![1]);
    if (n % 9 === 0) response.writeHead(404).end();
    else if (n % 5 === 0 && !state.isWell) response.writeHead(500).end();
    else response.end(pictures[n]);
  });
  return Object.assign(state, server);
}

async function writeRun(folder: string, server: WebServer, more: Record<string, unknown> = {}): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'web.csv'), `url,kind,caption\n${Array.from({ length: COUNT }, (_, n) => `${server.url(`/${n}.jpg`)},kind-${n % 3},picture ${n}`).join('\n')}\n`);
  await writeFile(join(folder, 'raw.csv'), `url\n${[1, 5, 10, 9].map((n) => server.url(`/${n}.jpg`)).join('\n')}\n`);
  const download = impatient([server.port], { blockRows: 30, retries: 0 });
  const recipe = {
    format: 'winnow-recipe/1', name: 'web',
    pool: [{ name: 'web', urls: 'web.csv', column: 'url', label: { column: 'kind' }, download }],
    embed: { maxDropRatio: 0.9 }, cluster: { levels: [8, 3] }, sample: { target: 20 },
    raw: [{ name: 'raw', sources: [{ name: 'raw-urls', urls: 'raw.csv', column: 'url', download }] }],
    shard: { withBytes: true }, ...more,
  };
  await writeFile(join(folder, 'recipe.yaml'), stringify(recipe));
  return join(folder, 'recipe.yaml');
}

const reporters = { progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal };
const runUntil = async (recipe: string, store: string, until: StageName) => run({ loaded: await loadRecipe(recipe), store, until, force: [], ...reporters });
const retry = async (recipe: string, store: string) => (await retryRows({ loaded: await loadRecipe(recipe), store, ...reporters })).json;

async function column(store: string, table: string, name: string): Promise<(string | null)[]> {
  const opened = await openFsStore(store);
  const { manifest } = (await readManifest(opened, table))!;
  return (await Promise.all(manifest.parts.map(async (part) => decodeTable(await readPart(opened, part), part.path).strings(name)))).flat();
}

it('has a row for every URL, with its reason, from the list to the dataset', async () => {
  const server = await startPictures();
  server.isWell = false;
  const folder = await temporaryFolder('road');
  const [recipe, store] = [await writeRun(folder, server), join(folder, 'store')];
  const { json } = await runUntil(recipe, store, 'shard');
  const expected = Array.from({ length: COUNT }, (_, n) => (n % 9 === 0 ? 'not-found' : n % 5 === 0 ? 'server-error' : 'ok'));
  expect(await column(store, 'images', 'status')).toEqual(expected);
  expect(await column(store, 'embeddings', 'status')).toEqual(expected);
  expect(await column(store, 'images', 'caption')).toEqual(expected.map((_, n) => `picture ${n}`));
  expect(await column(store, 'images', 'label')).toEqual(expected.map((_, n) => `kind-${n % 3}`));
  expect(await column(store, 'images', 'uri')).toEqual(expected.map((_, n) => server.url(`/${n}.jpg`)));
  expect(await column(store, 'raw/raw/embeddings', 'status')).toEqual(['ok', 'server-error', 'server-error', 'not-found']);
  expect(json).toMatchObject({ funnel: { listed: COUNT, rejected: { 'not-found': 8, 'server-error': 13 } } });
  await expectNothingHalfWritten(store);
  const before = await storeHashes(store);
  await runUntil(recipe, store, 'shard');
  expect(await storeHashes(store)).toEqual(before);
  expect(server.count('/1.jpg')).toBe(2); // for the pool and for the raw part
});

describe('winnow retry --failed', () => {
  it('ends with the vectors that a healthy web would have given, tries nothing else, and says what changed', async () => {
    const server = await startPictures();
    const folder = await temporaryFolder('retry');
    const [recipe, store, healthy] = [await writeRun(folder, server), join(folder, 'store'), join(folder, 'healthy')];
    await runUntil(recipe, healthy, 'embed');
    const countWell = server.count('/1.jpg');
    server.isWell = false;
    await runUntil(recipe, store, 'embed');
    const sick = await storeHashes(store, ['images', 'embeddings', 'raw']);
    expect(await retry(recipe, store)).toEqual({ asked: 15, downloaded: 0, images: 0, changed: [] });
    expect(await storeHashes(store, ['images', 'embeddings', 'raw'])).toEqual(sick);
    server.isWell = true;
    expect(await retry(recipe, store)).toEqual({ asked: 15, downloaded: 15, images: 15, changed: ['images', 'embeddings', 'raw/raw/images', 'raw/raw/embeddings'] });
    expect(server.count('/1.jpg')).toBe(2 * countWell);
    expect(server.count('/9.jpg')).toBe(2 * server.count('/18.jpg'));
    const parts = async (root: string) => Object.fromEntries(Object.entries(await storeHashes(root, ['embeddings', 'raw/raw/embeddings'])).filter(([key]) => key.endsWith('.arrow')));
    expect(await parts(store)).toEqual(await parts(healthy));
    const stats = async (root: string, path: string) => (await readManifest(await openFsStore(root), path))!.manifest.stats;
    expect(await stats(store, 'embeddings')).toEqual(await stats(healthy, 'embeddings'));
    await expectNothingHalfWritten(store);
    // The run goes on from these tables as they are.
    const repaired = await storeHashes(store, ['images', 'embeddings', 'downloads', 'raw']);
    await runUntil(recipe, store, 'shard');
    expect(await storeHashes(store, ['images', 'embeddings', 'downloads', 'raw'])).toEqual(repaired);
    expect(await retry(recipe, store)).toMatchObject({ asked: 0, images: 0, changed: [] });
  });

  it('reads again files that could not be read, and refuses sources that list other images', async () => {
    const server = await startPictures();
    const folder = await temporaryFolder('retry');
    await mkdir(join(folder, 'pictures'));
    for (const n of [1, 2, 3]) await sharp({ create: { width: 32, height: 32, channels: 3, background: { r: 60 * n, g: 0, b: 9 } } }).png().toFile(join(folder, 'pictures', `${n}.png`));
    await writeFile(join(folder, 'list.csv'), 'uri\npictures/1.png\npictures/late.png\npictures/2.png\n');
    const recipe = await writeRun(folder, server, { pool: [{ list: 'list.csv' }], raw: [], embed: { maxDropRatio: 0.9 } });
    const store = join(folder, 'store');
    await runUntil(recipe, store, 'embed');
    expect(await column(store, 'embeddings', 'status')).toEqual(['ok', 'unreadable', 'ok']);
    const ids = await column(store, 'embeddings', 'id');
    await copyFile(join(folder, 'pictures', '3.png'), join(folder, 'pictures', 'late.png'));
    expect(await retry(recipe, store)).toMatchObject({ asked: 0, images: 1, changed: ['images', 'embeddings'] });
    expect(await column(store, 'embeddings', 'status')).toEqual(['ok', 'ok', 'ok']);
    expect((await column(store, 'embeddings', 'id')).filter((id) => ids.includes(id))).toHaveLength(2);
    const done = await storeHashes(store, ['images', 'embeddings']);
    await writeFile(join(folder, 'list.csv'), 'uri\npictures/1.png\npictures/3.png\npictures/2.png\n');
    await expect(retry(recipe, store)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining('got another one at row 1') });
    expect(await storeHashes(store, ['images', 'embeddings'])).toEqual(done);
  });

  it('says that there is nothing to retry yet', async () => {
    const server = await startPictures();
    const folder = await temporaryFolder('retry');
    const recipe = await writeRun(folder, server);
    await expect(retry(recipe, join(folder, 'store'))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('run `winnow download` first') });
  });
});

it('is appended to as any other pool is, with a list of its own', async () => {
  const server = await startPictures();
  const folder = await temporaryFolder('append');
  const store = join(folder, 'store');
  const recipe = await writeRun(folder, server);
  await runUntil(recipe, store, 'shard');
  const value = parse(await readFile(recipe, 'utf8')) as { pool: Record<string, unknown>[] };
  await writeFile(join(folder, 'more.csv'), `url\n${[2, 18, 3].map((n) => server.url(`/${n}.jpg?more`)).join('\n')}\nnonsense\n`);
  value.pool.push({ ...value.pool[0]!, name: 'more', urls: 'more.csv', label: 'none' });
  await writeFile(recipe, stringify(value));
  const { json } = await runAppend({ loaded: await loadRecipe(recipe), store, verify: true, ...reporters });
  expect(json).toMatchObject({ appended: { images: 4 } });
  expect((await column(store, 'embeddings', 'status')).slice(COUNT)).toEqual(['ok', 'not-found', 'ok', 'url-malformed']);
  expect((await column(store, 'images', 'status')).slice(COUNT)).toEqual(['ok', 'not-found', 'ok', 'url-malformed']);
  expect(server.count('/1.jpg')).toBe(2);
});

it('is told of in the README with a recipe that is valid', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const [, yaml] = /^```yaml urls\n([\s\S]*?)^```/m.exec(readme)!;
  expect(parseRecipe({ format: 'winnow-recipe/1', name: 'readme', ...parse(yaml!) }, 'README').pool[0]!.download).toMatchObject({ concurrency: 64, robots: 'honour' });
  for (const reason of DOWNLOAD_REASONS) expect(readme, reason).toContain(`\`${reason}\``);
});

it.skipIf(withoutRedis())('gives the same bytes when workers download and embed', async () => {
  const server = await startPictures();
  const folder = await temporaryFolder('queue');
  const recipe = await writeRun(folder, server);
  await runUntil(recipe, join(folder, 'local'), 'shard');
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const workers = [startWorker({ redis: redis.url, concurrency: 2, stages: ['download'] }), startWorker({ redis: redis.url, concurrency: 1 })];
  onTestFinished(async () => void (await Promise.all(workers.map(kill))));
  const driver = startDriver(recipe, join(folder, 'queued'), redis.url);
  expect((await driver.ended).code, driver.stderr()).toBe(0);
  expect(workers.map((worker) => worker.stderr()).join('')).toContain('"kind":"download-block"');
  const paths = ['downloads', 'images', 'embeddings', 'dataset'];
  expect(await storeHashes(join(folder, 'queued'), paths)).toEqual(await storeHashes(join(folder, 'local'), paths));
});
