/** An S3 server behind a proxy with faults, for all tests of a file that imports this, and stores opened through it. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { S3Limits } from '../../src/store/s3-client.ts';
import { openS3Store } from '../../src/store/s3.ts';
import type { Store } from '../../src/store/store.ts';
import { type Call, type Fault, type S3Proxy, startS3Proxy } from '../helpers/s3-proxy.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';

export let server: S3Server;
export let proxy: S3Proxy;
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

export const NONE: Fault = { kind: 'none' };
export const MIB = 2 ** 20;
/** Many tries with hardly a pause. */
export const LIMITS: Partial<S3Limits> = { connectMs: 2000, idleMs: 5000, requestMs: 5000, partBytes: 5 * MIB, retry: { attempts: 10, delayMs: 1, delayMsMax: 20, budget: 1000 } };

/** An empty store, unless told which. */
export function open(uri = `s3://${server.bucket}/${server.prefix()}`, limits: Partial<S3Limits> = LIMITS): Promise<Store> {
  return openS3Store(uri, { s3: { ...server.s3, endpoint: proxy.endpoint }, limits });
}

/** The first `times` calls that are meant get the fault. */
export function first(times: number, fault: Fault, isMeant: (call: Call) => boolean = () => true): void {
  let left = times;
  proxy.faultOf = (call) => (isMeant(call) && left-- > 0 ? fault : NONE);
}
