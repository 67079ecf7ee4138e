/** Workers and drivers as processes of their own, so that they can be killed as such. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { WorkerRequest } from '../../src/cli/worker.ts';

const TSX = import.meta.resolve('tsx');
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export const ODD_TASKS = new URL('./odd-tasks.ts', import.meta.url).href;

export interface Program {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly stderr: string; readonly ms: number }>;
  /** Waits until stderr has the text. */
  saw(text: string): Promise<void>;
  stderr(): string;
}

/** @param through a command that runs the program, whose name and arguments come after it */
export function startWorker(request: Partial<Omit<WorkerRequest, 'log' | 'signal'>> & { redis: string }, through: readonly string[] = []): Program {
  const whole = { stages: null, concurrency: 1, providers: null, stores: [], locations: [], drainMs: 10_000, ...request };
  return start(here('./worker-process.ts'), [JSON.stringify(whole)], through);
}

export function startDriver(recipePath: string, store: string, redis: string, settings: object = {}): Program {
  return start(here('./driver-process.ts'), [recipePath, store, redis, JSON.stringify(settings)]);
}

function start(program: string, args: readonly string[], through: readonly string[] = []): Program {
  const started = performance.now();
  const [command, ...rest] = [...through, process.execPath, '--import', TSX, program, ...args];
  const child = spawn(command!, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const ended = new Promise<{ code: number | null; stderr: string; ms: number }>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve({ code, stderr, ms: performance.now() - started }));
  });
  const saw = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => void (stderr.includes(text) && resolve());
      child.stderr.on('data', look);
      look();
      void ended.then((end) => reject(new Error(`ended before it said "${text}": ${end.stderr}`)), reject);
    });
  return { child, ended, saw, stderr: () => stderr };
}

/** Ends a process, whatever it does. */
export async function kill({ child, ended }: Program): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}
