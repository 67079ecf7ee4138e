/** Law 4 under the harshest stop: SIGKILL at seeded random moments, then the same command again. */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { drawSmallRun, type SmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KILLS = 20;

let small: SmallRun;
beforeAll(async () => {
  small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-kill-')), 400);
});
afterAll(() => rm(small.folder, { recursive: true, force: true }));

/** Runs the recipe as a process of its own. @returns its exit code, or null when it was killed first */
function winnow(store: string, killAfterMs: number | null): Promise<{ code: number | null; ms: number; stderr: string }> {
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli.ts', 'run', small.recipePath, '--store', join(small.folder, store), '--quiet'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const timer = killAfterMs === null ? null : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  return new Promise((resolve) =>
    child.on('exit', (code) => {
      if (timer !== null) clearTimeout(timer);
      resolve({ code, ms: performance.now() - started, stderr });
    }),
  );
}

it(`gives the same bytes after being killed ${KILLS} times at random moments`, { timeout: 600_000 }, async () => {
  const whole = await winnow('whole', null);
  expect(whole.stderr).toBe('');
  expect(whole.code).toBe(0);
  const expected = await storeHashes(join(small.folder, 'whole'));
  const draws = randomStream(0, 'test', 'kill');
  let killed = 0;
  for (let attempt = 0; killed < KILLS; attempt++) {
    // A run that ends before its moment comes starts over in a fresh store.
    const store = `killed-${Math.floor(attempt / 4)}`;
    const { code, stderr } = await winnow(store, 200 + draws.uniform(attempt) * (whole.ms - 200));
    if (code === null) killed++;
    else expect(stderr).toBe('');
    if (attempt % 4 === 3 || killed === KILLS) {
      const last = await winnow(store, null);
      expect(last.stderr).toBe('');
      expect(last.code).toBe(0);
      expect(await storeHashes(join(small.folder, store))).toEqual(expected);
    }
  }
});
