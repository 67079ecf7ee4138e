/** The last task of level 1: the outlier policy (outliers.ts), then exact distances. */
import { throwIfAborted } from '../errors.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type PointsReference, type RoundResult, openPoints, readRound, searchEngine } from './level.ts';
import { treatOutliers } from './outliers.ts';
import type { Points } from './points.ts';
import { NO_CLUSTER } from './tree.ts';

export interface FinishPayload {
  /** Key prefix of the tree, such as `clusters`. */
  readonly path: string;
  readonly points: PointsReference;
  readonly last: RoundResult;
  readonly policy: 'keep' | 'merge' | 'set-aside';
  readonly minSize: number;
}

export interface FinishResult extends RoundResult {
  /** Clusters under `minSize` and the images in them; what the policy did with them. */
  readonly outlierClusters: number;
  readonly outlierImages: number;
  readonly merged: number;
  readonly setAside: number;
}

export const finishLevel: TaskKind<FinishPayload, FinishResult> = {
  name: 'cluster-finish',
  version: 1,
  run: async ({ path, points: reference, last, policy, minSize }, env) => {
    const points = await openPoints(env, reference);
    const found = await readRound(env.store, last);
    const treated = await treatOutliers(points, { ...found, k: last.k }, { policy, minSize, engine: await searchEngine(env), blockRows: env.execution.blockRows, signal: env.signal });
    const { centroids, assignment, k } = treated;
    const distance = await exactDistances(points, centroids, assignment, env);
    const out = `work/${path}/level-1/final`;
    for (const [name, values] of [['centroids', centroids], ['assignment', assignment], ['distance', distance]] as const) {
      await env.store.write(`${out}/${name}`, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    const inertia = distance.reduce((sum, value) => sum + value, 0);
    return {
      ...last,
      out,
      k,
      inertia,
      outlierClusters: treated.outlierClusters,
      outlierImages: treated.outlierImages,
      merged: treated.merged,
      setAside: treated.setAside,
    };
  },
};

/** Squared distances by differences in float64: no cancellation, whatever the engine's products were. */
async function exactDistances(points: Points, centroids: Float32Array, assignment: Uint32Array, env: TaskEnv): Promise<Float32Array> {
  const { n, d } = points;
  const rows = Math.min(n, env.execution.blockRows);
  const block = new Float32Array(rows * d);
  const distance = new Float32Array(n);
  for (let start = 0; start < n; start += rows) {
    throwIfAborted(env.signal);
    const count = Math.min(rows, n - start);
    await points.read(start, count, block);
    for (let i = 0; i < count; i++) {
      const c = assignment[start + i]!;
      if (c === NO_CLUSTER) continue;
      let sum = 0;
      for (let j = 0; j < d; j++) {
        const difference = block[i * d + j]! - centroids[c * d + j]!;
        sum += difference * difference;
      }
      distance[start + i] = sum;
    }
  }
  return distance;
}
