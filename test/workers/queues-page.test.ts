/** Bull Board and the queues' metrics: who has the token sees them, nobody else. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveQueues } from '../../workers/serve-queues.ts';
import { odd } from './odd-tasks.ts';
import { openQueueRun } from './queue-run.ts';
import { type RedisServer, startRedis, withoutRedis } from './redis-server.ts';

const TOKEN = 'token-of-sixteen-or-more';

describe.skipIf(withoutRedis())('the page of the queues', () => {
  let redis: RedisServer;
  const stop = new AbortController();
  let url = '';
  let served: Promise<void>;
  beforeAll(async () => {
    redis = await startRedis();
    url = await new Promise((resolve, reject) => {
      served = serveQueues({ redis: redis.url, host: '127.0.0.1', port: 0, token: TOKEN, signal: stop.signal, onListening: resolve });
      served.catch(reject);
    });
  });
  afterAll(async () => {
    stop.abort();
    await served;
    await redis.stop();
  });

  it('asks for the token everywhere but at /health', async () => {
    expect((await fetch(`${url}/health`)).status).toBe(200);
    for (const path of ['/', '/queues', '/metrics', '/queues/api/queues', '/queues?token=wrong-but-long-enough', '/elsewhere']) {
      const refused = await fetch(`${url}${path}`, { redirect: 'manual' });
      expect([path, refused.status]).toEqual([path, 401]);
      expect(await refused.text()).not.toContain(TOKEN);
    }
    const signedIn = await fetch(`${url}/queues?token=${TOKEN}`, { redirect: 'manual' });
    expect(signedIn.status).toBe(303);
    expect(signedIn.headers.get('location')).toBe('/queues');
    const cookie = signedIn.headers.get('set-cookie')!.split(';')[0]!;
    expect(cookie).not.toContain(TOKEN);
    const board = await fetch(`${url}/queues`, { headers: { cookie } });
    expect(board.status).toBe(200);
    expect(await board.text()).toContain('<html');
    const script = /src="([^"]+\.js)"/.exec(await (await fetch(`${url}/queues`, { headers: { cookie } })).text())![1]!;
    expect((await fetch(new URL(script, `${url}/queues/`), { headers: { cookie } })).status).toBe(200);
  });

  it('tells the depth of every queue', async () => {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const metrics = async (): Promise<string> => (await fetch(`${url}/metrics`, { headers })).text();
    expect(await metrics()).toMatch(/^winnow_queue_jobs\{stage="embed",state="waiting"\} 0$/m);
    const { executor, stop: stopRun } = await openQueueRun(redis.url);
    const waiting = executor.map(odd, [{ number: 1 }, { number: 2 }], 'depth');
    await expect.poll(metrics).toMatch(/^winnow_queue_jobs\{stage="cluster",state="waiting"\} 2$/m);
    expect(await metrics()).toMatch(/^winnow_redis_up 1$/m);
    expect(await metrics()).toMatch(/^winnow_workers\{stage="cluster"\} 0$/m);
    expect(await (await fetch(`${url}/queues/api/queues?page=1`, { headers })).json()).toMatchObject({ queues: expect.arrayContaining([expect.objectContaining({ name: 'embed' })]) });
    stopRun.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('is for this machine alone without a token', async () => {
    const refused = serveQueues({ redis: redis.url, host: '0.0.0.0', port: 0, token: null, signal: stop.signal, onListening: () => undefined });
    await expect(refused).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
