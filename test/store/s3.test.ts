import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openS3Bucket } from '../../src/store/s3-bucket.ts';
import { openS3Store } from '../../src/store/s3.ts';
import type { Store } from '../../src/store/store.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';
import { storeConformance } from './store-conformance.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.close());

const MIB = 2 ** 20;
const small = { partBytes: 5 * MIB, retry: { attempts: 4, delayMs: 1, delayMsMax: 10, budget: 100 } };

function open(): Promise<Store> {
  return openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: server.s3 });
}

/** Bytes that differ everywhere. */
function made(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let state = 1;
  for (let i = 0; i < sizeBytes; i++) bytes[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  return bytes;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the S3 store', () => {
  storeConformance(open);

  it('keeps an empty object, and a range of nothing', async () => {
    const store = await open();
    expect(await store.write('empty', new Uint8Array(0))).toEqual({ sizeBytes: 0, sha256: sha256(new Uint8Array(0)) });
    expect(await store.read('empty')).toEqual(new Uint8Array(0));
    expect(await store.read('empty', { offset: 0, length: 0 })).toEqual(new Uint8Array(0));
    await expect(store.read('empty', { offset: 1, length: 0 })).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(store.read('empty', { offset: 0, length: 1 })).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  it('writes and reads large objects in parts, of bytes at hand and of a stream that uses its chunk again', async () => {
    const prefix = server.prefix();
    const store = await openS3Store(`s3://${server.bucket}/${prefix}`, { s3: server.s3, limits: small });
    const bytes = made(17 * MIB + 123);
    expect(await store.write('whole', bytes)).toEqual({ sizeBytes: bytes.byteLength, sha256: sha256(bytes) });
    expect(Buffer.compare(await store.read('whole'), bytes)).toBe(0);
    async function* stream(): AsyncIterable<Uint8Array> {
      const chunk = new Uint8Array(70_001);
      for (let start = 0; start < bytes.byteLength; start += chunk.byteLength) {
        const part = bytes.subarray(start, start + chunk.byteLength);
        chunk.set(part);
        yield chunk.subarray(0, part.byteLength);
      }
    }
    expect(await store.write('stream', stream())).toEqual({ sizeBytes: bytes.byteLength, sha256: sha256(bytes) });
    expect(Buffer.compare(await store.read('stream'), bytes)).toBe(0);
    expect(Buffer.compare(await store.read('stream', { offset: 5 * MIB - 3, length: 7 }), bytes.subarray(5 * MIB - 3, 5 * MIB + 4))).toBe(0);
  });

  it('leaves nothing of a large stream that breaks off, and says what broke it', async () => {
    const store = await openS3Store(`s3://${server.bucket}/${server.prefix()}`, { s3: server.s3, limits: small });
    await store.write('kept', made(10));
    async function* broken(): AsyncIterable<Uint8Array> {
      for (let i = 0; i < 12; i++) yield made(MIB);
      throw new TypeError('source broke');
    }
    await expect(store.write('kept', broken())).rejects.toThrow(new TypeError('source broke'));
    expect(await store.read('kept')).toEqual(made(10));
  });

  it('stands beside other stores of the bucket, and lists neither its lock nor folder markers', async () => {
    const prefix = server.prefix();
    const store = await openS3Store(`s3://${server.bucket}/${prefix}`, { s3: server.s3 });
    const bucket = await openS3Bucket(server.bucket, { s3: server.s3 });
    await bucket.write(`${prefix}-other/x`, made(3));
    await bucket.write(`${prefix}/.tmp/lock`, made(3));
    await bucket.write(`${prefix}/b/`, made(0)).catch(() => undefined); // s3rver keeps no such key
    await store.write('b/1', made(1));
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toEqual(['b/1']);
    await store.remove('b/');
    expect(await bucket.head(`${prefix}-other/x`)).not.toBeNull();
  });

  it('opens to read only what is there', async () => {
    const uri = `s3://${server.bucket}/${server.prefix()}`;
    await expect(openS3Store(uri, { s3: server.s3, readOnly: true })).rejects.toMatchObject({ code: 'INPUT_MISSING', message: `Expected a store at ${uri}, found nothing there` });
    await (await openS3Store(uri, { s3: server.s3 })).write('a', made(1));
    await openS3Store(uri, { s3: server.s3, readOnly: true });
  });

  it('reads the encoded keys of a listing', async () => {
    const page = ['a+b.jpg', 'a%25.jpg', 'a%2Bb.jpg', '%C3%A9/%01.jpg'].map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`).join('');
    const replies = createServer((_, reply) => void reply.end(`<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>${page}</ListBucketResult>`)).listen(0, '127.0.0.1');
    await once(replies, 'listening');
    try {
      const bucket = await openS3Bucket('some-bucket', { s3: { endpoint: `http://127.0.0.1:${(replies.address() as AddressInfo).port}` } });
      const keys: string[] = [];
      for await (const entries of bucket.list('')) keys.push(...entries.map(({ key }) => key));
      expect(keys).toEqual(['a b.jpg', 'a+b.jpg', 'a%.jpg', 'é/\u0001.jpg'].sort());
    } finally {
      replies.closeAllConnections();
      replies.close();
    }
  });

  it('removes more keys than one call takes', async () => {
    const prefix = server.prefix();
    const store = await openS3Store(`s3://${server.bucket}/${prefix}`, { s3: server.s3 });
    const names = Array.from({ length: 1203 }, (_, i) => `many/${i}`);
    await store.write('many/first', made(1));
    for (let from = 0; from < names.length; from += 100) await Promise.all(names.slice(from, from + 100).map((name) => putFile(store, prefix, name)));
    await store.write('kept', made(1));
    let count = 0;
    for await (const _ of store.list('many/')) count += 1;
    expect(count).toBe(1204);
    await store.remove('many/');
    const left: string[] = [];
    for await (const { key } of store.list('')) left.push(key);
    expect(left).toEqual(['kept']);
  });
});

/** Straight into the folder of s3rver, which takes a while for each object; it looks again after the next write. */
async function putFile(store: Store, prefix: string, key: string): Promise<void> {
  if (server.folder === null) await store.write(key, made(1));
  else await writeFile(join(server.folder, server.bucket, prefix, `${key}._S3rver_object`), 'x');
}
