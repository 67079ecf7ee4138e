/** What befalls processes and Redis. */
import { deliverTwice } from '../../workers/twins.ts';
import { kill } from '../../workers/processes.ts';
import { type Fault, wait } from './scene.ts';

const HALF_OPEN_MS = 30_000;

export const PROCESS_FAULTS: Readonly<Record<string, Fault>> = {
  'kill-worker': {
    place: 'folder',
    strike: async (scene) => {
      await kill(scene.workers.shift()!);
      scene.workers.push(scene.startWorker());
      return undefined;
    },
  },
  'kill-driver': {
    place: 'folder',
    strike: async (scene) => {
      scene.driver.child.kill('SIGKILL');
      await scene.driver.ended;
      scene.driver = scene.startDriver();
      return undefined;
    },
  },
  'term-worker': {
    place: 'folder',
    strike: async (scene) => {
      const worker = scene.workers.shift()!;
      worker.child.kill('SIGTERM');
      const asked = performance.now();
      const { code } = await worker.ended;
      if (code !== 0) throw new Error(`a worker told to end ended with ${code}: ${worker.stderr().slice(-500)}`);
      const seconds = (performance.now() - asked) / 1000;
      scene.workers.push(scene.startWorker());
      return { tell: async () => `drained in ${seconds.toFixed(1)} s` };
    },
  },
  'restart-redis': { place: 'folder', strike: async ({ redis }) => void (await redis.restart()) },
  'restart-redis-kept': { place: 'folder', strike: async ({ redis }) => void (await redis.restart('kept')) },
  'half-open': {
    place: 'folder',
    strike: async ({ redis }) => {
      redis.freeze();
      await wait(HALF_OPEN_MS);
      redis.thaw();
      return undefined;
    },
  },
  twice: {
    place: 'folder',
    prepare: async ({ redis }) => {
      const twins = await deliverTwice(redis);
      return async () => void (await twins.close());
    },
    strike: async () => undefined,
  },
};
