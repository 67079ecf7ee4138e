/**
 * Tries a call again, with pauses that double and are drawn from their whole length ("full jitter", Brooker, AWS
 * Architecture Blog 2015), so that many workers do not come back at once. A budget shared by all calls of a connection keeps
 * retries from doubling the load of a server that is down: a call that succeeds earns a part of one.
 */
import { setTimeout } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { type S3Verdict, judgeS3Error } from './s3-errors.ts';

export interface RetryLimits {
  /** Tries of one call, the first included. */
  readonly attempts: number;
  /** Longest first pause; doubles with each try. */
  readonly delayMs: number;
  readonly delayMsMax: number;
  /** Retries that all calls together may use up ahead of what successes earn. */
  readonly budget: number;
}

export interface Retrier {
  /**
   * @param attempt is told how many tries went before
   * @throws what the last try threw
   */
  run<T>(attempt: (tried: number) => Promise<T>, options?: { readonly attempts?: number; readonly signal?: AbortSignal | undefined }): Promise<T>;
}

/** @param random uniform in [0, 1); pauses differ between processes on purpose and decide no output */
export function createRetrier(limits: RetryLimits, random: () => number = Math.random): Retrier {
  let budget = limits.budget;
  return {
    run: async (attempt, { attempts = limits.attempts, signal } = {}) => {
      for (let tried = 0; ; tried++) {
        throwIfAborted(signal);
        try {
          const result = await attempt(tried);
          budget = Math.min(limits.budget, budget + EARNED);
          return result;
        } catch (error) {
          throwIfAborted(signal);
          const verdict = judgeS3Error(error);
          if (verdict === 'final' || tried + 1 >= attempts || (verdict === 'once' && tried > 0) || budget < 1) throw error;
          budget -= 1;
          await pause(random() * longest(verdict, tried, limits), signal);
        }
      }
    },
  };
}

/** Of a retry, for a call that succeeds: a server that fails a third of all calls is still within the budget. */
const EARNED = 0.5;

function longest(verdict: S3Verdict, tried: number, { delayMs, delayMsMax }: RetryLimits): number {
  return Math.min(delayMsMax, delayMs * 2 ** tried * (verdict === 'throttled' ? 4 : 1));
}

async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(delayMs, undefined, signal === undefined ? {} : { signal }).catch(() => throwIfAborted(signal));
}
