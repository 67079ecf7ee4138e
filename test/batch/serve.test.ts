import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FeedServer, type ServeOptions, serveFeed } from '../../src/batch/serve.ts';
import type { Feed } from '../../src/batch/feed.ts';
import { SILENT } from '../../src/log.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { NEVER, buildDataset, collect, openToyFeed, readStream } from './toy-feed.ts';

const OPTIONS: ServeOptions = { host: '127.0.0.1', port: 0, log: SILENT, memoryBytes: 2 ** 34, streamsMax: 256, stallMs: 60_000, batchesHeld: 4 };

async function serve(overrides: Record<string, unknown> = {}, options: Partial<ServeOptions> = {}): Promise<{ feed: Feed; server: FeedServer; get(path: string): Promise<Response> }> {
  const { store, locations } = await buildDataset(await temporaryFolder(), overrides);
  const feed = await openToyFeed(store, { locations });
  const server = await serveFeed(feed, { ...OPTIONS, ...options });
  onTestFinished(() => server.close());
  return { feed, server, get: (path) => fetch(`${server.url}${path}`) };
}

const bytesOf = async (response: Response): Promise<Uint8Array> => new Uint8Array(await response.arrayBuffer());

/** Value of a metric. */
async function metric(server: FeedServer, name: string): Promise<number> {
  return Number(new RegExp(`^winnow_${name} (\\S+)$`, 'm').exec(await (await fetch(`${server.url}/metrics`)).text())![1]);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries++) {
    if (tries > 3000) throw new Error('it never came to hold');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('serveFeed', () => {
  it('streams what the feed streams, as often as it is asked', async () => {
    const { feed, get } = await serve();
    const expected = await collect(feed.stream(feed.resolve({ fromStep: 5, steps: 7, rank: 1, worldSize: 3, images: true }), NEVER));
    for (let time = 0; time < 2; time++) {
      const response = await get('/batches?step=5&steps=7&rank=1&worldSize=3&images=1');
      expect(response.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream');
      expect(response.headers.get('x-winnow-dataset')).toBe(feed.sha256);
      expect(Buffer.compare(await bytesOf(response), expected)).toBe(0);
    }
    const grouped = readStream(await bytesOf(await get('/batches?step=2&groups=1,2&rank=2&part=near&every=4&steps=3&batchSize=9&seed=11')));
    expect(grouped.map(({ metadata: { step, group, groupRank, worldSize } }) => [step, group, groupRank, worldSize])).toEqual([['2', '1', '1', '3'], ['6', '1', '1', '3'], ['10', '1', '1', '3']]);
  });

  it.each([
    ['a step below 0', '/batches?step=-1', /the first step to be an integer from 0 to 134217727, got -1/],
    ['a step beyond counting', `/batches?step=${2n ** 60n}`, /the first step to be an integer from 0 to 134217727, got 11529215046068\d+/],
    ['more steps than there are', '/batches?step=134217727&steps=2', /the number of steps to be an integer from 1 to 1, got 2/],
    ['a rank past the world', '/batches?rank=4&worldSize=4', /the rank to be an integer from 0 to 3 \(world size 4\), got 4/],
    ['an unknown part', '/batches?part=nowhere', /a part of the dataset \(balanced, near, whole\), got "nowhere"/],
    ['what is no number', '/batches?step=1e3', /Expected step to be a whole number, got "1e3"/],
    ['a key twice', '/batches?step=1&step=2', /Expected step once in the query, got it 2 times/],
    ['an unknown key', '/batches?stepp=1', /Expected the query to have step, steps,.* got stepp/],
    ['a wide seed', '/batches?seed=99999999999999999999', /Expected seed to be an integer of at most 53 bits/],
    ['groups of another sum', '/batches?groups=2,2&worldSize=5', /sum to the world size 5, got 2 \+ 2 = 4/],
    ['a flag that is none', '/batches?images=maybe', /Expected images to be 1 or 0, got "maybe"/],
  ])('answers %s with 400 and a sentence', async (_, path, sentence) => {
    const { get } = await serve();
    const response = await get(path);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ code: 'CONFIG_INVALID', message: expect.stringMatching(sentence) });
  });

  it('answers other paths with 404, and an image that cannot be had under strict with 500 and a sentence', async () => {
    const { get, feed } = await serve();
    expect((await get('/batch')).status).toBe(404);
    const stored = await buildDataset(await temporaryFolder());
    const elsewhere = await openToyFeed(stored.store, { locations: { pool: '/nowhere', whole: '/nowhere' } });
    const server = await serveFeed(elsewhere, OPTIONS);
    onTestFinished(() => server.close());
    const response = await fetch(`${server.url}/batches?images=1&strict=1`);
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ message: expect.stringMatching(/open source (pool|whole) at \/nowhere/) });
    expect(feed.counts.batches).toBe(0);
    expect(await metric(server, 'streams')).toBe(0);
  });

  it('gives the columns that are asked for', async () => {
    const { feed, get } = await serve();
    const expected = await collect(feed.stream(feed.resolve({ steps: 3, columns: ['index', 'image'] }), NEVER));
    expect(Buffer.compare(await bytesOf(await get('/batches?steps=3&columns=index,image')), expected)).toBe(0);
    for (const columns of ['', 'index,names', 'index,,id']) expect((await get(`/batches?steps=3&columns=${columns}`)).status).toBe(400);
  });

  it('tells its schema, its health and what it has done', async () => {
    const { feed, server, get } = await serve();
    await bytesOf(await get('/batches?steps=3'));
    expect(await (await get('/health')).json()).toEqual({ status: 'ok', dataset: feed.sha256, streams: 0 });
    const schema = (await (await get('/schema')).json()) as { columns: { name: string }[]; parts: { name: string }[]; defaults: object };
    const [batch] = readStream(await bytesOf(await get('/batches?images=1')));
    expect(Object.keys(batch!.rows[0]!)).toEqual(schema.columns.map(({ name }) => name));
    expect(schema.parts.map(({ name }) => name)).toEqual(['balanced', 'near', 'whole']);
    expect(schema.defaults).toMatchObject({ batchSize: 10, worldSize: 1, compose: 'plain' });
    expect([await metric(server, 'batches_total'), await metric(server, 'rows_total'), await metric(server, 'streams_total'), await metric(server, 'streams_broken_total')]).toEqual([4, 40, 2, 0]);
  });

  it('serves 64 ranks at once what each would get alone', async () => {
    const { feed, get } = await serve({ batch: { size: 200 } });
    const ranks = await Promise.all(Array.from({ length: 64 }, async (_, rank) => readStream(await bytesOf(await get(`/batches?steps=4&rank=${rank}&worldSize=64&images=1`)))));
    const whole = readStream(await collect(feed.stream(feed.resolve({ steps: 4, images: true }), NEVER)));
    whole.forEach(({ rows }, step) => expect(ranks.flatMap((rank) => rank[step]!.rows)).toEqual(rows));
  });

  it('makes no more for a client that does not read, and frees what a client that vanishes held', async () => {
    const { feed, server } = await serve({ batch: { size: 2000 } });
    const { hostname, port } = new URL(server.url);
    const slow = connect(Number(port), hostname, () => slow.write('GET /batches?steps=100000&images=1 HTTP/1.1\r\nHost: x\r\n\r\n'));
    slow.pause();
    await until(async () => feed.counts.batches > 3);
    let before = -1;
    await until(async () => {
      const stalled = feed.counts.batches === before;
      before = feed.counts.batches;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return stalled;
    });
    expect(before).toBeLessThan(200); // what the sockets' buffers of some megabytes take, and a few batches
    expect(await metric(server, 'streams')).toBe(1);
    // Others are served beside it, as fast as ever.
    expect(readStream(await bytesOf(await fetch(`${server.url}/batches?steps=2`))).length).toBe(2);
    slow.destroy();
    await until(async () => (await metric(server, 'streams')) === 0);
    expect([await metric(server, 'reserved_bytes'), await metric(server, 'streams_broken_total')]).toEqual([0, 1]);
    const after = feed.counts.batches;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(feed.counts.batches).toBe(after);
  });

  it('lets a client go that has read nothing for too long', async () => {
    const { server } = await serve({ batch: { size: 2000 } }, { stallMs: 300 });
    const { hostname, port } = new URL(server.url);
    const slow = connect(Number(port), hostname, () => slow.write('GET /batches?steps=100000&images=1 HTTP/1.1\r\nHost: x\r\n\r\n'));
    slow.pause();
    await until(async () => (await metric(server, 'streams_broken_total')) === 1);
    expect(await metric(server, 'streams')).toBe(0);
    slow.destroy();
  });

  it('tells a client to come again when the streams may hold no more, but serves one that is alone', async () => {
    const { server } = await serve({ batch: { size: 2000 } }, { memoryBytes: 1000 });
    const first = await fetch(`${server.url}/batches?steps=100000&images=1`);
    expect(first.status).toBe(200);
    const second = await fetch(`${server.url}/batches?steps=1`);
    expect([second.status, second.headers.get('retry-after')]).toEqual([503, '1']);
    await first.body!.cancel();
    await until(async () => (await metric(server, 'streams')) === 0);
    expect((await fetch(`${server.url}/batches?steps=1`)).status).toBe(200);
  });

  it('says so when its port is taken', async () => {
    const { feed, server } = await serve();
    await expect(serveFeed(feed, { ...OPTIONS, port: Number(new URL(server.url).port) })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^Expected to listen on 127\.0\.0\.1:\d+, could not: /) });
  });
});
