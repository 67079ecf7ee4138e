/**
 * Faults at seeded random moments of a run over a queue, each of which has to end in the bytes of a local run. Run with
 * `npx tsx test/bench/queue-faults.ts [fault …] [--rounds 10] [--seed 0]`; without faults, all. Needs /usr/bin/redis-server.
 */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { randomStream } from '../../src/random.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { winnow } from '../helpers/winnow.ts';
import { type Program, kill, startDriver, startWorker } from '../workers/processes.ts';
import { type RedisServer, startRedis } from '../workers/redis-server.ts';
import { deliverTwice } from '../workers/twins.ts';

interface Scene {
  readonly redis: RedisServer;
  readonly workers: Program[];
  driver: Program;
  startWorker(): Program;
  startDriver(): Program;
}

const HALF_OPEN_MS = 30_000;
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const FAULTS: Record<string, (scene: Scene) => Promise<void>> = {
  'kill-worker': async (scene) => {
    await kill(scene.workers.shift()!);
    scene.workers.push(scene.startWorker());
  },
  'kill-driver': async (scene) => {
    await kill(scene.driver);
    scene.driver = scene.startDriver();
  },
  'term-worker': async (scene) => {
    const worker = scene.workers.shift()!;
    worker.child.kill('SIGTERM');
    const { code } = await worker.ended;
    if (code !== 0) throw new Error(`a worker told to end ended with ${code}: ${worker.stderr().slice(-500)}`);
    scene.workers.push(scene.startWorker());
  },
  'restart-redis': async ({ redis }) => redis.restart(),
  'restart-redis-kept': async ({ redis }) => redis.restart('kept'),
  'half-open': async ({ redis }) => {
    redis.freeze();
    await wait(HALF_OPEN_MS);
    redis.thaw();
  },
  twice: async () => undefined,
};

const SAME = 'same bytes';

function describe(found: Record<string, string>, expected: Record<string, string>): string {
  const keys = [...new Set([...Object.keys(found), ...Object.keys(expected)])].filter((key) => found[key] !== expected[key]);
  return keys.length === 0 ? SAME : `OTHER BYTES in ${keys.sort().join(', ')}`;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '10' }, seed: { type: 'string', default: '0' } } });
const faults = positionals.length > 0 ? positionals : Object.keys(FAULTS);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-faults-')), 150, { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [40, 12], iterations: 6, split: { when: 'always', cells: 5 } } });
const redis = await startRedis();
const begin = (): Program => startWorker({ redis: redis.url, concurrency: 2, lockMs: 2_000 });
const workers = [begin(), begin()];
let failed = 0;
try {
  const local = await winnow(['run', small.recipePath, '--store', join(small.folder, 'local'), '--quiet']);
  if (local.code !== 0) throw new Error(local.stderr);
  const expected = await storeHashes(join(small.folder, 'local'));
  const plain = await round(small, 'plain', null, 0);
  say(`without a fault: ${plain.seconds.toFixed(1)} s, ${describe(plain.hashes, expected)}`);
  for (const name of faults) {
    const draws = randomStream(Number(values.seed), 'bench', name);
    for (let r = 0; r < Number(values.rounds); r++) {
      const moment = draws.uniform(r);
      const { code, seconds, hashes, stderr } = await round(small, `${name}-${r}`, name, moment * plain.seconds);
      const found = describe(hashes, expected);
      if (code !== 0 || found !== SAME) failed++;
      say(`${name} at ${(100 * moment).toFixed(0)} % of a run: exit ${code}, ${seconds.toFixed(1)} s, ${found}${code === 0 ? '' : `\n${stderr.slice(-1_000)}`}`);
    }
  }
} finally {
  await Promise.all(workers.map(kill));
  await redis.stop();
  await rm(small.folder, { recursive: true, force: true });
}
say(failed === 0 ? 'all ended in the same bytes' : `${failed} did not`);
process.exitCode = failed === 0 ? 0 : 1;

async function round({ folder, recipePath }: SmallRun, name: string, fault: string | null, afterMs: number) {
  const store = join(folder, name);
  const drive = (): Program => startDriver(recipePath, store, redis.url);
  const twins = fault === 'twice' ? await deliverTwice(redis) : null;
  const started = performance.now();
  const scene: Scene = { redis, workers, driver: drive(), startWorker: begin, startDriver: drive };
  await scene.driver.saw('in line');
  if (fault !== null) {
    await wait(afterMs * 1_000);
    await FAULTS[fault]!(scene);
  }
  const { code, stderr } = await scene.driver.ended;
  await twins?.close();
  const hashes = code === 0 ? await storeHashes(store) : {};
  await rm(store, { recursive: true, force: true });
  return { code, stderr, hashes, seconds: (performance.now() - started) / 1000 };
}
