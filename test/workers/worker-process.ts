/** Program: a worker as `winnow worker` starts it. Its request, without log and signal, comes as JSON in the first argument. */
import { type WorkerRequest, worker } from '../../src/cli/worker.ts';
import { WinnowError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort(new Error(signal)));
const request = JSON.parse(process.argv[2]!) as Omit<WorkerRequest, 'log' | 'signal'>;
try {
  await worker({ ...request, log: createLog({ level: 'debug' }), signal: stop.signal });
} catch (error) {
  process.stderr.write(`${error instanceof WinnowError ? `${error.code}: ${error.message}` : String(error)}\n`);
  process.exitCode = 1;
}
