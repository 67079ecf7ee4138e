/**
 * A contest: the product and its peers at the same work, in one run and in turns, so that a noisy machine falls on all
 * alike. Rates are medians over the rounds, ratios medians of each round's ratio: only ratios travel between machines.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { throwIfAborted } from '../errors.ts';

/** One run of a contender. */
export interface Round {
  readonly seconds: number;
  /** Processor time of all its threads. */
  readonly cpuSeconds: number;
  /** What it found, such as an inertia: beside the times, for judging that the work was the same. */
  readonly facts: Readonly<Record<string, number>>;
}

export interface Contender {
  readonly name: string;
  /** Units of work of one run. */
  readonly amount: number;
  run(): Promise<Round>;
  close(): Promise<void>;
}

export interface Contest {
  readonly work: string;
  /** The work in words and numbers. */
  readonly what: string;
  /** What `amount` counts, such as `GFLOP` or `images`. */
  readonly unit: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly ours: Contender;
  readonly peers: readonly Contender[];
  /** Peers that cannot be measured here, with the reason. */
  readonly missing: readonly string[];
  /**
   * Runs that do not count: one of each contender before all rounds (the default), one before every turn, for runs of
   * a second, which caches, page reclaim and clocks would decide after the others had their seconds, or none, for runs of minutes.
   */
  readonly warm?: 'once' | 'turn' | 'never';
}

export interface ContenderResult {
  readonly name: string;
  /** Units a second, median. */
  readonly rate: number;
  /** Of one run, median. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly rounds: readonly number[];
  readonly facts: Readonly<Record<string, number>>;
}

export interface ContestResult {
  readonly work: string;
  readonly what: string;
  readonly unit: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Ours first. */
  readonly contenders: readonly ContenderResult[];
  /** Rate of ours over the peer's, median of the rounds' ratios; above 1 ours is faster. */
  readonly ratios: readonly { readonly peer: string; readonly rate: number; readonly cpu: number }[];
  readonly missing: readonly string[];
  /** Peak resident memory of this process while ours ran, in MB; null where the system does not say. */
  readonly peakMb: number | null;
}

/** Runs each contender once a round; every round begins with another one. Closes all of them, whatever happens. */
export async function hold(contest: Contest, rounds: number, signal?: AbortSignal): Promise<ContestResult> {
  const { ours, peers, warm = 'once' } = contest;
  const all = [ours, ...peers];
  const measured = all.map((): Round[] => []);
  try {
    if (warm === 'once') for (const one of all) await one.run();
    let peakMb: number | null = 0;
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < all.length; turn++) {
        throwIfAborted(signal);
        const at = (round + turn) % all.length;
        if (warm === 'turn') await all[at]!.run();
        if (at === 0) resetPeak();
        measured[at]!.push(await all[at]!.run());
        const peak = at === 0 ? readPeakMb() : 0;
        peakMb = peak === null || peakMb === null ? null : Math.max(peakMb, peak);
      }
    }
    return judge(contest, measured, peakMb);
  } finally {
    for (const one of all) await one.close();
  }
}

/** Times one run of this process. @param run returns the facts of the run */
export async function timed(run: () => Promise<Readonly<Record<string, number>> | undefined>): Promise<Round> {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const facts = (await run()) ?? {};
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuSeconds: (user + system) / 1e6, facts };
}

/** The middle value; of an even number the upper one. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function judge({ ours, peers, work, what, unit, settings, missing }: Contest, measured: readonly (readonly Round[])[], peakMb: number | null): ContestResult {
  const contenders = [ours, ...peers].map(({ name, amount }, at): ContenderResult => {
    const rounds = measured[at]!;
    const seconds = median(rounds.map((round) => round.seconds));
    return { name, rate: amount / seconds, seconds, cpuSeconds: median(rounds.map((round) => round.cpuSeconds)), rounds: rounds.map((round) => round.seconds), facts: rounds.at(-1)!.facts };
  });
  const ratios = peers.map(({ name, amount }, i) => {
    const against = measured[i + 1]!;
    const inRound = (of: (round: Round) => number): number => median(measured[0]!.map((round, r) => (of(against[r]!) / amount / (of(round) / ours.amount))));
    return { peer: name, rate: inRound((round) => round.seconds), cpu: inRound((round) => round.cpuSeconds) };
  });
  return { work, what, unit, settings, contenders, ratios, missing, peakMb };
}

/** Linux forgets the high-water mark of a process that writes 5 here; elsewhere it only grows. */
function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // The mark then is that of the whole command.
  }
}

function readPeakMb(): number | null {
  try {
    return Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
  } catch {
    return null;
  }
}
