/**
 * From a model's output to one vector an image: which output, and what to do with a sequence of tokens. A Vision
 * Transformer gives [class token, register tokens …, patch tokens …]; how many tokens stand before the patches follows from
 * `config.json` (patch size) or, for a square image, from what is left over a square number of tokens.
 */
import { WinnowError } from '../errors.ts';
import type { ValueInfo } from '../onnx/session.ts';
import { describe } from './model-input.ts';

export type PoolRule = 'auto' | 'cls' | 'mean' | 'pooled';

/** How one image's output values become its vector; values are [tokens, d], or [d, cells] for a feature map. */
export type Pooling =
  | { readonly kind: 'pooled'; readonly d: number }
  | { readonly kind: 'cls'; readonly d: number; readonly tokens: number }
  | { readonly kind: 'mean'; readonly d: number; readonly tokens: number; readonly skip: number }
  | { readonly kind: 'map-mean'; readonly d: number; readonly cells: number };

const POOLED_NAMES = ['pooler_output', 'image_embeds', 'embedding', 'embeddings', 'image_embedding', 'image_embeddings', 'sentence_embedding', 'features'];
const SEQUENCE_NAMES = ['last_hidden_state', 'hidden_states', 'tokens'];

/** @throws {WinnowError} MODEL_INVALID when no output is named and none is the obvious one */
export function chooseOutput(model: string, outputs: readonly ValueInfo[], wanted: string | undefined, rule: PoolRule): string {
  const listed = outputs.map(describe).join(', ');
  if (wanted !== undefined) {
    if (outputs.some(({ name }) => name === wanted)) return wanted;
    throw invalid(`${model} has no output ${wanted} (embed.output); it has ${listed}`);
  }
  const isSequence = ({ shape }: ValueInfo): boolean => shape.length > 2 && shape.slice(2).some((size) => size !== 1);
  const named = (names: readonly string[]): ValueInfo | undefined => names.map((name) => outputs.find((output) => output.name === name)).find((output) => output !== undefined);
  const only = (fits: (output: ValueInfo) => boolean): ValueInfo | undefined => {
    const found = outputs.filter((output) => fits(output) && !/logits|prob/i.test(output.name));
    return found.length === 1 ? found[0] : undefined;
  };
  const isPooled = (output: ValueInfo): boolean => !isSequence(output);
  const found = {
    auto: () => named(POOLED_NAMES) ?? named(SEQUENCE_NAMES) ?? only(isPooled) ?? only(isSequence),
    pooled: () => named(POOLED_NAMES) ?? only(isPooled),
    cls: () => named(SEQUENCE_NAMES) ?? only(isSequence),
    mean: () => named(SEQUENCE_NAMES) ?? only(isSequence),
  }[rule]();
  if (found !== undefined) return found.name;
  throw invalid(`None of the outputs of ${model} is plainly the embedding${rule === 'auto' ? '' : ` for pool ${rule}`}: name one in embed.output; there are ${listed}`);
}

/**
 * @param dims  dimensions the output really has, images first
 * @param size  input size in pixels
 * @param config parsed `config.json`, or null
 * @throws {WinnowError} MODEL_INVALID when rule and dimensions do not go together
 */
export function choosePooling(output: string, dims: readonly number[], rule: PoolRule, size: { width: number; height: number }, config: unknown): Pooling {
  const [, second = 0, third = 1, fourth = 1] = dims;
  const shown = `${output}[${dims.join(', ')}]`;
  const isVector = dims.length === 2 || (dims.length === 4 && third * fourth === 1);
  if (isVector) {
    if (rule === 'cls' || rule === 'mean') throw invalid(`embed.pool ${rule} needs an output with tokens, ${shown} has one vector an image: use auto, or name another in embed.output`);
    return { kind: 'pooled', d: second };
  }
  if (rule === 'pooled') throw invalid(`embed.pool pooled needs an output with one vector an image, got ${shown}: use cls or mean, or name another in embed.output`);
  if (dims.length === 4) {
    if (rule === 'cls') throw invalid(`embed.pool cls needs a class token, ${shown} is a feature map: use mean`);
    return { kind: 'map-mean', d: second, cells: third * fourth };
  }
  if (dims.length !== 3) throw invalid(`Expected an output of two to four dimensions, got ${shown}`);
  const skip = tokensBeforePatches(second, size, config);
  const advice = 'put its config.json (patch_size) beside the model, or set embed.pool to cls';
  if (rule !== 'cls' && skip === null) throw invalid(`Cannot tell how many of the ${second} tokens of ${shown} stand before the patches: ${advice}`);
  if (rule === 'cls' && skip === 0) throw invalid(`embed.pool cls needs a class token, the ${second} tokens of ${shown} are all patches: use mean, or an output pooled already`);
  if (rule === 'cls' || (rule === 'auto' && skip !== 0)) return { kind: 'cls', d: third, tokens: second };
  return { kind: 'mean', d: third, tokens: second, skip: skip ?? 0 };
}

/** Class and register tokens; null when it cannot be told. */
function tokensBeforePatches(tokens: number, size: { width: number; height: number }, config: unknown): number | null {
  const fields = (config ?? {}) as { patch_size?: unknown; vision_config?: { patch_size?: unknown } };
  const patch = fields.patch_size ?? fields.vision_config?.patch_size;
  if (typeof patch === 'number' && patch > 0) {
    const before = tokens - Math.floor(size.width / patch) * Math.floor(size.height / patch);
    return before >= 0 ? before : null;
  }
  if (size.width !== size.height) return null;
  // No token, a class token, or a class token and the four registers of DINOv2 and DINOv3.
  return [0, 1, 5].find((before) => tokens > before && Number.isInteger(Math.sqrt(tokens - before))) ?? null;
}

/** Writes the vector of image `slot` of a run. Means are summed in float64, in token order. */
export function poolInto(out: Float32Array, values: Float32Array, slot: number, pooling: Pooling): void {
  const { d } = pooling;
  if (pooling.kind === 'pooled') {
    out.set(values.subarray(slot * d, (slot + 1) * d));
  } else if (pooling.kind === 'cls') {
    const from = slot * pooling.tokens * d;
    out.set(values.subarray(from, from + d));
  } else if (pooling.kind === 'mean') {
    const count = pooling.tokens - pooling.skip;
    const from = (slot * pooling.tokens + pooling.skip) * d;
    for (let j = 0; j < d; j += 1) {
      let sum = 0;
      for (let token = 0; token < count; token += 1) sum += values[from + token * d + j] as number;
      out[j] = sum / count;
    }
  } else {
    for (let j = 0; j < d; j += 1) {
      const from = (slot * d + j) * pooling.cells;
      let sum = 0;
      for (let cell = 0; cell < pooling.cells; cell += 1) sum += values[from + cell] as number;
      out[j] = sum / pooling.cells;
    }
  }
}

function invalid(message: string): WinnowError {
  return new WinnowError('MODEL_INVALID', message);
}
