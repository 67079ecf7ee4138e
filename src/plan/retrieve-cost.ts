/** What retrieval costs: exact search of every chunk of queries in the whole pool, or a fit of clusters, their draw and their rows. */
import { rateAt } from '../bench/rates.ts';
import { ClusterConfig } from '../cluster/config.ts';
import { resolveProfile } from '../cluster/profile.ts';
import type { Recipe } from '../config.ts';
import { SELECTION_PART_ROWS } from '../sample/selection.ts';
import { clusterCost } from './cluster-cost.ts';
import { BASE_BYTES, type StageCost, type Step, step } from './cost.ts';
import { ASSIGNMENT_ROW_BYTES, type ImageSet, type StageRequest, elementBytesOf, embeddingRowBytes, retrievedRows } from './stage-cost.ts';

/** Queries of one task (src/retrieve/retrieve.ts). */
const QUERIES = 1024;
const PAIR_ROW_BYTES = 22;

/** @param leaves clusters of level 1 of the tree */
export function retrieveCost(request: StageRequest, leaves: number): StageCost {
  const fitted = new Set<number>();
  const costs = request.seeds.filter(({ images }) => images > 0).map((set) => {
    const entry = request.recipe.retrieve.find(({ name }) => name === set.name);
    if (entry?.cluster === undefined) return searchCost(request, set, entry);
    const k = entry.cluster.level === undefined ? fittedClusters(request, entry.cluster.clusters) : null;
    const fit = k === null || fitted.has(k) ? { steps: [], warnings: [] } : fitCost(request, k);
    if (k !== null) fitted.add(k);
    return { steps: [...fit.steps, clustersStep(request, set, k ?? leaves)], warnings: fit.warnings };
  });
  return { stage: 'retrieve', steps: costs.flatMap(({ steps }) => steps), warnings: costs.flatMap(({ warnings }) => warnings) };
}

type Cost = Pick<StageCost, 'steps' | 'warnings'>;

/** Exact: every chunk of queries reads the whole pool. */
function searchCost({ recipe, execution, pool, d, rates }: StageRequest, { name, images }: ImageSet, entry: Recipe['retrieve'][number] | undefined): Cost {
  const table = pool.images * embeddingRowBytes(d, elementBytesOf(recipe));
  const k = entry?.k ?? 1;
  const queries = Math.max(1, Math.min(QUERIES, Math.floor(2 ** 20 / k)));
  const tasks = Math.ceil(images / queries);
  const flop = 2 * images * pool.images * d;
  const bytesRead = tasks * table + images * embeddingRowBytes(d, elementBytesOf(recipe));
  const bytesWritten = 2 * images * k * PAIR_ROW_BYTES;
  const computing = flop / rates.retrieval;
  const warnings = bytesRead / rates.read > 4 * computing && tasks > 1 ? [`retrieve ${name}: ${tasks.toLocaleString('en')} chunks of ${queries} queries each read the whole pool, ${(bytesRead / 1e15).toPrecision(3)} PB in all: reading takes longer than searching`] : [];
  const made = step(name, {
    tasks, flop, bytesRead, bytesWritten, peakBytes: BASE_BYTES + queries * (d * 8 + k * 24) + execution.blockRows * d * 8,
    seconds: Math.max(computing, bytesRead / rates.read) + bytesWritten / rates.write,
  });
  return { steps: [made], warnings };
}

/** The rule of pipelines/retrieve-clusters.ts. */
function fittedClusters({ pool }: StageRequest, clusters: number | 'auto'): number {
  return clusters === 'auto' ? Math.min(100_000, Math.max(1, Math.floor(pool.images / 64))) : clusters;
}

function fitCost({ recipe, execution, pool, d, rates }: StageRequest, k: number): Cost {
  const elementBytes = elementBytesOf(recipe);
  const config = resolveProfile(ClusterConfig.parse({ levels: [k], outliers: { policy: 'keep' } }));
  const { steps, warnings } = clusterCost({ n: pool.images, d, rowBytes: embeddingRowBytes(d, elementBytes), elementBytes, config, execution, rates });
  return { steps: steps.map((one) => ({ ...one, name: `clusters-${k}: ${one.name}` })), warnings };
}

/** Queries to their leaves, one draw over the assignment, and the chosen rows beside the queries of their clusters. */
function clustersStep(request: StageRequest, { name, images }: ImageSet, k: number): Step {
  const { recipe, pool, d, rates, execution } = request;
  const rowBytes = embeddingRowBytes(d, elementBytesOf(recipe));
  const chosen = retrievedRows(request, name, images);
  const assigning = 2 * images * k * d;
  const tasks = 1 + Math.ceil(chosen / SELECTION_PART_ROWS);
  const bytesRead = pool.images * ASSIGNMENT_ROW_BYTES + k * (d * 4 + 12) + chosen * rowBytes + tasks * images * rowBytes;
  return step(name, {
    tasks, flop: assigning, bytesRead, bytesWritten: 2 * chosen * PAIR_ROW_BYTES,
    peakBytes: BASE_BYTES + Math.max(execution.memoryBytes / 2, k * 8 + 2 * chosen * 28),
    seconds: assigning / rateAt(rates.assign, k) + pool.images / rates.draw + bytesRead / rates.read,
  });
}
