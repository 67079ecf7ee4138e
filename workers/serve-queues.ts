/** `winnow serve --queues`: Bull Board over the queues of a Redis, and their depth for Prometheus. */
import fastify, { type FastifyInstance } from 'fastify';
import { mountBoard } from './board.ts';
import { createQueueMetrics } from './metrics.ts';
import { readStatus } from './status.ts';
import { WinnowError } from '../src/errors.ts';
import { type Access, createAccess } from '../src/web/access.ts';

export interface ServeQueuesRequest {
  readonly redis: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Null: only this machine is served. */
  readonly token: string | null;
  readonly signal: AbortSignal;
  onListening(url: string): void;
}

const BOARD = '/queues';

/** Serves until the signal. @throws {WinnowError} CONFIG_INVALID, STORE_UNAVAILABLE, STORE_DENIED */
export async function serveQueues({ redis, host, port, token, signal, onListening }: ServeQueuesRequest): Promise<void> {
  const access = createAccess(host, token);
  await readStatus(redis);
  const server = fastify({ logger: false, forceCloseConnections: true, requestTimeout: 30_000, bodyLimit: 65_536 });
  guard(server, access);
  const metrics = createQueueMetrics(() => readStatus(redis));
  const board = mountBoard(server, redis, BOARD);
  server.get('/', (_, reply) => reply.redirect(BOARD, 302));
  server.get('/health', () => ({ status: 'ok' }));
  server.get('/metrics', async (_, reply) => reply.type(metrics.contentType).send(await metrics.render()));
  server.setErrorHandler((error: { statusCode?: number }, _, reply) => reply.code(error.statusCode ?? 500).send({ code: 'FAILED', message: 'The request could not be answered' }));
  try {
    onListening(await server.listen({ host, port }));
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  } catch (cause) {
    if (cause instanceof WinnowError) throw cause;
    throw new WinnowError('CONFIG_INVALID', `Expected to listen on ${host}:${port}, could not: ${(cause as Error).message}`, { cause });
  } finally {
    await server.close();
    await board.close();
  }
}

/** Everything but `/health` is for those who may: by header, by cookie, or by `?token=`, which sets the cookie and leaves the address. */
function guard(server: FastifyInstance, access: Access): void {
  server.addHook('onRequest', async (request, reply) => {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/health') return;
    const cookie = access.signIn(url.searchParams.get('token') ?? '');
    if (cookie !== null) {
      url.searchParams.delete('token');
      return reply.header('set-cookie', cookie).redirect(`${url.pathname}${url.search}`, 303);
    }
    const refused = access.refuse(request);
    if (refused !== null) return reply.code(refused.status).send({ code: 'STORE_DENIED', message: `${refused.sentence}: open the address with ?token=…, or send Authorization: Bearer …` });
  });
}
