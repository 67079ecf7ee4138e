import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AheadItem, readAhead } from '../../src/embed/read-ahead.ts';

const FOREVER = new AbortController().signal;

interface Watch {
  active: number;
  heldBytes: number;
  begun: number;
}

/** Items that hold what they were expected to hold times `grows`, and take `delay` turns of the event loop. */
function watched(specs: readonly { sizeBytes: number; delay: number }[], onBegin: (watch: Watch) => void = () => {}): { items: AheadItem<number>[]; watch: Watch } {
  const watch = { active: 0, heldBytes: 0, begun: 0 };
  const items = specs.map(({ sizeBytes, delay }, i): AheadItem<number> => ({
    sizeBytes,
    work: async () => {
      expect(watch.begun).toBe(i);
      watch.begun += 1;
      watch.active += 1;
      watch.heldBytes += sizeBytes;
      onBegin(watch);
      for (let turn = 0; turn < delay; turn++) await new Promise(setImmediate);
      watch.active -= 1;
      watch.heldBytes -= sizeBytes;
      return i;
    },
  }));
  return { items, watch };
}

describe('readAhead', () => {
  it('gives every result in order and keeps to its bounds, whatever the items hold and take', async () => {
    const item = fc.record({ sizeBytes: fc.integer({ min: 0, max: 120 }), delay: fc.integer({ min: 0, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(item, { maxLength: 40 }), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 2 }), async (specs, atOnce, ahead, slowness) => {
        let taken = 0;
        const { items, watch } = watched(specs, ({ active, heldBytes, begun }) => {
          expect(active).toBeLessThanOrEqual(atOnce);
          expect(begun - taken).toBeLessThanOrEqual(ahead);
          if (active > 1) expect(heldBytes).toBeLessThanOrEqual(100);
        });
        for await (const result of readAhead(items, { atOnce, ahead, sizeBytesMax: 100 }, FOREVER)) {
          expect(result).toBe(taken++);
          for (let turn = 0; turn < slowness; turn++) await new Promise(setImmediate);
        }
        expect(taken).toBe(specs.length);
        expect(watch).toEqual({ active: 0, heldBytes: 0, begun: specs.length });
      }),
      { numRuns: 60 },
    );
  });

  it('works on as many as it may while the consumer is busy', async () => {
    const { items, watch } = watched(Array.from({ length: 30 }, () => ({ sizeBytes: 1, delay: 1 })));
    const results = readAhead(items, { atOnce: 3, ahead: 12, sizeBytesMax: 100 }, FOREVER);
    await results.next();
    expect(watch.active).toBeGreaterThan(0);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    // Item 0 is with the consumer and counts until the next is asked for.
    expect(watch).toEqual({ active: 0, heldBytes: 0, begun: 12 });
    await results.return(undefined);
  });

  it('goes by what items turn out to hold', async () => {
    const gates: (() => void)[] = [];
    const holding = (actual: number): AheadItem<number> => ({
      sizeBytes: 10,
      work: async (hold) => {
        await Promise.resolve();
        hold(actual);
        await new Promise<void>((open) => gates.push(open));
        return actual;
      },
    });
    const settle = async (): Promise<void> => {
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    };
    const heavy = readAhead([90, 5, 5, 5].map(holding), { atOnce: 4, ahead: 4, sizeBytesMax: 25 }, FOREVER);
    const first = heavy.next();
    await settle();
    expect(gates.length).toBe(2); // two began as 10 each, the first turned out to be 90
    gates[0]!();
    expect((await first).value).toBe(90);
    await settle();
    expect(gates.length).toBe(4); // 5 + 10 fit, and as that is 5 too, so does the last
    gates.forEach((open) => open());
    for await (const actual of heavy) expect(actual).toBe(5);
  });

  it('begins nothing more, and leaves nothing under way, when an item fails, the consumer stops or the run is stopped', async () => {
    const stop = new AbortController();
    const { items, watch } = watched(Array.from({ length: 20 }, () => ({ sizeBytes: 1, delay: 3 })));
    const broken = [...items];
    broken[2] = { ...items[2]!, work: async (hold) => {
      await items[2]!.work(hold);
      throw new Error('broke');
    } };
    const seen: number[] = [];
    const taking = async (source: readonly AheadItem<number>[], until: (taken: number) => boolean): Promise<void> => {
      seen.length = 0;
      watch.begun = 0;
      for await (const result of readAhead(source, { atOnce: 2, ahead: 5, sizeBytesMax: 100 }, stop.signal)) {
        seen.push(result);
        if (until(seen.length)) break;
      }
    };
    const idle = (begunMax: number): void => {
      expect(watch).toMatchObject({ active: 0, heldBytes: 0 });
      expect(watch.begun).toBeLessThanOrEqual(begunMax);
    };
    await expect(taking(broken, () => false)).rejects.toThrow('broke');
    expect(seen).toEqual([0, 1]);
    idle(7);
    await taking(items, (taken) => taken === 4);
    idle(8);
    await expect(taking(items, (taken) => (taken === 6 ? stop.abort() : undefined) === null)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
    idle(11);
  });
});
