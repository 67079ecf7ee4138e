/** Stage 6, retrieve: seed images or prompts → `selections/<name>/`. */
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { requirePool } from '../src/embed/survivors.ts';
import type { RetrieveConfig } from '../src/retrieve/config.ts';
import { mergePairs } from '../src/retrieve/merge.ts';
import type { SearchResult } from '../src/retrieve/pairs.ts';
import { planSearches, searchEngine, searchTask } from '../src/retrieve/retrieve.ts';
import { topUp } from '../src/retrieve/top-up.ts';
import { type StoredManifest, requireManifest, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';
import type { SelectionManifest } from '../src/sample/selection.ts';
import { retrieveClusters } from './retrieve-clusters.ts';
import { embedPrompts } from './retrieve-prompts.ts';

/** An entry of a recipe with only what decides the result; the rest has defaults. */
export type RetrieveRequest = Pick<RetrieveConfig, 'name' | 'k'> & Partial<RetrieveConfig>;

/**
 * Retrieves pool images around one seed set, whose vectors lie at `seeds/<name>/embeddings` and are made here when it is
 * a list of prompts: the k nearest of each query, or those of the clusters that queries fall in.
 * Rejected seed images ask for nothing and are counted; what the pool cannot give is a shortfall.
 *
 * @param baseDirectory what paths of the entry are relative to
 * @throws {WinnowError} INPUT_MISSING without either table of vectors, DIMENSION_MISMATCH, TOO_FEW_ROWS, MODEL_INVALID
 */
export async function retrieve(context: RunContext, request: RetrieveRequest, baseDirectory = '.'): Promise<StoredManifest<SelectionManifest>> {
  const pool = await requirePool(context.store);
  if (request.prompts !== undefined) await embedPrompts(context, request, baseDirectory);
  const seeds = await requireManifest<EmbeddingsManifest>(context.store, `seeds/${request.name}/embeddings`, 'embed');
  return request.cluster === undefined ? retrieveNeighbours(context, request, pool, seeds) : retrieveClusters(context, request.name, request.cluster, pool, seeds);
}

type Vectors = StoredManifest<EmbeddingsManifest>;

async function retrieveNeighbours(context: RunContext, { name, k, engine: wanted = 'onnxruntime', topUp: filling }: RetrieveRequest, pool: Vectors, seeds: Vectors): Promise<StoredManifest<SelectionManifest>> {
  const path = `selections/${name}`;
  const { provenance: engine } = await searchEngine(context, wanted);
  const searches = planSearches(pool, seeds, { path, k, engine });
  const seedRows = rowCountOf(seeds.manifest.parts);
  const poolRows = rowCountOf(pool.manifest.parts);
  const ranks = filling === undefined || filling === false ? null : Math.max(k, filling === true ? RANKS_PER_K * k : filling.ranks);
  return runStage<SelectionManifest>(context, {
    path,
    stage: 'retrieve',
    // Products may differ in the last bit between providers and instruction sets, so another engine makes another table.
    config: { name, k, engine, ...(ranks !== null && { topUp: { ranks } }) },
    inputs: [seeds, pool],
    seeded: false,
    make: async () => {
      const run = async (chunks: typeof searches): Promise<SearchResult[]> => {
        context.progress.begin(`retrieve ${name}`, chunks.reduce((sum, { rowCount }) => sum + rowCount, 0) * poolRows, 'comparisons');
        return context.executor.map(searchTask, chunks, path);
      };
      const search = (depth: number, wanted: (query: number) => boolean): Promise<SearchResult[]> => run(planSearches(pool, seeds, { path, k: depth, engine }).filter(({ firstRow, rowCount }) => someBetween(firstRow, rowCount, wanted)));
      const found = ranks === null ? { results: await run(searches) } : await topUp(context.store, search, { k, ranks, poolRows, seedRows, out: `work/${path}`, signal: context.signal });
      const { stats, ...result } = await mergePairs(context.store, found.results, { path, k, signal: context.signal });
      const { requested, selected, unique, shortfall } = result;
      if (shortfall > 0) context.log.warn({ stage: 'retrieve', name, requested, selected, shortfall }, ranks === null ? `retrieve ${name}: ${k} images wanted around each seed image, the pool has fewer; short by ${shortfall}` : `retrieve ${name}: ${k} different images wanted around each seed image, the ${ranks} nearest of each do not hold them; short by ${shortfall}`);
      context.progress.end(`${selected} images retrieved for ${seedRows} ${name} queries, ${unique} different`);
      return { ...result, stats: { seeds: seedRows, ...stats, ...('stats' in found && { topUp: found.stats }) }, part: name, kind: 'retrieved' };
    },
  });
}

/** Ranks that `topUp: true` looks at, for each image that a query is to have. */
const RANKS_PER_K = 32;

function someBetween(first: number, count: number, wanted: (query: number) => boolean): boolean {
  for (let query = first; query < first + count; query++) if (wanted(query)) return true;
  return false;
}
