import { describe, expect, it } from 'vitest';
import { chooseOutput, choosePooling, poolInto } from '../../src/embed/pool.ts';

const output = (name: string, ...shape: (number | string)[]) => ({ name, type: 'float32', shape });
const SEQUENCE = output('last_hidden_state', 'n', 197, 384);
const POOLER = output('pooler_output', 'n', 384);
const LOGITS = output('logits', 'n', 1000);
const SQUARE = { width: 224, height: 224 };

describe('chooseOutput', () => {
  it.each([
    ['DINOv2', [SEQUENCE, POOLER], 'auto', 'pooler_output'],
    ['a bare transformer', [SEQUENCE], 'auto', 'last_hidden_state'],
    ['CLIP with projection', [output('image_embeds', 'n', 512), SEQUENCE], 'auto', 'image_embeds'],
    ['a classifier with its embedding', [output('embedding', 'n', 1280), LOGITS], 'auto', 'embedding'],
    ['the class token on request', [SEQUENCE, POOLER], 'cls', 'last_hidden_state'],
    ['the mean on request', [POOLER, SEQUENCE], 'mean', 'last_hidden_state'],
    ['an unknown name', [output('projected', 'n', 96)], 'auto', 'projected'],
    ['an unknown name beside logits', [LOGITS, output('emb_vec', 'n', 96)], 'pooled', 'emb_vec'],
    ['an unknown sequence', [output('out', 'n', 'tokens', 96)], 'mean', 'out'],
  ] as const)('takes the obvious one: %s', (_what, outputs, rule, expected) => {
    expect(chooseOutput('m.onnx', outputs, undefined, rule)).toBe(expected);
  });

  it('takes the one that is named, logits too', () => {
    expect(chooseOutput('m.onnx', [SEQUENCE, POOLER], 'last_hidden_state', 'auto')).toBe('last_hidden_state');
    expect(chooseOutput('m.onnx', [LOGITS], 'logits', 'auto')).toBe('logits');
  });

  it('says what there is when none is obvious', () => {
    expect(() => chooseOutput('m.onnx', [LOGITS], undefined, 'auto')).toThrow('name one in embed.output; there are logits: float32[n, 1000]');
    expect(() => chooseOutput('m.onnx', [output('a', 'n', 3), output('b', 'n', 4)], undefined, 'auto')).toThrow('name one in embed.output');
    expect(() => chooseOutput('m.onnx', [POOLER], undefined, 'cls')).toThrow('for pool cls');
    expect(() => chooseOutput('m.onnx', [POOLER], 'embedding', 'auto')).toThrow('m.onnx has no output embedding (embed.output); it has pooler_output: float32[n, 384]');
  });
});

describe('choosePooling', () => {
  it.each([
    [[1, 384], 'auto', null, { kind: 'pooled', d: 384 }],
    [[1, 512, 1, 1], 'pooled', null, { kind: 'pooled', d: 512 }],
    [[1, 512, 7, 7], 'auto', null, { kind: 'map-mean', d: 512, cells: 49 }],
    [[1, 197, 384], 'auto', null, { kind: 'cls', d: 384, tokens: 197 }],
    [[1, 197, 384], 'mean', null, { kind: 'mean', d: 384, tokens: 197, skip: 1 }],
    [[1, 201, 384], 'mean', null, { kind: 'mean', d: 384, tokens: 201, skip: 5 }],
    [[1, 196, 768], 'auto', null, { kind: 'mean', d: 768, tokens: 196, skip: 0 }],
    [[1, 257, 384], 'mean', { patch_size: 14 }, { kind: 'mean', d: 384, tokens: 257, skip: 1 }],
    [[1, 50, 768], 'mean', { vision_config: { patch_size: 32 } }, { kind: 'mean', d: 768, tokens: 50, skip: 1 }],
    [[1, 204, 384], 'mean', { patch_size: 16 }, { kind: 'mean', d: 384, tokens: 204, skip: 8 }],
    [[1, 333, 384], 'cls', null, { kind: 'cls', d: 384, tokens: 333 }],
  ] as const)('%j, %s, config %j', (dims, rule, config, expected) => {
    expect(choosePooling('out', dims, rule, SQUARE, config)).toEqual(expected);
  });

  it.each([
    [[1, 384], 'cls', /one vector an image/],
    [[1, 384], 'mean', /one vector an image/],
    [[1, 197, 384], 'pooled', /use cls or mean/],
    [[1, 512, 7, 7], 'cls', /feature map: use mean/],
    [[1, 196, 768], 'cls', /all patches: use mean/],
    [[1, 333, 384], 'auto', /config.json \(patch_size\)/],
    [[1, 333, 384], 'mean', /config.json \(patch_size\)/],
    [[1], 'auto', /two to four dimensions/],
  ] as const)('refuses %j with %s', (dims, rule, message) => {
    expect(() => choosePooling('out', dims, rule, SQUARE, null)).toThrow(message);
  });
});

describe('poolInto', () => {
  it('takes the vector, the first token, the mean of the patches, or the mean of the cells of one image of many', () => {
    const values = Float32Array.from({ length: 24 }, (_, i) => i);
    const out = (d: number): Float32Array => new Float32Array(d);
    const pool = (d: number, pooling: Parameters<typeof poolInto>[3]): number[] => {
      const vector = out(d);
      poolInto(vector, values, 1, pooling);
      return [...vector];
    };
    expect(pool(3, { kind: 'pooled', d: 3 })).toEqual([3, 4, 5]);
    expect(pool(3, { kind: 'cls', d: 3, tokens: 4 })).toEqual([12, 13, 14]);
    expect(pool(3, { kind: 'mean', d: 3, tokens: 4, skip: 2 })).toEqual([19.5, 20.5, 21.5]);
    expect(pool(3, { kind: 'map-mean', d: 3, cells: 4 })).toEqual([13.5, 17.5, 21.5]);
  });
});
