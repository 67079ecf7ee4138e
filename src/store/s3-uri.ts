/**
 * Names of places in an object store: `s3://bucket/prefix`, optionally with where the server is, as
 * `s3://bucket/prefix?endpoint=https://…&region=…&path-style=true`. A name never holds credentials: those come from the
 * SDK's own chain (environment, profile, web identity, instance role).
 */
import { z } from 'zod';
import { WinnowError } from '../errors.ts';
import { isValidKey } from './store.ts';

/** Where the server is. What is left out comes from the environment and the SDK's configuration files. */
export const S3Config = z.strictObject({
  endpoint: z.string().min(1).optional().describe('URL of an S3-compatible server, such as https://minio.example:9000. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or Amazon S3.'),
  region: z.string().min(1).optional().describe('Region of the buckets. Default: AWS_REGION or the profile; us-east-1 where an endpoint is set.'),
  pathStyle: z.boolean().optional().describe('Whether the bucket is named in the path instead of in the host. Default: true where an endpoint is set.'),
});
export type S3Options = Readonly<z.infer<typeof S3Config>>;

/** A bucket and a key or prefix in it. */
export interface S3Place {
  readonly bucket: string;
  /** Without a leading slash; may be empty or end in `/`. */
  readonly key: string;
  readonly options: S3Options;
}

/** Whether a text names a place in an object store. */
export function isS3Uri(text: string): boolean {
  return /^s3:/i.test(text);
}

/**
 * @param defaults holds where the name itself says nothing
 * @throws {WinnowError} CONFIG_INVALID; the message repeats no credentials
 */
export function parseS3Uri(text: string, defaults: S3Options = {}): S3Place {
  const [name = '', query] = splitOnce(text, '?');
  const rest = /^s3:\/\/(.*)$/is.exec(name)?.[1];
  const [bucket = '', key = ''] = splitOnce(rest ?? '', '/');
  if (bucket.includes('@')) throw new WinnowError('CONFIG_INVALID', 'Expected s3://bucket/prefix, got credentials before the bucket: they come from the environment or a profile, never from a name');
  if (rest === undefined || !BUCKET.test(bucket)) throw new WinnowError('CONFIG_INVALID', `Expected s3://bucket/prefix with a bucket of 3 to 63 letters, digits, ".", "-" or "_", got ${JSON.stringify(name)}`);
  if (key !== '' && !isValidKey(key)) throw new WinnowError('CONFIG_INVALID', `Expected a prefix of plain segments, without "..", "." or empty ones, got ${JSON.stringify(name)}`);
  return { bucket, key, options: { ...checkedOptions(defaults), ...checkedOptions(parseQuery(query ?? '')) } };
}

/** The name that `parseS3Uri` reads back, with every option that is set. */
export function formatS3Uri({ bucket, key, options }: S3Place): string {
  const query = new URLSearchParams();
  if (options.endpoint !== undefined) query.set('endpoint', options.endpoint);
  if (options.region !== undefined) query.set('region', options.region);
  if (options.pathStyle !== undefined) query.set('path-style', String(options.pathStyle));
  return `${plainS3Uri(bucket, key)}${query.size === 0 ? '' : `?${query}`}`;
}

/** `s3://bucket/key`, for messages and comparisons. */
export function plainS3Uri(bucket: string, key: string): string {
  return `s3://${bucket}/${key}`.replace(/\/$/, '');
}

const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/;

function splitOnce(text: string, mark: string): [string, string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function parseQuery(query: string): S3Options {
  const given = new URLSearchParams(query);
  for (const name of given.keys()) {
    if (!['endpoint', 'region', 'path-style'].includes(name)) throw new WinnowError('CONFIG_INVALID', `Expected endpoint, region or path-style after the "?" of an s3:// name, got ${JSON.stringify(name)}`);
  }
  const pathStyle = given.get('path-style');
  if (pathStyle !== null && !/^(true|false)$/.test(pathStyle)) throw new WinnowError('CONFIG_INVALID', `Expected path-style=true or path-style=false, got ${JSON.stringify(pathStyle)}`);
  return {
    ...(given.has('endpoint') && { endpoint: given.get('endpoint')! }),
    ...(given.has('region') && { region: given.get('region')! }),
    ...(pathStyle !== null && { pathStyle: pathStyle === 'true' }),
  };
}

/** Leaves out what is undefined, so that it does not hide a default. */
function checkedOptions({ endpoint, region, pathStyle }: S3Options): S3Options {
  if (endpoint !== undefined) checkEndpoint(endpoint);
  if (region !== undefined && !/^[A-Za-z0-9-]{1,64}$/.test(region)) throw new WinnowError('CONFIG_INVALID', `Expected a region such as us-east-1, got ${JSON.stringify(region)}`);
  return { ...(endpoint !== undefined && { endpoint }), ...(region !== undefined && { region }), ...(pathStyle !== undefined && { pathStyle }) };
}

/** @throws {WinnowError} CONFIG_INVALID; a user and password in the URL are refused and not repeated */
export function checkEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url !== null && (url.username !== '' || url.password !== '')) throw new WinnowError('CONFIG_INVALID', 'Expected an S3 endpoint without a user and password in its URL');
  if (url === null || !/^https?:$/.test(url.protocol)) throw new WinnowError('CONFIG_INVALID', `Expected an S3 endpoint that begins with https:// or http://, got ${JSON.stringify(endpoint)}`);
  return url;
}
