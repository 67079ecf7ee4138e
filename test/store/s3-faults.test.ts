import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SILENT } from '../../src/log.ts';
import type { S3Limits } from '../../src/store/s3-client.ts';
import { lockS3Store } from '../../src/store/s3-lock.ts';
import { openS3Store } from '../../src/store/s3.ts';
import type { Store } from '../../src/store/store.ts';
import { type Call, type Fault, SLOW_DOWN, type S3Proxy, someOf, startS3Proxy } from '../helpers/s3-proxy.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';

let server: S3Server;
let proxy: S3Proxy;
beforeAll(async () => {
  server = await startS3Server();
  proxy = await startS3Proxy(server.s3.endpoint);
});
afterEach(() => {
  proxy.faultOf = () => ({ kind: 'none' });
  proxy.isConditional = false;
});
afterAll(async () => {
  await proxy.close();
  await server.close();
});

const NONE: Fault = { kind: 'none' };
const MIB = 2 ** 20;
const LIMITS: Partial<S3Limits> = { connectMs: 2000, idleMs: 5000, requestMs: 5000, partBytes: 5 * MIB, retry: { attempts: 10, delayMs: 1, delayMsMax: 20, budget: 1000 } };
/** For servers that hang: nothing here takes long. */
const IMPATIENT: Partial<S3Limits> = { ...LIMITS, idleMs: 400, requestMs: 500, bytesPerSecondMin: MIB };

function open(uri = `s3://${server.bucket}/${server.prefix()}`, limits: Partial<S3Limits> = LIMITS): Promise<Store> {
  return openS3Store(uri, { s3: { ...server.s3, endpoint: proxy.endpoint }, limits });
}

/** No two parts alike: a pattern whose length divides none of theirs. */
function made(sizeBytes: number): Buffer {
  const pattern = Buffer.concat(Array.from({ length: 129 }, (_, i) => createHash('sha256').update(String(i)).digest())).subarray(0, 4099);
  return Buffer.alloc(sizeBytes, pattern);
}

/** The first `times` calls that are meant get the fault. */
function first(times: number, fault: Fault, isMeant: (call: Call) => boolean = () => true): void {
  let left = times;
  proxy.faultOf = (call) => (isMeant(call) && left-- > 0 ? fault : NONE);
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

describe('what a person has to mend', () => {
  const reply = (status: number, name: string, headers: Record<string, string> = {}, body = ''): void => {
    proxy.faultOf = () => ({ kind: 'status', status, name, headers, body });
  };
  const SECRETS = '<AWSAccessKeyId>AKIASECRETKEY</AWSAccessKeyId><StringToSign>AWS4-s3cret</StringToSign><SignatureProvided>5ignature</SignatureProvided>';

  async function opening(): Promise<Error & { code: string }> {
    const error = (await open().then(
      () => new Error('opened'),
      (thrown: unknown) => thrown,
    )) as Error & { code: string; details: unknown; cause?: Error };
    expect(`${error.message} ${JSON.stringify(error)} ${JSON.stringify(error.details)} ${error.cause?.message} ${error.cause?.stack}`).not.toMatch(/AKIASECRET|s3cret|5ignature|S3RVER/);
    expect(error.message).not.toMatch(/\n|undefined|\[object/);
    return error;
  }

  it.each([
    ['a wrong bucket', 404, 'NoSuchBucket', {}, 'INPUT_MISSING', /there is no bucket BUCKET at http/],
    ['an unknown access key', 403, 'InvalidAccessKeyId', {}, 'STORE_DENIED', /does not know the access key$/],
    ['a wrong secret key', 403, 'SignatureDoesNotMatch', {}, 'STORE_DENIED', /refused the signature/],
    ['no right to the bucket', 403, 'AccessDenied', {}, 'STORE_DENIED', /these credentials may not do that in bucket BUCKET$/],
    ['an expired token', 400, 'ExpiredToken', {}, 'STORE_DENIED', /session token has expired/],
    ['a bucket of another region', 301, 'PermanentRedirect', { 'x-amz-bucket-region': 'eu-central-1' }, 'CONFIG_INVALID', /bucket BUCKET is not in region us-east-1 but in eu-central-1: set AWS_REGION/],
    ['a signature for another region', 400, 'AuthorizationHeaderMalformed', { 'x-amz-bucket-region': 'eu-central-1' }, 'CONFIG_INVALID', /not in region us-east-1 but in eu-central-1/],
    ['a wrong clock', 403, 'RequestTimeTooSkewed', { date: new Date(Date.now() + 3_600_000).toUTCString() }, 'STORE_DENIED', /clock of this machine differs from the server's by 3[56]\d\d seconds: set it right$/],
    ['a full server', 507, 'XMinioStorageFull', {}, 'STORE_FULL', /the space of http.* is used up$/],
  ] as const)('is %s, in one sentence without secrets', async (_, status, name, headers, code, message) => {
    reply(status, name, headers, SECRETS);
    expect(await opening()).toMatchObject({ code, message: expect.stringMatching(new RegExp(message.source.replace('BUCKET', server.bucket))) });
  });

  it('is an endpoint that does not answer, said soon', async () => {
    const started = performance.now();
    const error = await openS3Store(`s3://${server.bucket}/x`, { s3: { ...server.s3, endpoint: 'http://127.0.0.1:9' }, limits: { retry: { attempts: 10, delayMs: 20, delayMsMax: 100, budget: 100 } } }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/no answer from http:\/\/127\.0\.0\.1:9 \(ECONNREFUSED\)$/) });
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('is a name or endpoint that holds credentials, which are not repeated', async () => {
    for (const [uri, endpoint] of [['s3://AKIASECRETKEY:s3cret@bucket/x', proxy.endpoint], ['s3://bucket/x', 'http://AKIASECRETKEY:s3cret@localhost:1']] as const) {
      const error = await openS3Store(uri, { s3: { ...server.s3, endpoint } }).catch((thrown: unknown) => thrown as Error);
      expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      expect((error as Error).message).not.toMatch(/AKIASECRET|s3cret/);
    }
  });

  it('is the lack of any credentials', async () => {
    const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE', 'AWS_EC2_METADATA_DISABLED', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE'] as const;
    const before = names.map((name) => process.env[name]);
    try {
      for (const name of names) delete process.env[name];
      Object.assign(process.env, { AWS_EC2_METADATA_DISABLED: 'true', AWS_SHARED_CREDENTIALS_FILE: '/nowhere/a', AWS_CONFIG_FILE: '/nowhere/b' });
      await expect(open(undefined, { ...LIMITS, sockets: 7 })).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.stringMatching(/found no credentials: set AWS_ACCESS_KEY_ID/) });
    } finally {
      names.forEach((name, i) => (before[i] === undefined ? delete process.env[name] : (process.env[name] = before[i])));
    }
  });

  it('is an access key that the server itself does not know', async () => {
    const { AWS_ACCESS_KEY_ID: key } = process.env;
    try {
      process.env.AWS_ACCESS_KEY_ID = 'NOBODYS-KEY';
      const error = await open(undefined, { ...LIMITS, sockets: 9 }).catch((thrown: unknown) => thrown as Error);
      expect(error).toMatchObject({ code: 'STORE_DENIED', message: expect.stringMatching(/does not know the access key/) });
      expect((error as Error).message).not.toMatch(/NOBODYS/);
    } finally {
      process.env.AWS_ACCESS_KEY_ID = key;
    }
  });

  it('is a missing region, or an option of a name that there is not', async () => {
    await expect(openS3Store('s3://bucket/x?colour=red')).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/endpoint, region or path-style/) });
    await expect(openS3Store('s3://b/x')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(openS3Store('s3://bucket/a/../../x')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('the lock', () => {
  const lock = (uri: string, options: { leaseMs?: number } = {}) => lockS3Store(uri, { s3: { ...server.s3, endpoint: proxy.endpoint }, limits: LIMITS, log: SILENT, ...options });

  it('is held by one of many that want it, where the server has conditional writes', async () => {
    proxy.isConditional = true;
    const { uri } = await open();
    const got = await Promise.allSettled(Array.from({ length: 8 }, () => lock(uri)));
    const held = got.filter((one) => one.status === 'fulfilled');
    expect(held).toHaveLength(1);
    expect(held[0]!.value.isExclusive).toBe(true);
    for (const one of got) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'STORE_BUSY' });
    await expect(lock(uri)).rejects.toMatchObject({ code: 'STORE_BUSY', message: expect.stringMatching(/^Another run \(process \d+\) is writing to s3:/) });
    await held[0]!.value.release();
    await (await lock(uri)).release();
  });

  it('is neither taken from its holder nor left behind because a byte of it was flipped on the way', async () => {
    proxy.isConditional = true;
    const { uri } = await open();
    for (let round = 0; round < 5; round++) {
      const held = await lock(uri);
      const isRead = ({ method, url }: Call): boolean => method === 'GET' && url.includes('lock');
      first(3, { kind: 'flipped' }, isRead);
      await expect(lock(uri)).rejects.toMatchObject({ code: 'STORE_BUSY', message: expect.stringContaining(`process ${process.pid}`) });
      first(3, { kind: 'flipped' }, isRead);
      await held.release();
      await (await lock(uri)).release();
    }
  });

  it('is kept while its holder lives, and taken over from one that shows no sign of life', async () => {
    proxy.isConditional = true;
    const store = await open();
    // S3 dates objects to the second, so that a lease is some of them.
    const held = await lock(store.uri, { leaseMs: 3000 });
    await new Promise((resolve) => setTimeout(resolve, 3500));
    await expect(lock(store.uri, { leaseMs: 3000 })).rejects.toMatchObject({ code: 'STORE_BUSY' });
    await held.release();
    // A run of another machine, which was killed.
    await store.write('.tmp/lock', Buffer.from(JSON.stringify({ run: 'other', machine: 'other', pid: 1, beat: 3, leaseMs: 4000 })));
    await expect(lock(store.uri)).rejects.toMatchObject({ code: 'STORE_BUSY', message: expect.stringMatching(/^A run on another machine is writing .* forgotten after 4 seconds$/) });
    await new Promise((resolve) => setTimeout(resolve, 4100));
    await (await lock(store.uri)).release();
  });

  it('keeps out a later run, and warns, where the server has no conditional writes', async () => {
    const { uri } = await open();
    const said: string[] = [];
    const log = { ...SILENT, warn: (_: unknown, text: string) => void said.push(text) } as unknown as typeof SILENT;
    const held = await lockS3Store(uri, { s3: { ...server.s3, endpoint: proxy.endpoint }, limits: LIMITS, log });
    expect(held.isExclusive).toBe(false);
    expect(said).toEqual([expect.stringMatching(/no conditional writes/)]);
    await expect(lock(uri)).rejects.toMatchObject({ code: 'STORE_BUSY' });
    await held.release();
    await (await lock(uri)).release();
  });
});
