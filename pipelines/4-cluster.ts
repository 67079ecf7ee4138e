/** `embeddings/` → `clusters/`: the tree that balanced sampling walks. */
import { buildTree } from '../src/cluster/build.ts';
import type { ClusterConfig } from '../src/cluster/config.ts';
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import type { StoredManifest } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';

/** Reads `embeddings/`, writes `clusters/`. @throws {WinnowError} TOO_FEW_ROWS */
export function clusterImages(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig): Promise<StoredManifest<ClustersManifest>> {
  return buildTree(context, embeddings, config);
}
