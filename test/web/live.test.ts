/** What a run tells of itself, and how a page follows it across lost connections. */
import { setMaxListeners } from 'node:events';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LIVE_KEY, type LiveRun, createLiveLog } from '../../src/run/live-log.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { createLiveFeed } from '../../src/web/live-feed.ts';
import { renderPieces } from '../../src/web/live-page.ts';
import { createLiveReader } from '../../src/web/live-state.ts';
import type { WebEvent } from '../../src/web/route.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const RUN = { command: 'run until shard', locations: { pool: '/pictures' } };

async function readLive(store: Store): Promise<LiveRun> {
  return JSON.parse(new TextDecoder().decode(await store.read(LIVE_KEY))) as LiveRun;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('the live log', () => {
  it('says where a run stands while it runs, and how it ended', async () => {
    const store = await openFsStore(await temporaryFolder('live'));
    const log = createLiveLog(store, RUN, 20);
    expect(await store.head(LIVE_KEY)).toBeNull();
    log.begin('embeddings', 100, 'images');
    log.advance(30, true);
    log.advance(25);
    log.note('model at work');
    await vi.waitFor(async () => expect(await readLive(store)).toMatchObject({ ...RUN, outcome: null, stages: [{ stage: 'embeddings', total: 100, done: 55, kept: 30, ended: null, note: 'model at work' }] }), { timeout: 60_000 });
    log.advance(45);
    log.end('100 images');
    log.begin('cluster', null, 'comparisons');
    await log.close('TOO_FEW_ROWS', 'Expected more');
    const ended = await readLive(store);
    expect(ended).toMatchObject({ outcome: 'TOO_FEW_ROWS', message: 'Expected more', stages: [{ done: 100, summary: '100 images' }, { stage: 'cluster', ended: null }] });
    expect(ended.samples.every(([at, stage, done]) => at >= 0 && stage <= 1 && done <= 100)).toBe(true);
  });

  it('writes nothing of a run that had nothing to do, and never fails one whose store does', async () => {
    const store = await openFsStore(await temporaryFolder('live'));
    await createLiveLog(store, RUN, 20).close('done');
    expect(await store.head(LIVE_KEY)).toBeNull();
    const broken = { ...store, write: () => Promise.reject(new Error('full')) };
    const log = createLiveLog(broken, RUN, 10);
    log.begin('embeddings', 1, 'images');
    await pause(50);
    await log.close('done');
  });

  it('stays small however long a run takes', async () => {
    let written: Uint8Array = new Uint8Array(0);
    const write: Store['write'] = async (_, bytes) => {
      written = bytes as Uint8Array;
      return { sizeBytes: written.byteLength, sha256: '' };
    };
    const store = { ...(await openFsStore(await temporaryFolder('live'))), write };
    const log = createLiveLog(store, RUN, 1);
    log.begin('embeddings', 1e9, 'images');
    for (let i = 0; i < 80; i++) {
      log.advance(1000);
      await pause(20);
    }
    await log.close('done');
    const { samples, stages } = JSON.parse(new TextDecoder().decode(written)) as LiveRun;
    expect(samples.length).toBeGreaterThan(100);
    expect(samples.length).toBeLessThanOrEqual(481);
    expect(samples.at(-1)![0]).toBeCloseTo(stages[0]!.ended!, 1);
    expect(written.byteLength).toBeLessThan(20_000);
  });
});

describe('the live feed', () => {
  const feedOf = (pieces: Record<string, string>, epoch = 'life') => createLiveFeed({ render: async () => ({ ...pieces }), everyMs: 10, epoch });

  async function take(events: AsyncIterable<WebEvent>, count: number): Promise<WebEvent[]> {
    const taken: WebEvent[] = [];
    for await (const event of events) {
      taken.push(event);
      if (taken.length === count) break;
    }
    return taken;
  }

  it('sends what changed, and to whoever comes back what changed since the last id it saw', async () => {
    const pieces = { a: 'one', b: 'two' };
    const feed = feedOf(pieces);
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const { id, pieces: first } = await feed.now();
    expect(first).toEqual(pieces);
    pieces.a = 'changed';
    const [change] = await take(feed.follow(id, stop.signal), 1);
    expect(JSON.parse(change!.data)).toEqual({ a: 'changed' });
    // The connection is lost here; two more changes pass.
    pieces.b = 'then this';
    await feed.now();
    pieces.a = 'and that';
    await feed.now();
    const [missed] = await take(feed.follow(change!.id, stop.signal), 1);
    expect(JSON.parse(missed!.data)).toEqual({ a: 'and that', b: 'then this' });
    const [all] = await take(feed.follow('', stop.signal), 1);
    expect(JSON.parse(all!.data)).toEqual(pieces);
    const [restarted] = await take(feedOf(pieces, 'another life').follow(missed!.id, stop.signal), 1);
    expect(JSON.parse(restarted!.data)).toEqual(pieces);
  });

  it('looks once for all who watch, and not at all when nobody does', async () => {
    let looks = 0;
    const feed = createLiveFeed({ render: async () => ({ a: String(looks++) }), everyMs: 50, epoch: 'x' });
    const stop = new AbortController();
    setMaxListeners(30, stop.signal);
    const watching = Array.from({ length: 20 }, () => take(feed.follow('', stop.signal), 100));
    await pause(400);
    stop.abort();
    await Promise.all(watching);
    expect(looks).toBeGreaterThan(2);
    expect(looks).toBeLessThan(15);
    const before = looks;
    await pause(150);
    expect(looks).toBe(before);
  });
});

describe('the live state', () => {
  const options = { queuesPath: '/queues', nameOf: async (row: number) => `image <${row}>` };

  it('tells an empty store, a dead run and a failed one apart', async () => {
    const store = await openFsStore(await temporaryFolder('live'));
    const reader = createLiveReader(store);
    const piece = async (now: number) => (await renderPieces(await reader.read(), options, now)).state;
    expect(await piece(Date.now())).toContain('no run yet');
    const log = createLiveLog(store, RUN, 10);
    log.begin('embeddings', 10, 'images');
    await vi.waitFor(async () => expect(await piece(Date.now())).toContain('>running<'), { timeout: 60_000 });
    expect(await piece(Date.now() + 60_000)).toContain('no sign of life');
    await log.close('CONFIG_INVALID', 'Expected <b>that</b>');
    const ended = await piece(Date.now() + 60_000);
    expect(ended).toContain('ended: CONFIG_INVALID');
    expect(ended).toContain('Expected &lt;b&gt;that&lt;/b&gt;');
    await store.write(LIVE_KEY, Buffer.from('{"cut o'));
    expect(await piece(Date.now())).toContain('no run yet');
  });

  it('draws the stages that took longest and the one under way, latest first, and none that was over at once', async () => {
    const store = await openFsStore(await temporaryFolder('live'));
    const spans: readonly (readonly [began: number, ended: number | null])[] = [[0, 3], [3, 3], [3, 4], [4, 4.5], [4.5, 10], [10, 12], [12, null]];
    const stages = spans.map(([began, ended], i) => ({ stage: `stage-${i}`, unit: 'images', total: 100, done: 100, kept: 0, began, ended, note: '', summary: null }));
    const samples = spans.flatMap(([began, ended], i) => [[began, i, 0], [ended ?? 12.5, i, 100]]);
    const run = { ...RUN, format: 'winnow-progress/1', host: 'here', pid: 1, started: 0, updated: 0, stages, samples, outcome: null, message: null };
    await store.write(LIVE_KEY, new TextEncoder().encode(JSON.stringify(run)));
    const { rates } = await renderPieces(await createLiveReader(store).read(), options, 0);
    expect([...rates.matchAll(/figcaption>(stage-\d): (\d+) images/g)].map(([, stage, rate]) => [stage, rate])).toEqual([['stage-6', '200'], ['stage-5', '50'], ['stage-4', '18'], ['stage-0', '33']]);
  });

  it('shows what a queue says, and says when it says nothing', async () => {
    const store = await openFsStore(await temporaryFolder('live'));
    const queue = {
      runs: [{ run: 'run-1', name: 'mine', stage: 'embed', tasks: 10, done: 4, failed: 1, seen: 0 }],
      stages: [{ stage: 'embed', waiting: 5, active: 1, delayed: 0, failed: 1, done: 4, perMinute: 2, etaSeconds: 180 }],
      workers: [{ host: 'gpu-1', pid: 7, stages: ['embed'], concurrency: 2, providers: ['cuda'] }],
      failures: [{ stage: 'embed', task: 'embed-part-1', reason: 'MODEL_INVALID: <script>' }],
    };
    const pieces = await renderPieces(await createLiveReader(store, async () => queue).read(), options, 0);
    expect(pieces.workers).toMatch(/mine: embed, 4 of 10 tasks, 1 failed[\s\S]*3 min 0 s[\s\S]*gpu-1 7: embed; 2 at once; cuda[\s\S]*href="\/queues"/);
    expect(pieces.failures).toContain('MODEL_INVALID: &lt;script&gt;');
    const broken = await renderPieces(await createLiveReader(store, () => Promise.reject(new Error('no Redis'))).read(), options, 0);
    expect(broken.workers).toContain('The queue cannot be read: no Redis');
  });
});
