/** A peer's side of the talk that src/bench/peer.ts begins: ready, then one answer a line. */
import { createInterface } from 'node:readline';

export const settings = JSON.parse(process.argv[2] ?? '{}') as Record<string, unknown>;

/** @param run one round; its facts, if any, go with the times */
export async function serve(name: string, run: () => Promise<Record<string, number> | undefined>): Promise<void> {
  say({ ready: name });
  for await (const _line of createInterface({ input: process.stdin })) {
    const cpu = process.cpuUsage();
    const started = performance.now();
    const facts = (await run()) ?? {};
    const seconds = (performance.now() - started) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    say({ seconds, cpuSeconds: (user + system) / 1e6, facts });
  }
  process.exit(0);
}

/** Index of the setting whose better of two short runs is the fastest; a first one of each is thrown away. */
export async function fastest(trials: readonly (() => Promise<unknown>)[]): Promise<number> {
  const seconds = trials.map(() => Infinity);
  for (let turn = 0; turn < 3; turn++) {
    for (const [i, trial] of trials.entries()) {
      const started = performance.now();
      await trial();
      if (turn > 0) seconds[i] = Math.min(seconds[i]!, performance.now() - started);
    }
  }
  return seconds.indexOf(Math.min(...seconds));
}

function say(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
