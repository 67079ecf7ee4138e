/** Stage 3, filter: `images/` and `embeddings/` → `filters/`: which rows a recipe's rules take out of the pool, and why. */
import type { DecodeLimits, EmbeddingsManifest } from '../src/embed/embedding.ts';
import { WinnowError } from '../src/errors.ts';
import { type CapLimits, findLimits } from '../src/filter/cap.ts';
import type { FilterConfig } from '../src/filter/config.ts';
import { type CapRule, FILTERS, type FiltersManifest, type RowRule } from '../src/filter/filter.ts';
import { type ResolvedRules, resolveRules } from '../src/filter/resolve.ts';
import { type CapPayload, type FilterPayload, type FilterResult, capPart, filterPart } from '../src/filter/task.ts';
import type { ImagesManifest } from '../src/ingest/image.ts';
import { type Part, type StoredManifest, hashOf, rowCountOf } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';

export interface FilterRequest {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  readonly filters: readonly FilterConfig[];
  /** Folder that relative paths of the rules start from. */
  readonly folder: string;
  /** As images were embedded with. */
  readonly limits: DecodeLimits;
}

/**
 * Asks the rules of each row, in order: the first that rejects is its reason. Without rules the table of an earlier run goes.
 *
 * @returns null without rules
 * @throws {WinnowError} CONFIG_INVALID, INPUT_MISSING, MODEL_INVALID for a rule that cannot work; COMMAND_FAILED; TOO_FEW_ROWS when nothing is left
 */
export async function filterImages(context: RunContext, { images, embeddings, filters, folder, limits }: FilterRequest): Promise<StoredManifest<FiltersManifest> | null> {
  if (filters.length === 0) {
    await context.store.remove(`${FILTERS}/`);
    await context.store.remove(`work/${FILTERS}/`);
    return null;
  }
  const resolved = await resolveRules(filters, folder, embeddings.manifest.d, context);
  const drawsLots = filters.some(({ cap }) => cap?.by === 'random');
  return runStage<FiltersManifest>(context, {
    path: FILTERS,
    stage: 'filter',
    config: { rules: resolved.decisive },
    inputs: [images, embeddings],
    seeded: drawsLots,
    make: () => makeFilters(context, { images, embeddings, limits }, resolved),
  });
}

async function makeFilters(context: RunContext, request: Pick<FilterRequest, 'images' | 'embeddings' | 'limits'>, { rules, lists }: ResolvedRules): Promise<{ parts: Part[]; stats: Record<string, unknown>; rules: FiltersManifest['rules'] }> {
  const rowRules = rules.filter((rule): rule is RowRule => rule.kind !== 'cap');
  const caps = rules.filter((rule): rule is CapRule => rule.kind === 'cap');
  for (const [key, entries] of lists) await context.store.write(key, new TextEncoder().encode(JSON.stringify(entries)));
  const rows = rowCountOf(request.embeddings.manifest.parts);
  context.progress.begin('filter', rows, 'images');
  const judged = await context.executor.map(filterPart, planParts(request, rowRules, caps), FILTERS);
  const rejected = sumOf(judged.map((result) => result.rejected), rowRules.length);
  let parts = judged.map(({ part }) => part);
  if (caps.length > 0) {
    context.progress.end(`${rows} images judged one by one`);
    context.progress.begin('filter: caps', rows, 'images');
    const capped = await applyCaps(context, judged, caps);
    parts = capped.parts;
    rejected.push(...capped.rejected);
  }
  const asked = judged.reduce((sum, result) => sum + result.asked, 0);
  const unread = judged.reduce((sum, result) => sum + result.unread, 0);
  const counts = rules.map(({ name, kind }, r) => ({ name, kind, rejected: rejected[r]! }));
  const left = asked - rejected.reduce((sum, count) => sum + count, 0);
  const said = counts.filter((rule) => rule.rejected > 0).map((rule) => `${rule.rejected} ${rule.name}`).join(', ');
  if (left === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected the filters to leave at least one image, got none of ${asked}: ${said || 'none was embedded'}`, { details: { rejected: counts } });
  if (unread > 0) context.log.warn({ stage: 'filter', unread }, `filter: ${unread} images could not be read a second time and were rejected by the rule that needed them`);
  context.progress.end(`${left} of ${asked} images stay${said === '' ? '' : `; rejected: ${said}`}`);
  return { parts, stats: { rows, asked, left, unread, rejected: Object.fromEntries(counts.map((rule) => [rule.name, rule.rejected])) }, rules: counts };
}

/** One task a part of `embeddings/`, which never crosses a part of `images/`. */
function planParts({ images, embeddings, limits }: Pick<FilterRequest, 'images' | 'embeddings' | 'limits'>, rules: readonly RowRule[], caps: readonly CapRule[]): FilterPayload[] {
  let at = 0;
  const listed = images.manifest.parts;
  return embeddings.manifest.parts.map((part, p) => {
    while (part.firstRow >= listed[at]!.firstRow + listed[at]!.rowCount) at++;
    return { embeddings: part, images: listed[at]!, d: embeddings.manifest.d, rules, caps, limits, out: partPath(p) };
  });
}

/** Each cap counts what the caps before it leave. Their limits are found here, one after the other; tasks apply them. */
async function applyCaps(context: RunContext, judged: readonly FilterResult[], caps: readonly CapRule[]): Promise<{ parts: Part[]; rejected: number[] }> {
  const { store, seed, signal, executor } = context;
  const left = judged.map(({ part }) => part);
  const before: { rule: CapRule; limits: CapLimits }[] = [];
  for (const rule of caps) {
    context.progress.note(`cap ${rule.name}`);
    before.push({ rule, limits: await findLimits(store, left, rule, before, seed, signal) });
  }
  const limits = before.map((one) => one.limits);
  const key = `work/${FILTERS}/limits-${hashOf(limits).slice(0, 24)}.json`;
  await store.write(key, new TextEncoder().encode(JSON.stringify(limits)));
  const payloads = left.map((part, p): CapPayload => ({ judged: part, caps, limits: key, seed, out: partPath(p) }));
  const results = await executor.map(capPart, payloads, FILTERS);
  return { parts: results.map(({ part }) => part), rejected: sumOf(results.map((result) => result.rejected), caps.length) };
}

function partPath(p: number): string {
  return `${FILTERS}/part-${String(p).padStart(5, '0')}.arrow`;
}

function sumOf(lists: readonly (readonly number[])[], length: number): number[] {
  return Array.from({ length }, (_, i) => lists.reduce((sum, list) => sum + list[i]!, 0));
}
