/** Law 4 under the harshest stop: SIGKILL at seeded random moments, then the same command again. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { drawSmallRun, type SmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { type Ended, expectDone, expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';

const KILLS = 20;
/** Attempts on one store before it has to come to its end. */
const ATTEMPTS = 4;

let small: SmallRun;
beforeAll(async () => {
  small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-kill-')), 250, { cluster: { levels: [60, 50, 40, 35, 30], resampling: { rounds: 1, sampleSize: 2 } } });
});
afterAll(() => rm(small.folder, { recursive: true, force: true }));

const run = (store: string, killAfterMs?: number): Promise<Ended> => winnow(['run', small.recipePath, '--store', join(small.folder, store), '--quiet'], killAfterMs === undefined ? {} : { killAfterMs });

it(`gives the same bytes after being killed ${KILLS} times at random moments`, { timeout: 600_000 }, async () => {
  const whole = await run('whole');
  expectDone(whole);
  const expected = await storeHashes(join(small.folder, 'whole'));
  const draws = randomStream(0, 'test', 'kill');
  let killed = 0;
  for (let attempt = 0; killed < KILLS; attempt++) {
    const store = `killed-${Math.floor(attempt / ATTEMPTS)}`;
    // The first fifth of a run loads the program; a run that is over before its moment comes was not killed.
    const ended = await run(store, (0.2 + 0.8 * draws.uniform(attempt)) * whole.ms);
    if (ended.code === null) killed++;
    else expectDone(ended);
    if (attempt % ATTEMPTS !== ATTEMPTS - 1 && killed < KILLS) continue;
    expectDone(await run(store));
    await expectNothingHalfWritten(join(small.folder, store));
    expect(await storeHashes(join(small.folder, store))).toEqual(expected);
  }
});
