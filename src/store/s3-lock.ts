/**
 * The lock of a store on S3: an object that is put only where none is (`If-None-Match: *`) and replaced only where it is
 * still the one that was read (`If-Match`). Its holder writes it anew from time to time; one that is no longer written is a
 * dead run's and may be taken. A server without conditional writes is found out by trying: the lock then only warns.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { S3Bucket, S3BucketOptions } from './s3-bucket.ts';
import { S3Fault, s3ErrorName } from './s3-errors.ts';
import { SHA256_METADATA } from './s3-read.ts';
import { plainS3Uri } from './s3-uri.ts';
import { S3_TEMPORARY, openPrefix } from './s3.ts';
import { putObject } from './s3-write.ts';

export interface S3LockOptions extends S3BucketOptions {
  readonly log: Log;
  /** Without a sign of life for so long, a lock is a dead run's. */
  readonly leaseMs?: number;
}

export interface S3Lock {
  /** false: the server has no conditional writes, so that two runs that start within a second may both hold it. */
  readonly isExclusive: boolean;
  release(): Promise<void>;
}

/** @throws {WinnowError} STORE_BUSY when a run that shows signs of life holds it */
export async function lockS3Store(uri: string, options: S3LockOptions): Promise<S3Lock> {
  const { leaseMs = 60_000, log, signal } = options;
  const { bucket, bucketName, prefix, name } = await openPrefix(uri, options);
  const at = { bucket: bucketName, key: `${prefix}${S3_TEMPORARY}lock` };
  const own: Holder = { run: randomUUID(), machine: machineId(), pid: process.pid };
  const put = (beat: number, condition: Condition): Promise<string | null> => putLock(bucket, at, { ...own, beat, leaseMs }, condition);
  let etag = await take(bucket, at, name, own, put, signal);
  // A server that knows the condition refuses the same put a second time.
  const isExclusive = (await put(0, { IfNoneMatch: '*' })) === null;
  if (!isExclusive) {
    log.warn({ store: name }, `${name}: the server has no conditional writes, so nothing keeps out a second run that starts in the same moment; start one run at a time`);
    await sleep(SETTLE_MS);
    const found = await readLock(bucket, at);
    if (found !== null && found.holder.run !== own.run) throw busy(name, found.holder);
  }
  let beat = 0;
  const timer: NodeJS.Timeout = setInterval(() => {
    beat += 1;
    void put(beat, isExclusive ? { IfMatch: etag! } : {})
      .then((next) => {
        if (next !== null) {
          etag = next;
          return;
        }
        clearInterval(timer);
        log.warn({ store: name }, `${name}: another run took the lock of this one, which seemed dead to it`);
      })
      .catch(() => undefined); // the store's own calls say what is wrong with the server
  }, leaseMs / 4);
  timer.unref();
  return {
    isExclusive,
    release: async () => {
      clearInterval(timer);
      const found = await readLock(bucket, at);
      if (found?.holder.run === own.run) await bucket.remove([at.key]);
    },
  };
}

interface Holder {
  readonly run: string;
  readonly machine: string;
  readonly pid: number;
}

interface Beating extends Holder {
  readonly beat: number;
  readonly leaseMs: number;
}

type Condition = { readonly IfNoneMatch?: string; readonly IfMatch?: string };

/** For two runs on a server without conditional writes to see each other. */
const SETTLE_MS = 1000;

/** Null when the condition does not hold. */
async function putLock(bucket: S3Bucket, at: { bucket: string; key: string }, lock: Beating, condition: Condition): Promise<string | null> {
  const bytes = new TextEncoder().encode(JSON.stringify(lock));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return bucket.attempt('lock', at.key, async () => {
    try {
      return await putObject(bucket.connection, at, bytes, sha256, condition);
    } catch (error) {
      if (s3ErrorName(error) !== 'PreconditionFailed') {
        if (s3ErrorName(error) === 'NotImplemented') return putObject(bucket.connection, at, bytes, sha256, {});
        throw error;
      }
      // A replacement whose answer was lost may have been ours.
      const found = await readLock(bucket, at);
      return found !== null && found.holder.run === lock.run && found.holder.beat === lock.beat && condition.IfNoneMatch === undefined ? found.etag : null;
    }
  });
}

/** Looks before it writes: a server without conditions would write over a lock that is held. */
async function take(bucket: S3Bucket, at: { bucket: string; key: string }, name: string, own: Holder, put: (beat: number, condition: Condition) => Promise<string | null>, signal: AbortSignal | undefined): Promise<string> {
  const found = await readLock(bucket, at);
  if (found !== null && !isDead(found.holder)) {
    if (found.ageMs < found.holder.leaseMs) throw busy(name, found.holder);
    // The two clocks may differ: a holder that lives writes again in this time, and the condition then fails.
    await sleep(found.holder.leaseMs / 3, undefined, signal === undefined ? {} : { signal });
  }
  const etag = await put(0, found === null ? { IfNoneMatch: '*' } : { IfMatch: found.etag });
  if (etag !== null) return etag;
  const other = await readLock(bucket, at);
  if (other?.holder.run === own.run) return other.etag; // the answer to a first try was lost
  throw busy(name, other?.holder ?? null);
}

/** @returns null when there is none */
async function readLock(bucket: S3Bucket, at: { bucket: string; key: string }): Promise<{ holder: Beating; etag: string; ageMs: number } | null> {
  const { sdk, retrier, once } = bucket.connection;
  let strange: string | null = null;
  return bucket.attempt('read', at.key, async () => {
    try {
      return await retrier.run(() =>
        once(async ({ client, options }) => {
          const answer = await client.send(new sdk.GetObjectCommand({ Bucket: at.bucket, Key: at.key }), options);
          const text = await answer.Body!.transformToString();
          const noted = answer.Metadata?.[SHA256_METADATA];
          // Flipped on the way, it would be nobody's lock, for anyone to take; twice the same, it is so in the store.
          if (noted !== undefined && noted !== createHash('sha256').update(text).digest('hex') && text !== strange) {
            strange = text;
            throw new S3Fault('flipped', `the bytes of ${plainS3Uri(at.bucket, at.key)} are not those that were written`);
          }
          return { holder: parseLock(text), etag: answer.ETag ?? '', ageMs: Date.now() - (answer.LastModified?.getTime() ?? 0) };
        }),
      );
    } catch (error) {
      if (s3ErrorName(error) === 'NoSuchKey') return null;
      throw error;
    }
  });
}

/** What cannot be read is nobody's lock, as old as can be. */
function parseLock(text: string): Beating {
  try {
    const { run, machine, pid, beat, leaseMs } = JSON.parse(text) as Partial<Beating>;
    return { run: String(run), machine: String(machine), pid: Number(pid), beat: Number(beat), leaseMs: Number(leaseMs) || 0 };
  } catch {
    return { run: '', machine: '', pid: 0, beat: 0, leaseMs: 0 };
  }
}

/** Whether the holder ran on this machine and is gone; of other machines nothing is known. */
function isDead({ machine, pid }: Holder): boolean {
  if (machine !== machineId()) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Process ids mean something among processes with the same value. Hashed: the name of a host is not ours to publish. */
function machineId(): string {
  let processes = '';
  try {
    processes = readlinkSync('/proc/self/ns/pid');
  } catch {
    processes = process.platform; // no Linux: one space of process ids a host
  }
  return createHash('sha256').update(`${hostname()} ${processes}`).digest('hex').slice(0, 16);
}

function busy(name: string, holder: Beating | null): WinnowError {
  const who = holder === null ? 'Another run' : holder.machine === machineId() ? `Another run (process ${holder.pid})` : 'A run on another machine';
  const wait = holder === null ? '' : `; a run that was killed is forgotten after ${Math.ceil(holder.leaseMs / 1000)} seconds`;
  return new WinnowError('STORE_BUSY', `${who} is writing to ${name}; wait for it or stop it${wait}`, { details: { store: name } });
}
