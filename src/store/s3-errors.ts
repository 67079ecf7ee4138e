/**
 * What goes wrong with an object store, in two questions: is it worth another try, and what does a person have to know.
 * Messages are made of names and places of ours. The server's own text is left out, for it may repeat keys and signatures.
 */
import { type ErrorCode, WinnowError } from '../errors.ts';

/** A fault that only this side can see: what arrived is not what was stored, or came too slowly. */
export class S3Fault extends Error {
  readonly kind: 'torn' | 'flipped' | 'slow' | 'misread';

  constructor(kind: S3Fault['kind'], message: string) {
    super(message);
    this.name = 'S3Fault';
    this.kind = kind;
  }
}

/** How to go on: `final` not at all, `throttled` after a longer pause, `once` a single time. */
export type S3Verdict = 'final' | 'retry' | 'throttled' | 'once';

/** Whether the same call may succeed without anybody changing anything. */
export function judgeS3Error(error: unknown): S3Verdict {
  if (error instanceof WinnowError) return 'final';
  if (error instanceof S3Fault) return 'retry';
  const { name, status, system } = factsOf(error);
  if (THROTTLED.test(name) || status === 429 || status === 503) return 'throttled';
  if (NAMED[name]?.code === 'STORE_FULL') return 'final';
  if (name === 'RequestTimeTooSkewed') return 'once'; // the SDK then signs with the server's time
  if (RETRIED.test(name) || status >= 500 || status === 408) return status === 501 ? 'final' : 'retry';
  if (UNTRUSTED.test(system)) return 'final';
  if (RETRIED_SYSTEM.test(system)) return 'retry';
  return status >= 200 && status < 300 ? 'retry' : 'final'; // an answer that could not be read
}

/** @param action reads on from "Could not", such as "read s3://bucket/key" */
export function s3Error(action: string, server: { readonly bucket: string; readonly endpoint: string; readonly region: string }, error: unknown): WinnowError {
  if (error instanceof WinnowError) return error;
  const facts = factsOf(error);
  const { code, says } = error instanceof S3Fault ? sayFault(error) : say(facts, server);
  const details = { bucket: server.bucket, endpoint: server.endpoint, name: facts.name, status: facts.status };
  return new WinnowError(code, `Could not ${action}: ${says}`, { details, cause: new Error(`${facts.name}${facts.status > 0 ? `, HTTP ${facts.status}` : ''}`) });
}

/** The error's name by S3's table; empty when it has none. */
export function s3ErrorName(error: unknown): string {
  return factsOf(error).name;
}

interface Facts {
  readonly name: string;
  /** 0 without an answer. */
  readonly status: number;
  /** errno of the socket or code of TLS, or empty. */
  readonly system: string;
  /** What the server says of the bucket, or empty. */
  readonly region: string;
  /** The server's clock minus this one's in seconds, or null. */
  readonly skewSeconds: number | null;
}

interface SdkError {
  readonly name?: string;
  readonly code?: unknown;
  readonly Code?: unknown;
  readonly Region?: unknown;
  readonly errors?: readonly unknown[];
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> };
}

function factsOf(error: unknown): Facts {
  const sdk = (typeof error === 'object' && error !== null ? error : {}) as SdkError;
  const headers = sdk.$response?.headers ?? {};
  const status = sdk.$metadata?.httpStatusCode ?? sdk.$response?.statusCode ?? 0;
  const inner = sdk.errors?.[0] as SdkError | undefined; // both addresses of a host failed
  const system = typeof sdk.code === 'string' ? sdk.code : typeof inner?.code === 'string' ? inner.code : '';
  const region = headers['x-amz-bucket-region'] ?? (typeof sdk.Region === 'string' ? sdk.Region : '');
  const date = Date.parse(headers.date ?? '');
  const plain = sdk.name === undefined || sdk.name === 'Error' ? '' : sdk.name;
  return { name: plain === '' ? system : plain, status, system, region: /^[A-Za-z0-9-]{1,64}$/.test(region) ? region : '', skewSeconds: Number.isNaN(date) ? null : Math.round((date - Date.now()) / 1000) };
}

const THROTTLED = /^(SlowDown|SlowDownRead|SlowDownWrite|ServiceUnavailable|Throttling|ThrottlingException|TooManyRequests|TooManyRequestsException|RequestLimitExceeded|BandwidthLimitExceeded|Busy)$/;
const RETRIED = /^(TimeoutError|RequestTimeout|RequestTimeoutException|InternalError|OperationAborted|BadDigest|XAmzContentSHA256Mismatch|XAmzContentChecksumMismatch|IncompleteBody|ConditionalRequestConflict|ECONNRESET)$/;
const RETRIED_SYSTEM = /^(ECONNRESET|ECONNREFUSED|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ERR_STREAM_PREMATURE_CLOSE|HPE_.*)$/;
const UNTRUSTED = /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY|CERT_HAS_EXPIRED|ERR_TLS_CERT_ALTNAME_INVALID|EPROTO|ERR_SSL_.*)$/;

interface Said {
  readonly code: ErrorCode;
  readonly says: string;
}

function sayFault({ kind, message }: S3Fault): Said {
  return { code: kind === 'flipped' ? 'CHECKSUM_MISMATCH' : 'STORE_UNAVAILABLE', says: message };
}

function say({ name, status, system, region, skewSeconds }: Facts, server: { readonly bucket: string; readonly endpoint: string; readonly region: string }): Said {
  const { bucket, endpoint } = server;
  if (REDIRECTED.test(name) || status === 301 || status === 307) {
    return { code: 'CONFIG_INVALID', says: `bucket ${bucket} is not in region ${server.region}${region === '' || region === server.region ? '' : ` but in ${region}`}: set AWS_REGION or s3.region to the bucket's` };
  }
  if (name === 'RequestTimeTooSkewed') {
    const off = skewSeconds === null ? '' : ` by ${Math.abs(skewSeconds)} seconds`;
    return { code: 'STORE_DENIED', says: `the clock of this machine differs from the server's${off}: set it right` };
  }
  const known = NAMED[name] ?? (status > 0 ? (BY_STATUS[status] ?? null) : null);
  if (known !== null) return { code: known.code, says: known.says.replace('BUCKET', bucket).replace('ENDPOINT', endpoint) };
  if (UNTRUSTED.test(system)) return { code: 'STORE_DENIED', says: `the certificate of ${endpoint} is not trusted here (${system}), or it does not speak TLS` };
  if (status === 0) return { code: 'STORE_UNAVAILABLE', says: `no answer from ${endpoint} (${system || name || 'unknown fault'})` };
  return { code: 'STORE_UNAVAILABLE', says: `${endpoint} answered ${name || 'with an error'} (HTTP ${status})` };
}

const REDIRECTED = /^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/;
const NOT_THERE: Said = { code: 'INPUT_MISSING', says: 'it does not exist' };
const DENIED: Said = { code: 'STORE_DENIED', says: 'these credentials may not do that in bucket BUCKET' };
const STALE: Said = { code: 'STORE_DENIED', says: 'the session token has expired or is not valid' };
const NO_CREDENTIALS: Said = { code: 'STORE_DENIED', says: 'found no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE' };
const FULL: Said = { code: 'STORE_FULL', says: 'the space of ENDPOINT is used up' };
const ABSENT_RANGE: Said = { code: 'INPUT_MALFORMED', says: 'it ends before the bytes that were asked for' };

const NAMED: Readonly<Record<string, Said>> = {
  NoSuchKey: NOT_THERE,
  NotFound: NOT_THERE,
  NoSuchBucket: { code: 'INPUT_MISSING', says: 'there is no bucket BUCKET at ENDPOINT' },
  InvalidBucketName: { code: 'CONFIG_INVALID', says: 'ENDPOINT takes no bucket named BUCKET' },
  AccessDenied: DENIED,
  Forbidden: DENIED,
  AllAccessDisabled: DENIED,
  AccountProblem: DENIED,
  InvalidAccessKeyId: { code: 'STORE_DENIED', says: 'ENDPOINT does not know the access key' },
  SignatureDoesNotMatch: { code: 'STORE_DENIED', says: 'ENDPOINT refused the signature: the secret key is not the access key\'s, or something on the way changed the request' },
  ExpiredToken: STALE,
  ExpiredTokenException: STALE,
  InvalidToken: STALE,
  TokenRefreshRequired: STALE,
  CredentialsProviderError: NO_CREDENTIALS,
  InvalidRange: ABSENT_RANGE,
  QuotaExceeded: FULL,
  XMinioStorageFull: FULL,
  XMinioAdminBucketQuotaExceeded: FULL,
  NotImplemented: { code: 'STORE_UNAVAILABLE', says: 'ENDPOINT does not offer that call' },
};
const BY_STATUS: Readonly<Record<number, Said>> = { 403: DENIED, 404: NOT_THERE, 416: ABSENT_RANGE, 501: NAMED.NotImplemented!, 507: FULL };
