/** What an orchestrator asks a worker over HTTP: `/health` (the process lives), `/ready` (it takes tasks) and `/metrics`. */
import fastify from 'fastify';
import { WinnowError } from '../src/errors.ts';
import type { Metrics } from './metrics.ts';

export interface WorkerServer {
  readonly url: string;
  close(): Promise<void>;
}

export interface WorkerAddress {
  /** Loopback unless the person says otherwise: nothing here asks for a token. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/**
 * @param notReady null, or why the worker takes no task
 * @throws {WinnowError} CONFIG_INVALID when the port cannot be had
 */
export async function serveWorker({ host, port }: WorkerAddress, metrics: Metrics, notReady: () => string | null): Promise<WorkerServer> {
  const server = fastify({ logger: false, forceCloseConnections: true, exposeHeadRoutes: false, requestTimeout: 10_000, bodyLimit: 1024, maxParamLength: 64 });
  server.get('/health', () => ({ status: 'ok' }));
  server.get('/ready', (_, reply) => {
    const reason = notReady();
    return reply.code(reason === null ? 200 : 503).send({ status: reason ?? 'ok' });
  });
  server.get('/metrics', async (_, reply) => reply.type(metrics.contentType).send(await metrics.render()));
  server.setNotFoundHandler((_, reply) => reply.code(404).send({ code: 'CONFIG_INVALID', message: 'Expected GET of /health, /ready or /metrics' }));
  server.setErrorHandler((error: { statusCode?: number }, _, reply) => reply.code(error.statusCode ?? 500).send({ code: 'FAILED', message: 'The request could not be answered' }));
  try {
    const url = await server.listen({ host, port });
    return { url, close: () => server.close() };
  } catch (cause) {
    await server.close();
    throw new WinnowError('CONFIG_INVALID', `Expected to listen on ${host}:${port}, could not: ${(cause as Error).message}`, { cause });
  }
}
