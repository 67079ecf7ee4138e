/**
 * An S3 endpoint over sockets: s3rver, started on a free port; or any server that WINNOW_TEST_S3_ENDPOINT names, with
 * WINNOW_TEST_S3_BUCKET, WINNOW_TEST_S3_REGION and the SDK's own variables for credentials. Each test gets prefixes of its own.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { S3Options } from '../../src/store/s3-uri.ts';

export interface S3Server {
  /** Options for stores and sources. */
  readonly s3: Required<S3Options>;
  readonly bucket: string;
  /** Another bucket of the same server, or the same one where only one was given. */
  readonly otherBucket: string;
  /** Folder where s3rver keeps its objects, or null for another server. */
  readonly folder: string | null;
  /** A prefix that nothing else uses, without a slash at its end. */
  prefix(name?: string): string;
  close(): Promise<void>;
}

/** Sets the credentials of s3rver in this process's environment. */
export async function startS3Server(): Promise<S3Server> {
  const run = randomUUID().slice(0, 8);
  let count = 0;
  const prefix = (name = 'store'): string => `${name}-${run}-${count++}`;
  const { WINNOW_TEST_S3_ENDPOINT: given, WINNOW_TEST_S3_BUCKET: bucket = 'winnow-test', WINNOW_TEST_S3_OTHER_BUCKET: otherBucket = bucket, WINNOW_TEST_S3_REGION: region = 'us-east-1' } = process.env;
  if (given !== undefined) return { s3: { endpoint: given, region, pathStyle: true }, bucket, otherBucket, folder: null, prefix, close: async () => undefined };
  process.env.AWS_ACCESS_KEY_ID = 'S3RVER';
  process.env.AWS_SECRET_ACCESS_KEY = 'S3RVER';
  const folder = await mkdtemp(join(tmpdir(), 'winnow-s3-'));
  const child = spawn(process.execPath, ['--openssl-legacy-provider', '--no-warnings', fileURLToPath(new URL('s3rver.mjs', import.meta.url)), folder, 'images', 'outputs'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`s3rver ended with ${code}`)));
    child.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())));
  });
  return {
    s3: { endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', pathStyle: true },
    bucket: 'outputs',
    otherBucket: 'images',
    folder,
    prefix,
    close: async () => {
      child.stdin.end();
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
