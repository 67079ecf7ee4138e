/**
 * The text tower of a two-tower model (CLIP, SigLIP) as an ONNX file: a prompt to a vector that lies in one space with those of
 * the image tower. One prompt a run on one thread, so a vector depends on its prompt alone.
 */
import { WinnowError } from '../errors.ts';
import { type Session, Tensor, type ValueInfo, instructionSet, openSession, runtimeVersion } from '../onnx/session.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import type { PromptTokenizer } from './tokenizer.ts';

export interface TextEncoder {
  /** What decides the vectors beside the files: output, length, runtime. */
  readonly provenance: Readonly<Record<string, unknown>>;
  /** @returns the vector as the model gives it, and whether the prompt was cut */
  encode(prompt: string): Promise<{ readonly vector: Float32Array; readonly cut: boolean }>;
  close(): Promise<void>;
}

export interface TextEncoderOptions {
  /** Names the model in messages. */
  readonly name: string;
  readonly output?: string | undefined;
  readonly length?: number | undefined;
}

const VECTOR_NAMES = ['text_embeds', 'pooler_output', 'sentence_embedding', 'embedding'];
/** Inputs that follow from the tokens; any other means that this is no text tower. */
const KNOWN_INPUTS = ['attention_mask', 'token_type_ids', 'position_ids'];

/** @param model path of an ONNX file, or its bytes. @throws {WinnowError} MODEL_INVALID when it is no text tower */
export async function createTextEncoder(model: string | Uint8Array, tokenizer: PromptTokenizer, options: TextEncoderOptions): Promise<TextEncoder> {
  const session = await openSession(model, { threads: 1, spin: false });
  try {
    const tokens = tokensInput(session.inputs, options.name);
    const output = vectorOutput(session.outputs, options);
    const fixed = tokens.shape[1];
    const length = typeof fixed === 'number' && fixed > 0 ? fixed : (options.length ?? tokenizer.length);
    if (options.length !== undefined && length !== options.length) throw invalid(`${options.name} takes ${length} tokens a prompt and no other number, text.length asks for ${options.length}`);
    return {
      provenance: { output, length, runtime: 'onnxruntime', version: runtimeVersion, provider: session.provider, instructionSet },
      encode: async (prompt) => {
        const { ids, used, cut } = tokenizer.encode(prompt, length);
        return { vector: await runOne(session, tokens, output, ids, used, options.name), cut };
      },
      close: () => session.close(),
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}

function tokensInput(inputs: readonly ValueInfo[], name: string): ValueInfo {
  const isTokens = ({ type }: ValueInfo): boolean => type === 'int64' || type === 'int32';
  const tokens = inputs.find((input) => input.name === 'input_ids') ?? (inputs.length === 1 ? inputs[0] : undefined);
  const others = inputs.filter((input) => input !== tokens && !(KNOWN_INPUTS.includes(input.name) && isTokens(input)));
  if (tokens === undefined || !isTokens(tokens) || others.length > 0) {
    throw invalid(`Expected a text tower with an input input_ids of int64 or int32 (and perhaps ${KNOWN_INPUTS.join(', ')}), such as text_model.onnx of an export; ${name} has ${inputs.map(describe).join(', ')}`);
  }
  return tokens;
}

function vectorOutput(outputs: readonly ValueInfo[], { name, output }: TextEncoderOptions): string {
  const listed = outputs.map(describe).join(', ');
  if (output !== undefined) {
    if (outputs.some((one) => one.name === output)) return output;
    throw invalid(`${name} has no output ${output} (text.output); it has ${listed}`);
  }
  const found = VECTOR_NAMES.find((wanted) => outputs.some((one) => one.name === wanted)) ?? (outputs.length === 1 ? outputs[0]!.name : undefined);
  if (found !== undefined) return found;
  throw invalid(`None of the outputs of ${name} is plainly the vector of a prompt: name one in text.output; there are ${listed}`);
}

async function runOne(session: Session, { name: tokens }: ValueInfo, output: string, ids: readonly number[], used: number, model: string): Promise<Float32Array> {
  const values: Record<string, (position: number) => number> = {
    [tokens]: (i) => ids[i]!,
    attention_mask: (i) => (i < used ? 1 : 0),
    token_type_ids: () => 0,
    position_ids: (i) => i,
  };
  const feeds = Object.fromEntries(
    session.inputs.map(({ name, type }) => {
      const numbers = ids.map((_, i) => values[name]!(i));
      return [name, type === 'int64' ? new Tensor('int64', BigInt64Array.from(numbers, BigInt), [1, ids.length]) : new Tensor('int32', Int32Array.from(numbers), [1, ids.length])];
    }),
  );
  const result = (
    await session.run(feeds, [output]).catch((error: Error) => {
      throw invalid(`${model} does not run on a prompt of ${ids.length} tokens: ${error.message.split('\n')[0]}`);
    })
  )[output]!;
  const [first, d = 0] = result.dims;
  if (result.dims.length !== 2 || first !== 1 || d < 1 || (result.type !== 'float32' && result.type !== 'float16')) {
    throw invalid(`Expected one vector of float32 or float16 a prompt, ${model} gives ${output}: ${result.type}[${result.dims.join(', ')}]: name another output in text.output`);
  }
  if (result.type === 'float32') return Float32Array.from(result.data as Float32Array);
  const bits = result.data as unknown as Uint16Array;
  return decodeFloat16(new Uint16Array(bits.buffer, bits.byteOffset, bits.length));
}

function describe({ name, type, shape }: ValueInfo): string {
  return `${name}: ${type}[${shape.join(', ')}]`;
}

function invalid(message: string): WinnowError {
  return new WinnowError('MODEL_INVALID', message);
}
