/**
 * What the queue costs: an empty task to a worker and back, tasks a second with four workers, and what 10,000 waiting tasks take of
 * Redis and of the driver. Run with `npx tsx test/bench/queue-overhead.ts [tasks]`; needs /usr/bin/redis-server.
 */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { SILENT } from '../../src/log.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { createQueueExecutor } from '../../workers/executor.ts';
import { QUEUED_MAX } from '../../workers/feed.ts';
import { type OddPayload, odd } from '../workers/odd-tasks.ts';
import { ODD_TASKS, startWorker } from '../workers/processes.ts';
import { startRedis } from '../workers/redis-server.ts';

const STAGE = 'cluster';
const LATENCIES = 300;
const tasks = Number(process.argv[2] ?? 10_000);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const empty = (number: number): OddPayload => ({ number, counted: false });

const server = await startRedis();
const folder = mkdtempSync(join(tmpdir(), 'winnow-queue-'));
const redis = new Redis(server.url);
const store = await openFsStore(folder);
const stop = new AbortController();
const open = () =>
  createQueueExecutor({
    redis: server.url, store, signal: stop.signal, log: SILENT, recipe: { name: 'bench' }, locations: {}, stageOf: () => STAGE,
    settings: { blockRows: 1024, memoryMb: 64 },
    execution: { concurrency: 1, threads: 1, blockRows: 1024, memoryBytes: 2 ** 26 },
    onAdvance: () => undefined,
    onNote: () => undefined,
  });
const usedMb = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))![1]) / 2 ** 20;
const rssMb = (): number => process.memoryUsage.rss() / 2 ** 20;
const start = () => startWorker({ redis: server.url, stages: [STAGE], concurrency: 1, taskModules: [ODD_TASKS] });
const load = (): string => `load ${loadavg().map((one) => one.toFixed(1)).join(' ')}`;

const executor = await open();
const waitingMost = Math.min(tasks, QUEUED_MAX);
let workers = [start()];
try {
  const before = { used: await usedMb(), rss: rssMb() };
  await executor.map(odd, [empty(-1)], 'warm');
  const ms: number[] = [];
  for (let i = 0; i < LATENCIES; i++) {
    const started = performance.now();
    await executor.map(odd, [empty(i)], 'one');
    ms.push(performance.now() - started);
  }
  ms.sort((a, b) => a - b);
  say(`an empty task and back, 1 worker: p50 ${ms[LATENCIES / 2]!.toFixed(1)} ms, p99 ${ms[Math.floor(0.99 * LATENCIES)]!.toFixed(1)} ms (${load()})`);

  workers[0]!.child.kill('SIGTERM');
  await workers[0]!.ended;
  const payloads = Array.from({ length: tasks }, (_, i) => empty(i));
  const submitted = performance.now();
  const mapped = executor.map(odd, payloads, 'many');
  let peak = { used: 0, rss: 0 };
  const sample = setInterval(async () => {
    peak = { used: Math.max(peak.used, await usedMb()), rss: Math.max(peak.rss, rssMb()) };
  }, 200);
  while (Number(await redis.zcard(`winnow:${STAGE}:prioritized`)) < waitingMost) await new Promise((resolve) => setTimeout(resolve, 50));
  const waiting = await usedMb();
  say(`${waitingMost} of ${tasks} tasks queued in ${((performance.now() - submitted) / 1000).toFixed(1)} s: Redis ${(waiting - before.used).toFixed(1)} MB, ${(((waiting - before.used) * 2 ** 20) / waitingMost).toFixed(0)} bytes a task (${load()})`);
  workers = Array.from({ length: 4 }, start);
  await Promise.all(workers.map((worker) => worker.saw('serves')));
  const doneSoFar = async (): Promise<number> => Number(await redis.hget(`winnow:${STAGE}:metrics:completed`, 'count'));
  const base = await doneSoFar();
  while ((await doneSoFar()) < base + 40) await new Promise((resolve) => setTimeout(resolve, 20));
  const begun = performance.now();
  const left = tasks - ((await doneSoFar()) - LATENCIES - 1);
  await mapped;
  clearInterval(sample);
  say(`4 workers: ${(left / ((performance.now() - begun) / 1000)).toFixed(0)} tasks/s (${load()})`);
  say(`at most: Redis ${peak.used.toFixed(1)} MB, driver ${peak.rss.toFixed(0)} MB (${before.rss.toFixed(0)} MB before); at the end Redis ${(await usedMb()).toFixed(1)} MB`);
} finally {
  for (const worker of workers) worker.child.kill('SIGTERM');
  await Promise.all(workers.map((worker) => worker.ended));
  await executor.close('done');
  redis.disconnect();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
