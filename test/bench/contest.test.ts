/** Fair turns, medians of ratios, and an end for everybody. */
import { describe, expect, it } from 'vitest';
import { type Contender, hold, median, timed } from '../../src/bench/contest.ts';
import { WinnowError } from '../../src/errors.ts';

function contender(name: string, amount: number, seconds: readonly number[], diary: string[], fails = false): Contender {
  let run = 0;
  return {
    name, amount,
    run: async () => {
      diary.push(name);
      if (fails) throw new Error(name);
      return { seconds: seconds[run++ % seconds.length]!, cpuSeconds: 1, facts: { run } };
    },
    close: async () => void diary.push(`close ${name}`),
  };
}

const contest = { work: 'assign', what: 'a test', unit: 'rows', settings: {}, missing: [] };

describe('hold', () => {
  it('runs each once a round, each round begun by another, after one run that does not count', async () => {
    const diary: string[] = [];
    await hold({ ...contest, ours: contender('a', 1, [1], diary), peers: [contender('b', 1, [1], diary), contender('c', 1, [1], diary)] }, 3);
    expect(diary.join(' ')).toBe('a b c a b c b c a c a b close a close b close c');
  });

  it('warms each up before its turn, or not at all', async () => {
    for (const [warm, expected] of [['turn', 'a a b b b b a a'], ['never', 'a b b a']] as const) {
      const diary: string[] = [];
      await hold({ ...contest, ours: contender('a', 1, [1], diary), peers: [contender('b', 1, [1], diary)], warm }, 2);
      expect(diary.join(' ')).toBe(`${expected} close a close b`);
    }
  });

  it('gives medians of rates, and of the ratios of each round', async () => {
    const ours = contender('ours', 10, [1, 2, 4], []);
    const peer = contender('peer', 20, [2, 16, 8], []);
    const { contenders, ratios } = await hold({ ...contest, ours, peers: [peer], warm: 'never' }, 3);
    expect(contenders.map(({ seconds, rate }) => [seconds, rate])).toEqual([[2, 5], [8, 2.5]]);
    expect(contenders[0]!.rounds).toEqual([1, 2, 4]);
    // Seconds a unit, peer's over ours: 0.1 / 0.1, 0.8 / 0.2, 0.4 / 0.4.
    expect(ratios).toEqual([{ peer: 'peer', rate: 1, cpu: 0.5 }]);
  });

  it('closes all when one fails', async () => {
    const diary: string[] = [];
    const held = hold({ ...contest, ours: contender('a', 1, [1], diary), peers: [contender('b', 1, [1], diary, true)] }, 2);
    await expect(held).rejects.toThrow('b');
    expect(diary).toEqual(['a', 'b', 'close a', 'close b']);
  });

  it('stops between turns when it is told to', async () => {
    const stop = new AbortController();
    const diary: string[] = [];
    const ours = contender('a', 1, [1], diary);
    const run: Contender['run'] = () => {
      stop.abort();
      return ours.run();
    };
    const held = hold({ ...contest, ours: { ...ours, run }, peers: [contender('b', 1, [1], diary)], warm: 'never' }, 5, stop.signal);
    await expect(held).rejects.toThrow(WinnowError);
    expect(diary).toEqual(['a', 'close a', 'close b']);
  });
});

describe('timed', () => {
  it('measures wall and processor time', async () => {
    const { seconds, cpuSeconds, facts } = await timed(async () => {
      await new Promise((resolve) => setTimeout(resolve, 60));
      return { found: 7 };
    });
    expect(seconds).toBeGreaterThan(0.055);
    expect(cpuSeconds).toBeLessThan(seconds + 0.5);
    expect(facts).toEqual({ found: 7 });
  });
});

it('the median is the middle', () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([2])).toBe(2);
});
