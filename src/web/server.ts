/**
 * The server of every page: access, headers, static files and routes, in one place. The second door to fastify beside the
 * feed's, which joins this server when both are asked for. Another library's pages (a queue's dashboard, say) join as a
 * `plugin`: they come behind the same access, and may set their own content-security policy.
 */
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { ERROR_CODES, WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Access, createAccess } from './access.ts';
import { PAGE_POLICY, messagePage, signInPage } from './shell.ts';
import type { Route, Section, WebEvent, WebReply, WebRequest } from './route.ts';

/** Adds routes of another library. Registered before the server listens. */
export type WebPlugin = (server: FastifyInstance) => Promise<void> | void;

export interface WebOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Needed off loopback; null: none is asked for. */
  readonly token: string | null;
  readonly log: Log;
  readonly sections: readonly Section[];
  readonly plugins?: readonly WebPlugin[];
}

export interface WebServer {
  readonly url: string;
  /** Ends every connection and stops listening. */
  close(): Promise<void>;
}

/** The first section's page is where `/` leads. @throws {WinnowError} CONFIG_INVALID when the address cannot be had, or is open to others and there is no token */
export async function serveWeb(options: WebOptions): Promise<WebServer> {
  const { host, port, token, log, sections } = options;
  const access = createAccess(host, token);
  const server = fastify({ logger: false, forceCloseConnections: true, exposeHeadRoutes: false, requestTimeout: 60_000, bodyLimit: BODY_BYTES, routerOptions: { maxParamLength: 200 } });
  guard(server, access, log);
  for (const plugin of options.plugins ?? []) await plugin(server);
  // In a scope of its own: plugins keep their own parsers.
  await server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_, body, done) => done(null, body));
    scope.post('/sign-in', (request, reply) => signIn(request, reply, access));
    for (const name of STATIC_FILES) scope.get(`/static/${name}`, (_, reply) => sendStatic(reply, name));
    const home = sections[0];
    if (home !== undefined && home.path !== '/') scope.get('/', (_, reply) => reply.redirect(home.path, 302));
    for (const route of sections.flatMap(({ routes }) => routes)) addRoute(scope, route);
  });
  try {
    const url = await server.listen({ host, port });
    return { url, close: () => server.close() };
  } catch (cause) {
    await server.close();
    throw new WinnowError('CONFIG_INVALID', `Expected to listen on ${host}:${port}, could not: ${(cause as Error).message}`, { cause });
  }
}

const BODY_BYTES = 65_536;
/** Scripts of pages, as they lie beside this file. */
const STATIC_FILES = ['atlas.js', 'live.js'] as const;
const STATIC_FOLDER = new URL('./static/', import.meta.url);

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

/** What every answer goes through, errors too. */
function guard(server: FastifyInstance, access: Access, log: Log): void {
  server.addHook('onRequest', async (request, reply) => {
    void reply.headers(HEADERS);
    if (request.method === 'POST' && pathOf(request) === '/sign-in') return undefined;
    const refusal = access.refuse(request);
    if (refusal === null) return undefined;
    const given = (request.query as Record<string, unknown>)['token'];
    const cookie = refusal.status === 401 && request.method === 'GET' && typeof given === 'string' ? access.signIn(given) : null;
    if (cookie !== null) return reply.header('set-cookie', cookie).redirect(pathOf(request), 303);
    return wantsPage(request) ? sendPage(reply, refusal.status, refusal.status === 401 ? signInPage(null) : messagePage('Not from here', refusal.sentence)) : reply.code(refusal.status).send({ code: 'STORE_DENIED', message: refusal.sentence });
  });
  server.addHook('onSend', async (_, reply) => {
    if (!reply.hasHeader('content-security-policy')) void reply.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
  });
  server.setNotFoundHandler((request, reply) => sendPage(reply, 404, messagePage('No such page', `There is nothing at ${pathOf(request)}.`)));
  server.setErrorHandler((error: Error, request, reply) => {
    const status = statusOf(error);
    // Whoever asked learns what he can change; the rest is for the log.
    const sentence = error instanceof WinnowError || status === 413 ? error.message : 'Something went wrong; the server’s log says what.';
    if (status >= 500) log.error({ event: 'request failed' }, `${request.method} ${pathOf(request)}: ${error.message}`);
    const code = error instanceof WinnowError ? error.code : 'FAILED';
    return wantsPage(request) ? sendPage(reply, status, messagePage(status === 413 ? 'Too large' : 'That did not work', sentence)) : reply.code(status).send({ code, message: sentence });
  });
}

function statusOf(error: Error): number {
  if (!(error instanceof WinnowError)) return (error as { statusCode?: number }).statusCode ?? 500;
  if (error.code === 'INPUT_MISSING') return 404;
  if (error.code === 'STORE_BUSY') return 503;
  return ERROR_CODES[error.code].userFault ? 400 : 500;
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?')[0]!;
}

function wantsPage({ headers }: FastifyRequest): boolean {
  return String(headers.accept ?? '').includes('text/html');
}

function sendPage(reply: FastifyReply, status: number, html: string): FastifyReply {
  return reply.code(status).header('content-security-policy', PAGE_POLICY).header('cache-control', 'no-store').type('text/html; charset=utf-8').send(html);
}

function signIn(request: FastifyRequest, reply: FastifyReply, access: Access): FastifyReply {
  const cookie = access.signIn(new URLSearchParams(String(request.body ?? '')).get('token') ?? '');
  if (cookie === null) return sendPage(reply, 401, signInPage('That is not the token.'));
  return reply.header('set-cookie', cookie).redirect('/', 303);
}

async function sendStatic(reply: FastifyReply, name: string): Promise<FastifyReply> {
  return reply.type('text/javascript; charset=utf-8').header('cache-control', 'no-cache').send(await readFile(new URL(name, STATIC_FOLDER)));
}

function addRoute(server: FastifyInstance, { method, path, bodyBytesMax = BODY_BYTES, handle }: Route): void {
  server.route({
    method,
    url: path,
    bodyLimit: bodyBytesMax,
    handler: async (request, reply) => {
      const gone = new AbortController();
      reply.raw.on('close', () => gone.abort());
      const { body } = request;
      return send(reply, await handle({ params: request.params as WebRequest['params'], query: flatQuery(request.query), headers: request.headers, body: body instanceof Uint8Array ? body : new Uint8Array(0), signal: gone.signal }), gone.signal);
    },
  });
}

/** A key given twice counts once, the last. */
function flatQuery(query: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(query as Record<string, string | string[]>).map(([key, value]) => [key, Array.isArray(value) ? (value.at(-1) ?? '') : value]));
}

function send(reply: FastifyReply, answer: WebReply, signal: AbortSignal): FastifyReply {
  if ('html' in answer) return sendPage(reply, answer.status ?? 200, answer.html);
  if ('redirect' in answer) return reply.headers(answer.headers ?? {}).redirect(answer.redirect, 303);
  if ('events' in answer) {
    void reply.hijack();
    reply.raw.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'content-security-policy': "default-src 'none'" });
    void sendEvents(reply.raw, answer.events, signal);
    return reply;
  }
  return reply.headers({ 'cache-control': 'no-store', ...answer.headers }).type(answer.type).send(typeof answer.bytes === 'string' ? answer.bytes : Buffer.from(answer.bytes));
}

/** A browser that lost its connection asks again after this long, with the last id it saw. */
const RETRY_MS = 2000;

async function sendEvents(response: ServerResponse, events: AsyncIterable<WebEvent>, signal: AbortSignal): Promise<void> {
  response.write(`retry: ${RETRY_MS}\n\n`);
  try {
    for await (const { id, event, data } of events) {
      const text = data === '' ? ': still here\n\n' : `id: ${id}\nevent: ${event}\n${data.split('\n').map((line) => `data: ${line}\n`).join('')}\n`;
      if (!response.write(text)) await once(response, 'drain', { signal });
    }
  } catch {
    // The client is gone, or what the events are made from is: it asks again.
  }
  response.end();
}
