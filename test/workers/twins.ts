/** Delivers every job of a queue twice, as a queue may that promises to deliver at least once. */
import { Queue, QueueEvents } from 'bullmq';
import { PREFIX, QUEUE_STAGES, type TaskJob } from '../../workers/queue.ts';
import type { RedisServer } from './redis-server.ts';

const TWIN = '-twin';

/** @returns `close` says how many twins there were */
export async function deliverTwice({ port }: RedisServer): Promise<{ close(): Promise<number> }> {
  const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
  let twins = 0;
  const opened = QUEUE_STAGES.map((stage) => {
    const queue = new Queue<TaskJob>(stage, { connection, prefix: PREFIX });
    const events = new QueueEvents(stage, { connection, prefix: PREFIX });
    events.on('added', async ({ jobId, name }) => {
      if (jobId.endsWith(TWIN)) return;
      const job = await queue.getJob(jobId);
      if (job === undefined) return;
      await queue.add(name, job.data, { jobId: `${jobId}${TWIN}`, priority: 1, removeOnComplete: true });
      twins++;
    });
    return { queue, events };
  });
  await Promise.all(opened.map(({ events }) => events.waitUntilReady()));
  return {
    close: async () => {
      for (const { queue, events } of opened) await Promise.all([queue.close(), events.close()]);
      return twins;
    },
  };
}
