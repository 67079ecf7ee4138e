/**
 * Work on the next items while the current one is used: results in item order, with bounds on how many items are under
 * way, on what they hold together, and on how many results wait.
 */
import assert from 'node:assert/strict';
import { throwIfAborted } from '../errors.ts';

export interface AheadBounds {
  /** Items under way at once. */
  readonly atOnce: number;
  /** Items under way or done and not yet taken. */
  readonly ahead: number;
  /** Bytes that items under way hold together. An item that holds more goes alone. */
  readonly sizeBytesMax: number;
}

/** One thing to do. */
export interface AheadItem<R> {
  /** Bytes it is expected to hold while it is under way. */
  readonly sizeBytes: number;
  /** @param hold tells what it holds in fact, once that is known */
  work(hold: (sizeBytes: number) => void): Promise<R>;
}

/**
 * Yields the results of `items` in their order; items are begun in that order too.
 *
 * Ends early when the consumer stops, when an item fails, or between items when `signal` is aborted; nothing new is begun
 * then, and nothing is under way any more when it has ended.
 *
 * @throws {WinnowError} ABORTED; whatever the next item in order fails with
 */
export async function* readAhead<R>(items: readonly AheadItem<R>[], { atOnce, ahead, sizeBytesMax }: AheadBounds, signal: AbortSignal): AsyncGenerator<R> {
  assert(atOnce >= 1 && ahead >= 1, `Expected at least one item at once and ahead, got ${atOnce} and ${ahead}`);
  const results = new Map<number, Promise<R>>();
  let begun = 0;
  let taken = 0;
  let active = 0;
  let heldBytes = 0;
  const begin = async ({ sizeBytes, work }: AheadItem<R>): Promise<R> => {
    let own = sizeBytes;
    active += 1;
    heldBytes += own;
    try {
      return await work((actual) => {
        heldBytes += actual - own;
        own = actual;
        beginMore();
      });
    } finally {
      active -= 1;
      heldBytes -= own;
      beginMore();
    }
  };
  const beginMore = (): void => {
    while (begun < items.length && begun < taken + ahead && active < atOnce) {
      const item = items[begun]!;
      if (active > 0 && heldBytes + item.sizeBytes > sizeBytesMax) return;
      const result = begin(item);
      result.catch(() => undefined); // heard when its turn comes, if it comes
      results.set(begun++, result);
    }
  };
  try {
    for (; taken < items.length; taken++) {
      throwIfAborted(signal);
      beginMore();
      // Items are begun in order, so one that has not been begun here has nothing before it that holds it up.
      const result = results.get(taken)!;
      results.delete(taken);
      yield await result;
    }
  } finally {
    begun = items.length;
    await Promise.allSettled(results.values());
  }
}
