/** One request in its turn: waits for the host, keeps the limits, and gives a value or the reason there is none. */
import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import type { Answer, Client } from './client.ts';
import type { DownloadConfig } from './config.ts';
import type { Gate } from './gate.ts';
import { type Limits, startLimits } from './limits.ts';
import { reasonOfError } from './reason.ts';
import { type DownloadReason, isTransient } from './status.ts';

export type Asked<T> = { readonly value: T } | { readonly reason: DownloadReason; /** Another try is no use: the host was given up. */ readonly isFinal: boolean };

export interface Asker {
  /** @param use reads what it wants of the answer; what is left of the body is dropped */
  ask<T>(url: URL, accept: string, signal: AbortSignal, use: (answer: Answer, limits: Limits) => Promise<T>): Promise<Asked<T>>;
}

/** Requests that share turns and connections. */
export function createAsker(config: DownloadConfig, gate: Gate, client: Client): Asker {
  return {
    ask: async (url, accept, signal, use) => {
      const turn = await gate.enter(url.hostname, signal);
      if ('reason' in turn) return { reason: turn.reason, isFinal: true };
      const limits = startLimits(config.totalTimeoutMs, signal);
      let answer: Answer | null = null;
      try {
        answer = await client.get(url, accept, limits);
        if (answer.status === 429 || answer.status === 503) waitAsAsked(answer, url.hostname, gate, config);
        return { value: await use(answer, limits) };
      } catch (error) {
        throwIfAborted(signal);
        return { reason: reasonOfError(error, limits.isExpired, answer !== null), isFinal: false };
      } finally {
        if (answer !== null) await drop(answer, limits);
        limits.end();
        turn.release();
      }
    },
  };
}

/**
 * Tries again after transient ends, each wait twice as long as the one before.
 *
 * @param once one try; `isFinal` ends the tries whatever the status is
 */
export async function tryPatiently<T extends { readonly status: string; readonly isFinal: boolean }>({ retries, retryDelayMs }: Pick<DownloadConfig, 'retries' | 'retryDelayMs'>, signal: AbortSignal, once: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const ended = await once();
    if (attempt === retries || ended.isFinal || !isTransient(ended.status)) return ended;
    await sleep(retryDelayMs * 2 ** attempt, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** Retry-After, in seconds or as a date (RFC 9110, 10.2.3). */
function waitAsAsked({ headers }: Answer, host: string, gate: Gate, { retryAfterMaxMs }: DownloadConfig): void {
  const text = headers['retry-after']?.trim() ?? '';
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  if (!(ms > 0)) return;
  if (ms > retryAfterMaxMs) gate.giveUp(host, 'rate-limited', ms);
  else gate.pause(host, ms);
}

/** A short rest is read so that its connection can be used again; a long or slow one costs the connection. */
async function drop({ body }: Answer, limits: Limits): Promise<void> {
  if (body.readableEnded || body.destroyed || limits.signal.aborted) {
    body.destroy();
    return;
  }
  limits.arm(DROP_MS);
  let sizeBytes = 0;
  try {
    for await (const chunk of body) if ((sizeBytes += (chunk as Uint8Array).byteLength) > DROP_BYTES) break;
  } catch {
    // Only the connection is lost.
  } finally {
    body.destroy();
  }
}

const DROP_BYTES = 16_384;
const DROP_MS = 1_000;
