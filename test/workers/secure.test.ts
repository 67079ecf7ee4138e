/**
 * A run as a fleet would make it: Redis with a password behind TLS, the store in a bucket, a worker of its own. The bytes are
 * those of a local run, and no secret is found in anything the run wrote: objects, jobs, logs, metrics, messages.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openS3Store } from '../../src/store/s3.ts';
import { type S3Server, startS3Server } from '../helpers/s3-server.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { type Running, expectDone, startWinnow, winnow } from '../helpers/winnow.ts';
import { type RedisServer, startRedis, withoutRedis } from './redis-server.ts';

const PASSWORD = 'pa55-of-redis-9d1f';
const WRONG = 'wr0ng-of-redis-77aa';
const SESSION = 'session-token-of-s3-31c4';

function withoutOpenssl(): boolean {
  const absent = !existsSync('/usr/bin/openssl');
  if (absent) process.stderr.write('skipped: no /usr/bin/openssl to make a certificate with\n');
  return absent;
}

describe.skipIf(withoutRedis() || withoutOpenssl())('a run behind passwords and TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-secure-'));
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  let redis: RedisServer;
  let s3: S3Server;
  let small: SmallRun;
  let worker: Running | null = null;
  let workerSaid = '';
  const url = (password: string): string => `rediss://:${password}@127.0.0.1:${redis.port}`;
  const environment = (password = PASSWORD): Record<string, string> => ({ WINNOW_REDIS: url(password), NODE_EXTRA_CA_CERTS: certificate, AWS_SESSION_TOKEN: SESSION });

  beforeAll(async () => {
    execFileSync('/usr/bin/openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' });
    redis = await startRedis(['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate, '--tls-auth-clients', 'no'], PASSWORD, { ca: readFileSync(certificate, 'utf8') });
    s3 = await startS3Server();
    small = await drawSmallRun(folder, 120, { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [30, 8], iterations: 4 }, s3: s3.s3 });
  });
  afterAll(async () => {
    worker?.child.kill('SIGKILL');
    await redis?.stop();
    await s3?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('makes the bytes of a local run, tells how it fares, and keeps its secrets', async () => {
    const local = join(folder, 'local');
    expectDone(await winnow(['run', small.recipePath, '--store', local, '--quiet']));

    worker = startWinnow(['worker', '--concurrency', '2', '--http', '0', '--verbose'], { env: environment() });
    worker.child.stderr!.on('data', (chunk: string) => (workerSaid += chunk));
    await worker.saw('/metrics at http');
    const http = /\/metrics at (http:\S+)/.exec(workerSaid)![1]!;
    expect((await fetch(`${http}/health`)).status).toBe(200);
    expect((await fetch(`${http}/ready`)).status).toBe(200);
    expect((await fetch(`${http}/elsewhere`)).status).toBe(404);

    const uri = `s3://${s3.bucket}/${s3.prefix()}`;
    const run = await winnow(['run', small.recipePath, '--store', uri, '--redis', url(PASSWORD), '--verbose'], { env: environment() });
    expect(run.code, run.stderr).toBe(0);
    const store = await openS3Store(uri, { s3: s3.s3 });
    for (const [path, sha256] of Object.entries(await storeHashes(local))) expect(createHash('sha256').update(await store.read(path)).digest('hex'), path).toBe(sha256);

    const metrics = await (await fetch(`${http}/metrics`)).text();
    expect(Number(/^winnow_images_total\{status="ok"\} (\d+)$/m.exec(metrics)![1])).toBeGreaterThan(100);
    expect(metrics).toMatch(/^winnow_image_bytes_total [1-9]/m);
    expect(metrics).toMatch(/^winnow_model_batch_seconds_count [1-9]/m);
    expect(metrics).toMatch(/^winnow_inertia\{level="1"\} [\d.e+]+$/m);
    expect(metrics).toMatch(/^winnow_task_seconds_count\{stage="embed",kind="embed-part",outcome="done"\} [1-9]/m);

    const status = await winnow(['status', '--json'], { env: environment() });
    expect(status.code, status.stderr).toBe(0);
    const refused = await winnow(['status', '--redis', url(WRONG)], { env: environment() });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/refused the user or password/);

    worker.child.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
    const said = [run, status, refused, await worker.ended].flatMap(({ stdout, stderr }) => [stdout, stderr]);
    const written = await filesBelow(s3.folder!);
    expect(written.length).toBeGreaterThan(20);
    for (const text of [...said, metrics, await everythingIn(url(PASSWORD), certificate), ...written]) for (const secret of [PASSWORD, WRONG, SESSION]) expect(text.includes(secret), text.slice(0, 300)).toBe(false);
  });
});

/** Every file below a folder, as latin1 so that any bytes are text. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')));
}

/** Keys and values of a whole Redis, as it dumps them. */
async function everythingIn(url: string, certificate: string): Promise<string> {
  const redis = new Redis(url, { tls: { ca: readFileSync(certificate, 'utf8') } });
  try {
    const keys = await redis.keys('*');
    const values = await Promise.all(keys.map((name) => redis.dumpBuffer(name)));
    return [...keys, ...values.map((value) => value?.toString('latin1') ?? '')].join('\n');
  } finally {
    redis.disconnect();
  }
}
