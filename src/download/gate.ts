/**
 * Whose turn it is: at most so many requests at once in all and to one host, a least time between two starts to one host, waits that
 * a host asked for, and hosts that are given up. Order within a host is that of asking. Only the clock of this process decides
 * here, and nothing of it reaches an output.
 */
import { WinnowError } from '../errors.ts';
import type { DownloadConfig } from './config.ts';
import type { DownloadReason } from './status.ts';

export type GateConfig = Pick<DownloadConfig, 'concurrency' | 'hostConnections' | 'hostDelayMs' | 'hostFailuresMax'>;

export interface Gate {
  /**
   * Waits for a turn, which `release` ends.
   *
   * @returns a reason instead, when the host has been given up
   * @throws {WinnowError} ABORTED once the signal is
   */
  enter(host: string, signal: AbortSignal): Promise<{ release(): void } | { readonly reason: DownloadReason }>;
  /** No request to the host starts for so long. */
  pause(host: string, ms: number): void;
  /** Least time between two starts, where it is longer than the settings say. */
  slow(host: string, delayMs: number): void;
  /** All that is to be asked of the host for so long ends with the reason. */
  giveUp(host: string, reason: DownloadReason, ms: number): void;
  /** Tells how a URL of the host ended: null for any answer. Enough failures in a row give the host up. */
  report(host: string, failure: DownloadReason | null): void;
}

interface Host {
  readonly waiting: (() => void)[];
  active: number;
  /** When the next request may start, by `performance.now()`. */
  nextAt: number;
  delayMs: number;
  failures: number;
  givenUp: DownloadReason | null;
  givenUpUntil: number;
  timer: NodeJS.Timeout | null;
}

/** Hosts remembered while nothing is asked of them: a politeness kept short of by a list of more hosts costs nothing. */
const IDLE_HOSTS = 65_536;

/** How long a host stays given up: a process may live through many runs and retries. */
export const GIVE_UP_MS = 600_000;

/** Turns of one process: whatever asks through one gate keeps to its limits together. */
export function createGate({ concurrency, hostConnections, hostDelayMs, hostFailuresMax }: GateConfig, giveUpMs = GIVE_UP_MS): Gate {
  const hostOf = createHosts(hostDelayMs);
  const inLine: (() => void)[] = [];
  let active = 0;
  const leave = (host: Host): void => {
    host.active -= 1;
    admit(host, hostConnections);
  };
  const release = (host: Host): void => {
    const next = inLine.shift();
    if (next === undefined) active -= 1;
    else next();
    leave(host);
  };
  const giveUp = (host: Host, reason: DownloadReason, ms: number): void => {
    host.givenUpUntil = Math.max(host.givenUpUntil, performance.now() + ms);
    host.givenUp ??= reason;
    admit(host, hostConnections);
  };
  return {
    enter: async (name, signal) => {
      const host = hostOf(name);
      if (host.givenUp !== null && performance.now() > host.givenUpUntil) {
        host.givenUp = null;
        host.failures = 0;
      }
      await turn(host.waiting, () => admit(host, hostConnections), signal);
      if (host.givenUp !== null) return { reason: host.givenUp };
      // A place among all requests; whoever waits for it keeps the host's, so that hosts stay in order.
      if (active < concurrency) active += 1;
      else await turn(inLine, () => undefined, signal).catch((error: unknown) => {
        leave(host);
        throw error;
      });
      return { release: () => release(host) };
    },
    pause: (name, ms) => {
      const host = hostOf(name);
      host.nextAt = Math.max(host.nextAt, performance.now() + ms);
    },
    slow: (name, delayMs) => {
      const host = hostOf(name);
      host.delayMs = Math.max(host.delayMs, delayMs);
    },
    giveUp: (name, reason, ms) => giveUp(hostOf(name), reason, ms),
    report: (name, failure) => {
      const host = hostOf(name);
      host.failures = failure === null ? 0 : host.failures + 1;
      if (failure !== null && host.failures >= hostFailuresMax) giveUp(host, failure, giveUpMs);
    },
  };
}

function createHosts(delayMs: number): (name: string) => Host {
  const hosts = new Map<string, Host>();
  return (name) => {
    let host = hosts.get(name);
    if (host === undefined) {
      host = { waiting: [], active: 0, nextAt: 0, delayMs, failures: 0, givenUp: null, givenUpUntil: 0, timer: null };
      hosts.set(name, host);
      if (hosts.size > IDLE_HOSTS) forgetIdle(hosts);
    }
    return host;
  };
}

/** Calls those whose turn has come, and comes back when the next one's may have. */
function admit(host: Host, connections: number): void {
  while (host.waiting.length > 0 && (host.givenUp !== null || host.active < connections)) {
    const wait = host.nextAt - performance.now();
    if (host.givenUp === null && wait > 0) {
      host.timer ??= setTimeout(() => {
        host.timer = null;
        admit(host, connections);
      }, Math.ceil(wait));
      return;
    }
    if (host.givenUp === null) {
      host.active += 1;
      host.nextAt = performance.now() + host.delayMs;
    }
    host.waiting.shift()!();
  }
}

/** Stands in a line until called, or until the signal is aborted. */
function turn(line: (() => void)[], begin: () => void, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      const at = line.indexOf(call);
      if (at < 0) return; // called already
      line.splice(at, 1);
      reject(new WinnowError('ABORTED', 'Stopped before the end; the next run goes on from here', { cause: signal.reason }));
    };
    const call = (): void => {
      signal.removeEventListener('abort', stop);
      resolve();
    };
    line.push(call);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    begin();
  });
}

function forgetIdle(hosts: Map<string, Host>): void {
  for (const [name, { active, waiting, timer }] of hosts) {
    if (hosts.size <= IDLE_HOSTS / 2) return;
    if (active === 0 && waiting.length === 0 && timer === null) hosts.delete(name);
  }
}
