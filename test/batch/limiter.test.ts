import { describe, expect, it } from 'vitest';
import { createLimiter } from '../../src/batch/limiter.ts';

describe('createLimiter', () => {
  it('runs so many at once, in order, and goes on after a failure', async () => {
    const limiter = createLimiter(3);
    const begun: number[] = [];
    let [active, most] = [0, 0];
    const ended = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        limiter(async () => {
          begun.push(i);
          most = Math.max(most, ++active);
          await new Promise((resolve) => setTimeout(resolve, 20 - i));
          active--;
          if (i % 5 === 0) throw new Error(`no ${i}`);
          return i;
        }),
      ),
    );
    expect(begun).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(most).toBe(3);
    ended.forEach((end, i) => expect(end.status === 'fulfilled' ? end.value : (end.reason as Error).message).toBe(i % 5 === 0 ? `no ${i}` : i));
  });
});
