/** Kinds of tasks that try a worker: nothing at all, blocking, failing, dying. Each run of one leaves a file, so that runs can be counted. */
import { randomUUID } from 'node:crypto';
import { WinnowError } from '../../src/errors.ts';
import type { TaskEnv, TaskKind } from '../../src/run/stage.ts';

export interface OddPayload {
  readonly number: number;
  /** What the task with this number does. Default: nothing. */
  readonly way?: 'block' | 'poison' | 'flaky' | 'die' | 'rest' | 'model';
  readonly ms?: number;
  readonly text?: string;
  /** Whether its runs are to be counted. Default true. */
  readonly counted?: boolean;
}

export const odd: TaskKind<OddPayload, number> = {
  name: 'odd',
  version: 1,
  run: async ({ number, way, ms = 0, text = '', counted = true }, env) => {
    if (counted) await env.store.write(`counted/${number}/${randomUUID()}`, new Uint8Array(0));
    if (way === 'block') block(ms);
    if (way === 'rest') await new Promise((resolve) => setTimeout(resolve, ms));
    if (way === 'poison') throw new WinnowError('INPUT_MALFORMED', `Expected something else as number ${number}`);
    if (way === 'die') process.kill(process.pid, 'SIGKILL');
    if (way === 'model' && env.locations['model'] === undefined) throw new WinnowError('MODEL_UNAVAILABLE', 'Expected a model here, found none');
    if (way === 'flaky' && (await runsOf(env, number)) < 2) throw new WinnowError('STORE_UNAVAILABLE', 'Not now');
    env.advance(1);
    return number * 2 + text.length;
  },
};

/** As native code does: nothing else of this thread runs meanwhile. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

async function runsOf({ store }: TaskEnv, number: number): Promise<number> {
  let runs = 0;
  for await (const _ of store.list(`counted/${number}/`)) runs++;
  return runs;
}

export const tasks = { odd: [odd] };
