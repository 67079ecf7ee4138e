/** Calls to S3 that fail, and bodies that are torn, flipped or slow: the same bytes in the end, or one coded error. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { S3Limits } from '../../src/store/s3-client.ts';
import { openS3Store } from '../../src/store/s3.ts';
import { type Call, SLOW_DOWN, someOf } from '../helpers/s3-proxy.ts';
import { LIMITS, MIB, NONE, first, open, proxy, server } from './faulty-s3.ts';

/** For servers that hang: nothing here takes long. */
const IMPATIENT: Partial<S3Limits> = { ...LIMITS, idleMs: 400, requestMs: 500, bytesPerSecondMin: MIB };

/** No two parts alike: a pattern whose length divides none of theirs. */
function made(sizeBytes: number): Buffer {
  const pattern = Buffer.concat(Array.from({ length: 129 }, (_, i) => createHash('sha256').update(String(i)).digest())).subarray(0, 4099);
  return Buffer.alloc(sizeBytes, pattern);
}

describe('calls that fail', () => {
  it('20 of 100 with SlowDown or 500 end in the same bytes, listings and removals', async () => {
    const store = await open();
    for (const seed of [1, 2, 3]) {
      const [fails, internal] = [someOf(0.2, seed), someOf(0.5, seed + 100)];
      proxy.faultOf = ({ index }) => (fails(index) ? (internal(index) ? { kind: 'status', status: 500, name: 'InternalError' } : SLOW_DOWN) : NONE);
      const faultsBefore = proxy.calls.faults;
      const keys = Array.from({ length: 30 }, (_, i) => `${seed}/${String(i).padStart(2, '0')}`);
      await Promise.all(keys.map((key) => store.write(key, made(1000 + key.length))));
      await Promise.all(keys.map(async (key) => expect(Buffer.compare(await store.read(key), made(1000 + key.length))).toBe(0)));
      const listed: string[] = [];
      for await (const { key } of store.list(`${seed}/`)) listed.push(key);
      expect(listed).toEqual(keys);
      await store.remove(`${seed}/`);
      expect(await store.head(keys[0]!)).toBeNull();
      expect(proxy.calls.faults - faultsBefore).toBeGreaterThan(5);
    }
  });

  it('for ever end in one coded sentence, within the tries and the budget', async () => {
    const store = await open();
    proxy.faultOf = () => SLOW_DOWN;
    const before = proxy.calls.count;
    await expect(store.read('a')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true, message: expect.stringMatching(/^Could not read s3:\/\/.*: http:\/\/127\.0\.0\.1:\d+ answered SlowDown \(HTTP 503\)$/) });
    expect(proxy.calls.count - before).toBe(10);
    const frugal = { ...LIMITS, retry: { attempts: 6, delayMs: 1, delayMsMax: 2, budget: 7 } };
    proxy.faultOf = () => NONE;
    const poor = await open(undefined, frugal);
    proxy.faultOf = () => SLOW_DOWN;
    const start = proxy.calls.count;
    await Promise.allSettled(Array.from({ length: 20 }, () => poor.read('a')));
    expect(proxy.calls.count - start).toBe(27); // twenty first tries and seven of the budget
  });

  it('keep to the bound of sockets', async () => {
    const store = await open(undefined, { ...LIMITS, sockets: 3 });
    proxy.calls.atOnceMax = 0;
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.write(`k${i}`, made(100))));
    expect(proxy.calls.atOnceMax).toBeLessThanOrEqual(3);
  });

  it('stop with the signal instead of waiting', async () => {
    const ending = new AbortController();
    const store = await openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: { ...server.s3, endpoint: proxy.endpoint }, signal: ending.signal, limits: { ...LIMITS, requestMs: 60_000, idleMs: 60_000 } });
    proxy.faultOf = () => ({ kind: 'hung' });
    setTimeout(() => ending.abort(), 50);
    await expect(store.read('a')).rejects.toMatchObject({ code: 'ABORTED' });
    proxy.faultOf = () => NONE;
    expect((await store.write('run-log.ndjson', made(10))).sizeBytes).toBe(10); // what ends a run is still written
  });
});

describe('bodies', () => {
  const isGet = ({ method, url }: Call): boolean => method === 'GET' && !url.includes('list-type');
  const bytes = made(300_000);

  for (const fault of [{ kind: 'torn' }, { kind: 'flipped' }, { kind: 'reset' }, { kind: 'hung' }, { kind: 'slow', bytesPerSecond: 1000 }] as const) {
    it(`that are ${fault.kind} are fetched again, and after the last try are a coded error`, async () => {
      const store = await open(undefined, fault.kind === 'hung' || fault.kind === 'slow' ? IMPATIENT : LIMITS);
      await store.write('a', bytes);
      first(2, fault, isGet);
      expect(Buffer.compare(await store.read('a'), bytes)).toBe(0);
      first(2, fault, isGet);
      expect(Buffer.compare(await store.read('a', { offset: 1000, length: 200_000 }), bytes.subarray(1000, 201_000))).toBe(0);
      const few = await open(store.uri, { ...IMPATIENT, retry: { ...LIMITS.retry!, attempts: 2 } });
      proxy.faultOf = (call) => (isGet(call) ? fault : NONE);
      const code = fault.kind === 'flipped' ? 'CHECKSUM_MISMATCH' : 'STORE_UNAVAILABLE';
      await expect(few.read('a')).rejects.toMatchObject({ code });
      await expect(few.read('a', { offset: 7, length: 100_000 })).rejects.toMatchObject({ code });
    });
  }

  it('that crawl are left soon for another try, and those of a slow line get their time', async () => {
    const store = await open(undefined, { ...LIMITS, requestMs: 60_000, idleMs: 60_000, bytesPerSecondMin: MIB, patienceMs: 100 });
    await store.write('a', bytes);
    // At this rate the whole would take 300 s, and one try could take 60.
    first(3, { kind: 'slow', bytesPerSecond: 1000 }, isGet);
    expect(Buffer.compare(await store.read('a'), bytes)).toBe(0);
    // 1.5 s: longer than the first tries may take.
    await store.write('b', bytes.subarray(0, 30_000));
    const before = proxy.calls.count;
    proxy.faultOf = (call) => (isGet(call) ? { kind: 'slow', bytesPerSecond: 20_000 } : NONE);
    expect(Buffer.compare(await store.read('b'), bytes.subarray(0, 30_000))).toBe(0);
    expect(proxy.calls.count - before).toBeGreaterThan(2);
  });

  it('of lists that are torn or damaged are fetched again', async () => {
    const store = await open();
    for (const key of ['a', 'b', 'c']) await store.write(key, made(10));
    for (const kind of ['torn', 'reset'] as const) {
      first(2, { kind }, ({ url }) => url.includes('list-type'));
      const keys: string[] = [];
      for await (const { key } of store.list('')) keys.push(key);
      expect(keys).toEqual(['a', 'b', 'c']);
    }
  });

  it('that are flipped on their way up are sent again: in one piece and in parts', async () => {
    const store = await open();
    first(2, { kind: 'flipped-upload' }, ({ method }) => method === 'PUT');
    await store.write('a', bytes);
    expect(Buffer.compare(await store.read('a'), bytes)).toBe(0);
    const large = made(11 * MIB);
    first(2, { kind: 'flipped-upload' }, ({ url }) => url.includes('partNumber'));
    await store.write('large', large);
    expect(Buffer.compare(await store.read('large'), large)).toBe(0);
    proxy.faultOf = ({ method }) => (method === 'PUT' ? { kind: 'flipped-upload' } : NONE);
    await expect(store.write('b', bytes)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringMatching(/^Could not write s3:.*not those that/) });
  });

  it('of a multipart upload survive SlowDown, lost answers and a lost completion', async () => {
    const store = await open();
    const large = made(16 * MIB + 5);
    const fails = someOf(0.2, 9);
    proxy.faultOf = ({ index }) => (fails(index) ? SLOW_DOWN : NONE);
    async function* stream(): AsyncIterable<Uint8Array> {
      for (let at = 0; at < large.length; at += MIB) yield large.subarray(at, at + MIB);
    }
    const written = await store.write('large', stream());
    expect(written).toEqual({ sizeBytes: large.length, sha256: createHash('sha256').update(large).digest('hex') });
    first(1, { kind: 'torn' }, ({ method, url }) => method === 'POST' && url.includes('uploadId'));
    await store.write('again', large);
    expect(Buffer.compare(await store.read('again'), large)).toBe(0);
  });
});
