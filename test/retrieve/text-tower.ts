/** A text tower of four dimensions and eight words, so that what a prompt's vector must be can be worked out by hand. */
import { writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeModel, type GraphSpec } from '../../src/onnx/graph.ts';

export const WORDS = ['[pad]', '[start]', '[end]', '[unk]', 'red', 'green', 'blue', 'flower'] as const;

/** Vector of each word; special tokens are zeros but for the unknown word. */
export const WORD_VECTORS: Readonly<Record<string, readonly number[]>> = { '[unk]': [0, 0, 0, 1], red: [4, 0, 0, 0], green: [0, 4, 0, 0], blue: [0, 0, 4, 0], flower: [0, 0, 0, 2] };

/** tokenizer.json: lower-case words between [start] and [end]. */
export function tokenizerJson(overrides: Record<string, unknown> = {}): string {
  const vocab = Object.fromEntries(WORDS.map((word, i) => [word, i]));
  return JSON.stringify({
    version: '1.0', truncation: null, padding: null,
    added_tokens: WORDS.slice(0, 4).map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: { type: 'Lowercase' },
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '[start]', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '[end]', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '[start]': { id: '[start]', ids: [1], tokens: ['[start]'] }, '[end]': { id: '[end]', ids: [2], tokens: ['[end]'] } },
    },
    decoder: null,
    model: { type: 'WordPiece', unk_token: '[unk]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
    ...overrides,
  });
}

/** text_embeds = Σ over tokens of the word's vector, padding masked where the graph has a mask; dimensions past the fourth are zeros. */
export function textTower({ mask = false, fixed = null as number | null, extra = false, d = 4 } = {}): Uint8Array {
  const length = fixed ?? 'tokens';
  const table = Float32Array.from(WORDS.flatMap((word) => Array.from({ length: d }, (_, j) => WORD_VECTORS[word]?.[j] ?? 0)));
  const int64 = (name: string): GraphSpec['inputs'][number] => ({ name, type: 'int64', shape: ['batch', length] });
  return encodeModel({
    name: 'text',
    inputs: [int64('input_ids'), ...(mask ? [int64('attention_mask')] : []), ...(extra ? [{ name: 'pixel_values', type: 'float32' as const, shape: ['batch', 3, 8, 8] }] : [])],
    outputs: [{ name: 'text_embeds', type: 'float32', shape: ['batch', d] }, { name: 'last_hidden_state', type: 'float32', shape: ['batch', length, d] }],
    initializers: [
      { name: 'table', type: 'float32', shape: [WORDS.length, d], data: table },
      { name: 'last', type: 'int64', shape: [1], data: BigInt64Array.of(2n) },
      { name: 'middle', type: 'int64', shape: [1], data: BigInt64Array.of(1n) },
    ],
    nodes: [
      { op: 'Gather', inputs: ['table', 'input_ids'], outputs: ['last_hidden_state'] },
      ...(mask
        ? [
            { op: 'Cast', inputs: ['attention_mask'], outputs: ['kept'], attributes: { to: 1 } },
            { op: 'Unsqueeze', inputs: ['kept', 'last'], outputs: ['keep'] },
            { op: 'Mul', inputs: ['last_hidden_state', 'keep'], outputs: ['shown'] },
          ]
        : [{ op: 'Identity', inputs: ['last_hidden_state'], outputs: ['shown'] }]),
      { op: 'ReduceSum', inputs: ['shown', 'middle'], outputs: ['text_embeds'], attributes: { keepdims: 0 } },
    ],
  });
}

/** Writes a model folder as an export has it: `onnx/text_model.onnx` and the tokenizer above it. @returns path of the model */
export async function writeTextTower(folder: string, { tower = textTower(), tokenizer = tokenizerJson() }: { tower?: Uint8Array; tokenizer?: string } = {}): Promise<string> {
  await mkdir(join(folder, 'onnx'), { recursive: true });
  await writeFile(join(folder, 'onnx', 'text_model.onnx'), tower);
  await writeFile(join(folder, 'tokenizer.json'), tokenizer);
  return join(folder, 'onnx', 'text_model.onnx');
}
