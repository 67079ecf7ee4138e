import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createJudged } from '../../src/filter/filter.ts';
import type { PartRows, ScoreRule } from '../../src/filter/filter.ts';
import { judgeScore, openHead } from '../../src/filter/score.ts';
import { type GraphSpec, encodeModel } from '../../src/onnx/graph.ts';
import { textModel } from '../helpers/colour-model.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const graph = (more: Partial<GraphSpec>): Uint8Array =>
  encodeModel({
    name: 'head',
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 3] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['n', 1] }],
    nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    initializers: [{ name: 'w', type: 'float32', shape: [3, 1], data: Float32Array.of(1, 10, 100) }],
    ...more,
  });

async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder('head'), 'head.onnx');
  await writeFile(path, bytes);
  return path;
}

describe('openHead', () => {
  it('runs any number of rows, each alike wherever it stands', async () => {
    const head = await openHead(await fileOf(graph({})), undefined, 3);
    const vectors = Float32Array.from({ length: 3 * 700 }, (_, i) => ((i * 37) % 101) / 7);
    const all = await head.run(vectors);
    expect(all).toHaveLength(700);
    expect(all[600]).toBeCloseTo(vectors[1800]! + 10 * vectors[1801]! + 100 * vectors[1802]!, 2);
    for (const row of [0, 255, 256, 699]) expect((await head.run(vectors.slice(row * 3, row * 3 + 3)))[0]).toBe(all[row]);
    await head.close();
  });

  it('refuses what is no head on these vectors, in a sentence', async () => {
    const two = [{ name: 'x', type: 'float32', shape: ['n', 3] }, { name: 'z', type: 'float32', shape: ['n', 3] }] as const;
    const faults: [Uint8Array, number, string | undefined, object][] = [
      [graph({}), 4, undefined, { code: 'DIMENSION_MISMATCH', message: expect.stringContaining('on the 4 dimensions of the stored vectors; head.onnx takes x: float32[n, 3]') }],
      [graph({}), 3, 'logits', { code: 'MODEL_INVALID', message: expect.stringContaining('has no output logits; there are y') }],
      [graph({ inputs: two, nodes: [{ op: 'Add', inputs: ['x', 'z'], outputs: ['y'] }] }), 3, undefined, { code: 'MODEL_INVALID', message: expect.stringContaining('one input') }],
      [graph({ outputs: [{ name: 'y', type: 'float32', shape: ['n', 1] }, { name: 'x2', type: 'float32', shape: ['n', 3] }], nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }, { op: 'Identity', inputs: ['x'], outputs: ['x2'] }] }), 3, undefined, { code: 'MODEL_INVALID', message: expect.stringContaining('score.output') }],
      [textModel(), 3, undefined, { code: 'DIMENSION_MISMATCH' }],
      [Uint8Array.of(1, 2, 3), 3, undefined, { code: 'MODEL_INVALID' }],
    ];
    for (const [bytes, d, output, error] of faults) await expect(openHead(await fileOf(bytes), output, d)).rejects.toMatchObject(error);
  });
});

describe('judgeScore', () => {
  const rows = { rowCount: 4, status: ['ok', 'ok', 'ok', 'corrupt'] } as unknown as PartRows;
  const rule = (score: object): ScoreRule => ({ kind: 'score', name: 's', identity: {}, score: { index: 0, activation: 'none', ...score } }) as ScoreRule;
  const reasons = (score: object, values: number[], finite: Uint8Array | null = null): [reason: (string | null)[], scores: number[]] => {
    const judged = createJudged(4, ['s']);
    judgeScore(rule(score), Float32Array.from(values), finite, rows, judged);
    return [judged.reason, [...judged.scores.get('s')!]];
  };
  it('rejects below min and above max, not at them, nor what is no number; and nothing without limits', () => {
    expect(reasons({ min: 1, max: 2 }, [1, 2, 2.5, 9])).toEqual([[null, null, 'filter:s', null], [1, 2, 2.5, Number.NaN]]);
    expect(reasons({ min: 1 }, [0.99, Number.NaN, Infinity, 9])[0]).toEqual(['filter:s', 'filter:s', 'filter:s', null]);
    expect(reasons({}, [-5, 0, 5, 9])).toEqual([[null, null, null, null], [-5, 0, 5, Number.NaN]]);
    expect(reasons({}, [-5, 0, 5, 9], Uint8Array.of(1, 0, 1, 1))).toEqual([[null, 'filter:s', null, null], [-5, Number.NaN, 5, Number.NaN]]);
  });
  it('takes softmax over an image\'s numbers without overflow', () => {
    const [reason, scores] = reasons({ index: 1, activation: 'softmax', min: 0.5 }, [1000, 1001, 0, 0, -1000, 0, 0, 0]);
    expect(scores[0]).toBeCloseTo(1 / (1 + Math.exp(-1)), 6);
    expect(scores[1]).toBe(0.5);
    expect(reason).toEqual([null, null, null, null]);
  });
});
