/**
 * The one door to Redis: what a `redis:` URL means, and how a connection behaves when the other side is slow, gone, or half open.
 * A socket that owes an answer and stays silent is closed and made anew; reconnecting goes on with growing pauses, and who
 * waits is told by `watchRedis` when it has lasted too long. A message names host and port, never the password.
 */
import type { RedisOptions } from 'bullmq';
import { Redis } from 'ioredis';
import { type ErrorCode, WinnowError } from '../src/errors.ts';
import type { Log } from '../src/log.ts';

export type { Redis };

/** Options of every connection to one Redis. */
export interface Connection extends RedisOptions {
  /** Once not wanted, a connection that is broken stays so, and with it nothing keeps the process alive. */
  readonly reconnect: { wanted: boolean };
}

/** The queue is a service like the store: whoever meets this may try again. */
const UNAVAILABLE: ErrorCode = 'STORE_UNAVAILABLE';

const CONNECT_TIMEOUT_MS = 10_000;
/** Longer than any blocking read that BullMQ makes (10 s): silence past it means that the connection is half open. */
const SOCKET_TIMEOUT_MS = 15_000;
const RECONNECT_MS = { first: 100, longest: 5_000 };
const REVIVE_MS = 500;

/** @throws {WinnowError} CONFIG_INVALID when it is not `redis://[user:password@]host[:port][/db]` or `rediss://…` */
export function redisOptions(url: string): Connection {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  const db = parsed === null ? 0 : Number(parsed.pathname.slice(1) || '0');
  if (parsed === null || !['redis:', 'rediss:'].includes(parsed.protocol) || parsed.hostname === '' || !Number.isSafeInteger(db) || db < 0) {
    // The text itself may hold a password, so it is not repeated.
    throw new WinnowError('CONFIG_INVALID', 'Expected --redis as redis://host:port or rediss://user:password@host:port/db, got something else');
  }
  const reconnect = { wanted: true };
  return {
    reconnect,
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: Number(parsed.port || '6379'),
    db,
    ...(parsed.username !== '' && { username: decodeURIComponent(parsed.username) }),
    ...(parsed.password !== '' && { password: decodeURIComponent(parsed.password) }),
    ...(parsed.protocol === 'rediss:' && { tls: {} }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    keepAlive: 10_000,
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (reconnect.wanted ? Math.min(RECONNECT_MS.longest, RECONNECT_MS.first * 2 ** Math.min(times, 10)) : null),
  };
}

/** Host and port, for messages. */
export function redisName({ host, port }: RedisOptions): string {
  return `Redis at ${host}:${port}`;
}

/** Opens a connection and sees that it answers. @throws {WinnowError} STORE_UNAVAILABLE, STORE_DENIED */
export async function connectRedis(options: RedisOptions): Promise<Redis> {
  const redis = new Redis({ ...options, lazyConnect: true });
  let last: Error | null = null;
  redis.on('error', (error: Error) => (last = error));
  try {
    await within(CONNECT_TIMEOUT_MS, redis.connect().then(() => redis.ping()));
    return redis;
  } catch (error) {
    redis.disconnect();
    throw redisError(options, last ?? error);
  }
}

/** One line when Redis goes, and one when it is back. */
export function tellOutages(redis: Redis, options: RedisOptions, log: Log): void {
  let away = false;
  redis.on('reconnecting', () => {
    if (!away) log.warn({ event: 'redis' }, `${redisName(options)} is gone; trying to reach it again`);
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info({ event: 'redis' }, `${redisName(options)} is back`);
    away = false;
  });
}

/**
 * Brings back a connection on which BullMQ reads events, once it has ended. BullMQ drops one whose blocking read is overdue and
 * connects it anew, but not when the socket's own limit is met in the same moment, as in a process that was suspended: then it
 * asks an ended connection for ever.
 */
export function keepConnected(client: Redis, { reconnect }: Connection, isClosing: () => boolean): void {
  client.on('end', () => {
    // BullMQ's own attempt comes first.
    setTimeout(() => {
      if (client.status === 'end' && reconnect.wanted && !isClosing()) client.connect().catch(() => undefined);
    }, REVIVE_MS).unref();
  });
}

export interface RedisWatch {
  /** Rejects with a WinnowError once Redis has not answered for the whole time. */
  readonly lost: Promise<never>;
  /** The work, unless Redis is lost or the signal is aborted before it ends. */
  guard<T>(work: Promise<T>, signal: AbortSignal): Promise<T>;
  stop(): void;
}

/** @param timeoutMs how long Redis may be away; time in which this process was itself suspended does not count */
export function watchRedis(redis: Redis, options: RedisOptions, timeoutMs: number): RedisWatch {
  const everyMs = Math.min(2_000, timeoutMs / 4);
  let answered = performance.now();
  let looked = answered;
  let asking = false;
  let timer: NodeJS.Timeout;
  const lost = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      const now = performance.now();
      if (now - looked > 2 * everyMs) answered += now - looked - everyMs;
      looked = now;
      if (now - answered > timeoutMs) {
        clearInterval(timer);
        reject(new WinnowError(UNAVAILABLE, `Expected an answer from ${redisName(options)}, got none for ${Math.round(timeoutMs / 1000)} s; what is done stays, the next run goes on from there`));
      }
      if (asking) return;
      asking = true;
      redis.ping().then(
        () => {
          answered = performance.now();
          asking = false;
        },
        () => (asking = false),
      );
    }, everyMs);
  });
  const waiting = new Set<(error: unknown) => void>();
  let gone: { readonly error: unknown } | null = null;
  lost.catch((error: unknown) => {
    gone = { error };
    waiting.forEach((reject) => reject(error));
  });
  return {
    lost,
    // Not a race with `lost`: a promise that lives as long as the run would keep something of every piece of work.
    guard: (work, signal) =>
      new Promise((resolve, reject) => {
        const abort = (): void => end(() => reject(new WinnowError('ABORTED', 'Stopped before the end; the next run goes on from here', { cause: signal.reason })));
        const end = (settle: () => void): void => {
          waiting.delete(reject);
          signal.removeEventListener('abort', abort);
          settle();
        };
        waiting.add(reject);
        signal.addEventListener('abort', abort);
        if (signal.aborted) abort();
        if (gone !== null) end(() => reject(gone!.error));
        work.then((value) => end(() => resolve(value)), (error: unknown) => end(() => reject(error)));
      }),
    stop: () => clearInterval(timer),
  };
}

/** What a failed call to Redis means to a person. */
export function redisError(options: RedisOptions, error: unknown): WinnowError {
  if (error instanceof WinnowError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (/WRONGPASS|NOAUTH|NOPERM|without any password/.test(message)) {
    return new WinnowError('STORE_DENIED', `${redisName(options)} refused the user or password of --redis`, { cause: error });
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : message;
  return new WinnowError(UNAVAILABLE, `Could not reach ${redisName(options)}: ${code}`, { cause: error });
}

/** Ends a connection; one that is broken is dropped instead of waited for. */
export async function closeRedis(redis: Redis): Promise<void> {
  await within(2_000, redis.quit()).catch(() => redis.disconnect());
}

/** Rejects when the work takes longer. */
export async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
