/** Bytes that are not those that were written: on their way, where nothing vouches for a range, and where they lie. */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readManifest, readPart, writePart } from '../../src/run/manifest.ts';
import { openS3Store } from '../../src/store/s3.ts';
import type { Store } from '../../src/store/store.ts';
import { type S3Proxy, startS3Proxy } from '../helpers/s3-proxy.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';

let server: S3Server;
let proxy: S3Proxy;
beforeAll(async () => {
  server = await startS3Server();
  proxy = await startS3Proxy(server.s3.endpoint);
});
afterEach(() => {
  proxy.faultOf = () => ({ kind: 'none' });
});
afterAll(async () => {
  await proxy.close();
  await server.close();
});

function open(): Promise<Store> {
  return openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: { ...server.s3, endpoint: proxy.endpoint }, limits: { retry: { attempts: 10, delayMs: 1, delayMsMax: 20, budget: 1000 } } });
}

/** No two runs of 32 bytes alike. */
function made(sizeBytes: number): Buffer {
  return Buffer.concat(Array.from({ length: Math.ceil(sizeBytes / 32) }, (_, i) => createHash('sha256').update(String(i)).digest())).subarray(0, sizeBytes);
}

/** Flips a bit in the answers to the reads that are meant, counted from 0. */
function flipReads(isMeant: (read: number) => boolean): { count: number } {
  const reads = { count: 0 };
  proxy.faultOf = ({ method }) => (method === 'GET' && isMeant(reads.count++) ? { kind: 'flipped' } : { kind: 'none' });
  return reads;
}

describe('an object store whose bytes are damaged', () => {
  it('reads ranges rightly though every other read is flipped, or two are in the same bit', async () => {
    const store = await open();
    const large = made(2 ** 20);
    await store.write('large', large);
    const reads = flipReads((read) => read % 2 === 0);
    expect(Buffer.compare(await store.read('large', { offset: 1000, length: 5000 }), large.subarray(1000, 6000))).toBe(0);
    expect(reads.count).toBeLessThan(6);
    await store.write('small', made(5000));
    // Of one byte, so that the same bit is flipped.
    flipReads((read) => read < 2);
    expect(await store.read('small', { offset: 77, length: 1 })).toEqual(new Uint8Array(made(5000).subarray(77, 78)));
  });

  it('says in one sentence what to do when what lies there is damaged', async () => {
    const store = await open();
    const part = await writePart(store, 'seeds/around/embeddings', [], 3, made(5000));
    await store.write('clusters/manifest.json', Buffer.from('{}'));
    flipReads(() => true);
    await expect(readPart(store, part)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringMatching(/^Could not read s3:\S+: .*: run again and, if that does not help, with --force embed$/) });
    await expect(readManifest(store, 'clusters')).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringContaining('--force cluster') });
  });
});
