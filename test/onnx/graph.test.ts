import { describe, expect, it } from 'vitest';
import { type Attribute, encodeModel, type Initializer, type NodeSpec, type ValueSpec } from '../../src/onnx/graph.ts';
import { openSession, Tensor } from '../../src/onnx/session.ts';

const x = (...shape: (number | string)[]): ValueSpec => ({ name: 'x', type: 'float32', shape });
const y = (...shape: (number | string)[]): ValueSpec => ({ name: 'y', type: 'float32', shape });

/** Runs a graph of one input `x` and one output `y`. */
async function run(input: ValueSpec, output: ValueSpec, nodes: NodeSpec[], initializers: Initializer[], data: number[], dims: number[]): Promise<{ values: number[]; dims: readonly number[] }> {
  const session = await openSession(encodeModel({ name: 'g', inputs: [input], outputs: [output], nodes, initializers }));
  const { y: result } = await session.run({ x: new Tensor('float32', Float32Array.from(data), dims) });
  await session.close();
  return { values: Array.from(result?.data as Float32Array), dims: result?.dims ?? [] };
}

const single = (op: string, inputs: string[], attributes: Record<string, Attribute> = {}): NodeSpec[] => [{ op, inputs, outputs: ['y'], attributes }];

describe('encodeModel', () => {
  it('writes what ONNX Runtime computes with: constants, whole, float and list attributes, free dimensions', async () => {
    const c: Initializer = { name: 'c', type: 'float32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const gemm = await run(x('n', 3), y('n', 2), single('Gemm', ['x', 'c'], { transB: 1, alpha: { float: -0.5 } }), [c], [1, 0, 0, 1, 1, 1], [2, 3]);
    expect(gemm).toEqual({ values: [-0.5, -2, -3, -7.5], dims: [2, 2] });

    const transposed = await run(x(2, 3), y(3, 2), single('Transpose', ['x'], { perm: [1, 0] }), [], [1, 2, 3, 4, 5, 6], [2, 3]);
    expect(transposed.values).toEqual([1, 4, 2, 5, 3, 6]);

    const largest = await run(x('n', 'm'), y('n', 1), single('ReduceMax', ['x'], { axes: [-1] }), [], [3, 9, 2, 5], [2, 2]);
    expect(largest).toEqual({ values: [9, 5], dims: [2, 1] });

    const flat = await run(x('n', 2, 2), y('n', 4), single('Flatten', ['x'], { axis: 1 }), [], [1, 2, 3, 4], [1, 2, 2]);
    expect(flat.dims).toEqual([1, 4]);
  });

  it('writes every element type', async () => {
    const data = { float32: Float32Array.of(7), float64: Float64Array.of(7), int32: Int32Array.of(7), int64: BigInt64Array.of(7n), uint8: Uint8Array.of(7), float16: Uint16Array.of(0x4700) };
    for (const [type, value] of Object.entries(data)) {
      const nodes: NodeSpec[] = [
        { op: 'Cast', inputs: ['c'], outputs: ['float'], attributes: { to: 1 } },
        { op: 'Add', inputs: ['x', 'float'], outputs: ['y'] },
      ];
      const constant = { name: 'c', type, shape: [1], data: value } as Initializer;
      expect((await run(x(1), y(1), nodes, [constant], [1], [1])).values, type).toEqual([8]);
    }
  });

  it('takes data that is a part of a larger buffer', async () => {
    const part = Float32Array.of(9, 9, 1, 2, 9).subarray(2, 4);
    expect((await run(x(2), y(2), single('Mul', ['x', 'c']), [{ name: 'c', type: 'float32', shape: [2], data: part }], [10, 10], [2])).values).toEqual([10, 20]);
  });

  it('refuses data that does not fill its shape, and broken attributes', () => {
    const graph = (nodes: NodeSpec[], initializers: Initializer[]) => encodeModel({ name: 'g', inputs: [x(1)], outputs: [y(1)], nodes, initializers });
    expect(() => graph([], [{ name: 'c', type: 'float32', shape: [2, 2], data: new Float32Array(3) }])).toThrow('Initializer c of shape [2,2] needs 16 bytes, got 12');
    expect(() => graph(single('Gemm', ['x'], { alpha: 0.5 }), [])).toThrow('Expected a whole number');
  });
});
