/** What the filter stage costs (src/filter): every part of the pool's tables is read once, and images again where a rule looks at pixels. */
import { type FilterConfig, kindOf, scoresOf } from '../filter/config.ts';
import { EMBEDDING_PART_ROWS } from '../embed/embedding.ts';
import { IMAGES_PART_ROWS } from '../ingest/image.ts';
import { BASE_BYTES, type StageCost, type Step, step } from './cost.ts';
import { type StageRequest, elementBytesOf, embeddingRowBytes, imageRowBytes } from './stage-cost.ts';

/** Reason and detail of a row with their validity, and a score. */
const REASON_BYTES = 8.25;
const SCORE_BYTES = 4.125;
/** What a part has beside its rows: its schema, and what pads it. */
export const PART_BYTES = 1200;
/** What caps go by: id, whether the row is in, and a value. */
const CAP_BYTES = 44;
/** Survivors: a status of each row. */
const STATUS_BYTES = 4.125;

/** Steps of a recipe without filters: none. */
export function filterCost(request: StageRequest): StageCost {
  const { recipe: { filters, dedup, decontaminate } } = request;
  if (filters.length === 0) return { stage: 'filter', steps: [], warnings: [] };
  const steps = [rowsStep(request), ...(filters.some(({ cap }) => cap !== undefined) ? [capsStep(request)] : [])];
  if (dedup === undefined && decontaminate.length === 0) steps.push(survivorsStep(request, 1));
  const uncounted = filters.filter((rule) => rule.command !== undefined || rule.score?.on === 'pixels').map(({ name }) => name);
  return { stage: 'filter', steps, warnings: uncounted.length === 0 ? [] : [`filter: the time of the programs and models of ${uncounted.join(', ')} is not counted`] };
}

function looksAtPixels(rule: FilterConfig): boolean {
  return rule.blur !== undefined || rule.flat !== undefined || rule.score?.on === 'pixels' || (rule.command?.columns.includes('image') ?? false);
}

/** Rules of rows, one task a part of the embeddings. */
function rowsStep({ recipe, pool: { images }, d, imageBytes, textBytes, rates }: StageRequest): Step {
  const rules = recipe.filters.filter((rule) => kindOf(rule) !== 'cap');
  const caps = recipe.filters.length - rules.length;
  const looks = rules.some(looksAtPixels);
  const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
  const scores = rules.flatMap(scoresOf).length;
  const rowBytes = embeddingRowBytes(d, elementBytesOf(recipe));
  const bytesRead = images * (rowBytes + imageRowBytes(textBytes) + (looks ? imageBytes : 0));
  const bytesWritten = images * (REASON_BYTES + scores * SCORE_BYTES + (caps > 0 ? CAP_BYTES : 0)) + tasks * PART_BYTES;
  return step('rules', {
    tasks, bytesRead, bytesWritten, peakBytes: BASE_BYTES + EMBEDDING_PART_ROWS * (rowBytes + 400) + Math.min(images, IMAGES_PART_ROWS) * imageRowBytes(textBytes) * 4,
    seconds: Math.max(images / rates.shard, looks ? images / rates.look : 0) + bytesWritten / rates.write,
  });
}

/** Caps read what the rules left twice: for their limits, in one driver, and to apply them. */
function capsStep({ recipe, pool: { images }, rates }: StageRequest): Step {
  const scores = recipe.filters.flatMap(scoresOf).length;
  const caps = recipe.filters.filter(({ cap }) => cap !== undefined).length;
  const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
  const judged = images * (REASON_BYTES + scores * SCORE_BYTES + CAP_BYTES) + tasks * PART_BYTES;
  const bytesWritten = images * (REASON_BYTES + scores * SCORE_BYTES) + tasks * PART_BYTES;
  return step('caps', { tasks, bytesRead: (caps + 1) * judged, bytesWritten, peakBytes: BASE_BYTES + images * 16, seconds: ((caps + 1) * images) / rates.shard + bytesWritten / rates.write });
}

/** How every row ended, once all steps that take rows out have spoken. @param verdicts steps that did */
export function survivorsStep({ recipe, pool: { images }, d, rates }: StageRequest, verdicts: number): Step {
  const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
  const bytesRead = images * (embeddingRowBytes(d, elementBytesOf(recipe)) + verdicts * REASON_BYTES) + verdicts * tasks * PART_BYTES;
  const bytesWritten = images * STATUS_BYTES + tasks * (PART_BYTES / 2);
  return step('survivors', { tasks, bytesRead, bytesWritten, seconds: bytesRead / rates.read + bytesWritten / rates.write });
}
