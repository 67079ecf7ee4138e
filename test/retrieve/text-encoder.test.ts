import { describe, expect, it } from 'vitest';
import { createTextEncoder } from '../../src/retrieve/text-encoder.ts';
import { createTokenizer } from '../../src/retrieve/tokenizer.ts';
import { textTower, tokenizerJson } from './text-tower.ts';

const tokenizer = (overrides: Record<string, unknown> = {}, settings: string | null = null) => createTokenizer(tokenizerJson(overrides), settings, 'tokenizer.json');

describe('createTokenizer', () => {
  it('puts special tokens around a prompt, pads it, and cuts the prompt rather than them', () => {
    const padding = { padding: { strategy: { Fixed: 6 }, pad_id: 0 } };
    expect(tokenizer().length).toBeNull();
    expect(tokenizer().encode('Red FLOWER', null)).toEqual({ ids: [1, 4, 7, 2], used: 4, cut: false });
    expect(tokenizer(padding).length).toBe(6);
    expect(tokenizer(padding).encode('red flower', 6)).toEqual({ ids: [1, 4, 7, 2, 0, 0], used: 4, cut: false });
    expect(tokenizer(padding).encode('red green blue flower red', 6)).toEqual({ ids: [1, 4, 5, 6, 7, 2], used: 6, cut: true });
    expect(tokenizer(padding).encode('red tulip', 6)).toEqual({ ids: [1, 4, 3, 2, 0, 0], used: 4, cut: false });
  });

  it('learns length and padding from tokenizer_config.json too, and does not believe in endless ones', () => {
    const named = tokenizer({}, JSON.stringify({ model_max_length: 5, pad_token: { content: '[end]' } }));
    expect(named.length).toBe(5);
    expect(named.encode('blue', 5)).toEqual({ ids: [1, 6, 2, 2, 2], used: 3, cut: false });
    expect(tokenizer({}, JSON.stringify({ model_max_length: 1e30 })).length).toBeNull();
    expect(() => tokenizer().encode('blue', 9)).toThrow(expect.objectContaining({ code: 'MODEL_INVALID', message: expect.stringContaining('padding token') }));
  });

  it('refuses what is no tokenizer', () => {
    for (const text of ['not json', '7', '{}', '{"model": {"type": "Telepathy"}}']) expect(() => createTokenizer(text, null, 'tokenizer.json')).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }));
  });
});

describe('createTextEncoder', () => {
  const encode = async (prompt: string, model: Uint8Array, length?: number, of = tokenizer({ padding: { strategy: 'BatchLongest', pad_id: 3 } })) => {
    const encoder = await createTextEncoder(model, of, { name: 'text_model.onnx', length });
    try {
      return { ...(await encoder.encode(prompt)), provenance: encoder.provenance };
    } finally {
      await encoder.close();
    }
  };

  it('runs the model: a vector is the sum over the words of the prompt', async () => {
    const { vector, cut, provenance } = await encode('a red flower', textTower());
    expect([...vector]).toEqual([4, 0, 0, 1 + 2]);
    expect(cut).toBe(false);
    expect(provenance).toMatchObject({ output: 'text_embeds', length: null, runtime: 'onnxruntime', provider: 'cpu' });
  });

  it('pads to a length, and masks the padding where the model takes a mask', async () => {
    expect([...(await encode('green', textTower(), 5)).vector]).toEqual([0, 4, 0, 2]);
    expect([...(await encode('green', textTower({ mask: true }), 5)).vector]).toEqual([0, 4, 0, 0]);
    expect([...(await encode('green', textTower({ mask: true, fixed: 7 }))).vector]).toEqual([0, 4, 0, 0]);
    const long = await encode('green green blue', textTower({ mask: true }), 4);
    expect([...long.vector]).toEqual([0, 8, 0, 0]);
    expect(long.cut).toBe(true);
  });

  it('refuses what is no text tower, and says what there is', async () => {
    const fails = async (model: Uint8Array, message: RegExp, options: { output?: string; length?: number } = {}): Promise<void> => {
      await expect(createTextEncoder(model, tokenizer(), { name: 'model.onnx', ...options })).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringMatching(message) });
    };
    await fails(textTower({ extra: true }), /text tower.*text_model\.onnx.*pixel_values: float32/);
    await fails(textTower(), /has no output image_embeds.*text_embeds/, { output: 'image_embeds' });
    await fails(textTower({ fixed: 7 }), /takes 7 tokens .* asks for 9/, { length: 9 });
    await fails(new Uint8Array(40), /Expected an ONNX model/);
    const states = await createTextEncoder(textTower(), tokenizer(), { name: 'model.onnx', output: 'last_hidden_state' });
    await expect(states.encode('red')).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringMatching(/one vector.*last_hidden_state: float32\[1, 3, 4\]/) });
    await states.close();
  });
});
