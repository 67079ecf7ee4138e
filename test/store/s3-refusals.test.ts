/** What S3 refuses until a person mends it: said in one sentence, without secrets. */
import { describe, expect, it } from 'vitest';
import { openS3Store } from '../../src/store/s3.ts';
import { LIMITS, open, proxy, server } from './faulty-s3.ts';

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
