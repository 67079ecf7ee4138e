/**
 * The door to @aws-sdk/client-s3, loaded when the first `s3://` name is used. One client for each server in a process, so
 * that its sockets are bounded whoever uses it. The SDK makes single tries; trying again and giving up are decided here,
 * for the body of an answer as well as for its head.
 */
import type { S3Client } from '@aws-sdk/client-s3';
import { WinnowError } from '../errors.ts';
import { S3Fault } from './s3-errors.ts';
import { type RetryLimits, type Retrier, createRetrier } from './s3-retry.ts';
import { type S3Options, checkEndpoint } from './s3-uri.ts';

export interface S3Limits {
  readonly connectMs: number;
  /** Without a byte on the socket. */
  readonly idleMs: number;
  /** Of one try; a body gets the time of `bytesPerSecondMin` beside it. */
  readonly requestMs: number;
  readonly bytesPerSecondMin: number;
  /**
   * What a body that is read may take beyond that rate before it is asked for again, doubled with each try up to
   * `requestMs`: a connection that crawls is left soon for one that may not, a line that is slow gets its time.
   */
  readonly patienceMs: number;
  readonly sockets: number;
  /** Bytes of one part of a multipart upload, and of a larger object read in pieces; at least 5 MiB. */
  readonly partBytes: number;
  /** Parts of one object on their way at once. */
  readonly partsAtOnce: number;
  readonly retry: RetryLimits;
}

export const S3_LIMITS: S3Limits = {
  connectMs: 5000,
  idleMs: 20_000,
  requestMs: 30_000,
  bytesPerSecondMin: 64 * 1024,
  patienceMs: 3000,
  sockets: 64,
  partBytes: 16 * 2 ** 20,
  partsAtOnce: 4,
  retry: { attempts: 10, delayMs: 100, delayMsMax: 20_000, budget: 200 },
};

/** One try of a call. */
export interface S3Try {
  readonly client: S3Client;
  readonly options: { readonly abortSignal: AbortSignal };
  /** Moves the deadline for a body of this many bytes that is still to come. */
  allow(sizeBytes: number): void;
}

export interface OnceOptions {
  /** Of the body that is sent. */
  readonly sizeBytes?: number;
  /** Tries that went before. */
  readonly tried?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface S3Connection {
  readonly sdk: typeof import('@aws-sdk/client-s3');
  readonly client: S3Client;
  /** For messages. */
  readonly endpoint: string;
  readonly region: string;
  /** false: plain HTTP, where nothing vouches for what arrives. */
  readonly isEncrypted: boolean;
  readonly limits: S3Limits;
  readonly retrier: Retrier;
  /** A single try under its deadline. */
  once<T>(action: (attempt: S3Try) => Promise<T>, options?: OnceOptions): Promise<T>;
}

/**
 * The connection of this process to a server.
 *
 * @throws {WinnowError} CONFIG_INVALID without a region or with an endpoint that is no URL
 */
export function connectS3(options: S3Options, limits: Partial<S3Limits> = {}): Promise<S3Connection> {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION } = process.env;
  const endpoint = options.endpoint ?? (AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL || undefined);
  const region = options.region ?? (AWS_REGION || AWS_DEFAULT_REGION || (endpoint === undefined ? undefined : 'us-east-1'));
  const server = { endpoint, region, pathStyle: options.pathStyle ?? (endpoint !== undefined && !/\.amazonaws\.com$/.test(checkEndpoint(endpoint).hostname)) };
  const key = JSON.stringify([server, limits]);
  let connection = connections.get(key);
  if (connection === undefined) {
    connection = connect(server, { ...S3_LIMITS, ...limits });
    connections.set(key, connection);
    connection.catch(() => connections.delete(key));
  }
  return connection;
}

const connections = new Map<string, Promise<S3Connection>>();

async function connect({ endpoint, region, pathStyle }: { endpoint: string | undefined; region: string | undefined; pathStyle: boolean }, limits: S3Limits): Promise<S3Connection> {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'; // versions are pinned here; stderr is the user's
  const sdk = await import('@aws-sdk/client-s3');
  const sockets = { maxSockets: limits.sockets, keepAlive: true };
  const client = new sdk.S3Client({
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    forcePathStyle: pathStyle,
    maxAttempts: 1,
    expectContinueHeader: false, // it would open sockets beside the bounded ones
    // Checksums of our own are sent and compared; the SDK's default ones are unknown to older servers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: limits.connectMs, socketTimeout: limits.idleMs, httpAgent: sockets, httpsAgent: sockets },
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  const resolved = await client.config.region().catch((cause: unknown) => {
    throw new WinnowError('CONFIG_INVALID', 'Expected a region for Amazon S3, found none: set AWS_REGION or s3.region', { cause: new Error(String((cause as Error).name)) });
  });
  return {
    sdk,
    client,
    endpoint: endpoint === undefined ? 'Amazon S3' : new URL(endpoint).origin,
    region: resolved,
    isEncrypted: endpoint === undefined || new URL(endpoint).protocol === 'https:',
    limits,
    retrier: createRetrier(limits.retry),
    once: (action, options = {}) => once(client, limits, options, action),
  };
}

async function once<T>(client: S3Client, limits: S3Limits, { sizeBytes = 0, tried = 0, signal }: OnceOptions, action: (attempt: S3Try) => Promise<T>): Promise<T> {
  const ending = new AbortController();
  const stop = (): void => ending.abort();
  let isLate = false;
  let timer: NodeJS.Timeout | undefined;
  const allow = (bytes: number, otherMs: number): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      isLate = true;
      stop();
    }, otherMs + (bytes / limits.bytesPerSecondMin) * 1000);
  };
  allow(sizeBytes, limits.requestMs);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted === true) stop();
  try {
    return await action({ client, options: { abortSignal: ending.signal }, allow: (bytes) => allow(bytes, Math.min(limits.requestMs, limits.patienceMs * 2 ** tried)) });
  } catch (error) {
    if (isLate) throw new S3Fault('slow', `it came more slowly than ${Math.round(limits.bytesPerSecondMin / 1024)} KiB a second`);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
