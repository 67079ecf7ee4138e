/** What a download keeps: the same bytes at any concurrency, all of what was done before, manners, and nothing asked twice. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { describe, expect, it, vi } from 'vitest';
import type { DownloadsManifest } from '../../src/download/downloads.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { listAll } from '../ingest/listing.ts';
import { impatient, openDownloadRun } from './download-run.ts';
import { picture, startWebServer } from './web-server.ts';

const hashesOf = (folder: string): Promise<Record<string, string>> => storeHashes(join(folder, 'store'), ['downloads']);

/** Answers `/<n>.jpg` with picture n, after a while that depends on n, and once `held` is over for n; numbers that 10 divides are not there. */
async function startPictures(delayMs = 0, held: (n: number) => Promise<void> = async () => undefined) {
  const pictures = await Promise.all(Array.from({ length: 60 }, (_, n) => picture(n)));
  return startWebServer((request, response) => {
    const n = Number(/(\d+)\.jpg/.exec(request.url!)?.[1]);
    const answer = (): void => void (n % 10 === 0 ? response.writeHead(404).end() : response.end(pictures[n % 60]));
    setTimeout(() => void held(n).then(answer), delayMs * ((n * 7) % 5));
  });
}

it('gives the same bytes at any concurrency, with several hosts and slow answers', async () => {
  const server = await startPictures(6);
  const urls = Array.from({ length: 90 }, (_, n) => server.url(`/${n}.jpg`, `127.0.1.${1 + (n % 7)}`));
  const outputs = [];
  for (const settings of [{ concurrency: 1 }, { concurrency: 64, hostConnections: 1 }, { concurrency: 9, hostConnections: 9 }]) {
    const run = await openDownloadRun(urls, impatient([server.port], { blockRows: 40, shardBytesMax: 30_000, ...settings }));
    await run.run();
    outputs.push(await hashesOf(run.folder));
  }
  expect(Object.keys(outputs[0]!).filter((key) => key.endsWith('.tar')).length).toBeGreaterThan(3);
  expect(outputs[1]).toEqual(outputs[0]);
  expect(outputs[2]).toEqual(outputs[0]);
});

it('keeps the bytes as they came, in tars that any reader opens, and says where they lie', async () => {
  const server = await startPictures();
  const run = await openDownloadRun(`url,caption,licence,big\n${server.url('/1.jpg')},"a ""caption""",CC0,12345678901234567890\n${server.url('/10.jpg')},,,\n${server.url('/2.jpg')},,CC-BY,1\n`, impatient([server.port]));
  const stored = await run.run();
  const rows = await run.rows(stored);
  expect(rows.map(({ status, http }) => [status, http])).toEqual([['ok', 200], ['not-found', 404], ['ok', 200]]);
  const [tar] = stored.manifest.tars;
  const bytes = await readFile(join(run.folder, 'store', tar!.path));
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(tar!.sha256);
  const original = await picture(1);
  expect(bytes.subarray(rows[0]!.offset, rows[0]!.offset + rows[0]!.length)).toEqual(original);
  expect(rows[0]!.id).toBe(createHash('sha256').update(original).digest('hex').slice(0, 32));
  const members: Record<string, string> = {};
  const reader = extract();
  reader.on('entry', (header, stream, next) => {
    expect(header.mtime!.getTime()).toBe(0);
    void buffer(stream).then((data) => {
      members[header.name] = data.toString('latin1');
      next();
    });
  });
  await new Promise<void>((resolve) => reader.on('finish', () => resolve()).end(bytes));
  expect(Object.keys(members)).toEqual(['000000000.jpg', '000000000.json', '000000000.txt', '000000002.jpg', '000000002.json']);
  expect(members['000000000.txt']).toBe('a "caption"');
  expect(members['000000000.json']).toBe(`{"url":"${server.url('/1.jpg')}","sha256":"${createHash('sha256').update(original).digest('hex')}","meta":{"big":"12345678901234567890","licence":"CC0"}}`);
  // They are WebDataset tars like any others.
  const listed = await listAll({ tars: join(run.folder, 'store', tar!.path) }, '/');
  expect(listed.rows.map(({ caption }) => caption)).toEqual(['a "caption"', null]);
  expect(listed.counts).toEqual({});
});

it('asks for a URL that stands twice once, and gives both rows its bytes', async () => {
  const server = await startPictures();
  const urls = [server.url('/1.jpg'), server.url('/2.jpg'), `${server.url('/1.jpg')}#again`, server.url('/20.jpg'), server.url('/20.jpg')];
  const run = await openDownloadRun(urls, impatient([server.port]));
  const rows = await run.rows(await run.run());
  expect(rows.map(({ status }) => status)).toEqual(['ok', 'ok', 'ok', 'not-found', 'not-found']);
  expect(rows[2]).toMatchObject({ id: rows[0]!.id, offset: rows[0]!.offset });
  expect([server.count('/1.jpg'), server.count('/20.jpg')]).toEqual([1, 1]);
});

describe('what is done', () => {
  it('stays when the list grows and when manners change; other rules fetch anew', async () => {
    const server = await startPictures();
    const urls = Array.from({ length: 50 }, (_, n) => server.url(`/${n}.jpg`));
    const settings = impatient([server.port], { blockRows: 20 });
    const first = await openDownloadRun(urls, settings);
    const { folder } = first;
    await first.run();
    const before = await hashesOf(folder);
    expect(server.count('/1.jpg')).toBe(1);
    await (await openDownloadRun(urls, { ...settings, concurrency: 3, hostDelayMs: 1, retries: 0 }, { folder })).run();
    expect(await hashesOf(folder)).toEqual(before);
    const longer = await openDownloadRun([...urls, server.url('/51.jpg')], settings, { folder });
    const { manifest } = await longer.run();
    expect(manifest.stats['rows']).toBe(51);
    // Rows 40 and later are another block now; the two before it were kept.
    expect([server.count('/1.jpg'), server.count('/39.jpg'), server.count('/41.jpg'), server.count('/51.jpg')]).toEqual([1, 1, 2, 1]);
    const kept = await hashesOf(folder);
    for (const key of Object.keys(before).filter((name) => /\/0000[01]-/.test(name))) expect(kept[key]).toBe(before[key]);
    expect(Object.keys(kept).filter((key) => key.includes('/00002-'))).not.toContain(Object.keys(before).find((key) => key.includes('/00002-')));
    await (await openDownloadRun(urls, { ...settings, sizeBytesMax: 200_000 }, { folder })).run();
    expect(server.count('/1.jpg')).toBe(2);
  });

  it('stays when the run is killed: no URL of a finished block is asked for again, and the bytes are those of a whole run', async () => {
    // What comes last is held back until both kills are over.
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    const server = await startPictures(20, async (n) => (n < 180 ? undefined : released));
    const folder = await temporaryFolder('download');
    const urls = Array.from({ length: 240 }, (_, n) => server.url(`/${n}.jpg`, `127.0.1.${1 + (n % 4)}`));
    await writeFile(join(folder, 'web.csv'), `url\n${urls.join('\n')}\n`);
    const settings = impatient([server.port], { blockRows: 20, concurrency: 8, shardBytesMax: 20_000, headersTimeoutMs: 60_000, totalTimeoutMs: 60_000 });
    const pool = [{ name: 'web', urls: 'web.csv', column: 'url', download: settings }];
    await writeFile(join(folder, 'recipe.yaml'), JSON.stringify({ format: 'winnow-recipe/1', name: 'killed', pool }));
    const start = () => spawn(process.execPath, ['--import', import.meta.resolve('tsx'), new URL('../../src/cli.ts', import.meta.url).pathname, 'download', join(folder, 'recipe.yaml'), '--store', join(folder, 'store'), '--quiet'], { stdio: ['ignore', 'ignore', 'pipe'] });
    for (const rows of [20, 80]) {
      const child = start();
      while ((await finishedRows(join(folder, 'store'))).length < rows) await new Promise((resolve) => setTimeout(resolve, 20));
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
    }
    release();
    const done = new Set(await finishedRows(join(folder, 'store')));
    const before = new Map(server.asked);
    expect(done.size).toBeGreaterThanOrEqual(80);
    expect(done.size).toBeLessThan(urls.length);
    const last = start();
    expect(await new Promise((resolve) => last.once('exit', resolve))).toBe(0);
    for (const n of done) expect(server.asked.get(`127.0.1.${1 + (n % 4)} /${n}.jpg`)).toBe(before.get(`127.0.1.${1 + (n % 4)} /${n}.jpg`));
    const whole = await openDownloadRun(urls, settings);
    await whole.run();
    expect(await hashesOf(folder)).toEqual(await hashesOf(whole.folder));
  });
});

/** Rows of blocks that say they are finished. */
async function finishedRows(store: string): Promise<number[]> {
  const entries = await readdir(join(store, 'downloads'), { recursive: true }).catch(() => []);
  const keys = entries.filter((key) => key.endsWith('/block.json')).map((key) => `downloads/${key}`);
  const records = await Promise.all(keys.map(async (key) => JSON.parse(await readFile(join(store, key), 'utf8')) as { rows: { firstRow: number; rowCount: number } }));
  return records.flatMap(({ rows }) => Array.from({ length: rows.rowCount }, (_, i) => rows.firstRow + i));
}

describe('manners', () => {
  it('keep to connections and delays of a host, also when others wait', async () => {
    const server = await startPictures(4);
    const urls = Array.from({ length: 36 }, (_, n) => server.url(`/${n}.jpg`, `127.0.1.${1 + (n % 3)}`));
    const run = await openDownloadRun(urls, impatient([server.port], { hostConnections: 2, hostDelayMs: 60 }));
    await run.run();
    const hosts = ['127.0.1.1', '127.0.1.2', '127.0.1.3'];
    const ends = hosts.map((host) => server.times.get(host)!.at(-1)!);
    for (const host of hosts) {
      expect(server.open.get(host)).toBeLessThanOrEqual(2);
      const times = server.times.get(host)!;
      expect(times).toHaveLength(13); // 12 pictures and robots.txt
      expect(times[0]!).toBeLessThan(Math.min(...ends)); // hosts go on beside each other
      // A request may reach the server late, the next one then early; without the delay all would take a tenth of this.
      expect(times.at(-1)! - times[0]!).toBeGreaterThan((12 * 60) / 2);
    }
  });

  it('wait as long as a host asks, and leave it where it asks for too long', async () => {
    const jpeg = await picture(1);
    const server = await startWebServer((request, response, nth) => {
      if (request.url === '/wait.jpg' && nth === 1) response.writeHead(429, { 'retry-after': '1' }).end();
      else if (request.url === '/long.jpg') response.writeHead(503, { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() }).end();
      else response.end(jpeg);
    });
    const run = await openDownloadRun([server.url('/wait.jpg'), server.url('/other.jpg')], impatient([server.port], { hostConnections: 1 }));
    expect((await run.rows(await run.run())).map(({ status }) => status)).toEqual(['ok', 'ok']);
    const [robots, first, ...later] = server.times.get('127.0.0.2')!;
    expect(robots).toBeLessThan(first!);
    for (const time of later) expect(time - first!).toBeGreaterThan(950);
    const left = await openDownloadRun([server.url('/long.jpg'), ...Array.from({ length: 20 }, (_, n) => server.url(`/${n}.jpg`))], impatient([server.port], { hostConnections: 1 }));
    expect(new Set((await left.rows(await left.run())).map(({ status }) => status))).toEqual(new Set(['rate-limited']));
    expect(server.count('/long.jpg')).toBe(1);
    expect(server.count('/5.jpg')).toBe(0);
  });

  it('give up a host that does not answer', async () => {
    const server = await startWebServer((_, response) => void response.socket!.destroy());
    const urls = Array.from({ length: 40 }, (_, n) => server.url(`/${n}.jpg`));
    const run = await openDownloadRun(urls, impatient([server.port], { hostConnections: 2, hostFailuresMax: 5, retries: 0, robots: 'ignore' }));
    expect(new Set((await run.rows(await run.run())).map(({ status }) => status))).toEqual(new Set(['unreachable']));
    expect([...server.asked.values()].reduce((sum, n) => sum + n, 0)).toBeLessThan(9);
  });
});

it('stops at once when it is told to, and leaves nothing half done', async () => {
  let hang!: () => void;
  const hanging = new Promise<void>((resolve) => (hang = resolve));
  const server = await startWebServer((request, response) => {
    if (Number(/(\d+)/.exec(request.url!)![1]) < 30) response.writeHead(404).end();
    else hang();
  });
  const stop = new AbortController();
  const run = await openDownloadRun(Array.from({ length: 60 }, (_, n) => server.url(`/${n}.jpg`)), impatient([server.port], { blockRows: 30, hostConnections: 64, headersTimeoutMs: 300_000, totalTimeoutMs: 300_000 }), { signal: stop.signal });
  const running = run.run();
  running.catch(() => undefined);
  // The first block is done and the second waits for a host that says nothing; there are connections for both, whichever comes first.
  await hanging;
  await vi.waitFor(async () => expect(await finishedRows(join(run.folder, 'store'))).toHaveLength(30), { timeout: 60_000 });
  const started = performance.now();
  stop.abort(new Error('SIGINT'));
  await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
  expect(performance.now() - started).toBeLessThan(100_000); // not the 300 s that a host may take
  expect(Object.keys(await hashesOf(run.folder)).filter((key) => key.endsWith('manifest.json'))).toEqual([]);
});

describe('a retry', () => {
  it('asks for rows with a transient reason only, and leaves the others’ bytes where they are', async () => {
    let isWell = false;
    const pictures = await Promise.all(Array.from({ length: 60 }, (_, n) => picture(n)));
    const server = await startWebServer((request, response) => {
      const n = Number(/(\d+)/.exec(request.url!)![1]);
      if (n % 10 === 0) response.writeHead(404).end();
      else if (n % 7 === 3 && !isWell) response.writeHead(500).end();
      else response.end(pictures[n]);
    });
    const urls = Array.from({ length: 60 }, (_, n) => server.url(`/${n}.jpg`));
    const settings = impatient([server.port], { blockRows: 20, retries: 0 });
    const run = await openDownloadRun(urls, settings);
    const before = await run.run();
    const old = await run.rows(before);
    expect(await run.retry()).toMatchObject({ asked: 8, gained: 0, stored: { sha256: before.sha256 } });
    isWell = true;
    const { asked, gained, stored } = await run.retry();
    expect([asked, gained]).toEqual([8, 8]);
    const rows = await run.rows(stored);
    rows.forEach((row, n) => {
      if (n % 10 === 0) expect(row.status).toBe('not-found');
      else if (n % 7 === 3) expect([old[n]!.status, row.status]).toEqual(['server-error', 'ok']);
      else expect(row).toEqual(old[n]);
    });
    expect(server.count('/1.jpg')).toBe(1);
    for (const tar of before.manifest.tars) expect(stored.manifest.tars).toContainEqual(tar);
    // What was gained has the bytes and ids of a download that met no trouble.
    const whole = await openDownloadRun(urls, settings);
    expect((await whole.rows(await whole.run())).map(({ id, status }) => [id, status])).toEqual(rows.map(({ id, status }) => [id, status]));
    expect(await (await openDownloadRun(urls, settings, { folder: run.folder })).run()).toEqual(stored);
    expect(await run.retry()).toMatchObject({ asked: 0, gained: 0 });
  });
});

it('reaches the end of 10,000 URLs on mixed hosts in bounded memory', async () => {
  const pictures = await Promise.all(Array.from({ length: 8 }, (_, n) => picture(n, 200)));
  const server = await startWebServer((request, response) => {
    const n = Number(/(\d+)/.exec(request.url!)![1]);
    if (n % 11 === 0) response.writeHead(404).end();
    else response.end(Buffer.concat([pictures[n % 8]!, Buffer.alloc(20_000, n % 251)]));
  });
  const urls = Array.from({ length: 10_000 }, (_, n) => (n % 97 === 5 ? `junk ${n}` : server.url(`/${n}.jpg`, `127.0.1.${1 + (n % 50)}`)));
  const run = await openDownloadRun(urls, impatient([server.port], { concurrency: 32, hostConnections: 4 }));
  global.gc?.();
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 50);
  const started = performance.now();
  const stored = await run.run().finally(() => clearInterval(timer));
  const seconds = (performance.now() - started) / 1000;
  const { statuses } = stored.manifest.stats as { statuses: DownloadsManifest['stats'] };
  const junk = urls.filter((url) => url.startsWith('junk')).length;
  const absent = urls.filter((url, n) => !url.startsWith('junk') && n % 11 === 0).length;
  expect(statuses).toEqual({ ok: 10_000 - junk - absent, 'not-found': absent, 'url-malformed': junk });
  process.stderr.write(`10,000 URLs in ${seconds.toFixed(1)} s (${(10_000 / seconds).toFixed(0)} a second), ${((peak - before) / 2 ** 20).toFixed(0)} MB more at the peak, server included\n`);
  expect(peak - before).toBeLessThan(400 * 2 ** 20);
});
