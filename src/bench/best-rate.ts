/** How calibration times a run: as often as a second allows, since short runs are at the mercy of what else the machine does. */

const TURNS_MIN = 3;
const TURNS_MAX = 10;
const ENOUGH_MS = 1200;

/** The best of several runs: what else the machine does only ever adds to one. @returns units a second */
export async function bestRate(amount: number, run: () => Promise<unknown>): Promise<number> {
  let best = 0;
  const began = performance.now();
  for (let turn = 0; turn < TURNS_MAX && (turn < TURNS_MIN || performance.now() - began < ENOUGH_MS); turn++) {
    const started = performance.now();
    await run();
    best = Math.max(best, (amount / (performance.now() - started)) * 1000);
  }
  return best;
}
