/**
 * From a recipe's rules to rules as tasks get them: paths made absolute, lists read, models and programs told by their hashes, so
 * that a change of any of them decides the rows anew and a change of where they lie does not.
 */
import { isAbsolute, resolve } from 'node:path';
import { decoderVersions } from '../embed/decode.ts';
import type { Encoder } from '../embed/embedding.ts';
import { createEncoder, resolveModelReference } from '../embed/encoder.ts';
import { WinnowError } from '../errors.ts';
import { hashOf } from '../run/manifest.ts';
import type { TaskEnv } from '../run/stage.ts';
import { identifyCommand } from './command.ts';
import { type FilterConfig, kindOf, withoutFilterPlaces } from './config.ts';
import { FILTERS, type Rule, type ScoreRule } from './filter.ts';
import { type ListEntries, readEntries } from './list.ts';
import { type Head, openHead, requireIndex } from './score.ts';

type Opened = Pick<TaskEnv, 'resource' | 'execution'>;

export interface ResolvedRules {
  readonly rules: readonly Rule[];
  /** Entries of lists, by the key they are to lie at while tasks run. */
  readonly lists: ReadonlyMap<string, ListEntries>;
  /** What decides the table, for its manifest. */
  readonly decisive: readonly Record<string, unknown>[];
}

/**
 * @param folder that relative paths start from
 * @param d dimensions of the stored vectors
 * @throws {WinnowError} INPUT_MISSING, CONFIG_INVALID, MODEL_INVALID, MODEL_UNAVAILABLE, DIMENSION_MISMATCH
 */
export async function resolveRules(configs: readonly FilterConfig[], folder: string, d: number, env: Opened): Promise<ResolvedRules> {
  const lists = new Map<string, ListEntries>();
  const rules: Rule[] = [];
  for (const config of configs) rules.push(await resolveRule(config, folder, d, env, lists));
  const decisive = configs.map((config, r) => ({ ...withoutFilterPlaces(inlineListsLeftOut(config)), kind: kindOf(config), identity: rules[r]!.identity }));
  return { rules, lists, decisive };
}

async function resolveRule(config: FilterConfig, folder: string, d: number, env: Opened, lists: Map<string, ListEntries>): Promise<Rule> {
  const { name, size, blur, flat, score, command, cap } = config;
  if (size !== undefined) return { kind: 'size', name, identity: {}, size };
  if (blur !== undefined) return { kind: 'blur', name, identity: LUMA, blur };
  if (flat !== undefined) return { kind: 'flat', name, identity: LUMA, flat };
  if (command !== undefined) return { kind: 'command', name, identity: await identifyCommand(command, folder), command, folder };
  if (cap !== undefined) return { kind: 'cap', name, identity: {}, cap };
  if (score !== undefined) {
    const rule = { kind: 'score', name, identity: {}, score: { ...score, model: resolveModelReference(score.model, folder) } } as const;
    const opened = score.on === 'embedding' ? await openHeadOf(rule, d, env) : await openEncoderOf(rule, env);
    requireIndex(rule, 'classes' in opened ? opened.classes : opened.d);
    return { ...rule, identity: opened.provenance };
  }
  const list = config.allow ?? config.deny!;
  const entries = await readEntries(name, list, list.file === undefined ? null : isAbsolute(list.file) ? list.file : resolve(folder, list.file));
  const sha256 = hashOf(entries);
  const key = `work/${FILTERS}/list-${sha256.slice(0, 24)}.json`;
  lists.set(key, entries);
  return { kind: config.allow === undefined ? 'deny' : 'allow', name, identity: { ids: entries.ids.length, uris: entries.uris.length, patterns: entries.patterns.length, sha256 }, list: key };
}

/** The process's one session of a head. */
export function openHeadOf({ name, score }: Pick<ScoreRule, 'name' | 'score'>, d: number, env: Opened): Promise<Head> {
  if (d === 0) throw new WinnowError('DIMENSION_MISMATCH', `Filter "${name}" scores stored vectors, and these images have none`);
  return told(name, () => env.resource(`filter-head ${JSON.stringify([score.model, score.output, d])}`, () => openHead(score.model, score.output, d)));
}

/** The process's one session of a model of images; its outputs are taken as they come. */
export function openEncoderOf({ name, score }: Pick<ScoreRule, 'name' | 'score'>, env: Opened): Promise<Encoder> {
  const { model, input, output, batchSize } = score;
  const open = (): Promise<Encoder> => createEncoder(model, { providers: ['cpu'], input, output: output!, pool: 'pooled', batchSize }, env.execution.threads);
  return told(name, () => env.resource(`filter-model ${JSON.stringify([model, input, output, batchSize])}`, open));
}

/** A fault of a model says which filter has it, and names its settings as the filter does. */
async function told<T>(name: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    throw new WinnowError(error.code, `Filter "${name}": ${error.message.replaceAll('embed.', 'score.')}`, { cause: error, details: { ...error.details } });
  }
}

/** What luma figures depend on beside the bytes. */
const LUMA = { measure: 'luma/1', decoder: decoderVersions() };

/** The manifest tells lists by count and hash. */
function inlineListsLeftOut({ allow, deny, ...config }: FilterConfig): FilterConfig {
  return { ...config, ...(allow !== undefined && { allow: {} }), ...(deny !== undefined && { deny: {} }) };
}
