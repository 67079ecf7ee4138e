/** The lock of a store in a bucket: held by one, kept while its holder lives, taken over from the dead. */
import { describe, expect, it } from 'vitest';
import { SILENT } from '../../src/log.ts';
import { lockS3Store } from '../../src/store/s3-lock.ts';
import type { Call } from '../helpers/s3-proxy.ts';
import { LIMITS, first, open, proxy, server } from './faulty-s3.ts';

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
