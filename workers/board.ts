/**
 * The one door to Bull Board: a page over every queue of a Redis, for a server that lets only those in who may. Jobs hold
 * references alone, so nothing it shows is secret.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import { Queue } from 'bullmq';
import type { FastifyInstance } from 'fastify';
import { PREFIX, QUEUE_STAGES } from './queue.ts';
import { redisOptions } from './redis.ts';

export interface Board {
  close(): Promise<void>;
}

/** Adds the page at `path`, such as `/queues`, before the server listens. @throws {WinnowError} CONFIG_INVALID for an address of no Redis */
export function mountBoard(server: FastifyInstance, redisUrl: string, path: string): Board {
  const connection = redisOptions(redisUrl);
  const queues = QUEUE_STAGES.map((stage) => new Queue(stage, { connection, prefix: PREFIX, skipMetasUpdate: true }));
  for (const queue of queues) queue.on('error', () => undefined);
  const adapter = new FastifyAdapter();
  createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue)), serverAdapter: adapter, options: { uiConfig: { boardTitle: 'Winnow' } } });
  adapter.setBasePath(path);
  server.register(adapter.registerPlugin(), { prefix: path });
  return {
    close: async () => {
      connection.reconnect.wanted = false;
      await Promise.allSettled(queues.map((queue) => queue.close()));
    },
  };
}
