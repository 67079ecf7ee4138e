/**
 * Peer: a bare ONNX Runtime loop over random pixels, with whatever runs best of: one session with one thread or all,
 * spinning or not, and batches of 1, 4 or 16; or a single-threaded session a core, each in a thread of its own.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { fastest, serve, settings } from './talk.ts';

const { model, images, side } = settings as { model: string; images: number; side: number };
const TRIAL_IMAGES = Math.min(images, 32);

interface Loop {
  readonly name: string;
  run(images: number): Promise<void>;
  close(): Promise<void>;
}

const LANE = `
const { parentPort, workerData } = require('node:worker_threads');
const { InferenceSession, Tensor } = require('node:module').createRequire(workerData.from)('onnxruntime-node');
const opened = InferenceSession.create(workerData.model, { intraOpNumThreads: 1, interOpNumThreads: 1, graphOptimizationLevel: 'all' });
const feeds = {};
parentPort.on('message', async (runs) => {
  const session = await opened;
  const { batch, side } = workerData;
  const input = session.inputMetadata[0];
  if (feeds[input.name] === undefined) {
    const length = batch * side * side * 3;
    const data = input.type === 'uint8' ? new Uint8Array(length) : new Float32Array(length);
    for (let i = 0; i < length; i++) data[i] = (Math.imul(i + 1, 2654435761) >>> 24) / (input.type === 'uint8' ? 1 : 128);
    feeds[input.name] = new Tensor(input.type, data, input.shape[1] === 3 ? [batch, 3, side, side] : [batch, side, side, 3]);
  }
  const wanted = session.outputNames.includes('embedding') ? 'embedding' : session.outputNames[0];
  for (let i = 0; i < runs; i++) await session.run(feeds, [wanted]);
  parentPort.postMessage(null);
});
`;

const loops = [...(await oneSession()), ...sessionPerCore()];
const best = loops[await fastest(loops.map((loop) => () => loop.run(TRIAL_IMAGES)))]!;
for (const loop of loops) if (loop !== best) await loop.close();
await serve(`ONNX Runtime alone, ${best.name}`, async () => void (await best.run(images)));

function pixels(type: string, batch: number): Float32Array | Uint8Array {
  const length = batch * side * side * 3;
  const noise = (i: number): number => Math.imul(i + 1, 2_654_435_761) >>> 24;
  return type === 'uint8' ? Uint8Array.from({ length }, (_, i) => noise(i)) : Float32Array.from({ length }, (_, i) => noise(i) / 128 - 1);
}

async function oneSession(): Promise<Loop[]> {
  const made: Loop[] = [];
  const cores = availableParallelism();
  for (const threads of [...new Set([1, cores])]) {
    for (const spin of threads === 1 ? ['0'] : ['0', '1']) {
      const session = await InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all', extra: { session: { intra_op: { allow_spinning: spin } } } });
      let open = 3;
      const close = async (): Promise<void> => {
        if (--open === 0) await session.release();
      };
      for (const batch of [1, 4, 16]) {
        const { feed, wanted } = feedOf(session, batch);
        const run = async (count: number): Promise<void> => {
          for (let done = 0; done < count; done += batch) await session.run(feed, wanted);
        };
        made.push({ name: `one session, ${threads} thread${threads === 1 ? '' : 's'}${spin === '1' ? ' spinning' : ''}, batch ${batch}`, run, close });
      }
    }
  }
  return made;
}

function feedOf(session: InferenceSession, batch: number): { feed: Record<string, Tensor>; wanted: string[] } {
  const input = session.inputMetadata[0]!;
  if (!input.isTensor) throw new Error('Expected a tensor input');
  const dims = input.shape[1] === 3 ? [batch, 3, side, side] : [batch, side, side, 3];
  const wanted = session.outputNames.includes('embedding') ? 'embedding' : session.outputNames[0]!;
  return { feed: { [input.name]: new Tensor(input.type as 'float32', pixels(input.type, batch) as Float32Array, dims) }, wanted: [wanted] };
}

function sessionPerCore(): Loop[] {
  const cores = availableParallelism();
  return [1, 4].map((batch) => {
    const workers = Array.from({ length: cores }, () => new Worker(LANE, { eval: true, execArgv: [], workerData: { from: import.meta.url, model, batch, side } }));
    const ask = (worker: Worker, runs: number): Promise<void> =>
      new Promise((resolve, reject) => {
        worker.once('message', () => resolve());
        worker.once('error', reject);
        worker.postMessage(runs);
      });
    return {
      name: `${cores} sessions of one thread, batch ${batch}`,
      // Cores take images by turns, so that none waits for the others but at the end.
      run: async (count) => {
        const runs = Math.ceil(count / batch);
        await Promise.all(workers.map((worker, i) => ask(worker, Math.floor(runs / cores) + (i < runs % cores ? 1 : 0))));
      },
      close: async () => void (await Promise.all(workers.map((worker) => worker.terminate()))),
    };
  });
}
