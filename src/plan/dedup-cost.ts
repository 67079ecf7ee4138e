/** What the search for copies costs (src/dedup), step by step: ids, hashes, cells, a sample by brute force, the search, groups. */
import { rateAt } from '../bench/rates.ts';
import { bucketsFor } from '../dedup/exact.ts';
import { WINDOW_ROWS } from '../dedup/hash-pairs.ts';
import { HASH_BITS, variantsOf } from '../dedup/perceptual-hash.ts';
import { EMBEDDING_PART_ROWS } from '../embed/embedding.ts';
import { IMAGES_PART_ROWS } from '../ingest/image.ts';
import { BASE_BYTES, type StageCost, type Step, step } from './cost.ts';
import { PART_BYTES, survivorsStep } from './filter-cost.ts';
import { type StageRequest, elementBytesOf, embeddingRowBytes, imageRowBytes } from './stage-cost.ts';

/** A fact, the same with its row, and a row of `duplicates/`. */
const FACT_BYTES = 32;
const ID_BYTES = 40;
const DUPLICATE_BYTES = 26;
/** Of a row's hashes with validity, and why there are none. */
const HASH_ROW_BYTES = 4.25;
/** As in src/dedup/near.ts. */
const BRUTE_FORCE_ROWS = 16_384;
const CELLS_MAX = 16_384;
const SAMPLE_ROWS = 32;
const SAMPLE_ROWS_MAX = 2 ** 17;
const CANDIDATE_BYTES = 32;
const ROUNDS = 7;
/** Share of all pairs that a search by cells compares where the recipe does not say, from runs on mixtures. */
const COMPARED = 0.05;

type Near = Exclude<NonNullable<StageRequest['recipe']['dedup']>['near'], false>;

/** Steps of a recipe that looks for no copies: none. */
export function dedupCost(request: StageRequest): StageCost {
  const { recipe: { dedup, filters, decontaminate }, evaluations } = request;
  const warnings: string[] = [];
  const steps: Step[] = [];
  if (dedup !== undefined) {
    if (dedup.perceptual !== false) steps.push(hashStep(request, variantsOf(dedup.perceptual)), hashPairsStep(request, variantsOf(dedup.perceptual)));
    steps.push(idsStep(request));
    if (dedup.near !== false) {
      steps.push(...nearSteps(request, dedup.near));
      if (dedup.near.embed !== undefined) warnings.push('dedup: the embedding of its own (dedup.near.embed) is not counted; `winnow plan` of a recipe with that model as `embed` tells its time');
    }
    steps.push(groupsStep(request));
  }
  for (const set of evaluations) if (set.images > 0) steps.push(contaminationStep(request, set.name, set.images));
  const verdicts = (filters.length > 0 ? 1 : 0) + (dedup === undefined ? 0 : 1) + (decontaminate.length > 0 ? 1 : 0);
  if (steps.length > 0) steps.push(survivorsStep(request, verdicts));
  return { stage: 'dedup', steps, warnings };
}

/** Every image once more, small. Each task reads the part of the listing it is in. */
function hashStep({ recipe, pool: { images }, d, imageBytes, textBytes, rates }: StageRequest, variants: number): Step {
  const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
  const listed = Math.min(images, IMAGES_PART_ROWS) * imageRowBytes(textBytes);
  const bytesWritten = images * (variants * (HASH_BITS / 8) + HASH_ROW_BYTES) + tasks * PART_BYTES;
  return step('hashes', {
    tasks, bytesRead: images * (embeddingRowBytes(d, elementBytesOf(recipe)) + imageBytes) + tasks * listed, bytesWritten, peakBytes: BASE_BYTES + 4 * listed,
    seconds: images / rates.look + (tasks * Math.min(images, IMAGES_PART_ROWS)) / rates.shard + bytesWritten / rates.write,
  });
}

/** One window of rows after the other, with all later rows past each. */
function hashPairsStep({ pool: { images }, rates }: StageRequest, variants: number): Step {
  const windows = Math.ceil(images / WINDOW_ROWS);
  const passes = (windows + 1) / 2;
  const bytesRead = passes * images * (variants * (HASH_BITS / 8) + HASH_ROW_BYTES);
  return step('hash pairs', { tasks: windows, bytesRead, peakBytes: BASE_BYTES + Math.min(images, WINDOW_ROWS) * 120, seconds: (passes * images * variants) / rates.shard + bytesRead / rates.read });
}

/** Ids and sizes of all images, sorted to buckets; equal ids meet there. */
function idsStep({ recipe, pool: { images }, d, rates }: StageRequest): Step {
  const bytesRead = images * (embeddingRowBytes(d, elementBytesOf(recipe)) + ID_BYTES);
  const bytesWritten = images * (FACT_BYTES + ID_BYTES);
  return step('ids', { tasks: bucketsFor(images), bytesRead, bytesWritten, peakBytes: BASE_BYTES + 2 ** 27, seconds: images / rates.shard + bytesRead / rates.read + bytesWritten / rates.write });
}

function nearSteps({ recipe, execution: { memoryBytes }, pool: { images: n }, d, rates }: StageRequest, near: Near): Step[] {
  const elementBytes = elementBytesOf(recipe);
  const table = n * embeddingRowBytes(d, elementBytes);
  const routed = n * (d * elementBytes + 8);
  const m = near.cells ?? (n <= BRUTE_FORCE_ROWS ? 1 : Math.min(CELLS_MAX, Math.round(4 * Math.sqrt(n))));
  const sampled = m === 1 ? 0 : Math.min(n, SAMPLE_ROWS_MAX, m * SAMPLE_ROWS);
  const runRows = Math.max(1024, Math.floor(memoryBytes / 4 / Math.max(d * 4, near.k * CANDIDATE_BYTES)));
  const runs = Math.ceil(n / runRows);
  const gathering = (n * d) / rates.assemble;
  const training = 2 * sampled * m * d * ROUNDS;
  const routing = m === 1 ? 0 : 2 * n * m * d;
  const cells = step('cells', {
    tasks: Math.ceil((n * d * 4) / (memoryBytes / 8)), flop: training + routing, bytesRead: table * 2 + n * FACT_BYTES + routed, bytesWritten: 2 * routed + m * d * 4,
    peakBytes: BASE_BYTES + memoryBytes / 2 + m * d * 8,
    seconds: (training + routing) / rateAt(rates.assign, m) + (n * d) / rates.assemble + 2 * gathering + (2 * table + routed) / rates.read + (2 * routed) / rates.write,
  });
  const queries = m === 1 || near.probes === m ? 0 : Math.min(n, near.recallQueries);
  const truth = step('sample by brute force', { tasks: runs, flop: 2 * queries * n * d, bytesRead: routed + runs * queries * d * 4, peakBytes: BASE_BYTES + queries * (d * 4 + near.k * CANDIDATE_BYTES), seconds: (2 * queries * n * d) / rates.retrieval + routed / rates.read });
  const share = m === 1 ? 1 : near.probes === undefined ? COMPARED : Math.min(1, near.probes / m);
  const comparing = 2 * n * n * share * d;
  const search = step('search', {
    tasks: runs, flop: comparing + routing, bytesRead: (runs + 1) * routed, peakBytes: BASE_BYTES + runRows * (d * 4 + near.k * CANDIDATE_BYTES),
    seconds: comparing / rates.retrieval + routing / rateAt(rates.assign, m) + ((runs + 1) * routed) / rates.read,
  });
  return queries === 0 ? [cells, search] : [cells, truth, search];
}

/** From pairs to groups, and the verdict of each row. */
function groupsStep({ pool: { images }, rates }: StageRequest): Step {
  const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
  const bytesWritten = images * DUPLICATE_BYTES + tasks * PART_BYTES;
  return step('groups', { bytesRead: images * FACT_BYTES, bytesWritten, peakBytes: BASE_BYTES + 2 ** 28, seconds: images / rates.draw + (images * FACT_BYTES) / rates.read + bytesWritten / rates.write });
}

/** The images of an evaluation set against the whole pool. */
function contaminationStep({ recipe, pool: { images: n }, d, rates }: StageRequest, name: string, queries: number): Step {
  const rowBytes = embeddingRowBytes(d, elementBytesOf(recipe));
  const flop = 2 * queries * n * d;
  const bytesRead = (n + queries) * rowBytes;
  return step(`against ${name}`, { tasks: Math.ceil(n / EMBEDDING_PART_ROWS), flop, bytesRead, bytesWritten: n * DUPLICATE_BYTES, peakBytes: BASE_BYTES + queries * d * 8, seconds: flop / rates.retrieval + bytesRead / rates.read + (n * DUPLICATE_BYTES) / rates.write });
}
