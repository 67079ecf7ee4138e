/** What befalls one worker among others: a full disk, no model, other code. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Program, kill } from '../../workers/processes.ts';
import { type Fault, type Scene, wait } from './scene.ts';
import { MODEL_FOLDER } from './places.ts';

/** How long a disk stays full in every other round; in the others until the run has ended. */
const FULL_MS = 6_000;

export const WORKER_FAULTS: Readonly<Record<string, Fault>> = {
  /** The disk that holds the store, for driver and workers alike. */
  'disk-full': {
    place: 'disk',
    strike: async ({ store, workers, driver, seed }) => {
      const ballast = join(dirname(store.folder), 'ballast');
      await fill(ballast);
      await (seed % 2 === 0 ? Promise.race([wait(FULL_MS), driver.ended]) : driver.ended);
      await rm(ballast);
      return { tell: async () => `${workers.map((worker) => count(worker, '"code":"STORE_FULL"')).reduce((a, b) => a + b)} tasks met it` };
    },
  },
  /** One worker may write nothing any more, as with a quota that is used up; the other one may. */
  'disk-full-one': {
    place: 'folder',
    strike: async ({ workers: [worker] }) => {
      for (const pid of withChildren(worker!.child.pid!)) execFileSync('prlimit', ['--pid', String(pid), '--fsize=0:0']);
      return { tell: async () => `${count(worker!, '"code":"STORE_FULL"')} tasks met it` };
    },
  },
  /** The third worker joins at the moment, on a machine without the model file. */
  'no-model': {
    place: 'model',
    joins: true,
    strike: async (scene) => {
      const folder = join(dirname(scene.place.recipePath), MODEL_FOLDER);
      const worker = scene.startWorker({}, ['unshare', '--mount', 'sh', '-c', `mount -t tmpfs tmpfs '${folder}' && exec "$@"`, 'sh']);
      scene.workers.push(worker);
      return { tell: async () => `${count(worker, '"code":"MODEL_UNAVAILABLE"')} tasks met it` };
    },
  },
  /** The third worker joins at the moment, with code of another version. */
  'other-version': { place: 'folder', joins: true, strike: joinOther },
};

async function joinOther(scene: Scene): Promise<{ tell(): Promise<string> }> {
  const worker = scene.startWorker({ version: '9.9.9' });
  return {
    tell: async () => {
      const refused = worker.child.exitCode !== null;
      await kill(worker);
      const said = worker.stderr();
      if (said.includes('"outcome":"done"')) throw new Error(`a worker of another version did a task: ${said.slice(-1_000)}`);
      if (!refused) return 'it was given no job';
      const { code } = await worker.ended;
      if (code !== 1 || !/^FORMAT_VERSION: Expected jobs of winnow 9\.9\.9, which this worker is, got one of winnow \S+: /m.test(said)) throw new Error(`a worker of another version ended with ${code}: ${said.slice(-1_000)}`);
      return 'it refused and ended';
    },
  };
}

function count(worker: Program, text: string): number {
  return worker.stderr().split(text).length - 1;
}

/** To the last block. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (const sizeBytes of [2 ** 20, 2 ** 12]) {
      for (;;) {
        const written = await file.write(Buffer.alloc(sizeBytes, 1)).catch(() => null);
        if (written === null) break;
      }
    }
  } finally {
    await file.close();
  }
}

function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').flatMap((child) => withChildren(Number(child))))];
}
