/** The one door to Hugging Face tokenizers: a `tokenizer.json` as a function from a prompt to token numbers of a fixed length, or of its own. */
import { Tokenizer } from '@huggingface/tokenizers';
import { WinnowError } from '../errors.ts';

export interface PromptTokens {
  readonly ids: readonly number[];
  /** Tokens of the prompt, special ones counted; those after them in `ids` are padding. */
  readonly used: number;
  /** Whether the prompt was too long and lost its end. */
  readonly cut: boolean;
}

export interface PromptTokenizer {
  /** Tokens that its files say a prompt is padded and cut to; null when they say nothing. */
  readonly length: number | null;
  /** @param length tokens to pad and cut to; null: neither. @throws {WinnowError} MODEL_INVALID when there is no padding token */
  encode(prompt: string, length: number | null): PromptTokens;
}

/**
 * @param definition text of `tokenizer.json`. @param settings text of `tokenizer_config.json`, or null
 * @param where names the files in messages
 * @throws {WinnowError} MODEL_INVALID when they are not what a tokenizer is made of
 */
export function createTokenizer(definition: string, settings: string | null, where: string): PromptTokenizer {
  const facts = parse(definition, where) as Definition;
  const config = (settings === null ? {} : parse(settings, `tokenizer_config.json beside ${where}`)) as Settings;
  const tokenizer = open(facts, config, where);
  const padToken = typeof config.pad_token === 'object' && config.pad_token !== null ? config.pad_token.content : config.pad_token;
  const padId = facts.padding?.pad_id ?? (typeof padToken === 'string' ? tokenizer.token_to_id(padToken) : undefined);
  return {
    length: lengthOf(facts, config),
    encode: (prompt, length) => {
      const { ids, cut } = encodeCut(tokenizer, prompt, length);
      if (length === null || ids.length >= length) return { ids, used: ids.length, cut };
      if (padId === undefined) throw new WinnowError('MODEL_INVALID', `Expected a padding token in ${where} or in tokenizer_config.json beside it, since prompts are padded to ${length} tokens; found none`);
      return { ids: [...ids, ...new Array<number>(length - ids.length).fill(padId)], used: ids.length, cut };
    },
  };
}

interface Definition {
  readonly padding?: { readonly pad_id?: number; readonly strategy?: unknown } | null;
  readonly truncation?: { readonly max_length?: number } | null;
}

interface Settings {
  readonly pad_token?: string | { readonly content: string } | null;
  readonly model_max_length?: number;
}

function parse(text: string, where: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === 'object') return value;
  } catch (cause) {
    throw new WinnowError('MODEL_INVALID', `Expected JSON in ${where}: ${(cause as Error).message}`, { cause });
  }
  throw new WinnowError('MODEL_INVALID', `Expected a JSON object in ${where}`);
}

function open(facts: Definition, config: Settings, where: string): Tokenizer {
  try {
    return new Tokenizer(facts, config);
  } catch (cause) {
    throw new WinnowError('MODEL_INVALID', `Expected a tokenizer as Hugging Face's tokenizers library writes it in ${where}: ${(cause as Error).message}`, { cause });
  }
}

/** Absurd lengths stand for "no limit" in some files. */
const LENGTH_MAX = 65_536;

function lengthOf({ padding, truncation }: Definition, { model_max_length: max }: Settings): number | null {
  const fixed = (padding?.strategy as { Fixed?: number } | undefined)?.Fixed;
  return [fixed, max, truncation?.max_length].find((length) => Number.isInteger(length) && length! > 0 && length! <= LENGTH_MAX) ?? null;
}

/** What is cut off is the end of the prompt: special tokens before and after it stay. */
function encodeCut(tokenizer: Tokenizer, prompt: string, length: number | null): { ids: number[]; cut: boolean } {
  const full: readonly number[] = tokenizer.encode(prompt).ids;
  if (length === null || full.length <= length) return { ids: [...full], cut: false };
  const bare: readonly number[] = tokenizer.encode(prompt, { add_special_tokens: false }).ids;
  const special = full.length - bare.length;
  const before = Array.from({ length: special + 1 }, (_, i) => i).find((at) => bare.every((id, i) => full[at + i] === id)) ?? 0;
  return { ids: [...full.slice(0, before), ...bare.slice(0, Math.max(0, length - special)), ...full.slice(before + bare.length)].slice(0, length), cut: true };
}
