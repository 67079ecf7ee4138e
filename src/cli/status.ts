/** `winnow status`, `workers`, `cancel` and `retry`: what goes on in a queue, in lines of at most 80 columns, and what to do about it. */
import { type FailedTask, type QueueStatus, type StageStatus, type WorkerStatus, cancelRuns, readStatus, retryFailed } from '../../workers/status.ts';
import { wrapLine } from '../report/wrap.ts';
import { duration } from './progress.ts';

export interface Said {
  readonly text: string;
  readonly json: unknown;
}

/** Every stage, run and worker of a queue. @throws {WinnowError} STORE_UNAVAILABLE, STORE_DENIED, CONFIG_INVALID */
export async function status(redis: string): Promise<Said> {
  const found = await readStatus(redis);
  return { text: renderStatus(found, Date.now()), json: found };
}

/** Who is connected and what each serves. @throws {WinnowError} as `status` */
export async function workers(redis: string): Promise<Said> {
  const { workers } = await readStatus(redis);
  return { text: renderWorkers(workers), json: workers };
}

/** @param run an id, or null: all runs. @throws {WinnowError} as `status` */
export async function cancel(redis: string, run: string | null): Promise<Said> {
  const removed = await cancelRuns(redis, run);
  const lines = Object.entries(removed).map(([id, count]) => `${id}: cancelled, ${plural(count, 'task')} taken out; \`winnow run\` goes on from what is done\n`);
  return { text: lines.join('') || 'No run to cancel.\n', json: removed };
}

/** @param run an id, or null: of all runs. @throws {WinnowError} as `status` */
export async function retry(redis: string, run: string | null): Promise<Said> {
  const retried = await retryFailed(redis, run);
  const lines = Object.entries(retried).map(([stage, count]) => `${stage}: ${plural(count, 'failed task')} back in line\n`);
  return { text: lines.join('') || 'No failed task.\n', json: retried };
}

/** @param now in milliseconds since 1970 */
export function renderStatus({ runs, stages, workers, failures }: QueueStatus, now: number): string {
  const runLines = runs.flatMap(({ run, name, number, store, scope, stage, tasks, done, failed, seen }) => [
    `  ${number}. ${name} (${run})`,
    `     ${store}`,
    `     ${scope === null ? 'no tasks yet' : `${stage}, ${scope}: ${done} of ${tasks} tasks${failed > 0 ? `, ${failed} failed` : ''}`}; driver seen ${duration(Math.max(0, now - seen) / 1000)} ago`,
  ]);
  return [
    'Runs, first in line first',
    ...(runs.length === 0 ? ['  none'] : runLines),
    '',
    'Stages               waiting   active     done   failed  tasks/min        to go',
    ...stages.map(stageLine),
    '',
    renderWorkers(workers).trimEnd(),
    ...(failures.length === 0 ? [] : ['', 'Failed, newest first (`winnow retry --failed` puts them back in line)', ...failures.map(failureLine)]),
    '',
  ].flatMap((lines) => lines.split('\n')).flatMap((line) => wrapLine(line)).join('\n');
}

function stageLine({ stage, waiting, active, delayed, done, failed, perMinute, etaSeconds }: StageStatus): string {
  const cell = (value: string | number, width: number): string => String(value).padStart(width);
  const rate = perMinute === null ? '–' : perMinute >= 100 ? perMinute.toFixed(0) : perMinute.toPrecision(2);
  const eta = etaSeconds === null ? '–' : etaSeconds === 0 ? '' : duration(etaSeconds);
  return `  ${stage.padEnd(16)} ${cell(waiting + delayed, 9)} ${cell(active, 8)} ${cell(done, 8)} ${cell(failed, 8)} ${cell(rate, 10)} ${cell(eta, 12)}`;
}

function renderWorkers(workers: readonly WorkerStatus[]): string {
  const lines = workers.map(({ host, pid, stages, concurrency, providers, version }) => `  ${host} ${pid}: ${stages.join(', ')}; ${concurrency} at once; ${providers.join(', ')}; winnow ${version}`);
  return `${['Workers', ...(lines.length === 0 ? ['  none: `winnow worker` starts one'] : lines)].join('\n')}\n`;
}

function failureLine({ stage, task, reason }: FailedTask): string {
  const text = reason.replaceAll(/\s+/g, ' ');
  return `  ${stage} ${task}\n    ${text.length > 300 ? `${text.slice(0, 299)}…` : text}`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
