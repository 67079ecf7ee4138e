/**
 * Faults at seeded random moments of a run over a queue, each of which has to end in the bytes of a local run, or in one
 * coded error and a resume to them. Run with `npx tsx test/bench/queue-faults.ts [fault …] [--rounds 10] [--from 0]
 * [--seed 0]`; without faults, all. Needs /usr/bin/redis-server; full disks and a lacking model need root, who may mount.
 */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { randomStream } from '../../src/random.ts';
import { drawSmallRun, type SmallRun } from '../helpers/small-run.ts';
import { startRedis } from '../workers/redis-server.ts';
import { openBuckets, openDisk, openFolder, openModel, type Place } from './queue-faults/places.ts';
import { PROCESS_FAULTS } from './queue-faults/process-faults.ts';
import { S3_FAULTS } from './queue-faults/s3-faults.ts';
import { type Fault, isGood, playRound, type Round } from './queue-faults/scene.ts';
import { WORKER_FAULTS } from './queue-faults/worker-faults.ts';

const FAULTS: Readonly<Record<string, Fault>> = { ...PROCESS_FAULTS, ...S3_FAULTS, ...WORKER_FAULTS };
const PLACES: Readonly<Record<Fault['place'], (small: SmallRun) => Promise<Place>>> = { folder: openFolder, disk: openDisk, model: openModel, buckets: openBuckets };

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '10' }, seed: { type: 'string', default: '0' }, from: { type: 'string', default: '0' } } });
const names = positionals.length > 0 ? positionals : Object.keys(FAULTS);
for (const name of names) if (!Object.hasOwn(FAULTS, name)) throw new Error(`Expected ${Object.keys(FAULTS).join(', ')}, got ${name}`);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-faults-')), 150, { embed: { batchSize: 16, maxDropRatio: 0.5 }, cluster: { levels: [40, 12], iterations: 6, split: { when: 'always', cells: 5 } } });
const redis = await startRedis();
const places = new Map<Fault['place'], { readonly place: Place; readonly windowSeconds: number }>();
const table: string[] = [];
/** Of a round until its run lasts to the moment. */
const TRIES = 4;
let failed = 0;
try {
  for (const name of names) {
    const fault = FAULTS[name]!;
    const { place, windowSeconds } = places.get(fault.place) ?? (await openPlace(fault.place));
    const draws = randomStream(Number(values.seed), 'bench', name);
    const rounds: Round[] = [];
    for (let r = Number(values.from); r < Number(values.from) + Number(values.rounds); r++) {
      const round = await playStruck(place, name, r, { moment: draws.uniform(r), windowSeconds, seed: Math.floor(2 ** 31 * draws.uniform(1_000 + r)) });
      say(describe(name, round));
      rounds.push(round);
    }
    table.push(rowOf(name, rounds));
    failed += rounds.filter((round) => !isGood(round)).length;
  }
} finally {
  for (const { place } of places.values()) await place.close();
  await redis.stop();
  await rm(small.folder, { recursive: true, force: true });
}
say(`\n| fault | rounds | same bytes | one coded error, then resumed to them | slowest |\n|---|---|---|---|---|\n${table.join('\n')}`);
say(failed === 0 ? 'done: all ended as they must' : `done: ${failed} did not end as they must`);
process.exitCode = failed === 0 ? 0 : 1;

/** And how long a run without a fault takes there: the moments lie in that time. */
async function openPlace(name: Fault['place']): Promise<{ place: Place; windowSeconds: number }> {
  const place = await PLACES[name](small);
  const plain = await playRound(redis, place, `plain-${name}`, null, { moment: 0, windowSeconds: 0, seed: 0 });
  if (!isGood(plain)) throw new Error(`a run without a fault went wrong: ${describe(name, plain)}`);
  say(`${name}, without a fault: ${plain.seconds.toFixed(1)} s, moments within ${plain.windowSeconds.toFixed(1)} s from its place in line`);
  const opened = { place, windowSeconds: plain.windowSeconds };
  places.set(name, opened);
  return opened;
}

/** A run that was over before its moment, as on a machine that was busier before, is repeated with the moment in its own time. */
async function playStruck(place: Place, name: string, r: number, plan: Parameters<typeof playRound>[4]): Promise<Round> {
  let round = await playRound(redis, place, `${name}-${r}`, FAULTS[name]!, plan);
  for (let again = 1; again < TRIES && !round.struck && isGood(round); again++) {
    round = await playRound(redis, place, `${name}-${r}-${again}`, FAULTS[name]!, { ...plan, windowSeconds: 0.9 * round.windowSeconds });
  }
  return round;
}

function describe(name: string, round: Round): string {
  const { moment, struck, code, errors, resumed, unread, others, seconds, met, said } = round;
  const end = `exit ${code}${errors.length > 0 ? ` with ${errors.join(', ')}` : ''}${resumed === null ? '' : `, resumed to exit ${resumed}`}`;
  const bytes = (resumed ?? code) !== 0 ? 'no bytes' : others.length === 0 ? `same bytes${unread === null ? '' : ' but for the flipped part, which nothing read again'}` : `OTHER BYTES in ${others.join(', ')}`;
  const line = `${name} at ${(100 * moment).toFixed(0)} %${struck ? '' : ' (the run was over)'}: ${end}, ${seconds.toFixed(1)} s, ${bytes}${met === '' ? '' : `; ${met}`}`;
  return isGood(round) ? line : `${line}\n${said.slice(-2_000)}`;
}

function rowOf(name: string, rounds: readonly Round[]): string {
  const good = rounds.filter(isGood);
  const errors = [...new Set(good.flatMap((round) => round.errors))];
  const resumed = good.filter(({ code }) => code !== 0).length;
  const slowest = Math.max(...rounds.map(({ seconds }) => seconds));
  return `| ${name} | ${rounds.length} | ${good.length - resumed} | ${resumed}${errors.length === 0 ? '' : ` (${errors.join(', ')})`} | ${slowest.toFixed(0)} s |`;
}
