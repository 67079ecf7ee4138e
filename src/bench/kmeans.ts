/** The works `kmeans` and `tree`: the cluster stage from stored vectors to stored tables, with one level and with five. */
import { join } from 'node:path';
import { buildTree } from '../cluster/build.ts';
import { ClusterConfig } from '../cluster/config.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { StoredManifest } from '../run/manifest.ts';
import { SampleConfig } from '../sample/config.ts';
import { sample } from '../../pipelines/5-sample.ts';
import { type Contest, timed } from './contest.ts';
import { mixture, writeEmbeddings, writeRaw } from './data.ts';
import { openPeers } from './peer.ts';
import { type Workbench, openContext } from './workbench.ts';

const KMEANS = { n: 200_000, d: 384, k: [4096], iterations: 20 };
const TREE = { n: 100_000, d: 384, iterations: 20 };
/** Shrink of each level of the bench's tree: 50,000 / 5,000 / 1,000 / 250 / 60 over a million. */
const TREE_SHARES = [20, 200, 1000, 4000, 50_000 / 3];
/** Comparisons beyond which a peer of a tenth of the speed is not waited for. */
const SLOW_PEER_FLOP = 4e12;

/** One contest a k, on one file of float32: no peer subsamples, none stops early. Facts: the final inertia. */
export async function kmeansContests(bench: Workbench): Promise<(() => Promise<Contest>)[]> {
  const { n, d, k: ks, iterations } = { ...KMEANS, ...bench.sizes };
  const { root, vectors, embeddings } = await prepare(bench, 'kmeans', n, d, 'float32');
  return ks.map((wanted) => async () => {
    const k = Math.min(wanted, n);
    // An assignment is compared with every centroid, once more than there are updates.
    const amount = (2 * n * d * k * (iterations + 1)) / 1e9;
    const isShort = amount * 1e9 <= SLOW_PEER_FLOP;
    const settings = { vectors, n, d, k, iterations };
    const { contenders, missing } = await openPeers(bench.peers, [
      { script: 'peers.py', settings: { ...settings, work: 'kmeans' }, amount },
      ...(isShort ? [{ script: 'peers.py', settings: { ...settings, work: 'sklearn-kmeans' }, amount }] : []),
    ]);
    const config = ClusterConfig.parse({ levels: [k], iterations, outliers: { policy: 'keep' } });
    return {
      work: 'kmeans', what: `k-means of ${n} vectors of ${d} dimensions into ${k} clusters, ${iterations} iterations`, unit: 'GFLOP', settings: { n, d, k, iterations },
      ours: await clusterContender(bench, root, embeddings, config, amount, null),
      peers: contenders,
      missing: isShort ? missing : [...missing, `python3-sklearn: left out, since it takes minutes at this size; --n and --k of ${(SLOW_PEER_FLOP / 1e12).toFixed(0)} TFLOP or less bring it in`],
      warm: isShort ? 'once' : 'never',
    };
  });
}

/** One contest: five levels, then balanced sampling of a tenth. Peer: faiss level by level, without sampling. */
export async function treeContests(bench: Workbench): Promise<(() => Promise<Contest>)[]> {
  const { n, d, iterations } = { ...TREE, ...bench.sizes };
  const { root, vectors, embeddings } = await prepare(bench, 'tree', n, d, 'float16');
  const levels = TREE_SHARES.map((images) => Math.max(1, Math.round(n / images)));
  return [async () => {
    const { contenders, missing } = await openPeers(bench.peers, [{ script: 'peers.py', settings: { work: 'tree', vectors, n, d, levels, iterations }, amount: n }]);
    const config = ClusterConfig.parse({ levels, iterations });
    return {
      work: 'tree', what: `a tree of ${levels.join(' / ')} clusters over ${n} vectors of ${d} dimensions, then ${Math.max(1, Math.round(n / 10))} images drawn`, unit: 'vectors', settings: { n, d, levels, iterations },
      ours: await clusterContender(bench, root, embeddings, config, n, Math.max(1, Math.round(n / 10))),
      peers: contenders, missing, warm: n <= 20_000 ? 'once' : 'never',
    };
  }];
}

interface Prepared {
  readonly root: string;
  /** The same vectors as bare float32. */
  readonly vectors: string;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
}

async function prepare({ scratch, peers, signal, note }: Workbench, name: string, n: number, d: number, dtype: 'float16' | 'float32'): Promise<Prepared> {
  note(`${name}: making ${n} vectors of ${d} dimensions`);
  const rows = mixture(d);
  const root = join(scratch, `store-${name}`);
  const vectors = join(scratch, `${name}.f32`);
  const context = await openContext(root, { signal });
  try {
    const embeddings = await writeEmbeddings(context.store, rows, { n, d, dtype });
    if (peers !== null) await writeRaw(vectors, rows, n);
    return { root, vectors, embeddings };
  } finally {
    await context.close();
  }
}

/** Every run makes the stage anew. Vectors lie in memory up to 2 GiB, as the peers hold them. */
async function clusterContender({ signal }: Workbench, root: string, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig, amount: number, target: number | null): Promise<Contest['ours']> {
  const context = await openContext(root, { signal, memoryMb: 2048 });
  const run = async (): Promise<Record<string, number>> => {
    for (const prefix of ['clusters/', 'work/', 'selections/']) await context.store.remove(prefix);
    const { manifest } = await buildTree(context, embeddings, config);
    if (target !== null) await sample(context, { sample: SampleConfig.parse({ target }) });
    const { rounds } = manifest.stats as { rounds: { inertia: number }[][] };
    return { inertia: rounds[0]!.at(-1)!.inertia };
  };
  return { name: 'winnow', amount, run: () => timed(run), close: () => context.close() };
}
