/** Servers that misbehave on purpose, and lists that do: every row has one end, in time, and nothing is asked that may not be. */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { isTransient } from '../../src/download/status.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { impatient, openDownloadRun } from './download-run.ts';
import { gzipBomb, picture, startTcpServer, startWebServer } from './web-server.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

/** How a list of URLs ends, by URL. */
async function endsOf(urls: readonly string[], settings: Record<string, unknown>): Promise<Record<string, string>> {
  const run = await openDownloadRun(urls, settings);
  const rows = await run.rows(await run.run());
  expect(rows).toHaveLength(urls.length);
  return Object.fromEntries(rows.map(({ status }, i) => [urls[i]!, status]));
}

it('gives every misbehaviour one row with one reason, within its limits', async () => {
  const jpeg = await picture(1);
  const bomb = gzipBomb(50_000_000);
  const drips = new Set<NodeJS.Timeout>();
  onTestFinished(() => drips.forEach(clearInterval));
  const drip = (response: ServerResponse, chunk: Buffer, ms: number): void => {
    const timer = setInterval(() => response.write(chunk), ms);
    drips.add(timer);
    response.once('close', () => clearInterval(timer));
  };
  const paths: Record<string, readonly [status: string, answer: (response: ServerResponse, nth: number) => void]> = {
    '/ok.jpg': ['ok', (r) => r.end(jpeg)],
    '/404': ['not-found', (r) => r.writeHead(404).end('no')],
    '/410': ['not-found', (r) => r.writeHead(410).end()],
    '/403': ['refused', (r) => r.writeHead(403).end('x'.repeat(100_000))],
    '/451': ['refused', (r) => r.writeHead(451).end()],
    '/500': ['server-error', (r) => r.writeHead(500).end()],
    '/500-then-ok': ['ok', (r, nth) => (nth === 1 ? r.writeHead(500).end() : r.end(jpeg))],
    '/429-then-ok': ['ok', (r, nth) => (nth === 1 ? r.writeHead(429, { 'retry-after': '1' }).end() : r.end(jpeg))],
    '/429': ['rate-limited', (r) => r.writeHead(429).end()],
    '/endless': ['too-large-file', (r) => drip(r.writeHead(200), Buffer.alloc(65_536, 0xff), 1)],
    '/too-large': ['too-large-file', (r) => r.writeHead(200, { 'content-length': '300001' }).end(Buffer.alloc(300_001))],
    '/drip': ['timed-out', (r) => drip(r.writeHead(200), Buffer.from('x'), 100)],
    '/stall': ['timed-out', (r) => r.writeHead(200).write(jpeg.subarray(0, 100))],
    '/never': ['timed-out', () => undefined],
    '/torn': ['cut-off', (r) => r.writeHead(200, { 'content-length': String(jpeg.length) }).write(jpeg.subarray(0, 100), () => r.destroy())],
    '/torn-chunks': ['cut-off', (r) => r.writeHead(200).write(jpeg.subarray(0, 100), () => r.destroy())],
    '/short-length': ['ok', (r) => { r.socket!.end(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'), jpeg])); }],
    '/long-length': ['cut-off', (r) => { r.socket!.end(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n'), jpeg])); }],
    '/html': ['not-an-image', (r) => r.writeHead(200, { 'content-type': 'image/jpeg' }).end('<!doctype html><html><svg></svg></html>')],
    '/video': ['unsupported-format', (r) => r.end(Buffer.from([0x1a, 0x45, 0xdf, 0xa3, 1, 2, 3]))],
    '/empty': ['empty', (r) => r.end()],
    '/204': ['empty', (r) => r.writeHead(204).end()],
    '/206': ['bad-response', (r) => r.writeHead(206).end(jpeg)],
    '/gzip': ['ok', (r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(jpeg))],
    '/gzip-bomb': ['too-large-file', (r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)],
    '/gzip-torn': ['cut-off', (r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(jpeg).subarray(0, 60))],
    '/gzip-not': ['bad-response', (r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(jpeg)],
    '/zip-twice': ['bad-response', (r) => r.writeHead(200, { 'content-encoding': 'gzip, gzip' }).end(gzipSync(gzipSync(jpeg)))],
    '/constructor': ['bad-response', (r) => r.writeHead(200, { 'content-encoding': 'constructor' }).end(jpeg)],
    '/huge-headers': ['bad-response', (r) => r.writeHead(200, { 'x-long': 'x'.repeat(40_000) }).end(jpeg)],
    '/not-http': ['bad-response', (r) => void r.socket!.end('SSH-2.0-OpenSSH_9.2\r\n\r\n')],
    '/hangs-up': ['unreachable', (r) => void r.socket!.destroy()],
    '/loop': ['redirects', (r) => r.writeHead(302, { location: '/loop' }).end()],
    '/nowhere': ['redirects', (r) => r.writeHead(301).end()],
    '/bad-place': ['redirects', (r) => r.writeHead(301, { location: 'http://[' }).end()],
    '/moved': ['ok', (r) => r.writeHead(308, { location: '/ok.jpg' }).end()],
    '/to-loopback': ['address-refused', (r) => r.writeHead(302, { location: `http://127.0.0.1:${server.port}/secret` }).end()],
    '/to-name': ['address-refused', (r) => r.writeHead(302, { location: `http://localhost:${server.port}/secret` }).end()],
    '/to-mapped': ['address-refused', (r) => r.writeHead(302, { location: `http://[::ffff:127.0.0.1]:${server.port}/secret` }).end()],
    '/to-decimal': ['address-refused', (r) => r.writeHead(302, { location: `http://2130706433:${server.port}/secret` }).end()],
    '/to-metadata': ['address-refused', (r) => r.writeHead(302, { location: `http://169.254.169.254:${server.port}/latest/meta-data` }).end()],
    '/to-port': ['port-refused', (r) => r.writeHead(302, { location: 'http://127.0.0.2:22/' }).end()],
    '/to-file': ['url-scheme', (r) => r.writeHead(302, { location: 'file:///etc/passwd' }).end()],
    '/to-credentials': ['url-credentials', (r) => r.writeHead(302, { location: `http://u:p@127.0.0.2:${server.port}/ok.jpg` }).end()],
    '/noai': ['opted-out', (r) => r.writeHead(200, { 'x-robots-tag': 'noarchive, noai' }).end(jpeg)],
    '/noindex-us': ['opted-out', (r) => r.writeHead(200, { 'x-robots-tag': ['otherbot: nofollow', 'winnow: noindex'] }).end(jpeg)],
    '/noindex-other': ['ok', (r) => r.writeHead(200, { 'x-robots-tag': 'otherbot: noindex, noai' }).end(jpeg)],
    '/tdm': ['opted-out', (r) => r.writeHead(200, { 'tdm-reservation': '1' }).end(jpeg)],
    '/private/a.jpg': ['robots-refused', (r) => r.end(jpeg)],
  };
  const server = await startWebServer((request, response, nth) => (paths[request.url!]?.[1] ?? ((r: ServerResponse) => r.writeHead(500).end()))(response, nth), 'User-agent: *\nDisallow: /private/\n');
  const hangs = await startTcpServer(() => undefined);
  const urls = Object.keys(paths).map((path) => server.url(path));
  const others: Record<string, string> = {
    [`http://127.0.0.2:${hangs}/a.jpg`]: 'timed-out', // accepts and says nothing
    'http://127.0.0.2:1/a.jpg': 'unreachable',
    [`http://localhost:${server.port}/secret`]: 'address-refused',
    [`http://127.0.0.1:${server.port}/secret`]: 'address-refused',
    [`https://127.0.0.4:${server.port}/a.jpg`]: 'tls-failed',
    'http://no-such-host.invalid/a.jpg': 'host-unknown',
  };
  const started = performance.now();
  const ends = await endsOf([...urls, ...Object.keys(others)], impatient([server.port, hangs, 1, 80]));
  expect(performance.now() - started).toBeLessThan(60_000);
  // Where there is no name service at all, its silence has another name.
  if (ends['http://no-such-host.invalid/a.jpg'] === 'unreachable') others['http://no-such-host.invalid/a.jpg'] = 'unreachable';
  expect(ends).toEqual({ ...Object.fromEntries(Object.entries(paths).map(([path, [status]]) => [server.url(path), status])), ...others });
  for (const path of ['/secret', '/latest/meta-data', '/private/a.jpg']) expect(server.count(path), path).toBe(0);
  // What will not change is asked once; what may, once more.
  for (const [path, [status]] of Object.entries(paths)) if (!['ok', 'robots-refused', 'redirects'].includes(status)) expect(server.count(path), path).toBe(isTransient(status) ? 2 : 1);
});

/** An HTTPS server whose certificate, made in `folder`, is for `names` alone. @returns its port */
async function startTlsServer(folder: string, names: string, body: Uint8Array): Promise<number> {
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=test', '-addext', `subjectAltName=${names}`, '-keyout', join(folder, 'key'), '-out', join(folder, 'cert')], { stdio: 'ignore' });
  const server = createServer({ key: readFileSync(join(folder, 'key')), cert: readFileSync(join(folder, 'cert')) }, (_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

it('refuses a certificate that is not the host’s', async () => {
  const port = await startTlsServer(await temporaryFolder(), 'DNS:elsewhere.test', await picture(1));
  const url = `https://127.0.0.2:${port}/a.jpg`;
  expect(await endsOf([url], impatient([port]))).toEqual({ [url]: 'tls-failed' });
});

it('takes one that is, of a name that leads to an allowed address', async () => {
  const folder = await temporaryFolder();
  const port = await startTlsServer(folder, 'DNS:localhost,IP:127.0.0.2', await picture(1));
  await writeFile(join(folder, 'web.csv'), `url\nhttps://localhost:${port}/a.jpg\nhttps://127.0.0.2:${port}/b.jpg\nhttps://127.0.0.4:${port}/c.jpg\n`);
  const download = impatient([port], { allowPrivate: ['127.0.0.0/8', '::1/128'], connectTimeoutMs: 10_000, headersTimeoutMs: 10_000, totalTimeoutMs: 20_000 });
  await writeFile(join(folder, 'recipe.yaml'), JSON.stringify({ format: 'winnow-recipe/1', name: 'tls', pool: [{ name: 'web', urls: 'web.csv', column: 'url', download }] }));
  // Which authorities are trusted is said to Node as it starts.
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL('../../src/cli.ts', import.meta.url)), 'download', join(folder, 'recipe.yaml'), '--store', join(folder, 'store'), '--json', '--quiet'], { env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, 'cert') }, stdio: ['ignore', 'pipe', 'inherit'] });
  const said = JSON.parse(await text(child.stdout)) as { stages: Record<string, { stats: { statuses: object } }> };
  expect(said.stages['downloads/web']!.stats.statuses).toEqual({ ok: 2, 'tls-failed': 1 });
});

it('takes robots.txt that fails for a no, and one that is not there for a yes', async () => {
  const jpeg = await picture(1);
  const settings = (port: number) => impatient([port], { hostFailuresMax: 100 });
  const failing = await startWebServer((_, response) => response.end(jpeg), null);
  expect(Object.values(await endsOf([failing.url('/a.jpg')], settings(failing.port)))).toEqual(['ok']);
  const port = await startTcpServer((socket) => socket.on('data', () => socket.end('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n')));
  const url = `http://127.0.0.2:${port}/a.jpg`;
  expect(await endsOf([url], settings(port))).toEqual({ [url]: 'robots-unreachable' });
  expect(await endsOf([url], { ...settings(port), robots: 'ignore' })).toEqual({ [url]: 'server-error' });
});

it('reads robots.txt by groups, lets other settings decide, and is not stopped by hostile patterns', async () => {
  const jpeg = await picture(1);
  const robots = 'User-agent: winnow\nDisallow: /a\nAllow: /a/yes\n\nUser-agent: *\nDisallow: /\n';
  const server = await startWebServer((_, response) => response.end(jpeg), robots);
  const urls = ['/a/no.jpg', '/a/yes.jpg', '/b.jpg'].map((path) => server.url(path));
  expect(Object.values(await endsOf(urls, impatient([server.port])))).toEqual(['robots-refused', 'ok', 'ok']);
  expect(Object.values(await endsOf(urls, impatient([server.port], { robotsAgent: 'another' })))).toEqual(['robots-refused', 'robots-refused', 'robots-refused']);
  expect(Object.values(await endsOf(urls, impatient([server.port], { robots: 'ignore' })))).toEqual(['ok', 'ok', 'ok']);
  const stars = await startWebServer((_, response) => response.end(jpeg), `User-agent: *\n${`Disallow: /${'*a'.repeat(1000)}b\n`.repeat(240)}`);
  const cpuMs = startCpuTimer();
  expect(Object.values(await endsOf([stars.url(`/${'a'.repeat(4000)}`)], impatient([stars.port])))).toEqual(['robots-refused']);
  expect(cpuMs()).toBeLessThan(8_000);
});

it('gives every hostile entry one row with one reason, and shows no password', async () => {
  const jpeg = await picture(1);
  const server = await startWebServer((_, response) => response.end(jpeg), null);
  const { port } = server;
  const entries: readonly (readonly [entry: string, status: string])[] = [
    [`http://user:geheim@127.0.0.2:${port}/a.jpg`, 'url-credentials'],
    [`http://geheim@127.0.0.2:${port}/a.jpg`, 'url-credentials'],
    ['ftp://user:geheim@example.org/a.jpg', 'url-scheme'],
    ['http://user:geheim@[nonsense/a.jpg', 'url-malformed'],
    ['ht\ttp:\\\\user:geheim@example.org/a.jpg', 'url-malformed'],
    ['file:///etc/passwd', 'url-scheme'],
    ['data:image/png;base64,iVBORw0KGgo=', 'url-scheme'],
    ['javascript:alert(1)', 'url-scheme'],
    ['s3://bucket/key.jpg', 'url-scheme'],
    ['example.org/a.jpg', 'url-malformed'],
    ['//example.org/a.jpg', 'url-malformed'],
    ['http://', 'url-malformed'],
    ['http://exa mple.org/', 'url-malformed'],
    [`http://127.0.0.2:${port}/nul\0.jpg`, 'url-malformed'],
    [`http://127.0.0.2:${port}/line\nbreak.jpg`, 'url-malformed'],
    [`http://127.0.0.2:99999/a.jpg`, 'url-malformed'],
    [`http://127.0.0.2:${port}/${'x'.repeat(100_000)}`, 'url-too-long'],
    [`  http://127.0.0.2:${port}/spaces in it.jpg  `, 'ok'],
    [`http://127.0.0.2:${port}/überall/日本.jpg?q=é#part`, 'ok'],
    [`http://127.0.0.2:${port}/%00%2e%2e/%zz`, 'ok'],
    [`HTTP://127.0.0.2:${port}/../../up.jpg`, 'ok'],
    [`http://127.0.1.2:${port}/a.jpg`, 'ok'],
    [`http://0x7f.0.0.1:${port}/a.jpg`, 'address-refused'],
    [`http://0/a.jpg`, 'address-refused'],
    ['http://10.0.0.1/a.jpg', 'address-refused'],
    ['http://192.168.1.1/a.jpg', 'address-refused'],
    ['http://100.100.100.200/latest', 'address-refused'],
    ['http://168.63.129.16/', 'address-refused'],
    ['http://[::1]/', 'address-refused'],
    ['http://[::]/', 'address-refused'],
    ['http://[::7f00:1]/', 'address-refused'],
    ['http://[fd00:ec2::254]/', 'address-refused'],
    ['http://[64:ff9b::7f00:1]/', 'address-refused'],
    ['http://[2002:7f00:1::]/', 'address-refused'],
    ['http://[fe80::1]/', 'address-refused'],
    ['http://127.0.0.2:6379/', 'port-refused'],
  ];
  const run = await openDownloadRun(entries.map(([entry]) => entry), impatient([port, 80]));
  const stored = await run.run();
  const rows = await run.rows(stored);
  expect(rows.map(({ status }, i) => [entries[i]![0].slice(0, 80), status])).toEqual(entries.map(([entry, status]) => [entry.slice(0, 80), status]));
  for (const row of rows) {
    expect(JSON.stringify(row)).not.toContain('geheim');
    expect(row.uri.length).toBeLessThan(9_000);
  }
  const punycode = await openDownloadRun(['http://münchen.invalid/a.jpg'], impatient([80], { retries: 0 }));
  expect(['host-unknown', 'unreachable']).toContain((await punycode.rows(await punycode.run()))[0]!.status);
});

it('reads lists that hold no text, and says what a list lacks', async () => {
  const settings = impatient([80]);
  await expect((await openDownloadRun('link\nhttp://x/\n', settings)).run()).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining('Expected a column url in') });
  await expect((await openDownloadRun('url\n\n""\n', settings)).run()).rejects.toMatchObject({ code: 'INPUT_EMPTY' });
});
