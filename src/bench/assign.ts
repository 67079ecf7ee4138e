/** The work `assign`: each of n vectors to its nearest of k centroids, the inner loop of everything that clusters. */
import { join } from 'node:path';
import { instructionSet } from '../onnx/session.ts';
import { createOnnxEngine } from '../vector/onnx.ts';
import { type Contest, timed } from './contest.ts';
import { mixture, writeRaw } from './data.ts';
import { type PeerRequest, openPeers } from './peer.ts';
import type { Workbench } from './workbench.ts';

const DEFAULTS = { n: 200_000, d: 384, k: [1024, 8192] };
/** Rows of one call, as k-means reads them. */
const BLOCK_ROWS = 8192;

/** One contest a k. The centroids are the first k vectors. Peers: faiss with its default and its best kernel, and the product alone. */
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
    const index = new Uint32Array(BLOCK_ROWS);
    const distance = new Float32Array(n);
    const run = async (): Promise<{ inertia: number }> => {
      const search = await engine.nearest(x.subarray(0, k * d), k, d);
      for (let first = 0; first < n; first += BLOCK_ROWS) {
        const count = Math.min(BLOCK_ROWS, n - first);
        await search.nearest(x.subarray(first * d, (first + count) * d), count, index, distance.subarray(first, first + count));
      }
      await search.close();
      return { inertia: distance.reduce((sum, value) => sum + value, 0) };
    };
    return {
      work: 'assign', what: `nearest of ${k} centroids for ${n} vectors of ${d} dimensions`, unit: 'GFLOP', settings: { n, d, k }, warm: 'turn',
      ours: { name: 'winnow', amount, run: () => timed(run), close: () => engine.close() },
      peers: contenders, missing,
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
