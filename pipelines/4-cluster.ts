/** `embeddings/` → `clusters/`: the tree that balanced sampling walks. */
import { isAppended } from '../src/cluster/append.ts';
import { buildTree } from '../src/cluster/build.ts';
import type { ClusterConfig } from '../src/cluster/config.ts';
import type { ClustersManifest } from '../src/cluster/tree.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { type StoredManifest, readManifest, rowCountOf } from '../src/run/manifest.ts';
import type { RunContext } from '../src/run/stage.ts';

/** Reads `embeddings/`, writes `clusters/`. Fits a new tree where images were appended to the one there. @throws {WinnowError} TOO_FEW_ROWS */
export async function clusterImages(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, config: ClusterConfig): Promise<StoredManifest<ClustersManifest>> {
  const before = (await readManifest<ClustersManifest>(context.store, 'clusters'))?.manifest;
  if (before !== undefined && isAppended(before)) {
    const { rows, rowsAtFit } = before.append;
    context.log.info({ stage: 'cluster' }, `clusters: fitting a new tree on ${rowCountOf(embeddings.manifest.parts)} images; the one there was fitted on ${rowsAtFit} and ${rows - rowsAtFit} were appended to it (\`winnow append\` keeps it)`);
  }
  return buildTree(context, embeddings, config);
}
