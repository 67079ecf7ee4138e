/** One round: a run over a queue, a fault at its moment, what the run ended in, and the resume where it ended in an error. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startWinnow } from '../../helpers/winnow.ts';
import { type Program, kill, startWorker } from '../../workers/processes.ts';
import type { RedisServer } from '../../workers/redis-server.ts';
import type { Hashes, Place, RoundStore } from './places.ts';

/** A driver, which is `winnow run --redis`. */
export type Driver = Pick<Program, 'child' | 'ended' | 'saw'>;

export interface Scene {
  readonly redis: RedisServer;
  readonly place: Place;
  readonly store: RoundStore;
  /** Two good ones when the round begins. */
  readonly workers: Program[];
  driver: Driver;
  startWorker(request?: Partial<Parameters<typeof startWorker>[0]>, through?: readonly string[]): Program;
  startDriver(more?: readonly string[]): Driver;
  /** Another one for each round, the same in each run of this program. */
  readonly seed: number;
}

export interface Fault {
  readonly place: 'folder' | 'disk' | 'model' | 'buckets';
  /** Whether a worker joins: it is started so early that it serves at the moment. */
  readonly joins?: true;
  /** Before the driver starts. */
  prepare?(scene: Scene): Promise<() => Promise<void>>;
  /** What happens, at the moment. */
  strike(scene: Scene): Promise<Aftermath | undefined>;
}

export interface Aftermath {
  /** After an error: mends what does not mend itself. @returns options of the resume */
  mend?(said: string): Promise<readonly string[]>;
  /** At the end of the round. @returns what the programs met. @throws when they did not as they must */
  tell?(): Promise<string>;
  /** A key that the fault itself made other. Where nothing read it again, it may stay so. */
  readonly spoilt?: string;
}

export interface Round {
  readonly moment: number;
  /** false: the run was over before, and nothing happened. */
  readonly struck: boolean;
  readonly code: number | null;
  /** Codes of the errors that the driver ended with. */
  readonly errors: readonly string[];
  /** Exit code of the resume; null: there was none. */
  readonly resumed: number | null;
  /** The key that the fault made other and that nothing read again. */
  readonly unread: string | null;
  /** Other keys that are not as in a local run. */
  readonly others: readonly string[];
  readonly seconds: number;
  /** From the driver's place in line until the place's key was there. */
  readonly windowSeconds: number;
  readonly met: string;
  /** What the driver, and the resume, said last. */
  readonly said: string;
}

export const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** @param fault null: none */
export async function playRound(redis: RedisServer, place: Place, name: string, fault: Fault | null, { moment, windowSeconds, seed }: { moment: number; windowSeconds: number; seed: number }): Promise<Round> {
  const store = await place.open(name);
  const begin = (request: object = {}, through: readonly string[] = []): Program => startWorker({ redis: redis.url, concurrency: 2, lockMs: 2_000, ...request }, through);
  const drive = (more: readonly string[] = []): Driver => startWinnow(['run', place.recipePath, '--store', store.uri, '--redis', redis.url, ...more]);
  const workers = [begin(), begin()];
  let undo = async (): Promise<void> => undefined;
  try {
    const began = performance.now();
    await Promise.all(workers.map((worker) => worker.saw('serves')));
    const startMs = fault?.joins === true ? performance.now() - began : 0;
    const scene = { redis, place, store, workers, startWorker: begin, startDriver: drive, seed } as unknown as Scene;
    undo = (await fault?.prepare?.(scene)) ?? undo;
    const started = performance.now();
    scene.driver = drive();
    await scene.driver.saw('in line');
    const inLine = performance.now();
    const over = scene.driver.ended.then(() => false);
    const window = watch(store, place.until, over);
    const struck = await Promise.race([wait(1_000 * moment * windowSeconds - startMs).then(() => true), over]);
    const aftermath = (struck ? await fault?.strike(scene) : undefined) ?? {};
    const { code, stderr } = await scene.driver.ended;
    let [resumed, said]: [number | null, string] = [null, stderr];
    if (code !== 0) {
      const again = await drive((await aftermath.mend?.(stderr)) ?? []).ended;
      [resumed, said] = [again.code, `${stderr}\n${again.stderr}`];
    }
    const seconds = (performance.now() - started) / 1000;
    const met = (await aftermath.tell?.()) ?? '';
    const isSpoilt = (key: string): boolean => resumed === null && key === aftermath.spoilt;
    const found = (resumed ?? code) === 0 ? different(await store.hashes(), place.expected) : [];
    const others = found.filter((key) => !isSpoilt(key));
    return { moment, struck, code, errors: errorsIn(stderr), resumed, unread: found.find(isSpoilt) ?? null, others, seconds, windowSeconds: Math.max(0, ((await window) - inLine) / 1000), met, said };
  } finally {
    await Promise.all(workers.map(kill));
    await undo();
    await store.remove();
  }
}

/** When the key was there, or the run over. */
async function watch({ folder }: RoundStore, key: string, over: Promise<boolean>): Promise<number> {
  let isOver = false;
  void over.then(() => (isOver = true));
  while (!isOver && !existsSync(join(folder, key))) await wait(20);
  return performance.now();
}

function different(found: Hashes, expected: Hashes): string[] {
  return [...new Set([...Object.keys(found), ...Object.keys(expected)])].filter((key) => found[key] !== expected[key]).sort();
}

function errorsIn(stderr: string): string[] {
  return [...stderr.matchAll(/^([A-Z]+(?:_[A-Z]+)+|ABORTED): \S/gm)].map(([, code]) => code!);
}

/** Whether it ended as every fault must: in the same bytes, or in one coded error and a resume to them. */
export function isGood({ code, errors, resumed, others }: Round): boolean {
  return others.length === 0 && (code === 0 || (errors.length === 1 && resumed === 0));
}
