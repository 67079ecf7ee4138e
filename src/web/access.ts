/**
 * Who may see a page. On loopback everybody on this machine, by a local name only, so that a page elsewhere cannot reach in
 * by a name of its own that points here. Off loopback whoever has the token, as a header, or as a cookie after signing in.
 * Requests that change something must come from a page of the same origin.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { WinnowError } from '../errors.ts';

export interface AccessRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface Access {
  /** Null, or what is wrong. */
  refuse(request: AccessRequest): { readonly status: 401 | 403; readonly sentence: string } | null;
  /** The cookie of whoever gave the right token, else null. */
  signIn(token: string): string | null;
}

const COOKIE = 'winnow';
const DAY_SECONDS = 86_400;
/** Short ones are guessed. */
const TOKEN_LENGTH_MIN = 16;

/** @throws {WinnowError} CONFIG_INVALID when the host is not loopback and there is no token of 16 characters or more */
export function createAccess(host: string, token: string | null): Access {
  if (token === null && !isLoopback(host)) throw new WinnowError('CONFIG_INVALID', `Expected --token (or WINNOW_TOKEN) with --host ${host}, which others can reach, got none`);
  if (token !== null && token.length < TOKEN_LENGTH_MIN) throw new WinnowError('CONFIG_INVALID', `Expected a token of at least ${TOKEN_LENGTH_MIN} characters, got ${token.length}`);
  const pass = token === null ? '' : createHmac('sha256', token).update('winnow pages').digest('hex');
  const isKnown = ({ headers }: AccessRequest): boolean => {
    if (token === null) return true;
    const bearer = /^Bearer (.+)$/.exec(String(headers['authorization'] ?? ''))?.[1];
    if (bearer !== undefined) return isSame(bearer, token);
    const cookie = new RegExp(`(?:^|; )${COOKIE}=([0-9a-f]+)`).exec(String(headers['cookie'] ?? ''))?.[1];
    return cookie !== undefined && isSame(cookie, pass);
  };
  return {
    refuse: (request) => {
      if (token === null && !isLoopback(hostName(request))) return { status: 403, sentence: 'Expected a request to localhost or 127.0.0.1, got another name of this machine' };
      if (!isOwnPage(request)) return { status: 403, sentence: 'Expected a request from a page of this server, got one from elsewhere' };
      return isKnown(request) ? null : { status: 401, sentence: 'Expected the token that the server was started with' };
    },
    signIn: (given) => (token !== null && isSame(given, token) ? `${COOKIE}=${pass}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${30 * DAY_SECONDS}` : null),
  };
}

/** Whether only this machine can reach a server that listens there. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** In constant time, whatever the lengths. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function hostName({ headers }: AccessRequest): string {
  return String(headers['host'] ?? '').replace(/:\d+$/, '');
}

/** Browsers say where a request comes from; programs that say nothing have no cookie of somebody else. */
function isOwnPage({ method, headers }: AccessRequest): boolean {
  if (method === 'GET' || method === 'HEAD') return true;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  const { origin } = headers;
  if (origin === undefined) return true;
  try {
    return new URL(String(origin)).host === headers['host'];
  } catch {
    return false;
  }
}
