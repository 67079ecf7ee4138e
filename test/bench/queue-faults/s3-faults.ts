/** What befalls calls to an object store that holds the store and the images, from the moment until the run has ended. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Call, type Fault as CallFault, SLOW_DOWN, someOf } from '../../helpers/s3-proxy.ts';
import { type Aftermath, type Fault, type Scene, wait } from './scene.ts';

const NONE: CallFault = { kind: 'none' };
const INTERNAL_ERROR: CallFault = { kind: 'status', status: 500, name: 'InternalError' };

/** Bytes of an object on their way: what is said of a listing or a failure has no checksum, in S3 itself neither. */
const isRead = ({ method, url }: Call): boolean => method === 'GET' && !url.includes('list-type');
const isWrite = ({ method }: Call): boolean => method === 'PUT';

export const S3_FAULTS: Readonly<Record<string, Fault>> = {
  's3-errors': calls(0.2, ({ index }) => (index % 2 === 0 ? SLOW_DOWN : INTERNAL_ERROR)),
  's3-torn': calls(0.2, () => ({ kind: 'torn' })),
  's3-slow': calls(0.1, (call) => (isRead(call) ? { kind: 'slow', bytesPerSecond: 1_000 } : NONE)),
  's3-flipped': calls(0.2, (call) => (isRead(call) ? { kind: 'flipped' } : isWrite(call) ? { kind: 'flipped-upload' } : NONE)),
  /** At rest: one bit of one part, which no checksum on the way can show. */
  's3-part-flipped': { place: 'buckets', strike: flipPart },
};

function calls(share: number, faultOf: (call: Call) => CallFault): Fault {
  return {
    place: 'buckets',
    strike: async ({ place, seed }) => {
      const proxy = place.proxy!;
      const [fails, before] = [someOf(share, seed), { ...proxy.calls }];
      proxy.faultOf = (call) => (fails(call.index) ? faultOf(call) : NONE);
      const end = (): void => void (proxy.faultOf = () => NONE);
      return {
        mend: async () => {
          end();
          return [];
        },
        tell: async () => {
          end();
          return `${proxy.calls.faults - before.faults} of ${proxy.calls.count - before.count} calls met it`;
        },
      };
    },
  };
}

const OBJECT = '._S3rver_object';

async function flipPart({ store, driver, seed }: Scene): Promise<Aftermath | undefined> {
  let isOver = false;
  void driver.ended.then(() => (isOver = true));
  for (; !isOver; await wait(50)) {
    const names = await readdir(store.folder, { recursive: true }).catch(() => []);
    const parts = names.filter((name) => name.endsWith(`.arrow${OBJECT}`)).sort();
    if (parts.length === 0) continue;
    const name = parts[seed % parts.length]!;
    const at = await flipBit(join(store.folder, name), seed);
    const key = name.slice(0, -OBJECT.length);
    return { mend: forced, tell: async () => `a bit of byte ${at} of ${key}`, spoilt: key };
  }
  return undefined;
}

/** What the error itself says to do. */
async function forced(said: string): Promise<readonly string[]> {
  const stage = /--force (\w+)/.exec(said)?.[1];
  return stage === undefined ? [] : ['--force', stage];
}

async function flipBit(path: string, seed: number): Promise<number> {
  const file = await open(path, 'r+');
  try {
    const at = seed % (await file.stat()).size;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
    await file.write(Buffer.of(buffer[0]! ^ (1 << (seed % 8))), 0, 1, at);
    return at;
  } finally {
    await file.close();
  }
}
