/** Who may see a page, what every answer carries, and what an error says. */
import { request } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WinnowError } from '../../src/errors.ts';
import type { Log } from '../../src/log.ts';
import { SILENT } from '../../src/log.ts';
import { createAccess, isLoopback } from '../../src/web/access.ts';
import type { Section } from '../../src/web/route.ts';
import { type WebOptions, serveWeb } from '../../src/web/server.ts';

const TOKEN = 'a token of a good length';
const SECTION: Section = {
  title: 'Page', path: '/page',
  routes: [
    { method: 'GET', path: '/page', handle: () => ({ html: '<p>hello</p>' }) },
    { method: 'POST', path: '/change', handle: ({ body }) => ({ type: 'text/plain', bytes: String(body.byteLength) }) },
    { method: 'GET', path: '/known', handle: () => Promise.reject(new WinnowError('INPUT_MISSING', 'Expected this, got that')) },
    { method: 'GET', path: '/secret', handle: () => Promise.reject(new Error('password 1234 at /home/me')) },
  ],
};

async function serve(options: Partial<WebOptions> = {}): Promise<{ url: string; logged: string[] }> {
  const logged: string[] = [];
  const log = { ...SILENT, error: (_: unknown, text: string) => logged.push(text) } as unknown as Log;
  const server = await serveWeb({ host: '127.0.0.1', port: 0, token: null, log, sections: [SECTION], ...options });
  onTestFinished(() => server.close());
  return { url: server.url, logged };
}

/** Status of a request with headers that `fetch` would not send. */
function statusWith(url: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode!);
    }).on('error', reject).end();
  });
}

describe('access', () => {
  it.each([['127.0.0.1', true], ['127.8.9.1', true], ['localhost', true], ['::1', true], ['0.0.0.0', false], ['::', false], ['192.168.0.4', false], ['localhost.example.com', false], ['127.0.0.1.example.com', false]])('takes %s for loopback: %s', (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });

  it('asks for a token off loopback, and for a long one', () => {
    expect(() => createAccess('0.0.0.0', null)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/--token \(or WINNOW_TOKEN\) with --host 0\.0\.0\.0/) }));
    expect(() => createAccess('127.0.0.1', 'short')).toThrow(/at least 16 characters, got 5/);
    expect(createAccess('0.0.0.0', TOKEN).signIn('another token, as long')).toBeNull();
  });

  it('lets nobody in without the token, and whoever has it by header, by link and by form', async () => {
    const { url } = await serve({ token: TOKEN });
    const get = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(`${url}${path}`, { headers, redirect: 'manual' });
    for (const path of ['/', '/page', '/known', '/no-such', '/static/live.js']) expect((await get(path)).status, path).toBe(401);
    expect((await get('/page', { authorization: 'Bearer another token, as long' })).status).toBe(401);
    expect((await get('/page', { cookie: `winnow=${'0'.repeat(64)}` })).status).toBe(401);
    expect((await get('/page', { authorization: `Bearer ${TOKEN}` })).status).toBe(200);
    const byLink = await get(`/page?token=${encodeURIComponent(TOKEN)}`);
    expect([byLink.status, byLink.headers.get('location')]).toEqual([303, '/page']);
    const cookie = byLink.headers.get('set-cookie')!;
    expect(cookie).toMatch(/HttpOnly; SameSite=Strict/);
    expect(cookie).not.toContain(TOKEN);
    expect((await get('/page', { cookie: cookie.split(';')[0]! })).status).toBe(200);
    const form = await get('/page', { accept: 'text/html' });
    expect(await form.text()).toContain('<form method="post" action="/sign-in"');
    const signIn = (token: string): Promise<Response> => fetch(`${url}/sign-in`, { method: 'POST', body: new URLSearchParams({ token }), redirect: 'manual' });
    expect((await signIn('wrong')).status).toBe(401);
    expect((await signIn(TOKEN)).headers.get('set-cookie')).toBe(cookie);
  });

  it('on loopback answers local names only, so that no page elsewhere reaches in by a name of its own', async () => {
    const { url } = await serve();
    expect(await statusWith(`${url}/page`, {})).toBe(200);
    expect(await statusWith(`${url}/page`, { host: 'localhost:1' })).toBe(200);
    expect(await statusWith(`${url}/page`, { host: 'rebound.example.com' })).toBe(403);
  });

  it('takes changes from its own pages only', async () => {
    const { url } = await serve();
    const host = new URL(url).host;
    expect(await statusWith(`${url}/change`, {}, 'POST')).toBe(200);
    expect(await statusWith(`${url}/change`, { origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, 'POST')).toBe(200);
    const elsewhere: Record<string, string>[] = [{ origin: 'http://example.com' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }];
    for (const headers of elsewhere) expect(await statusWith(`${url}/change`, headers, 'POST'), JSON.stringify(headers)).toBe(403);
  });
});

describe('answers', () => {
  it('carry a strict policy and no script of their own', async () => {
    const { url } = await serve();
    for (const path of ['/page', '/no-such', '/known', '/static/live.js']) {
      const { headers } = await fetch(`${url}${path}`);
      const policy = headers.get('content-security-policy')!;
      expect(policy, path).toContain("default-src 'none'");
      expect(policy, path).toContain("frame-ancestors 'none'");
      expect(policy, path).not.toMatch(/unsafe|\*|http/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  it('say what was expected when it is the reader’s to know, and nothing of the inside otherwise', async () => {
    const { url, logged } = await serve();
    const known = await fetch(`${url}/known`);
    expect([known.status, await known.json()]).toEqual([404, { code: 'INPUT_MISSING', message: 'Expected this, got that' }]);
    const secret = await fetch(`${url}/secret`, { headers: { accept: 'text/html' } });
    expect(secret.status).toBe(500);
    expect(await secret.text()).not.toMatch(/password|home|\bat .+:\d+/);
    expect(logged).toEqual(['GET /secret: password 1234 at /home/me']);
    expect((await fetch(`${url}/change`, { method: 'POST', body: new Uint8Array(70_000) })).status).toBe(413);
  });

  it('let another library’s pages join behind the same access', async () => {
    const { url } = await serve({ token: TOKEN, plugins: [(server) => void server.get('/queues', (_, reply) => reply.header('content-security-policy', "default-src 'self'").send('queues'))] });
    expect((await fetch(`${url}/queues`)).status).toBe(401);
    const answer = await fetch(`${url}/queues`, { headers: { authorization: `Bearer ${TOKEN}` } });
    expect([await answer.text(), answer.headers.get('content-security-policy')]).toEqual(['queues', "default-src 'self'"]);
  });

  it('tell of a port that is taken', async () => {
    const { url } = await serve();
    await expect(serve({ port: Number(new URL(url).port) })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
