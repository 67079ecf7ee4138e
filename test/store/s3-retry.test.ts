import { describe, expect, it } from 'vitest';
import { WinnowError } from '../../src/errors.ts';
import { S3Fault } from '../../src/store/s3-errors.ts';
import { createRetrier } from '../../src/store/s3-retry.ts';

const LIMITS = { attempts: 5, delayMs: 8, delayMsMax: 20, budget: 10 };
const torn = (): never => {
  throw new S3Fault('torn', 'short');
};
const named = (name: string, httpStatusCode: number): Error => Object.assign(new Error(name), { name, $metadata: { httpStatusCode } });

describe('a call that is tried again', () => {
  it('gives the first result, and tells each try how many went before', async () => {
    const seen: number[] = [];
    const result = await createRetrier(LIMITS, () => 0).run(async (tried) => {
      seen.push(tried);
      return tried < 3 ? torn() : 'done';
    });
    expect(result).toBe('done');
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it('pauses longer each time up to the longest pause, and four times as long when told to slow down', async () => {
    for (const [error, longest] of [[new S3Fault('torn', ''), 8 + 16 + 20 + 20], [named('SlowDown', 503), 4 * 20]] as const) {
      const started = performance.now();
      await expect(createRetrier(LIMITS, () => 1).run(() => Promise.reject(error))).rejects.toBe(error);
      expect(performance.now() - started).toBeGreaterThan(longest - 6);
    }
  });

  it('is not tried again when nothing would change, and once when the clock was wrong', async () => {
    for (const [error, tries] of [[named('AccessDenied', 403), 1], [named('NoSuchBucket', 404), 1], [new WinnowError('INPUT_MALFORMED', 'x'), 1], [named('NotImplemented', 501), 1], [named('RequestTimeTooSkewed', 403), 2], [named('InternalError', 500), 5], [new TypeError('a fault of ours'), 1]] as const) {
      let count = 0;
      await expect(createRetrier(LIMITS, () => 0).run(async () => {
        count += 1;
        throw error;
      })).rejects.toBe(error);
      expect(count, error.name).toBe(tries);
    }
  });

  it('shares its budget with all others, and earns some of it by success', async () => {
    const retrier = createRetrier(LIMITS, () => 0);
    let count = 0;
    const fail = (): Promise<unknown> => retrier.run(async () => {
      count += 1;
      return torn();
    }).catch(() => undefined);
    for (let i = 0; i < 20; i++) await fail();
    expect(count).toBe(20 + LIMITS.budget);
    for (let i = 0; i < 4; i++) await retrier.run(async () => 'fine');
    await fail();
    expect(count).toBe(20 + LIMITS.budget + 1 + 2);
  });
});
