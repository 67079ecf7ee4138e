/**
 * One HTTP request by undici: no redirect followed, no proxy, no cookie, no address but allowed ones. Names are looked up as the
 * connection is made and only allowed addresses are handed to it, so that no second look-up can give another one; the address that
 * was connected to is checked once more. Connections are kept for the next request to the same origin.
 */
import { lookup as systemLookup } from 'node:dns';
import type { LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import { type Dispatcher, Pool, buildConnector } from 'undici';
import { type AddressPolicy, createAddressPolicy } from './address.ts';
import type { DownloadConfig } from './config.ts';
import type { Limits } from './limits.ts';
import { portOf } from './url.ts';

export interface Answer {
  readonly status: number;
  /** Lower-case names; the values of a repeated header joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Dispatcher.ResponseData['body'];
}

export interface Client {
  /**
   * Asks once, and ends with the head of the answer. The caller reads or destroys the body.
   *
   * @throws {Refusal} for an address or port that is not asked; whatever the network gives
   */
  get(url: URL, accept: string, limits: Limits): Promise<Answer>;
  close(): Promise<void>;
}

/** A request that the settings do not allow. */
export class Refusal extends Error {
  readonly reason: 'address-refused' | 'port-refused';

  constructor(reason: 'address-refused' | 'port-refused') {
    super(reason);
    this.reason = reason;
  }
}

export type ClientConfig = Pick<DownloadConfig, 'allowPrivate' | 'ports' | 'userAgent' | 'hostConnections' | 'connectTimeoutMs' | 'headersTimeoutMs'>;

/** Origins whose connections are kept. */
const POOLS_MAX = 256;
const HEADER_BYTES_MAX = 16_384;

/** Connections that share one rule of addresses and ports. Files and sockets stay open until `close`. */
export function createClient(config: ClientConfig): Client {
  const policy = createAddressPolicy(config.allowPrivate);
  const ports = new Set(config.ports);
  const connect = guardedConnector(policy, config.connectTimeoutMs);
  const pools = new Map<string, { readonly pool: Pool; users: number }>();
  const poolOf = (origin: string) => {
    const known = pools.get(origin) ?? {
      // Time limits are ours: undici's are coarse. One connection more than requests, as a body that is dropped ends its own.
      pool: new Pool(origin, { connect, connections: config.hostConnections + 1, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, maxHeaderSize: HEADER_BYTES_MAX, keepAliveTimeout: 4_000, keepAliveMaxTimeout: 10_000 }),
      users: 0,
    };
    pools.delete(origin); // to the end: most recently used
    pools.set(origin, known);
    for (const [key, old] of pools) {
      if (pools.size <= POOLS_MAX) break;
      if (old.users > 0 || old === known) continue;
      pools.delete(key);
      void old.pool.destroy().catch(() => undefined);
    }
    return known;
  };
  return {
    get: async (url, accept, limits) => {
      const literal = url.hostname.replace(/^\[|\]$/g, '');
      if (!ports.has(portOf(url))) throw new Refusal('port-refused');
      if (isIP(literal) !== 0 && !policy.allows(literal)) throw new Refusal('address-refused');
      const held = poolOf(url.origin);
      held.users += 1;
      limits.arm(config.headersTimeoutMs);
      try {
        const headers = { 'user-agent': config.userAgent, accept, 'accept-encoding': 'identity' };
        const { statusCode, headers: given, body } = await held.pool.request({ method: 'GET', path: url.pathname + url.search, headers, signal: limits.signal });
        body.on('error', () => undefined); // heard by whoever reads it
        body.once('close', () => (held.users -= 1));
        return { status: statusCode, headers: joined(given), body };
      } catch (error) {
        held.users -= 1;
        throw error;
      }
    },
    close: async () => {
      await Promise.allSettled([...pools.values()].map(({ pool }) => pool.destroy()));
      pools.clear();
    },
  };
}

function joined(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const plain: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers)) plain[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : (value ?? '');
  return plain;
}

function guardedConnector(policy: AddressPolicy, timeoutMs: number): buildConnector.connector {
  const lookup = (hostname: string, options: { family?: number | string; all?: boolean }, done: (error: Error | null, address?: string | LookupAddress[], family?: number) => void): void => {
    systemLookup(hostname, { all: true }, (error, found) => {
      if (error !== null) return done(error);
      const allowed = found.filter(({ address }) => policy.allows(address));
      const [first] = allowed;
      if (first === undefined) return done(new Refusal('address-refused'));
      if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
  // `lookup` goes to net.connect, whose types undici does not name here.
  const connector = buildConnector({ timeout: timeoutMs, lookup, autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 500 } as unknown as buildConnector.BuildOptions);
  return (options, callback) => {
    connector(options, (...[error, socket]: Parameters<buildConnector.Callback>) => {
      if (error !== null) return callback(error, null);
      if (socket!.remoteAddress !== undefined && policy.allows(socket!.remoteAddress)) return callback(null, socket!);
      socket!.destroy();
      callback(new Refusal('address-refused'), null);
    });
  };
}
