/** Bounds how many reads are under way at once; the others wait in the order they came. */

/** Runs `work` when its turn has come. */
export type Limiter = <T>(work: () => Promise<T>) => Promise<T>;

/** @param atOnce works under way at once, 1 or more */
export function createLimiter(atOnce: number): Limiter {
  const waiting: (() => void)[] = [];
  let active = 0;
  return async (work) => {
    if (active >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
    else active++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) active--;
      else next();
    }
  };
}
