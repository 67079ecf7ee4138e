/** The work `assign`: each of n vectors to its nearest of k centroids, the inner loop of everything that clusters. */
import { join } from 'node:path';
import { instructionSet } from '../onnx/session.ts';
import { exactDistance } from '../vector/matrix.ts';
import { createOnnxEngine } from '../vector/onnx.ts';
import { type Contest, type Round, timed } from './contest.ts';
import { mixture, writeRaw } from './data.ts';
import { type PeerRequest, openPeers } from './peer.ts';
import type { Workbench } from './workbench.ts';

const DEFAULTS = { n: 200_000, d: 384, k: [1024, 8192] };
/** Rows of one call, as k-means reads them. */
const BLOCK_ROWS = 8192;

/**
 * One contest a k. The centroids are the first k vectors. Ours is what k-means asks for, the index alone. Peers: the same with
 * distances, as faiss gives them, faiss with its default and its best kernel, and the product alone.
 */
export async function assignContests({ scratch, peers, sizes, note }: Workbench): Promise<(() => Promise<Contest>)[]> {
  const { n, d, k: ks } = { ...DEFAULTS, ...sizes };
  note(`assign: making ${n} vectors of ${d} dimensions`);
  const rows = mixture(d);
  const vectors = join(scratch, `vectors-${n}x${d}.f32`);
  await writeRaw(vectors, rows, n);
  const x = rows(0, n);
  return ks.map((wanted) => async () => {
    const k = Math.min(wanted, n);
    const amount = (2 * n * d * k) / 1e9;
    const { contenders, missing } = await openPeers(peers, peerRequests({ vectors, n, d, k }, amount));
    const engine = await createOnnxEngine();
    const index = new Uint32Array(n);
    const distance = new Float32Array(BLOCK_ROWS);
    const centroids = x.subarray(0, k * d);
    const run = async (wanted: Float32Array | null): Promise<Round> => {
      const round = await timed(async () => {
        const search = await engine.nearest(centroids, k, d);
        for (let first = 0; first < n; first += BLOCK_ROWS) {
          const count = Math.min(BLOCK_ROWS, n - first);
          await search.nearest(x.subarray(first * d, (first + count) * d), count, index.subarray(first, first + count), wanted);
        }
        await search.close();
        return undefined;
      });
      // After the clock: it says that the work was the same.
      let inertia = 0;
      for (let i = 0; i < n; i++) inertia += exactDistance(x, i * d, centroids, index[i]! * d, d);
      return { ...round, facts: { inertia } };
    };
    const withDistances = { name: 'winnow, with the distances', amount, run: () => run(distance), close: async () => undefined };
    return {
      work: 'assign', what: `nearest of ${k} centroids for ${n} vectors of ${d} dimensions`, unit: 'GFLOP', settings: { n, d, k }, warm: 'turn',
      ours: { name: 'winnow', amount, run: () => run(null), close: () => engine.close() },
      peers: [withDistances, ...contenders], missing,
    };
  });
}

/** OpenBLAS takes a kernel of the year before where it does not know the processor. */
function peerRequests(settings: Record<string, unknown>, amount: number): PeerRequest[] {
  const faiss = { script: 'peers.py', settings: { ...settings, work: 'assign' }, amount };
  const product = { script: 'peers.py', settings: { ...settings, work: 'product' }, amount };
  if (!instructionSet.endsWith('avx512f')) return [faiss, product];
  const env = { OPENBLAS_CORETYPE: 'SKYLAKEX' };
  return [faiss, { ...faiss, env, suffix: ', SkylakeX kernel' }, { ...product, env }];
}
