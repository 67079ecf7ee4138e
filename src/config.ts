/**
 * The recipe: one YAML file says what a run does. It is validated here, at the edge, frozen, and trusted inside.
 * Locations (folders of sources, models) and execution settings decide no byte of output and are kept out of hashes.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { distance } from 'fastest-levenshtein';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { BatchConfig } from './batch/config.ts';
import { ClusterConfig } from './cluster/config.ts';
import { DedupConfig, lineageDedup } from './dedup/config.ts';
import { DecontaminateConfig } from './dedup/contamination.ts';
import { DownloadConfig, decisiveSettings } from './download/config.ts';
import { EmbedConfig } from './embed/config.ts';
import { WinnowError } from './errors.ts';
import { FilterConfig, faultOf, withoutFilterPlaces } from './filter/config.ts';
import { SourceConfig } from './ingest/image.ts';
import { MixConfig } from './mix/config.ts';
import { BALANCED_PART, homogeneousOf } from './mix/mixture.ts';
import { RawConfig, RetrieveConfig, withoutTextPlaces } from './retrieve/config.ts';
import { OverridesConfig, SampleConfig } from './sample/config.ts';
import { ShardConfig, lineageShard } from './shard/shard.ts';
import { S3Config } from './store/s3-uri.ts';

export const RECIPE_FORMAT = 'winnow-recipe/1';

export const ExecutionConfig = z.strictObject({
  concurrency: z.int().min(1).max(1024).optional().describe('Images decoded at once. Default: the number of cores.'),
  threads: z.int().min(1).max(1024).optional().describe('Threads of the model and of the search. Default: the number of cores.'),
  blockRows: z.int().min(1024).default(8192).describe('Vectors read and searched at a time.'),
  memoryMb: z.int().min(64).default(384).describe('Megabytes of vectors that clustering keeps; a level that needs more is streamed from the store.'),
});
export type ExecutionConfig = z.infer<typeof ExecutionConfig>;

export const Recipe = z.strictObject({
  format: z.literal(RECIPE_FORMAT).describe('Version of this file format.'),
  name: z.string().min(1).describe('Name of the dataset.'),
  seed: z.int().min(0).default(0).describe('Every random draw of the run is a function of it.'),
  pool: z.array(SourceConfig).min(1).describe('Where the pool of images comes from.'),
  embed: EmbedConfig.prefault({}).describe('Images to vectors.'),
  filters: z.array(FilterConfig).default([]).describe('Rules that take images out of the pool, asked in order: the first that rejects is the reason.'),
  dedup: DedupConfig.optional().describe('Images that show the same picture as another one are taken out of the pool. `{}`: files with the same bytes. Default: nothing is compared.'),
  decontaminate: z.array(DecontaminateConfig).default([]).describe('Evaluation sets that the pool must have no image of.'),
  cluster: ClusterConfig.prefault({}).describe('Vectors to a cluster tree.'),
  sample: SampleConfig.prefault({}).describe('Balanced sampling down the tree.'),
  overrides: OverridesConfig.optional().describe('Curation by hand: branches of the tree that are capped, boosted or excluded. `winnow atlas` writes them.'),
  retrieve: z.array(RetrieveConfig).default([]).describe('Pool images around seed datasets.'),
  raw: z.array(RawConfig).default([]).describe('Datasets taken whole.'),
  mix: MixConfig.prefault({}).describe('How batches draw from the parts.'),
  shard: ShardConfig.prefault({}).describe('How the dataset is written.'),
  batch: BatchConfig.prefault({}).describe('How batches are cut.'),
  s3: S3Config.optional().describe('Where the object store is; changes no output.'),
  execution: ExecutionConfig.prefault({}).describe('How the work is done; changes no output.'),
});
export type Recipe = z.infer<typeof Recipe>;

/** A validated recipe and the folder its relative paths start from. */
export interface LoadedRecipe {
  readonly recipe: Readonly<Recipe>;
  readonly baseDirectory: string;
}

/** @throws {WinnowError} INPUT_MISSING, CONFIG_INVALID with one line a fault: where, what was expected, what came */
export async function loadRecipe(path: string): Promise<LoadedRecipe> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const why = { ENOENT: 'found none', EISDIR: 'got a folder', EACCES: 'may not read it' }[code] ?? `could not read it: ${code}`;
    throw new WinnowError('INPUT_MISSING', `Expected a recipe at ${path}, ${why}`, { cause });
  }
  const document = parseDocument(text, { prettyErrors: true });
  const fault = document.errors[0];
  if (fault !== undefined) throw new WinnowError('CONFIG_INVALID', `${path} is not valid YAML: ${fault.message.split('\n')[0]}`, { cause: fault });
  return { recipe: parseRecipe(document.toJS(), path), baseDirectory: dirname(resolve(path)) };
}

/** Validates and freezes a recipe given as a value. @param where names it in messages */
export function parseRecipe(value: unknown, where: string): Readonly<Recipe> {
  const parsed = Recipe.safeParse(value);
  if (!parsed.success) {
    throw new WinnowError('CONFIG_INVALID', `${where}: ${describeIssues(parsed.error.issues, value).join('; ')}`, { details: { issues: parsed.error.issues.length } });
  }
  checkAcross(parsed.data, where);
  return deepFreeze(parsed.data);
}

/**
 * What of a recipe decides the dataset: all but places and the way the work is done, so that the same images give the
 * same manifest wherever they lie and however many cores there are. A model given as a path is told by its file's hash.
 */
export function lineageRecipe({ execution, s3, pool, retrieve, raw, embed, filters, dedup, decontaminate, shard, ...recipe }: Recipe): Record<string, unknown> {
  const { providers, batchSize, model, ...decisive } = embed;
  const named = model === 'descriptor' || model.startsWith('hf:') ? { model } : {};
  const sourced = <T extends { readonly sources: readonly SourceConfig[] }>(part: T) => ({ ...part, sources: part.sources.map(withoutPlaces) });
  return { ...recipe, shard: lineageShard(shard), embed: { ...decisive, ...named }, pool: pool.map(withoutPlaces), ...(dedup !== undefined && { dedup: lineageDedup(dedup) }), ...(decontaminate.length > 0 && { decontaminate: decontaminate.map(sourced) }), ...(filters.length > 0 && { filters: filters.map(withoutFilterPlaces) }), retrieve: retrieve.map((part) => withoutTextPlaces(sourced(part))), raw: raw.map(sourced) };
}

/** JSON Schema of a recipe, for editors: `# yaml-language-server: $schema=recipe.schema.json`. */
export function recipeJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(Recipe, { io: 'input', target: 'draft-7' }) as Record<string, unknown>;
  return { ...schema, title: 'Winnow recipe' };
}

/** Checks that look at more than one stage. */
function checkAcross(recipe: Recipe, where: string): void {
  const fail = (message: string): never => {
    throw new WinnowError('CONFIG_INVALID', `${where}: ${message}`);
  };
  const parts = [BALANCED_PART, ...recipe.retrieve.map(({ name }) => name), ...recipe.raw.map(({ name }) => name)];
  const twice = parts.find((name, i) => parts.indexOf(name) !== i);
  if (twice !== undefined) fail(`two parts are named "${twice}" (the balanced part is always "${BALANCED_PART}"); names must differ`);
  for (const { homogeneous, heterogeneous } of [recipe.mix, ...(recipe.mix.phases ?? [])]) {
    const alone = homogeneousOf({ homogeneous }).map(({ part }) => part);
    const mixed = typeof heterogeneous === 'object' ? Object.keys(heterogeneous) : [];
    for (const name of [...alone, ...mixed]) if (!parts.includes(name)) fail(`mix names the part "${name}", which the recipe does not make${suggest(name, parts)}; parts: ${parts.join(', ')}`);
    const both = alone.find((name) => mixed.includes(name));
    if (both !== undefined) fail(`mix.heterogeneous names "${both}", which is the homogeneous part`);
  }
  const sets = recipe.decontaminate.map(({ name }) => name);
  const again = sets.find((name, i) => sets.indexOf(name) !== i);
  if (again !== undefined) fail(`two evaluation sets are named "${again}"; names must differ`);
  const filters = faultOf(recipe.filters);
  if (filters !== null) fail(filters);
  const { levels, resampling, splits } = recipe.cluster;
  if (levels === 'auto') return;
  levels.forEach((k, l) => {
    if (l > 0 && k > levels[l - 1]!) fail(`cluster.levels goes from finest to coarsest: expected level ${l + 1} to have at most ${levels[l - 1]} clusters, got ${k}`);
  });
  for (const [name, setting] of [['cluster.resampling.sampleSize', resampling.sampleSize], ['cluster.splits', splits]] as const) {
    if (Array.isArray(setting) && setting.length !== levels.length) fail(`expected ${name} to have one entry a level (${levels.length}), got ${setting.length}`);
  }
}

function withoutPlaces({ folder, tars, list, root, urls, download, tiles, ...source }: SourceConfig): Record<string, unknown> {
  if (tiles !== undefined) {
    const { folder: _, ...decisive } = tiles;
    return { ...source, kind: 'tiles', tiles: decisive };
  }
  if (urls !== undefined) return { ...source, kind: 'urls', download: decisiveSettings(DownloadConfig.parse(download ?? {})) };
  return { ...source, kind: folder !== undefined ? 'folder' : tars !== undefined ? 'tars' : 'list' };
}

function describeIssues(issues: readonly z.core.$ZodIssue[], value: unknown): string[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map(String).join('.');
    const place = path === '' ? 'the recipe' : path;
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(issue.path);
      return issue.keys.map((key) => `${place} has no key "${key}"${suggest(key, known)}${known.length > 0 ? `; known: ${known.join(', ')}` : ''}`);
    }
    if (issue.code === 'invalid_union') {
      const inner = issue.errors.flat().filter((one) => one.path.length > 0 || one.code === 'custom');
      const nested = describeIssues(inner.map((one) => ({ ...one, path: [...issue.path, ...one.path] }) as z.core.$ZodIssue), value);
      return nested.length > 0 ? nested.slice(0, 1) : [`${place}: ${issue.errors.flat().map((one) => lower(one.message)).join(', or ')}, got ${show(at(value, issue.path))}`];
    }
    return [`${place}: ${lower(issue.message)}, got ${show(at(value, issue.path))}`];
  });
}

function lower(message: string): string {
  return message.replace(/^Invalid input: /, '').replace(/, received .*$/, '').replace(/^./, (c) => c.toLowerCase());
}

/** Keys the schema has at a path, found by walking its JSON Schema. */
function knownKeys(path: readonly PropertyKey[]): string[] {
  type Node = { properties?: Record<string, Node>; items?: Node; anyOf?: Node[] };
  let nodes: Node[] = [recipeJsonSchema() as Node];
  for (const key of path) {
    nodes = nodes
      .flatMap((node) => [node, ...(node.anyOf ?? [])])
      .map((node) => (typeof key === 'number' ? node.items : node.properties?.[String(key)]))
      .filter((node): node is Node => node !== undefined);
  }
  return nodes.flatMap((node) => [node, ...(node.anyOf ?? [])]).flatMap((node) => Object.keys(node.properties ?? {}));
}

/** `: did you mean "x"?` for the nearest known word, when one is near. */
export function suggest(word: string, known: readonly string[]): string {
  const ranked = known.map((name) => ({ name, edits: distance(word.toLowerCase(), name.toLowerCase()) })).sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= Math.max(2, Math.floor(word.length / 3)) ? `: did you mean "${best.name}"?` : '';
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (inner !== null && typeof inner === 'object' ? (inner as Record<PropertyKey, unknown>)[key] : undefined), value);
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
